//! A cluster of coordinators in one process, and the faults it has to live with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::consensus::coordinator::{
    Compaction, CoordinatorConfig, ProposeError, Role, StartError, Timing, answer_without_seat,
};
use crate::consensus::replica::FeedError;
use crate::consensus::{
    CallError, Coordinator, LogGeneration, Network, Replica, RestoreError, Seat, SeatNode,
    StateMachine,
};
use crate::identity::{ClusterId, MachineId};

pub(super) const CLUSTER: ClusterId = ClusterId::new(7).expect("not zero");

/// A beat short enough for tests and long enough for a busy machine.
pub(super) const TIMING: Timing = Timing {
    beat: Duration::from_millis(60),
    patience: Duration::from_millis(200),
};

/// Long enough for anything that is to happen; tests wait for conditions, and this only ends a failed one.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The simplest state machine that shows everything: the commands it was given, with their indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Ledger {
    pub(super) applied: Vec<(u64, Vec<u8>)>,
}

impl StateMachine for Ledger {
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8> {
        self.applied.push((index, command.to_vec()));
        (self.applied.len() as u64).to_be_bytes().to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        *self = postcard::from_bytes(snapshot).map_err(|error| RestoreError(error.to_string()))?;
        Ok(())
    }
}

/// The wires between all machines.
#[derive(Clone)]
pub(super) struct Wires {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    coordinators: BTreeMap<MachineId, Coordinator<Ledger>>,
    /// Machines that have given up their seat and still have their replica.
    retired: BTreeMap<MachineId, Replica<Ledger>>,
    cut: BTreeSet<(MachineId, MachineId)>,
    loss_percent: u32,
    delay_max: Duration,
    rng: StdRng,
    calls: u64,
}

impl Wires {
    pub(super) fn new(seed: u64) -> Self {
        let shared = Shared {
            coordinators: BTreeMap::new(),
            retired: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss_percent: 0,
            delay_max: Duration::ZERO,
            rng: StdRng::seed_from_u64(seed),
            calls: 0,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    pub(super) fn with<R>(&self, change: impl FnOnce(&mut Faults<'_>) -> R) -> R {
        change(&mut Faults(&mut self.lock()))
    }

    /// How many requests have been sent so far.
    pub(super) fn calls(&self) -> u64 {
        self.lock().calls
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared
            .lock()
            .expect("no test panics while it holds the wires")
    }

    pub(super) fn from(&self, machine: MachineId) -> Arc<dyn Network> {
        Arc::new(Wire {
            from: machine,
            wires: self.clone(),
        })
    }
}

/// What can be done to the wires.
pub(super) struct Faults<'a>(&'a mut Shared);

impl Faults<'_> {
    pub(super) fn lose(&mut self, percent: u32) {
        self.0.loss_percent = percent;
    }

    pub(super) fn delay(&mut self, at_most: Duration) {
        self.0.delay_max = at_most;
    }

    /// Cuts the machines of `side` off from all others, both ways.
    pub(super) fn cut_off(&mut self, side: &[u64]) {
        let side: Vec<_> = side.iter().map(|number| machine(*number)).collect();
        let others: Vec<_> = self
            .0
            .coordinators
            .keys()
            .filter(|other| !side.contains(other))
            .copied()
            .collect();
        for inside in side {
            for outside in &others {
                self.0.cut.insert((inside, *outside));
                self.0.cut.insert((*outside, inside));
            }
        }
    }

    pub(super) fn heal(&mut self) {
        self.0.cut.clear();
        self.0.loss_percent = 0;
        self.0.delay_max = Duration::ZERO;
    }
}

struct Wire {
    from: MachineId,
    wires: Wires,
}

#[async_trait::async_trait]
impl Network for Wire {
    async fn call(
        &self,
        to: SeatNode,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let (target, fate, back, delays) = {
            let mut shared = self.wires.lock();
            shared.calls += 1;
            let shared = &mut *shared;
            if shared.cut.contains(&(self.from, to.machine)) {
                (None, false, false, [Duration::ZERO; 2])
            } else if let Some(replica) = shared.retired.get(&to.machine) {
                return Ok(answer_without_seat(replica, &body));
            } else {
                let mut lost = || shared.rng.random_range(0..100) < shared.loss_percent;
                let (fate, back) = (!lost(), !lost());
                let millis = shared.delay_max.as_millis() as u64;
                let mut delay = || Duration::from_millis(shared.rng.random_range(0..=millis));
                let target = shared.coordinators.get(&to.machine).cloned();
                let target = target.ok_or(CallError::Unreachable("refused".to_owned()))?;
                (Some(target), fate, back, [delay(), delay()])
            }
        };
        let from = self.from;
        let call = async {
            let (Some(target), true) = (target, fate) else {
                return std::future::pending().await;
            };
            pause(delays[0]).await;
            // What has arrived is handled, whether or not the asker still waits.
            let answer = tokio::spawn(async move { target.handle(from, body).await });
            let answer = answer
                .await
                .map_err(|error| CallError::Unreachable(error.to_string()))?;
            pause(delays[1]).await;
            if !back {
                return std::future::pending().await;
            }
            Ok(answer)
        };
        tokio::time::timeout(deadline, call)
            .await
            .unwrap_or(Err(CallError::TimedOut))
    }
}

/// Even the shortest sleep takes a millisecond.
async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

pub(super) fn machine(number: u64) -> MachineId {
    MachineId::new(number).expect("not zero")
}

pub(super) fn node(number: u64) -> SeatNode {
    SeatNode {
        machine: machine(number),
        addr: format!("127.0.0.{number}:7000")
            .parse()
            .expect("an address"),
    }
}

/// Machines 1 to n; the first seat of machine k is seat k.
pub(super) struct Cluster {
    pub(super) wires: Wires,
    pub(super) folder: TempDir,
    pub(super) replicas: BTreeMap<u64, Replica<Ledger>>,
    pub(super) coordinators: BTreeMap<u64, Coordinator<Ledger>>,
    pub(super) compaction: Compaction,
    pub(super) timing: Timing,
}

impl Cluster {
    /// Seat 1 on machine 1, founded and leading.
    pub(super) async fn found(seed: u64) -> Self {
        Self::found_with(seed, TIMING).await
    }

