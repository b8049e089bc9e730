//! Machines without a seat.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::cluster::{Cluster, Ledger, PATIENCE, TIMING, assert_prefixes, machine};
use crate::consensus::coordinator::Compaction;
use crate::consensus::copy::{self, CopyError, CopyKeeper, StoredCopy};
use crate::consensus::follow::{
    FOLLOWERS_MAX, FOLLOWERS_OF_COORDINATOR_MAX, FollowServer, Follower, FrameSink, FrameSource,
    Standing, Streams, View,
};
use crate::consensus::{CallError, LogGeneration, Replica, Seat};
use crate::identity::{MachineId, Peer};

fn peer(number: u64) -> Peer {
    Peer {
        machine: machine(number),
        addr: SocketAddr::from(([127, 0, (number >> 8) as u8, number as u8], 7000)),
    }
}

/// All machines' servers, and streams between them.
#[derive(Clone, Default)]
struct Mesh {
    servers: Arc<Mutex<BTreeMap<MachineId, FollowServer<Ledger>>>>,
}

impl Mesh {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<MachineId, FollowServer<Ledger>>> {
        self.servers
            .lock()
            .expect("no test panics while it holds the servers")
    }
}

struct Dialer {
    from: Peer,
    mesh: Mesh,
}

struct Receiving {
    frames: mpsc::Receiver<Bytes>,
    _serving: AbortOnDropHandle<()>,
}

struct Sending(mpsc::Sender<Bytes>);

#[async_trait::async_trait]
impl Streams for Dialer {
    async fn open(
        &self,
        to: Peer,
        ask: Bytes,
        _: Duration,
    ) -> Result<Box<dyn FrameSource>, CallError> {
        let server = self.mesh.lock().get(&to.machine).cloned();
        let server = server.ok_or_else(|| CallError::Unreachable("refused".to_owned()))?;
        let (sender, frames) = mpsc::channel(4);
        let from = self.from;
        let serving = tokio::spawn(async move {
            // Its end is the stream's end, which the follower sees.
            let _ = server.serve(from, ask, &mut Sending(sender)).await;
        });
        let serving = AbortOnDropHandle::new(serving);
        Ok(Box::new(Receiving {
            frames,
            _serving: serving,
        }))
    }
}

#[async_trait::async_trait]
impl FrameSource for Receiving {
    async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        Ok(self.frames.recv().await)
    }
}

#[async_trait::async_trait]
impl FrameSink for Sending {
    async fn send(&mut self, frame: Bytes) -> Result<(), CallError> {
        assert!(frame.len() < 3 << 20, "a frame of {} bytes", frame.len());
        let gone = |_| CallError::Unreachable("gone".to_owned());
        self.0.send(frame).await.map_err(gone)
    }

    async fn closed(&mut self) {
        self.0.closed().await;
    }
}

/// A machine of the mesh: its replica, its place, and what keeps it following.
struct Machine {
    replica: Replica<Ledger>,
    standing: Standing,
    _following: AbortOnDropHandle<()>,
}

/// A cluster with machines that follow it.
struct Fleet {
    cluster: Cluster,
    mesh: Mesh,
    machines: BTreeMap<u64, Machine>,
    view: watch::Sender<View>,
}

impl Fleet {
    async fn of(coordinators: u64, followers: u64, seed: u64) -> Self {
        let cluster = Cluster::of(coordinators, seed).await;
        let mut fleet = Self {
            cluster,
            mesh: Mesh::default(),
            machines: BTreeMap::new(),
            view: watch::Sender::new(View::default()),
        };
        for number in 1..=coordinators + followers {
            let replica = fleet.cluster.replica(number);
            fleet.start(number, replica);
        }
        fleet.tell();
        fleet
    }

    fn start(&mut self, number: u64, replica: Replica<Ledger>) {
        let standing = Standing::default();
        let server = FollowServer::new(replica.clone(), standing.clone());
        self.mesh.lock().insert(machine(number), server);
        let dialer = Dialer {
            from: peer(number),
            mesh: self.mesh.clone(),
        };
        let view = self.view.subscribe();
        let follower = Follower::new(
            machine(number),
            replica.clone(),
            standing.clone(),
            dialer,
            view,
            number,
        );
        let _following = AbortOnDropHandle::new(tokio::spawn(follower.run()));
        self.machines.insert(
            number,
            Machine {
                replica,
                standing,
                _following,
            },
        );
    }

