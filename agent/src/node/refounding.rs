//! Founding the log anew after most of its coordinators were lost for good.
//!
//! A machine that was a coordinator, and so has the CA's key, does it: it hears whether most machines of the roster
//! find the coordinators lost, has them promise it the next generation of the log, waits until no old leader can hold
//! an acknowledgement any more, takes the longest copy that any of them has, and goes on from there as the only
//! coordinator. The seats are then filled as always. Old coordinators that come back find that most machines have
//! promised a later log, and stand down.
//!
//! [`ballots`] decides; this task asks, waits and does. Where that can't be safe, it holds, and an operator who knows more
//! may have it done: [`recover`].

use std::sync::Arc;
use std::time::Duration;

use muster_mesh::consensus::{Image, LogGeneration, Network};
use muster_mesh::identity::MachineId;
use tokio::sync::watch;
use tokio::time::Instant;

use self::ballots::{Hold, outlived};
use self::founding::attempt;
use super::authority::ACKNOWLEDGEMENT_LEASE;
use super::shared::Shared;
use crate::fleet::{Leaving, MemberStatus};

pub(super) use founding::record;

pub(super) mod answers;
mod asking;
mod assess;
pub(super) mod ballots;
mod disk;
mod founding;
mod proof;
pub(super) mod recover;

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

/// The pause after one that failed for a reason of this machine's own. Longer than those that promised keep to it, so that
/// another one gets its turn.
const RETRY_FAILED: Duration = Duration::from_secs(2 * answers::FOUNDING_GRACE.as_secs());

/// What this machine knows of founding the log anew, for all its tasks.
pub(super) struct Refounding {
    started: Instant,
    /// Held by who founds: this machine by itself, or an operator.
    founding: tokio::sync::Mutex<()>,
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
            founding: tokio::sync::Mutex::default(),
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
        shared.transport.doze(LOOK).await;
        world.mark_unchanged();
        if !orphaned(shared) {
            since = None;
            shared
                .refounding
                .hold
                .send_if_modified(|hold| hold.take().is_some());
            // An error is the end of the mesh's task, and so of the agent: the time-out bounds that too.
            tokio::select! {
                changed = world.changed() => if changed.is_err() { return },
                () = shared.transport.doze(LOOK_CALM) => {}
            }
            continue;
        }
        let lost_for = since.get_or_insert_with(Instant::now).elapsed();
        if lost_for < SETTLE {
            continue;
        }
        match attempt(shared, Arc::clone(&network), lost_for).await {
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
                let pause = match hold {
                    Hold::Failed(_) => RETRY_FAILED,
                    _ => RETRY,
                };
                tokio::time::sleep(pause.mul_f64(jitter())).await;
            }
        }
    }
}

/// Between a half and one and a half.
fn jitter() -> f64 {
    0.5 + rand::random::<f64>()
}

/// Whether most coordinators are lost, as far as this machine can tell.
pub(super) fn orphaned(shared: &Shared) -> bool {
    let seats = shared.replica.seats();
    let world = shared.mesh.look();
    let heard_all = shared.refounding.started.elapsed() >= UNHEARD;
    // Whoever announces a reboot says until when by its own clock, which is about right.
    let now_ms = shared.clock.right_ms();
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
        let stands = asking::look(shared).await;
        let later = outlived(ours, &answers::roster(shared), &stands);
        if let Some(later) = later.max(proof::latest(shared, ours, &stands)) {
            tracing::warn!(%ours, %later, "there is a later log, by an operator's order or because most machines have promised it; this one is given up");
            shared.council.supersede(later);
            shared.refounding.founded.send_if_modified(|known| {
                let news = later > *known;
                *known = later.max(*known);
                news
            });
        }
        // So that a thousand machines don't ask a thousand machines at one moment.
        tokio::time::sleep(RETRY.mul_f64(jitter())).await;
    }
}
