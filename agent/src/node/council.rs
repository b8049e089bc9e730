//! This machine's seat among the coordinators: taking it, keeping it across restarts, giving it up.
//!
//! Who should have a seat is decided by the leader and written in the fleet's state. This task makes it so here: it
//! starts a coordinator when the state gives this machine a seat, and ends it when the seat is given up.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use muster_mesh::consensus::coordinator::{Compaction, Role, Status, Timing};
use muster_mesh::consensus::{
    At, CallError, Coordinator, CoordinatorConfig, LogGeneration, Network, Replica, Seat, SeatNode,
};
use muster_mesh::identity::{ClusterId, MachineId, Peer};
use muster_mesh::pki::{ClusterCa, KeyFile, open_ca, seal_ca};
use muster_mesh::state_dir::{FileKind, StateDir};
use muster_mesh::transport::{RequestError, StreamKind, Transport};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::mesh::Mesh;
use super::route::ask_leader;
use super::shared::Shared;
use crate::fleet::FleetState;

/// How long the pause is between attempts to start what the state says should run here.
const RETRY: Duration = Duration::from_secs(1);

/// How long the pause is between attempts to open a log that could not be written or opened. A disk that was full may
/// have room again.
const REOPEN: Duration = Duration::from_secs(5);

/// How long fetching the CA's key from the leader may take.
const CA_KEY_DEADLINE: Duration = Duration::from_secs(10);

const SEAT: FileKind = FileKind {
    tag: *b"SEAT",
    version: 1,
    what: "the coordinator's seat",
    remedy: "Delete it together with the seat's log; the leader gives this machine another seat.",
    size_max: 64,
};

/// A handle to this machine's seat.
#[derive(Clone)]
pub(super) struct Council {
    running: watch::Sender<Option<Coordinator<FleetState>>>,
    /// The lowest generation of the log that this machine may coordinate.
    lowest: watch::Sender<LogGeneration>,
    ca: Arc<Mutex<Option<Arc<ClusterCa>>>>,
    /// This machine had a seat, and its log can't be read or written.
    failed: Arc<AtomicBool>,
    /// In which term, and since when, nothing that is proposed here has been committed.
    stuck: Arc<Mutex<Option<Stuck>>>,
}

impl Default for Council {
    fn default() -> Self {
        Self {
            running: watch::Sender::new(None),
            lowest: watch::Sender::default(),
            ca: Arc::default(),
            failed: Arc::default(),
            stuck: Arc::default(),
        }
    }
}

/// A proposal that was not committed in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stuck {
    /// The term in which it was proposed.
    pub(super) term: u64,
    /// When it was.
    pub(super) begun: Instant,
    /// What was applied by then.
    pub(super) applied: Option<At>,
}

impl Council {
    /// The coordinator that runs here, if any.
    pub(super) fn coordinator(&self) -> Option<Coordinator<FleetState>> {
        self.running.borrow().clone()
    }

    /// Wakes when a coordinator starts or ends here.
    pub(super) fn watch(&self) -> watch::Receiver<Option<Coordinator<FleetState>>> {
        self.running.subscribe()
    }