    fn kill(&mut self, number: u64) -> Option<Machine> {
        self.mesh.lock().remove(&machine(number));
        self.machines.remove(&number)
    }

    /// Tells everybody who is alive.
    fn tell(&self) {
        let peers = self.machines.keys().map(|number| peer(*number)).collect();
        let coordinators = self
            .cluster
            .coordinators
            .keys()
            .map(|number| machine(*number));
        let coordinators = coordinators.collect();
        self.view.send_modify(|view| {
            view.peers = peers;
            view.coordinators = coordinators;
        });
    }

    async fn applied(&self, index: u64) {
        for (number, machine) in &self.machines {
            let mut at = machine.replica.watch();
            let applied = at.wait_for(|at| at.is_some_and(|at| at.index >= index));
            let applied = timeout(PATIENCE, applied).await;
            applied
                .unwrap_or_else(|_| panic!("machine {number} does not get entry {index}"))
                .expect("the replica lives");
        }
        assert_prefixes(self.machines.values().map(|machine| &machine.replica));
    }

    /// Checks that every chain falls in depth and ends at a coordinator.
    fn assert_tree(&self) {
        for (number, machine) in &self.machines {
            let depth = machine
                .standing
                .depth()
                .unwrap_or_else(|| panic!("{number} is lost"));
            let room = if depth == 0 {
                FOLLOWERS_OF_COORDINATOR_MAX
            } else {
                FOLLOWERS_MAX
            };
            assert!(machine.standing.followers() <= room);
            match machine.standing.upstream() {
                None => assert_eq!(depth, 0, "machine {number}"),
                Some(upstream) => {
                    let above = &self.machines[&upstream.machine.get()].standing;
                    assert!(above.depth() < Some(depth), "machine {number}");
                }
            }
        }
    }
}

#[tokio::test]
async fn everybody_gets_everything_over_several_levels() {
    // More than the coordinators take on themselves.
    let fleet = Fleet::of(3, 230, 51).await;
    let last = fleet.cluster.propose("for all").await;
    fleet.applied(last).await;
    fleet.assert_tree();
    let deepest = fleet
        .machines
        .values()
        .filter_map(|machine| machine.standing.depth())
        .max();
    assert!(deepest > Some(1), "the coordinators cannot have taken all");
    let calls = fleet.cluster.wires.calls();
    assert!(calls > 0);
    for (number, machine) in &fleet.machines {
        let seats = machine.replica.seats();
        assert_eq!(
            seats.voters.len(),
            3,
            "machine {number} knows the coordinators"
        );
        assert_eq!(seats.of(super::cluster::machine(2)), Some(Seat(2)));
    }
}

#[tokio::test]
async fn followers_of_a_dead_machine_find_another() {
    let mut fleet = Fleet::of(3, 30, 52).await;
    let last = fleet.cluster.propose("before").await;
    fleet.applied(last).await;
    let leader = fleet.cluster.leader().await.seat().0;
    let lost = (1..=3).find(|number| *number != leader).expect("another");
    fleet.kill(lost);
    fleet.cluster.stop(lost).await;
    for number in [7, 11, 19] {
        fleet.kill(number);
    }
    fleet.tell();
    let last = fleet.cluster.propose("after").await;
    fleet.applied(last).await;
    fleet.assert_tree();
}

#[tokio::test]
async fn who_was_away_for_long_gets_an_image_and_who_was_not_gets_entries() {
    let mut fleet = Fleet::of(1, 2, 53).await;
    let last = fleet.cluster.propose("before").await;
    fleet.applied(last).await;
    let briefly = fleet.kill(2).expect("it ran").replica;
    let last = fleet.cluster.propose("missed by both").await;
    fleet.applied(last).await;
    fleet.start(2, briefly);
    fleet.applied(last).await;

    let for_long = fleet.kill(3).expect("it ran").replica;
    for number in 0..30 {
        let long = format!("{number}{}", "x".repeat(100_000));
        fleet.cluster.propose(&long).await;
    }
    let last = fleet.cluster.propose("after").await;
    let behind = for_long.at().expect("it had something").index + 1;
    let tail = fleet.machines[&1].replica.tail(behind, 1 << 20);
    assert_eq!(tail, crate::consensus::replica::Tail::Forgotten);
    fleet.start(3, for_long);
    fleet.applied(last).await;
}