    async fn found_with(seed: u64, timing: Timing) -> Self {
        let mut cluster = Self {
            wires: Wires::new(seed),
            folder: tempfile::tempdir().expect("a folder for a test"),
            replicas: BTreeMap::new(),
            coordinators: BTreeMap::new(),
            compaction: Compaction::default(),
            timing,
        };
        let first = cluster.create(1).await;
        first.found(node(1)).await.expect("founded");
        cluster.leader().await;
        cluster
    }

    /// Machines 1 to `size`, all of them voters.
    pub(super) async fn of(size: u64, seed: u64) -> Self {
        Self::with(size, seed, TIMING).await
    }

    pub(super) async fn with(size: u64, seed: u64, timing: Timing) -> Self {
        let mut cluster = Self::found_with(seed, timing).await;
        for number in 2..=size {
            cluster.join(number).await;
        }
        let voters = (1..=size).map(Seat).collect();
        let leader = cluster.leader().await;
        leader.set_voters(voters, PATIENCE).await.expect("promoted");
        cluster
    }

    /// A new coordinator that is a learner and has caught up.
    pub(super) async fn join(&mut self, number: u64) {
        let leader = self.leader().await;
        // It has followed the log before, as a machine that is given a seat has.
        let image = leader.replica().image();
        match self.replica(number).install(&image) {
            Ok(()) | Err(FeedError::Old) => {}
            Err(error) => panic!("{error}"),
        }
        self.create(number).await;
        leader
            .add_learner(Seat(number), node(number), PATIENCE)
            .await
            .expect("added");
        let mut status = leader.status();
        let caught_up = status.wait_for(|status| {
            status
                .progress
                .get(&Seat(number))
                .is_some_and(|progress| progress.lag == 0)
        });
        let waited = tokio::time::timeout(PATIENCE, caught_up).await;
        waited.expect("it catches up").expect("the leader lives");
    }

    pub(super) fn config(&self, number: u64) -> CoordinatorConfig {
        CoordinatorConfig {
            path: self.folder.path().join(format!("{number}/log.redb")),
            cluster: CLUSTER,
            generation: LogGeneration::FIRST,
            seat: Seat(number),
            timing: self.timing,
            compaction: self.compaction,
        }
    }