    /// The cluster CA with its key; only coordinators have it.
    pub(super) fn ca(&self) -> Option<Arc<ClusterCa>> {
        self.ca
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// No coordinator of a log below `generation` may run here any more.
    pub(super) fn supersede(&self, generation: LogGeneration) {
        self.lowest.send_if_modified(|lowest| {
            let news = generation > *lowest;
            *lowest = generation.max(*lowest);
            news
        });
    }

    /// Whether a later log than `generation` is promised here, or known to be founded.
    pub(super) fn is_superseded(&self, generation: LogGeneration) -> bool {
        *self.lowest.borrow() > generation
    }

    /// Waits until no coordinator of a superseded log runs here.
    pub(super) async fn stood_down(&self) {
        let lowest = *self.lowest.borrow();
        let mut running = self.running.subscribe();
        let over = |running: &Option<Coordinator<FleetState>>| {
            running
                .as_ref()
                .is_none_or(|one| one.generation() >= lowest)
        };
        // The sender lives as long as the council.
        let _ = running.wait_for(over).await;
    }

    /// Whether this machine had a seat when its log could not be read or written any more, and has got no other since.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Notes that the log of this machine's seat can't be read or written. To be said before the coordinator is seen to
    /// be gone, so that everybody who looks then knows why.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Notes that something was committed that this machine had proposed as the leader.
    pub(super) fn committed(&self) {
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Notes that something that this machine proposed was not committed in time.
    pub(super) fn not_committed(&self, new: Stuck) {
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        if stuck.is_none_or(|before| before.term != new.term || before.applied < new.applied) {
            *stuck = Some(new);
        }
    }

    /// How long this machine has led, in the term of `status`, without having anything committed that it proposed;
    /// `None` where it does not lead, has proposed nothing since, or all is well.
    pub(super) fn stuck(&self, status: &Status) -> Option<Duration> {
        let stuck = *self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        let stuck = stuck?;
        // What took too long may have been committed later.
        let still = status.term == stuck.term && status.applied <= stuck.applied;
        (status.role == Role::Leader && still).then(|| stuck.begun.elapsed())
    }

    pub(super) fn seat(&self, coordinator: Coordinator<FleetState>, ca: Arc<ClusterCa>) {
        self.failed.store(false, Ordering::Relaxed);
        *self.ca.lock().unwrap_or_else(PoisonError::into_inner) = Some(ca);
        self.running.send_replace(Some(coordinator));
    }

    fn vacate(&self) -> Option<Coordinator<FleetState>> {
        *self.ca.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.running.send_replace(None)
    }
}

/// Carries the coordinators' requests over the mesh, to where the mesh says that a machine is now.
pub(super) struct MeshNetwork {
    /// The endpoint.
    transport: Transport,
    /// Where machines are; `None` while there is no mesh yet.
    mesh: Mesh,
}

impl MeshNetwork {
    /// By this endpoint, to where this mesh task says.
    pub(super) fn of(transport: &Transport, mesh: &Mesh) -> Arc<dyn Network> {
        Arc::new(Self {
            transport: transport.clone(),
            mesh: mesh.clone(),
        })
    }
}

#[async_trait]
impl Network for MeshNetwork {
    async fn call(
        &self,
        to: SeatNode,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let peer = self.mesh.look().peer(to.machine).unwrap_or(Peer::from(to));
        let asked = self
            .transport
            .request(peer, StreamKind::CONSENSUS, body, deadline);
        asked.await.map_err(|error| match error {
            RequestError::Deadline => CallError::TimedOut,
            error => CallError::Unreachable(error.to_string()),
        })
    }
}

/// Where one seat's log is.
pub(super) fn coordinator_config(
    state_dir: &StateDir,
    cluster: ClusterId,
    seat: Seat,
    generation: LogGeneration,
) -> CoordinatorConfig {
    CoordinatorConfig {
        path: log_path(state_dir, seat),
        cluster,
        generation,
        seat,
        timing: Timing::default(),
        compaction: Compaction::default(),
    }
}

fn log_path(state_dir: &StateDir, seat: Seat) -> PathBuf {
    state_dir.file(&format!("seat-{seat}.redb"))
}

/// Remembers the seat and its log's generation, so that a restart finds the log.
pub(super) fn store_seat(
    state_dir: &StateDir,
    seat: Seat,
    generation: LogGeneration,
) -> anyhow::Result<()> {
    let content = [seat.0.to_le_bytes(), generation.0.to_le_bytes()].concat();
    SEAT.write(&state_dir.file("seat"), &content)?;
    Ok(())
}

/// Remembers the seat again that was remembered before one that came to nothing; none where there was none.
pub(super) fn restore_seat(
    state_dir: &StateDir,
    before: Option<(Seat, LogGeneration)>,
) -> anyhow::Result<()> {
    if let Some((seat, generation)) = before {
        return store_seat(state_dir, seat, generation);
    }
    match std::fs::remove_file(state_dir.file("seat")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The seat that this machine had when it stopped, and the generation of its log.
pub(super) fn stored_seat(state_dir: &StateDir) -> anyhow::Result<Option<(Seat, LogGeneration)>> {
    let path = state_dir.file("seat");
    let Some(bytes) = SEAT.read(&path)? else {
        return Ok(None);
    };
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    match (number(0), number(8), bytes.len()) {
        (Some(seat), Some(generation), 16) => Ok(Some((Seat(seat), LogGeneration(generation)))),
        _ => Err(SEAT.damaged(&path, "it does not hold two numbers").into()),
    }
}

/// The key that the CA is sealed with on this machine.
pub(super) fn key_file(state_dir: &StateDir) -> anyhow::Result<KeyFile> {
    Ok(KeyFile::read_or_create(&state_dir.file("ca.kek"))?)
}

/// Where the sealed CA is.
pub(super) fn ca_path(state_dir: &StateDir) -> PathBuf {
    state_dir.file("ca.sealed")
}

/// The cluster CA with its key, as it is stored here; `None` on machines that were never coordinators.
///
/// # Errors
/// When it can't be read or opened.
pub(super) fn stored_ca(state_dir: &StateDir) -> anyhow::Result<Option<ClusterCa>> {
    Ok(open_ca(&key_file(state_dir)?, &ca_path(state_dir))?)
}

/// Starts the coordinator that this machine was before it stopped; `None` when it was none, or has promised a log of
/// `lowest` or later to somebody since.
///
/// # Errors
/// When its log or key is missing or damaged. The machine can still follow; it must not coordinate.
pub(super) async fn reopen(
    state_dir: &StateDir,
    cluster: ClusterId,
    lowest: LogGeneration,
    replica: &Replica<FleetState>,
    network: Arc<dyn Network>,
) -> anyhow::Result<Option<(Coordinator<FleetState>, Arc<ClusterCa>)>> {
    let Some((seat, generation)) = stored_seat(state_dir)? else {
        return Ok(None);
    };
    if generation < lowest {
        return Ok(None);
    }
    let ca = stored_ca(state_dir)?.ok_or_else(|| {
        anyhow::anyhow!("the CA's key is missing although this machine has a seat")
    })?;
    let config = coordinator_config(state_dir, cluster, seat, generation);
    let coordinator = Coordinator::open(config, replica.clone(), network).await?;
    Ok(Some((coordinator, Arc::new(ca))))
}

/// Keeps this machine's seat as the fleet's state has it, until the agent stops.
pub(super) async fn run(shared: Arc<Shared>, network: Arc<dyn Network>) {
    let mut applied = shared.replica.watch();
    let mut council = shared.council.watch();
    // A seat that was lost here. The state that this machine knows may go on naming it for a while. A seat whose log
    // could not be opened at the start is lost, too: it has voted, and must never vote from an empty log.
    let mut lost = stored_seat(&shared.state_dir)
        .unwrap_or_default()
        .map(|(seat, _)| seat)
        .filter(|_| shared.council.coordinator().is_none());
    let mut reopen_at = tokio::time::interval(REOPEN);
    reopen_at.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lowest = shared.council.lowest.subscribe();
    loop {
        let lowest_now = *lowest.borrow_and_update();
        let coordinator = council.borrow_and_update().clone();
        if let Some(superseded) = coordinator
            .as_ref()
            .filter(|one| one.generation() < lowest_now)
        {
            tracing::warn!(seat = %superseded.seat(), "standing down: a later log is promised");
            lost = Some(superseded.seat());
            vacate(&shared).await;
            continue;
        }
        let running = coordinator.as_ref().map(Coordinator::seat);
        let given = wanted_seat(&shared).filter(|_| shared.replica.generation() >= lowest_now);
        let wanted = given.filter(|seat| lost != Some(*seat));
        let shelved = running.is_none() && given == lost && is_shelved(&shared, lost);
        if running.is_none() {
            bury_outlived(&shared);
            if wanted.is_none() {
                drop_needless_key(&shared);
            }
        }
        let result = match (wanted, running) {
            (Some(wanted), Some(running)) if wanted == running => Ok(()),
            (Some(wanted), None) => take(&shared, wanted, Arc::clone(&network)).await,
            (_, Some(running)) => give_up(&shared, running).await,
            (None, None) => Ok(()),
        };
        let failed = result.is_err();
        if let Err(error) = result {
            tracing::warn!(
                error = format!("{error:#}"),
                "this machine's seat is not as it should be"
            );
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
            changed = council.changed() => if changed.is_err() { return },
            changed = lowest.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if failed => {}
            _ = reopen_at.tick(), if shelved => {
                if reseat(&shared, Arc::clone(&network)).await {
                    lost = None;
                }
            }
            () = ended(coordinator.as_ref()) => {
                lost = running;
                end(&shared, coordinator.as_ref()).await;
            }
        }
    }
}

/// Whether a seat was lost only because its log failed: the log is still here.
fn is_shelved(shared: &Shared, lost: Option<Seat>) -> bool {
    lost.is_some()
        && stored_seat(&shared.state_dir).is_ok_and(|stored| stored.map(|(seat, _)| seat) == lost)
}

/// Tries to open the log that failed, as a restart would, and says whether that worked. A seat that was given to
/// another machine in the meantime is told so by the other coordinators.
async fn reseat(shared: &Shared, network: Arc<dyn Network>) -> bool {
    let cluster = shared.credentials.borrow().cluster();
    let lowest = *shared.council.lowest.borrow();
    let (state_dir, replica) = (&shared.state_dir, &shared.replica);
    match reopen(state_dir, cluster, lowest, replica, network).await {
        Ok(Some((coordinator, ca))) => {
            tracing::info!(seat = %coordinator.seat(), "the coordinator's log works again");
            shared.council.seat(coordinator, ca);
            true
        }
        Ok(None) => false,
        Err(error) => {
            tracing::debug!(
                error = format!("{error:#}"),
                "the coordinator's log still fails"
            );
            false
        }
    }
}

/// Returns when a coordinator has been told that its seat is gone, or has stopped by itself.
async fn ended(coordinator: Option<&Coordinator<FleetState>>) {
    let Some(coordinator) = coordinator else {
        return std::future::pending().await;
    };
    let mut status = coordinator.status();
    let over = |status: &Status| status.removed || status.failed.is_some();
    if status.wait_for(over).await.is_err() {
        std::future::pending().await
    }
}

/// Ends a coordinator that has no seat any more, or whose store has failed; the machine follows from then on.
///
/// A failed store stays where it is: it has voted, and may be found well again later.
async fn end(shared: &Arc<Shared>, coordinator: Option<&Coordinator<FleetState>>) {
    let Some(coordinator) = coordinator else {
        return;
    };
    let failed = coordinator.status().borrow().failed.clone();
    let result = match failed {
        None => give_up(shared, coordinator.seat()).await,
        Some(why) => {
            tracing::error!(
                why,
                "the coordinator has stopped; this machine follows the others until its log works again"
            );
            shared.council.fail();
            vacate(shared).await;
            Ok(())
        }
    };
    if let Err(error) = result {
        tracing::warn!(
            error = format!("{error:#}"),
            "a lost seat could not be cleared away"
        );
    }
}

/// Stops the coordinator here, and leaves its store as it is.
async fn vacate(shared: &Shared) {
    // In this order: whoever waits until nobody sits here wants the store to be closed.
    if let Some(coordinator) = shared.council.coordinator() {
        coordinator.stop().await;
    }
    shared.council.vacate();
}

/// With fewer coordinators than this, one that was given up keeps the CA's key: it may be needed again.
const COORDINATORS_ENOUGH: usize = 3;

/// Deletes the CA's key where this machine has no seat any more, once others enough have it. Until then it may be the last
/// one with which a log could be founded anew.
fn drop_needless_key(shared: &Shared) {
    let path = ca_path(&shared.state_dir);
    let seated = !matches!(stored_seat(&shared.state_dir), Ok(None));
    if seated || shared.replica.seats().voters.len() < COORDINATORS_ENOUGH {
        return;
    }
    match std::fs::remove_file(&path) {
        Ok(()) => tracing::info!("others enough have the CA's key; it is deleted here"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "the CA's key stays here"),
    }
}

/// Puts the seat of a log aside that has been given up, once the next one has coordinators enough. The log is kept, for
/// people; the CA's key is not, where the new log gives this machine no seat.
fn bury_outlived(shared: &Shared) {
    let Ok(Some((seat, generation))) = stored_seat(&shared.state_dir) else {
        return;
    };
    let enough = shared.replica.seats().voters.len() >= COORDINATORS_ENOUGH;
    if generation >= shared.replica.generation() || !enough {
        return;
    }
    let (log, kept) = (
        log_path(&shared.state_dir, seat),
        shared.state_dir.file("outlived.redb"),
    );
    let _ = std::fs::rename(&log, kept);
    for path in [shared.state_dir.file("seat"), ca_path(&shared.state_dir)] {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "not removed");
        }
    }
    tracing::warn!(%seat, %generation, "the seat in the log that was given up is buried");
}

/// The seat that the state gives this machine: the newest, when it has been given several.
///
/// A running seat that the log's membership still names is kept even if the state has none for it: the state gives
/// up a seat before the consensus membership does.
///
/// A log that was founded anew names its only coordinator before the state does; until then the state's are the old
/// log's, and nobody's.
fn wanted_seat(shared: &Shared) -> Option<Seat> {
    let highest = shared.replica.seats().highest();
    let given = shared.replica.read(|state, _| {
        if highest > Some(state.last_seat) {
            return None;
        }
        state
            .seats
            .iter()
            .rev()
            .find(|(_, machine)| **machine == shared.me)
            .map(|(seat, _)| *seat)
    });
    given.or_else(|| {
        let running = shared.council.coordinator()?.seat();
        shared.replica.seats().get(running).map(|_| running)
    })
}

async fn take(shared: &Arc<Shared>, seat: Seat, network: Arc<dyn Network>) -> anyhow::Result<()> {
    let body = ask_leader(shared, StreamKind::CA_KEY, Bytes::new(), CA_KEY_DEADLINE).await?;
    let ca = ClusterCa::import(&body)?;
    seal_ca(
        &ca,
        &key_file(&shared.state_dir)?,
        &ca_path(&shared.state_dir),
    )?;
    let generation = shared.replica.generation();
    let config = coordinator_config(&shared.state_dir, ca.cluster(), seat, generation);
    // A log left behind by a start that was cut off before the seat was remembered has voted on nothing.
    anyhow::ensure!(
        stored_seat(&shared.state_dir)?.map(|(seat, _)| seat) != Some(seat),
        "seat {seat} has a log here already, and it could not be opened"
    );
    let _ = tokio::fs::remove_file(&config.path).await;
    let coordinator = Coordinator::create(config, shared.replica.clone(), network).await?;
    store_seat(&shared.state_dir, seat, generation)?;
    tracing::info!(%seat, "this machine is a coordinator now");
    shared.council.seat(coordinator, Arc::new(ca));
    Ok(())
}

async fn give_up(shared: &Arc<Shared>, seat: Seat) -> anyhow::Result<()> {
    if let Some(coordinator) = shared.council.vacate() {
        coordinator.stop().await;
    }
    // The CA's key goes once others enough have it.
    for path in [
        shared.state_dir.file("seat"),
        log_path(&shared.state_dir, seat),
    ] {
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(anyhow::anyhow!("cannot delete {}: {error}", path.display()));
            }
            _ => {}
        }
    }
    tracing::info!(%seat, "this machine is no coordinator any more");
    Ok(())
}

/// Whether a machine holds a seat, by this machine's copy of the state.
pub(super) fn has_seat(state: &FleetState, machine: MachineId) -> bool {
    state.seats.values().any(|holder| *holder == machine)
}
