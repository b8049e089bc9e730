//! Founding the log anew after most of its coordinators were lost for good.
//!
//! A machine that was a coordinator, and so has the CA's key, does it: it hears whether most machines of the roster
//! find the coordinators lost, has them promise it the next generation of the log, waits until no old leader can hold
//! an acknowledgement any more, takes the longest copy that any of them has, and goes on from there as the only
//! coordinator. The seats are then filled as always. Old coordinators that come back find that most machines have
//! promised a later log, and stand down.
//!
//! [`ballots`] decides; this task asks, waits and does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use muster_mesh::clock::unix_ms;
use muster_mesh::consensus::{
    Coordinator, IMAGE_BYTES_MAX, Image, LogGeneration, Network, Seat, SeatNode,
};
use muster_mesh::identity::{MachineId, Peer};
use muster_mesh::pki::open_ca;
use tokio::sync::watch;
use tokio::time::Instant;

use self::answers::{Question, Said, ask_self};
use self::ballots::{Hold, Rosters, Stands, furthest, majority, next_generation, outlived};
use super::authority::{ACKNOWLEDGEMENT_LEASE, Ballot};
use super::council;
use super::services::{COPY, REFOUND};
use super::shared::Shared;
use crate::fleet::{Command, Envelope, FleetState, Leaving, MemberStatus};

pub(super) mod answers;
pub(super) mod ballots;

/// How far apart looks are at least that are due to news of the mesh, and while the coordinators are lost.
const LOOK: Duration = Duration::from_secs(1);

/// How often to look without any news: an announced reboot may have taken too long.
const LOOK_CALM: Duration = Duration::from_secs(30);

/// For how long they must have been lost without a break: elections and restarts take a few seconds.
const SETTLE: Duration = Duration::from_secs(5);

/// The pause after an attempt that failed; jittered, so that two that want the same don't go on disturbing each other.
const RETRY: Duration = Duration::from_secs(4);

/// A coordinator that this machine has not heard of since its own start counts as lost only so long after it: after a
/// power cut the others may take longer to boot.
const UNHEARD: Duration = Duration::from_secs(120);

/// No acknowledgement that was given before the last promise counts after this time: its lease, and a second for
/// clocks that don't run alike.
pub(super) const LEASE_WAIT: Duration =
    ACKNOWLEDGEMENT_LEASE.saturating_add(Duration::from_secs(1));

/// How long one machine has for an answer.
const ANSWER_DEADLINE: Duration = Duration::from_millis(1500);

/// A machine that promises may have a coordinator to stop first, and a log to read.
const PROMISE_DEADLINE: Duration = Duration::from_secs(5);

/// Machines asked at the same time.
const ASKED_AT_ONCE: usize = 64;

/// How long fetching a copy may take, and one piece of it.
const COPY_DEADLINE: Duration = Duration::from_secs(30);

/// How long the first command of the new log may take.
const RECORD_DEADLINE: Duration = Duration::from_secs(10);

/// What this machine knows of founding the log anew, for all its tasks.
pub(super) struct Refounding {
    started: Instant,
    /// Why it is not done, while the coordinators are lost.
    hold: watch::Sender<Option<String>>,
    /// What the store of the coordinator that ran here until it was given up held.
    salvaged: tokio::sync::Mutex<Option<Arc<Image>>>,
    /// The latest log that is known to have been founded.
    founded: watch::Sender<LogGeneration>,
    /// To whom a later log was promised last, and when.
    promised: std::sync::Mutex<Option<(MachineId, Instant)>>,
}

impl Default for Refounding {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            hold: watch::Sender::new(None),
            salvaged: tokio::sync::Mutex::default(),
            founded: watch::Sender::default(),
            promised: std::sync::Mutex::default(),
        }
    }
}

impl Refounding {
    /// Why the log is not founded anew; `None` while the coordinators are not lost.
    pub(super) fn hold(&self) -> Option<String> {
        self.hold.borrow().clone()
    }