    pub(super) fn replica(&mut self, number: u64) -> Replica<Ledger> {
        self.replicas.entry(number).or_default().clone()
    }

    pub(super) fn keep(
        &mut self,
        number: u64,
        coordinator: Coordinator<Ledger>,
    ) -> Coordinator<Ledger> {
        let mut shared = self.wires.lock();
        shared
            .coordinators
            .insert(machine(number), coordinator.clone());
        drop(shared);
        self.coordinators.insert(number, coordinator.clone());
        coordinator
    }

    /// A new coordinator on seat and machine `number`, with an empty log.
    pub(super) async fn create(&mut self, number: u64) -> Coordinator<Ledger> {
        self.try_create(number).await.expect("created")
    }

    pub(super) async fn try_create(
        &mut self,
        number: u64,
    ) -> Result<Coordinator<Ledger>, StartError> {
        let (config, replica) = (self.config(number), self.replica(number));
        let network = self.wires.from(machine(number));
        let created = Coordinator::create(config, replica, network).await?;
        Ok(self.keep(number, created))
    }

    /// Stops a coordinator; its file stays, and its replica is forgotten as by a restart.
    pub(super) async fn stop(&mut self, number: u64) {
        self.wires.lock().coordinators.remove(&machine(number));
        let coordinator = self.coordinators.remove(&number).expect("it runs");
        coordinator.stop().await;
        self.replicas.remove(&number);
    }

    /// Stops a coordinator whose seat is gone; its machine goes on.
    pub(super) async fn retire(&mut self, number: u64) {
        let replica = self.replica(number);
        self.stop(number).await;
        self.wires.lock().retired.insert(machine(number), replica);
    }

    /// Starts a coordinator from its file.
    pub(super) async fn open(&mut self, number: u64) -> Coordinator<Ledger> {
        let (config, replica) = (self.config(number), self.replica(number));
        let network = self.wires.from(machine(number));
        let opened = Coordinator::open(config, replica, network).await;
        self.keep(number, opened.expect("opened"))
    }

    /// The coordinator that leads, once one does that the others that run agree on.
    pub(super) async fn leader(&self) -> Coordinator<Ledger> {
        let found = async {
            loop {
                for coordinator in self.coordinators.values() {
                    if coordinator.status().borrow().role == Role::Leader
                        && coordinator.confirm(self.timing.patience).await.is_ok()
                    {
                        return coordinator.clone();
                    }
                }
                tokio::time::sleep(TIMING.beat / 4).await;
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .expect("a leader")
    }

    /// Proposes to whoever leads, until it is committed for sure.
    pub(super) async fn propose(&self, command: &str) -> u64 {
        let committed = async {
            loop {
                let leader = self.leader().await;
                match leader
                    .propose(command.to_owned(), TIMING.patience * 2)
                    .await
                {
                    Ok(proposed) => return proposed.at.index,
                    Err(
                        ProposeError::NotLeader { .. }
                        | ProposeError::NoQuorum
                        | ProposeError::Unknown,
                    ) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, committed)
            .await
            .expect("committed")
    }

    /// Waits until all replicas of the machines that run have applied entry `index`.
    pub(super) async fn applied(&self, index: u64) {
        for number in self.coordinators.keys() {
            let mut at = self.replicas[number].watch();
            let applied = at.wait_for(|at| at.is_some_and(|at| at.index >= index));
            tokio::time::timeout(PATIENCE, applied)
                .await
                .unwrap_or_else(|_| panic!("machine {number} does not apply entry {index}"))
                .expect("the replica lives");
        }
    }
}

/// Checks that of any two replicas one has applied a prefix of what the other has.
pub(super) fn assert_prefixes<'a>(replicas: impl Iterator<Item = &'a Replica<Ledger>>) {
    let mut ledgers: Vec<Ledger> = replicas
        .map(|replica| replica.read(|ledger, _| ledger.clone()))
        .collect();
    ledgers.sort_by_key(|ledger| ledger.applied.len());
    for pair in ledgers.windows(2) {
        let common = pair[0].applied.len();
        assert_eq!(
            pair[0].applied,
            pair[1].applied[..common],
            "replicas disagree"
        );
    }
}
