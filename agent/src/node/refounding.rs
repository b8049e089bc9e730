//! Founding the log anew after most of its coordinators were lost for good.
//!
//! A machine that was a coordinator, and so has the CA's key, does it: it hears whether most machines of the roster
//! find the coordinators lost, has them promise it the next generation of the log, waits until no old leader can hold
//! an acknowledgement any more, takes the longest copy that any of them has, and goes on from there as the only
//! coordinator. The seats are then filled as always. Old coordinators that come back find that most machines have
//! promised a later log, and stand down.
//!
//! Where they come back after the promises and before the new log, it comes all the same, and with what they committed
//! meanwhile: those that have promised it stand behind no leader of the old one any more, so the old coordinators find it
//! abandoned ([`abandoned`]) and promise too. If the founder is lost then, one of them goes on from there.
//!
//! [`ballots`] decides; this task asks, waits and does. Where that can't be safe, it holds, and an operator who knows more
//! may have it done: [`recover`].

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use muster_mesh::consensus::{Image, LogGeneration, Network, Seats};
use muster_mesh::identity::MachineId;
use muster_mesh::state_dir::{StateDir, StateError};
use tokio::sync::watch;
use tokio::time::Instant;

use self::abandoned::Abandoned;
use self::answers::Circle;
use self::assess::is_ordered_after;
use self::ballots::{Hold, outlived};
use self::founding::attempt;
use self::lost::{orphaned, turn};
use self::rumours::{Looked, Pause, Refusals};
use super::authority::{ACKNOWLEDGEMENT_LEASE, Ballot};
use super::services::{promised, stored_promise};
use super::shared::Shared;
use crate::fleet::Recovered;

pub(super) use founding::record;

mod abandoned;
pub(super) mod answers;
mod asking;
mod assess;
pub(crate) mod ballots;
mod consent;
mod disk;
mod founding;
mod lost;
mod proof;
pub(super) mod recover;
mod rumours;

/// How far apart looks are at least that are due to news of the mesh, and while the coordinators are lost.
const LOOK: Duration = Duration::from_secs(1);

/// How often to look without any news: an announced reboot may have taken too long.
const LOOK_CALM: Duration = Duration::from_secs(30);

/// For how long they must have been lost without a break: elections and restarts take a few seconds.
const SETTLE: Duration = Duration::from_secs(5);

/// What the first tries of several machines lie apart: two that ask for promises at one moment may both get too few, and then
/// those that promised keep to it for a while. Being asked takes milliseconds, and news of the mesh spreads within a second.
const TURN: Duration = Duration::from_secs(2);

/// The pause after an attempt that failed; jittered, so that two that want the same don't go on disturbing each other.
const RETRY: Duration = Duration::from_secs(4);

/// No acknowledgement that was given before the last promise counts after this time: its lease, and a second for
/// clocks that don't run alike.
pub(super) const LEASE_WAIT: Duration =
    ACKNOWLEDGEMENT_LEASE.saturating_add(Duration::from_secs(1));

/// The pause after one that failed for a reason of this machine's own. Longer than those that promised keep to it, so that
/// another one gets its turn.
const RETRY_FAILED: Duration = Duration::from_secs(2 * answers::FOUNDING_GRACE.as_secs());

/// How long a leader waits until talk of a later log was looked into, before it says that it can't act.
const LOOKED_INTO: Duration = Duration::from_secs(2);

/// What this machine knows of founding the log anew, for all its tasks.
pub(super) struct Refounding {
    started: Instant,
    /// Held by who founds: this machine by itself, or an operator.
    founding: tokio::sync::Mutex<()>,
    /// Why it is not done, while the coordinators are lost.
    hold: watch::Sender<Option<String>>,
    /// What the store of the coordinator that ran here until it was given up held.
    salvaged: tokio::sync::Mutex<Option<Arc<Image>>>,
    /// Who sits where in the log of the coordinator that runs or ran here, and which log that is.
    stored_seats: std::sync::Mutex<Option<(LogGeneration, Seats)>>,
    /// The latest log that is known to have been founded.
    founded: watch::Sender<LogGeneration>,
    /// The later log that was promised last, and when.
    promised: std::sync::Mutex<Option<(Ballot, Instant)>>,
    /// The latest log that somebody had promised who refused to stand behind this machine.
    refused: watch::Sender<LogGeneration>,
    /// Who refused for logs that operators may have ordered.
    refusals: std::sync::Mutex<Refusals>,
    /// Whether no leader of this machine's log can act any more.
    abandoned: Abandoned,
    /// The latest log that anybody spoke of since the last look, believed or not.
    rumours: watch::Sender<LogGeneration>,
    /// What was looked into.
    looked_into: watch::Sender<Looked>,
    /// The latest order to recover that this machine has seen proof of, to be shown to others.
    accepted: std::sync::Mutex<Option<Recovered>>,
}