    /// Wakes when a later log becomes known; its value is the latest one.
    pub(super) fn founded(&self) -> watch::Receiver<LogGeneration> {
        self.founded.subscribe()
    }
}

/// Watches over the coordinators until the agent stops.
pub(super) async fn run(
    shared: Arc<Shared>,
    network: Arc<dyn Network>,
    rumours: watch::Receiver<LogGeneration>,
) {
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = shared.leave.cancelled() => {}
        () = watch_coordinators(&shared, network) => {}
        () = follow_rumours(&shared, rumours) => {}
    }
}

async fn watch_coordinators(shared: &Arc<Shared>, network: Arc<dyn Network>) {
    let mut since = None;
    let mut world = shared.mesh.world();
    loop {
        tokio::time::sleep(LOOK).await;
        world.mark_unchanged();
        if !orphaned(shared) {
            since = None;
            shared
                .refounding
                .hold
                .send_if_modified(|hold| hold.take().is_some());
            // An error is the end of the mesh's task, and so of the agent: the time-out bounds that too.
            if let Ok(Err(_)) = tokio::time::timeout(LOOK_CALM, world.changed()).await {
                return;
            }
            continue;
        }
        let lost_for = since.get_or_insert_with(Instant::now).elapsed();
        if lost_for < SETTLE {
            continue;
        }
        match attempt(shared, Arc::clone(&network)).await {
            Ok(generation) => {
                tracing::warn!(%generation, "most coordinators were lost: the log goes on from here");
                since = None;
            }
            Err(hold) => {
                shared.refounding.hold.send_if_modified(|known| {
                    let words = hold.to_string();
                    let news = known.as_ref() != Some(&words);
                    if news {
                        tracing::warn!(
                            why = words,
                            "most coordinators are lost, and the fleet holds"
                        );
                    }
                    *known = Some(words);
                    news
                });
                let jitter = 0.5 + rand::random::<f64>();
                tokio::time::sleep(RETRY.mul_f64(jitter)).await;
            }
        }
    }
}

/// Whether most coordinators are lost, as far as this machine can tell.
pub(super) fn orphaned(shared: &Shared) -> bool {
    let seats = shared.replica.seats();
    let world = shared.mesh.look();
    let heard_all = shared.refounding.started.elapsed() >= UNHEARD;
    let now_ms = unix_ms();
    let is_lost = |machine: MachineId| match world.members.get(&machine) {
        None => heard_all,
        Some(seen) => {
            let away = seen.said.as_ref().and_then(|said| said.leaving);
            let expected =
                matches!(away, Some(Leaving::Rebooting { until_ms }) if now_ms < until_ms);
            let gone = matches!(seen.status, MemberStatus::Down | MemberStatus::Left) && !expected;
            // Without its log it can neither lead nor vote, however well it answers.
            gone || world.has_no_log(machine)
        }
    };
    let lost = seats
        .voters
        .values()
        .filter(|node| is_lost(node.machine))
        .count();
    // As many as keep the rest from being a majority.
    !seats.voters.is_empty() && (seats.voters.len() - lost) * 2 <= seats.voters.len()
}

/// Founds the log anew, if that is safe.
async fn attempt(shared: &Arc<Shared>, network: Arc<dyn Network>) -> Result<LogGeneration, Hold> {
    let failed = |error: anyhow::Error| Hold::Failed(format!("{error:#}"));
    let ca = council::key_file(&shared.state_dir)
        .and_then(|key| Ok(open_ca(&key, &council::ca_path(&shared.state_dir))?))
        .map_err(failed)?
        .ok_or(Hold::NoKey)?;
    let ours = shared.replica.generation();
    let stands = look(shared).await;
    let rosters = rosters(shared, &stands).await?;
    let generation = next_generation(ours, &rosters, &stands)?;
    let ballot = Ballot {
        generation: generation.0,
        term: 0,
        leader: shared.me,
    };
    tracing::warn!(%generation, "most coordinators are lost; asking for promises to found the log anew");
    let granted = promises(shared, ballot).await;
    // Those that have promised may know rosters that the first answers did not.
    let rosters = self::rosters(shared, &granted).await?;
    let behind: BTreeSet<_> = granted.keys().copied().collect();
    majority(&rosters, &behind)?;
    tokio::time::sleep(LEASE_WAIT).await;
    // Whoever was promised a later one meanwhile goes on instead.
    let granted = promises(shared, ballot).await;
    majority(&rosters, &granted.keys().copied().collect())?;
    take_longest(shared, &granted).await.map_err(failed)?;
    let coordinator = found(shared, generation, network).await.map_err(failed)?;
    shared.council.seat(coordinator, Arc::new(ca));
    Ok(generation)
}

