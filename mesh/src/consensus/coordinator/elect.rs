//! When to stand for election, and asking first whether it would be won.
//!
//! The library's own timer is off. It has no pre-vote: a voter that was cut off for a while, or a seat that was
//! removed and does not know it, would come back with a higher term and end a healthy leader's reign. So a voter
//! that misses its leader first *canvasses*: it asks the others whether they would vote for it, which binds nobody.
//! They would when they miss the leader too, and when its log is not behind theirs. (Ongaro's thesis, §9.6.)
//!
//! Two things make a voter miss the leader: silence for longer than its patience, or word from the membership that
//! the leader's machine is dead, in which case only the last beat's promise has to run out.
//!
//! The same question tells a removed seat that it is gone: the answer says whether the asker still has a seat. One
//! that never heard of any other seat has nobody to ask. It gives up after a while: the leader may have taken the seat
//! back before it could say a word, and would wait in vain for this machine on the next seat that it gives it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::presence::Presence;
use super::status::{Role, Status};
use super::timing::Timing;
use crate::consensus::network::Links;
use crate::consensus::raft::{Membership, Raft};
use crate::consensus::seat::Seat;
use crate::consensus::wire::{Answer, Canvass, Canvassed, Request};

/// A learner that has heard nothing for this many times the patience asks whether it still has a seat.
const LEARNER_PATIENCE_FACTOR: u32 = 8;

/// One that knows nobody to ask gives its seat up after this many times the patience. A founder knows nobody until its disk
/// has the first entry, and a first copy of the log may take long.
const STRANGER_PATIENCE_FACTOR: u32 = 24;

pub(super) struct Elector {
    raft: Raft,
    links: Links,
    presence: Arc<Presence>,
    timing: Timing,
    status: watch::Sender<Status>,
    rng: StdRng,
}

/// What came of asking the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Most would vote for us.
    Won,
    /// Too few would, or answered.
    Lost,
    /// We have no seat any more.
    Removed,
}

impl Elector {
    pub(super) fn start(
        raft: Raft,
        links: Links,
        presence: Arc<Presence>,
        timing: Timing,
        status: watch::Sender<Status>,
    ) -> AbortOnDropHandle<()> {
        let rng = StdRng::try_from_rng(&mut SysRng)
            .unwrap_or_else(|_| StdRng::seed_from_u64(links.seat.0));
        let elector = Self {
            raft,
            links,
            presence,
            timing,
            status,
            rng,
        };
        AbortOnDropHandle::new(tokio::spawn(elector.run()))
    }

    async fn run(mut self) {
        let mut status = self.status.subscribe();
        let begun = Instant::now();
        // One that has just started has heard nobody: it asks soon, which costs a question when there is a leader.
        let mut not_before = Instant::now() + self.some(self.timing.beat / 4, self.timing.beat);
        let mut patience = self.draw_patience();
        loop {
            let part = Part::of(&status.borrow_and_update());
            let due = match part {
                Part::Stopped | Part::Removed => return,
                Part::Leader => None,
                Part::Alone => Some(not_before),
                Part::Learner => Some(self.silent_until(patience * LEARNER_PATIENCE_FACTOR)),
                Part::Stranger if self.links.seat == Seat::FIRST => None,
                Part::Stranger => {
                    let silent = self.presence.last().map_or(begun, |heard| heard.max(begun));
                    Some(silent + patience * STRANGER_PATIENCE_FACTOR)
                }
                Part::Voter if self.presence.is_doubted() => {
                    Some(self.silent_until(self.timing.promise()))
                }
                Part::Voter => Some(self.silent_until(patience)),
            };
            let due = due.map(|due| due.max(not_before));
            if due.is_none_or(|due| Instant::now() < due) {
                tokio::select! {
                    () = sleep(due) => {}
                    () = self.presence.doubted() => {
                        // All voters hear of it at about the same time, and one is enough.
                        not_before = Instant::now() + self.some(Duration::ZERO, self.timing.beat / 4);
                    }
                    changed = status.changed() => if changed.is_err() { return },
                }
                continue;
            }
            let outcome = match part {
                Part::Alone => Outcome::Won,
                Part::Stranger => Outcome::Removed,
                _ => self.canvass().await,
            };
            match outcome {
                Outcome::Removed => {
                    tracing::info!(seat = %self.links.seat, "this seat has been removed");
                    self.status.send_modify(|status| status.removed = true);
                    return;
                }
                _ if part == Part::Learner => {
                    not_before = Instant::now() + patience * LEARNER_PATIENCE_FACTOR;
                }
                Outcome::Won => {
                    tracing::info!(seat = %self.links.seat, "standing for election");
                    if self.raft.trigger().elect().await.is_err() {
                        return;
                    }
                    not_before = Instant::now() + self.some(self.timing.beat, self.timing.patience);
                }
                _ => {
                    not_before =
                        Instant::now() + self.some(self.timing.beat / 2, self.timing.beat * 3 / 2);
                }
            }
            patience = self.draw_patience();
        }
    }