impl Refounding {
    /// What a machine that follows the log `ours` knows when it starts: the order to recover that it accepted before, and
    /// what it promised last.
    ///
    /// # Errors
    /// When that promise can't be read.
    pub(super) fn load(state_dir: &StateDir, ours: LogGeneration) -> Result<Self, StateError> {
        let promised = stored_promise(state_dir)?.highest();
        let ordered = |ballot: &Ballot| is_ordered_after(ours, LogGeneration(ballot.generation));
        let promised = promised.filter(ordered);
        Ok(Self {
            started: Instant::now(),
            founding: tokio::sync::Mutex::default(),
            hold: watch::Sender::new(None),
            salvaged: tokio::sync::Mutex::default(),
            stored_seats: std::sync::Mutex::default(),
            founded: watch::Sender::default(),
            promised: std::sync::Mutex::new(promised.map(|ballot| (ballot, Instant::now()))),
            refused: watch::Sender::default(),
            refusals: std::sync::Mutex::default(),
            abandoned: Abandoned::default(),
            rumours: watch::Sender::default(),
            looked_into: watch::Sender::default(),
            accepted: std::sync::Mutex::new(proof::accepted(state_dir)),
        })
    }

    /// Where it is said that somebody spoke of a later log.
    pub(super) fn rumours(&self) -> watch::Sender<LogGeneration> {
        self.rumours.clone()
    }

    /// Takes down that a machine does not stand behind this one and its `ballot`, having promised the log `later`.
    pub(super) fn note_refusal(&self, machine: MachineId, ballot: Ballot, later: LogGeneration) {
        let ours = LogGeneration(ballot.generation);
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let counts =
            !is_ordered_after(ours, later) || refusals.counts(machine, later, Instant::now());
        if later > ours && counts {
            raise(&self.refused, later);
        }
    }

    /// The later log that was promised last in this life, or is known to have been ordered, and when.
    fn noted(&self) -> Option<(Ballot, Instant)> {
        *self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down what is promised; whether it is news, and not promised once more.
    fn note_promise(&self, ballot: Ballot) -> bool {
        let mut noted = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let before = noted.map(|(before, _)| before);
        if before.is_none_or(|before| before.generation <= ballot.generation) {
            *noted = Some((ballot, Instant::now()));
        }
        before != Some(ballot)
    }

    /// Why the log is not founded anew; `None` while the coordinators are not lost.
    pub(super) fn hold(&self) -> Option<String> {
        self.hold.borrow().clone()
    }

    /// Wakes when a later log becomes known; its value is the latest one.
    pub(super) fn founded(&self) -> watch::Receiver<LogGeneration> {
        self.founded.subscribe()
    }
}

/// Raises what is known to `news`; whether it is news.
fn raise(known: &watch::Sender<LogGeneration>, news: LogGeneration) -> bool {
    known.send_if_modified(|known| {
        let raised = news > *known;
        *known = news.max(*known);
        raised
    })
}

/// Whether the leader of this machine's log may go on as far as operators' orders go: nobody speaks of a log that was founded
/// by one, or it was looked into and there is nothing to it. Most of the roster may stand behind the old log all the same, so
/// that alone does not show.
pub(super) async fn is_unrivalled(shared: &Shared) -> bool {
    let known = &shared.refounding;
    let ours = shared.replica.generation();
    let (rumour, refused) = (*known.rumours.borrow(), *known.refused.borrow());
    let mut looked_into = known.looked_into.subscribe();
    let done = looked_into.wait_for(|looked| looked.settles(ours, rumour, refused, Instant::now()));
    if !matches!(tokio::time::timeout(LOOKED_INTO, done).await, Ok(Ok(_))) {
        return false;
    }
    !shared.council.is_superseded(ours)
}

/// The log whose leader may grant this machine a lease: whoever has promised a log that an operator ordered must not go on
/// under an older one's, however long the new one is in coming. It may act elsewhere, with fewer than half of the roster.
pub(super) async fn granting_log(shared: &Shared) -> LogGeneration {
    let ours = shared.replica.generation();
    let noted = shared.refounding.noted().map(|(ballot, _)| ballot);
    // One that can't be read holds nobody back that it did not hold back before.
    let stored = promised(shared).await.unwrap_or_default();
    granting_of(ours, noted.into_iter().chain(stored))
}

fn granting_of(ours: LogGeneration, promised: impl IntoIterator<Item = Ballot>) -> LogGeneration {
    let logs = promised
        .into_iter()
        .map(|ballot| LogGeneration(ballot.generation));
    let ordered = logs.filter(|log| is_ordered_after(ours, *log));
    ordered.max().unwrap_or(ours)
}

/// Watches over the coordinators until the agent stops.
pub(super) async fn run(shared: Arc<Shared>, network: Arc<dyn Network>) {
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = shared.leave.cancelled() => {}
        () = watch_coordinators(&shared, network) => {}
        () = follow_rumours(&shared) => {}
    }
}