/// What all machines of the roster that answer say.
async fn look(shared: &Arc<Shared>) -> Stands {
    ask_roster(shared, Question::Look, ANSWER_DEADLINE).await
}

/// Those that promise.
async fn promises(shared: &Arc<Shared>, ballot: Ballot) -> Stands {
    ask_roster(shared, Question::Promise(ballot), PROMISE_DEADLINE).await
}

async fn ask_roster(shared: &Arc<Shared>, question: Question, deadline: Duration) -> Stands {
    let roster = answers::roster(shared);
    let world = shared.mesh.look();
    let peers: Vec<Peer> = world
        .active()
        .filter(|peer| roster.contains(&peer.machine))
        .collect();
    let asked = stream::iter(peers).map(|peer| {
        let question = question.clone();
        async move {
            let said = ask(shared, peer, question, deadline).await?;
            match said {
                Said::Stand(stand) => Some((peer.machine, stand)),
                Said::Refused(why) => {
                    tracing::info!(machine = %peer.machine, why, "does not promise");
                    None
                }
                Said::Roster(_) => None,
            }
        }
    });
    let answers = asked.buffer_unordered(ASKED_AT_ONCE);
    answers.filter_map(std::future::ready).collect().await
}

async fn ask(
    shared: &Arc<Shared>,
    peer: Peer,
    question: Question,
    deadline: Duration,
) -> Option<Said> {
    if peer.machine == shared.me {
        return ask_self(shared, question).await.ok();
    }
    let body = Bytes::from(question.encode());
    let asking = shared.transport.request(peer, REFOUND, body, deadline);
    Said::decode(&asking.await.ok()?)
}

/// The rosters of all that answered: ours, and each other one from a machine that has it.
async fn rosters(shared: &Arc<Shared>, stands: &Stands) -> Result<Rosters, Hold> {
    let ours = answers::roster(shared);
    let mut rosters = Rosters::from([(answers::mark(&ours), ours)]);
    for (machine, stand) in stands {
        if rosters.contains_key(&stand.roster) {
            continue;
        }
        let peer = shared.peer(*machine).ok_or(Hold::UnknownRoster)?;
        let said = ask(shared, peer, Question::Roster, PROMISE_DEADLINE).await;
        if let Some(Said::Roster(machines)) = said {
            let roster: BTreeSet<_> = machines.into_iter().collect();
            rosters.insert(answers::mark(&roster), roster);
        }
    }
    Ok(rosters)
}

/// Makes this machine's copy the longest one that is left.
async fn take_longest(shared: &Arc<Shared>, granted: &Stands) -> anyhow::Result<()> {
    let furthest = furthest(shared.me, granted).context("nobody has a copy")?;
    let image = if furthest == shared.me {
        let own = answers::longest(shared).await;
        own.unwrap_or_else(|| Arc::new(shared.replica.image()))
    } else {
        let peer = shared.peer(furthest).context("nobody knows where it is")?;
        Arc::new(fetch(shared, peer).await?)
    };
    let missing = granted.get(&furthest).and_then(|stand| stand.at);
    anyhow::ensure!(
        image.at() >= missing && image.generation() == shared.replica.generation(),
        "{furthest} sent another copy than it had said"
    );
    if image.at().map(|at| at.index) > shared.replica.at().map(|at| at.index) {
        tracing::warn!(from = %furthest, at = ?image.at(), "taking over the longest copy");
        shared.replica.install(&image)?;
    }
    Ok(())
}