    /// When the leader will have been silent for `patience`.
    fn silent_until(&self, patience: Duration) -> Instant {
        self.presence
            .last()
            .map_or_else(Instant::now, |heard| heard + patience)
    }

    fn draw_patience(&mut self) -> Duration {
        self.some(self.timing.patience, self.timing.patience * 2)
    }

    /// A random time between the two.
    fn some(&mut self, least: Duration, most: Duration) -> Duration {
        least + (most - least).mul_f64(self.rng.random_range(0.0..1.0))
    }

    /// Asks all voters whether they would vote for us.
    async fn canvass(&self) -> Outcome {
        let (membership, seats_index) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let stored = &metrics.membership_config;
            (
                stored.membership().clone(),
                stored.log_id().map(|id| id.index),
            )
        };
        let question = Canvass {
            last_log: self.raft.data_metrics().borrow().last_log,
        };
        let own = self.links.seat;
        let mut asked: FuturesUnordered<_> = membership
            .voter_ids()
            .filter(|seat| *seat != own)
            .map(|seat| {
                let node = membership.get_node(&seat).copied().unwrap_or_default();
                let ask = self
                    .links
                    .ask(seat, node, Request::Canvass(question), self.timing.beat);
                async move { (seat, timeout(self.timing.beat, ask).await) }
            })
            .collect();
        let mut granted = vec![own];
        while let Some((seat, answer)) = asked.next().await {
            match answer {
                Ok(Ok(Answer::Canvassed(answer))) if answer.is_removed(seats_index) => {
                    return Outcome::Removed;
                }
                Ok(Ok(Answer::Canvassed(Canvassed { would: true, .. }))) => granted.push(seat),
                _ => {}
            }
            if is_quorum(&membership, &granted) {
                return Outcome::Won;
            }
        }
        Outcome::Lost
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Whether `granted` is a majority of every set of voters that counts.
fn is_quorum(membership: &Membership, granted: &[Seat]) -> bool {
    membership.get_joint_config().iter().all(|voters| {
        let yes = granted.iter().filter(|seat| voters.contains(seat)).count();
        yes > voters.len() / 2
    })
}

/// What a coordinator has to do with elections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Leads, and needs none.
    Leader,
    /// Votes with others.
    Voter,
    /// Votes, and nobody else does.
    Alone,
    /// Has a seat and no vote, or has not yet read in the log that it has one.
    Learner,
    /// Has no log yet and knows nobody.
    Stranger,
    /// Was told that its seat is gone.
    Removed,
    Stopped,
}

impl Part {
    fn of(status: &Status) -> Self {
        let voters = &status.seats.voters;
        match status.role {
            Role::Stopped => Self::Stopped,
            _ if status.removed => Self::Removed,
            Role::Leader => Self::Leader,
            _ if voters.contains_key(&status.seat) && voters.len() == 1 => Self::Alone,
            _ if voters.contains_key(&status.seat) => Self::Voter,
            _ if voters.is_empty() => Self::Stranger,
            _ => Self::Learner,
        }
    }
}