#[tokio::test]
async fn a_follower_becomes_a_coordinator_and_back() {
    let mut fleet = Fleet::of(1, 3, 54).await;
    fleet.cluster.compaction = Compaction::default();
    let last = fleet.cluster.propose("before").await;
    fleet.applied(last).await;
    // Machine 2 has followed; as a coordinator it builds its own state beside what its readers see.
    let before = fleet.machines[&2].replica.at();
    fleet
        .cluster
        .replicas
        .insert(2, fleet.machines[&2].replica.clone());
    let mut at = fleet.machines[&2].replica.watch();
    let backwards = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut last = before;
        while at.changed().await.is_ok() {
            let now = *at.borrow_and_update();
            assert!(now >= last, "from {last:?} back to {now:?}");
            last = now;
        }
    }));
    fleet.cluster.join(2).await;
    let last = fleet.cluster.propose("with two").await;
    fleet.applied(last).await;
    let driven = timeout(PATIENCE, async {
        while !fleet.machines[&2].replica.is_driven()
            || fleet.machines[&2].standing.depth() != Some(0)
        {
            tokio::time::sleep(TIMING.beat).await;
        }
    });
    driven.await.expect("the coordinator feeds it");

    let leader = fleet.cluster.leader().await;
    leader
        .remove_learner(Seat(2), PATIENCE)
        .await
        .expect("removed");
    fleet.cluster.stop(2).await;
    let last = fleet.cluster.propose("with one").await;
    fleet.applied(last).await;
    assert!(!fleet.machines[&2].replica.is_driven());
    fleet.assert_tree();
    assert!(!backwards.is_finished(), "its readers never saw it go back");
}

#[tokio::test]
async fn an_upstream_that_is_cut_off_is_left_when_others_are_ahead() {
    let mut fleet = Fleet::of(3, 1, 55).await;
    let last = fleet.cluster.propose("before").await;
    fleet.applied(last).await;
    let upstream = fleet.machines[&4]
        .standing
        .upstream()
        .expect("it follows")
        .machine
        .get();
    fleet.cluster.wires.with(|wires| wires.cut_off(&[upstream]));
    let last = loop {
        let others = fleet
            .cluster
            .coordinators
            .iter()
            .filter(|(number, _)| **number != upstream);
        let mut committed = None;
        for (_, other) in others {
            committed = committed.or(other.propose("after", TIMING.patience).await.ok());
        }
        if let Some(proposed) = committed {
            break proposed.at.index;
        }
    };
    fleet.view.send_modify(|view| view.newest = Some(last));
    let mut at = fleet.machines[&4].replica.watch();
    let applied = at.wait_for(|at| at.is_some_and(|at| at.index >= last));
    timeout(PATIENCE, applied)
        .await
        .expect("from another")
        .expect("it lives");
    assert_ne!(fleet.machines[&4].standing.upstream(), Some(peer(upstream)));
    fleet.kill(upstream);
}

#[tokio::test]
async fn a_copy_survives_a_restart_and_damage_is_said() {
    let fleet = Fleet::of(1, 1, 56).await;
    let last = fleet.cluster.propose("kept").await;
    fleet.applied(last).await;
    let path = fleet.cluster.folder.path().join("copies/state");
    assert!(copy::load(path.clone()).await.expect("no error").is_none());

    let replica = fleet.machines[&2].replica.clone();
    let keeper = CopyKeeper::start(replica.clone(), path.clone(), || 1234);
    let last = fleet.cluster.propose("also kept").await;
    fleet.applied(last).await;
    // Whether it has noticed the change by now or not.
    tokio::task::yield_now().await;
    keeper.stop().await;
    let StoredCopy { as_of_ms, image } = copy::load(path.clone())
        .await
        .expect("sound")
        .expect("written");
    assert_eq!(as_of_ms, 1234);
    assert_eq!(image.generation(), LogGeneration::FIRST);
    let restored = Replica::<Ledger>::from_image(&image).expect("readable");
    assert_eq!(restored.at(), replica.at());
    assert_eq!(restored.seats(), replica.seats());
    assert_prefixes([&restored, &replica].into_iter());

    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).expect("the file"));
    assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
    let sound = std::fs::read(&path).expect("the file");
    for damage in [0, 5, sound.len() / 2, sound.len() - 1] {
        let mut damaged = sound.clone();
        damaged[damage] ^= 1;
        std::fs::write(&path, damaged).expect("written");
        let error = copy::load(path.clone()).await.expect_err("damaged");
        assert!(matches!(error, CopyError::Damaged { .. }), "{error}");
        std::fs::write(&path, &sound[..damage]).expect("written");
        assert!(copy::load(path.clone()).await.is_err(), "cut at {damage}");
    }
}