async fn watch_coordinators(shared: &Arc<Shared>, network: Arc<dyn Network>) {
    let mut since = None;
    let mut refusals = shared.refounding.refused.subscribe();
    let mut world = shared.mesh.world();
    loop {
        shared.transport.doze(LOOK).await;
        world.mark_unchanged();
        refusals.mark_unchanged();
        if !orphaned(shared) && !shared.refounding.abandoned.look(shared).await {
            since = None;
            shared
                .refounding
                .hold
                .send_if_modified(|hold| hold.take().is_some());
            // An error is the end of the mesh's task, and so of the agent: the time-out bounds that too.
            tokio::select! {
                changed = world.changed() => if changed.is_err() { return },
                changed = refusals.changed() => if changed.is_err() { return },
                () = shared.transport.doze(LOOK_CALM) => {}
            }
            continue;
        }
        let lost_for = since.get_or_insert_with(Instant::now).elapsed();
        let voters = shared.replica.seats().voters;
        let voters = voters.values().map(|node| node.machine);
        if lost_for < SETTLE + TURN * turn(shared.me, voters, &shared.mesh.look()) {
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

/// Finds out whether there is anything to rumours of a later log. If most machines have promised one, or somebody shows that
/// an operator ordered it, this machine gives up its seat in the old one, and follows who has the new one.
async fn follow_rumours(shared: &Arc<Shared>) {
    let known = &shared.refounding;
    let mut rumours = known.rumours.subscribe();
    let mut refusals = known.refused.subscribe();
    let mut pause = Pause::default();
    loop {
        let rumour = *rumours.borrow_and_update();
        let refused = *refusals.borrow_and_update();
        let ours = shared.replica.generation();
        let looked = *known.looked_into.borrow();
        let heard = rumour > ours || looked.calls_for_a_look(ours, refused);
        if !heard || ours == LogGeneration::default() {
            let changed = tokio::select! {
                changed = rumours.changed() => changed,
                changed = refusals.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            continue;
        }
        let active = shared.mesh.look().active().count();
        look_into_it(shared, ours).await;
        let wait = pause.after_look(ours, active).mul_f64(jitter());
        // If there is anything to it, it is said again.
        known.rumours.send_replace(LogGeneration::default());
        let looked = Looked::at(Instant::now(), refused, wait);
        known.looked_into.send_replace(looked);
        let least = wait.min(RETRY);
        // So that a thousand machines don't ask a thousand machines at one moment.
        tokio::time::sleep(least).await;
        tokio::select! {
            () = tokio::time::sleep(wait - least) => {}
            _ = refusals.wait_for(|refused| looked.calls_for_a_look(ours, *refused)) => {}
            () = more_are_there(shared, &pause) => {}
        }
    }
}

/// Asks everybody, and believes what most have promised or somebody has proof of.
async fn look_into_it(shared: &Arc<Shared>, ours: LogGeneration) {
    let stands = asking::look(shared, Circle::Members).await;
    let ordered = proof::latest(shared, ours, &stands);
    if let Some(order) = &ordered {
        proof::accept(shared, order).await;
    }
    let later = outlived(ours, &answers::roster(shared), &stands);
    if let Some(later) = later.max(ordered.map(|one| LogGeneration(one.generation))) {
        tracing::warn!(%ours, %later, "there is a later log, by an operator's order or because most machines have promised it; this one is given up");
        shared.council.supersede(later);
        raise(&shared.refounding.founded, later);
    }
}

/// Waits until looking again is worth it before the pause is over.
async fn more_are_there(shared: &Shared, pause: &Pause) {
    let mut world = shared.mesh.world();
    while !pause.is_over_for(shared.mesh.look().active().count()) {
        // An error is the end of the mesh's task, and so of the agent.
        if world.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_promised_an_ordered_log_takes_no_lease_of_an_older_one() {
        let ours = LogGeneration(3);
        let ballot = |generation| Ballot {
            generation,
            term: 0,
            leader: MachineId::new(1).expect("not zero"),
        };
        let granting = |promised: &[u64]| granting_of(ours, promised.iter().copied().map(ballot));
        assert_eq!(granting(&[]), ours);
        assert_eq!(granting(&[1_000_007]), LogGeneration(1_000_007));
        assert_eq!(granting(&[4]), ours, "most of the roster decides by itself");
        let stored_only = granting(&[4, 1_000_007]);
        assert_eq!(stored_only, LogGeneration(1_000_007));
    }

    #[test]
    fn what_was_ordered_is_not_forgotten_for_an_earlier_promise_nor_after_a_while() {
        let directory = tempfile::tempdir().expect("made");
        let state_dir = StateDir::open(directory.path()).expect("opened");
        let known = Refounding::load(&state_dir, LogGeneration(3)).expect("readable");
        let ballot = |generation| Ballot {
            generation,
            term: 0,
            leader: MachineId::new(1).expect("not zero"),
        };
        for generation in [1_000_007, 4] {
            known.note_promise(ballot(generation));
            let noted = known.noted().map(|(ballot, _)| ballot.generation);
            assert_eq!(noted, Some(1_000_007));
        }
    }
}