async fn fetch(shared: &Shared, from: Peer) -> anyhow::Result<Image> {
    let asking = shared
        .transport
        .stream(from, COPY, Bytes::new(), COPY_DEADLINE);
    let mut stream = asking.await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next(COPY_DEADLINE).await? {
        anyhow::ensure!(
            (bytes.len() + piece.len()) as u64 <= IMAGE_BYTES_MAX,
            "the copy of {from} is longer than any can be"
        );
        bytes.extend_from_slice(&piece);
    }
    Ok(Image::from_bytes(&bytes)?)
}

/// Begins the new log on a seat that no log has had. The leader in it has the state say so.
async fn found(
    shared: &Arc<Shared>,
    generation: LogGeneration,
    network: Arc<dyn Network>,
) -> anyhow::Result<Coordinator<FleetState>> {
    let given = shared.replica.read(|state, _| state.last_seat);
    let seat = Seat(
        given
            .max(shared.replica.seats().highest().unwrap_or_default())
            .0
            + 1,
    );
    let cluster = shared.credentials.borrow().cluster();
    let config = council::coordinator_config(&shared.state_dir, cluster, seat, generation);
    // Left by a start that was cut off before the seat was remembered: it has voted on nothing.
    let _ = tokio::fs::remove_file(&config.path).await;
    let node = SeatNode {
        machine: shared.me,
        addr: shared.here().addr,
    };
    let replica = shared.replica.clone();
    let coordinator = Coordinator::found_anew(config, node, replica, network).await?;
    council::store_seat(&shared.state_dir, seat, generation)?;
    Ok(coordinator)
}

/// Has the state of a new log say who its only coordinator is, if it does not yet. False while it does not.
pub(super) async fn record(shared: &Shared, coordinator: &Coordinator<FleetState>) -> bool {
    let seat = coordinator.seat();
    let stale = || {
        let named = shared.replica.seats();
        shared
            .replica
            .read(|state, _| state.last_seat < seat && named.highest() == Some(seat))
    };
    if coordinator.generation() == LogGeneration::FIRST || !stale() {
        return true;
    }
    let envelope = |term| Envelope {
        at_ms: unix_ms(),
        by: shared.me,
        term,
        actor: None,
        command: Command::Refound {
            generation: coordinator.generation().0,
            seat,
            machine: shared.me,
        },
    };
    let end = Instant::now() + RECORD_DEADLINE;
    while stale() && Instant::now() < end {
        let term = coordinator.status().borrow().term;
        let proposed = coordinator.propose(envelope(term).encode(), RECORD_DEADLINE);
        if let Err(error) = proposed.await {
            tracing::debug!(%error, "the new log does not take commands yet");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    !stale()
}

/// Finds out whether there is anything to rumours of a later log. If most machines have promised one, this machine
/// gives up its seat in the old one, and follows who has the new one.
async fn follow_rumours(shared: &Arc<Shared>, mut rumours: watch::Receiver<LogGeneration>) {
    loop {
        let rumour = *rumours.borrow_and_update();
        let ours = shared.replica.generation();
        if rumour <= ours || ours == LogGeneration::default() {
            if rumours.changed().await.is_err() {
                return;
            }
            continue;
        }
        let stands = look(shared).await;
        if let Some(later) = outlived(ours, &answers::roster(shared), &stands) {
            tracing::warn!(%ours, %later, "most machines have promised a later log; this one is given up");
            shared.council.supersede(later);
            shared.refounding.founded.send_if_modified(|known| {
                let news = later > *known;
                *known = later.max(*known);
                news
            });
        }
        // So that a thousand machines don't ask a thousand machines at one moment.
        let jitter = 0.5 + rand::random::<f64>();
        tokio::time::sleep(RETRY.mul_f64(jitter)).await;
    }
}
