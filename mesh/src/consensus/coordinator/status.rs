//! What a coordinator knows of itself and the others.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::ServerState;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::consensus::network::Answered;
use crate::consensus::raft::{Metrics, Raft};
use crate::consensus::seat::{At, Seat, SeatNode, Seats};

/// A coordinator's part in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives the log and does not vote.
    Learner,
    /// Votes, and follows a leader or waits for one.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
    /// Has stopped.
    Stopped,
}

/// Who leads, as far as a coordinator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The leader's seat.
    pub seat: Seat,
    /// Who sits on it; `None` when this coordinator doesn't know yet.
    pub node: Option<SeatNode>,
}

/// How far another coordinator is, as its leader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The last entry that it is known to have stored.
    pub stored: Option<u64>,
    /// How many entries it lacks.
    pub lag: u64,
}

/// A coordinator's view. See [`Coordinator::status`](super::Coordinator::status).
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Its own seat.
    pub seat: Seat,
    /// The term it counts by.
    pub term: u64,
    /// Its part.
    pub role: Role,
    /// Whom it takes for the leader. It keeps naming one that has died until the next election.
    pub leader: Option<Leader>,
    /// The seats, as of the last entry that names them, committed or not.
    pub seats: Seats,
    /// The last entry in its log, committed or not.
    pub last_log: Option<u64>,
    /// The last entry applied.
    pub applied: Option<At>,
    /// A leader's knowledge of the others.
    pub progress: BTreeMap<Seat, Progress>,
    /// When most voters had last answered this leader. `None` when it doesn't lead or none have yet.
    pub quorum_at: Option<Instant>,
    /// When it began to lead; `None` when it doesn't.
    pub leading_since: Option<Instant>,
    /// It has been told that its seat is gone, for good: it should be stopped and its store deleted.
    pub removed: bool,
    /// Why it stopped by itself, when it did.
    pub failed: Option<String>,
}

impl Status {
    /// How long most voters have not answered this leader; zero when it doesn't lead.
    pub fn quorum_silence(&self) -> Duration {
        let heard = self.quorum_at.max(self.leading_since);
        heard.map_or(Duration::ZERO, |heard| heard.elapsed())
    }

    /// Whether `self` says something new that is worth waking somebody for.
    fn differs(&self, before: &Self) -> bool {
        self.term != before.term
            || self.role != before.role
            || self.leader != before.leader
            || self.seats != before.seats
            || self.failed != before.failed
            || self.removed != before.removed
            || self.caught_up().ne(before.caught_up())
    }

    /// The seats that lack nothing.
    fn caught_up(&self) -> impl Iterator<Item = Seat> + '_ {
        let complete = self
            .progress
            .iter()
            .filter(|(_, progress)| progress.lag == 0);
        complete.map(|(seat, _)| *seat)
    }
}

/// What the library's metrics say now.
pub(super) fn first(raft: &Raft, seat: Seat) -> Status {
    read(seat, &raft.metrics().borrow(), None)
}

/// Turns the library's metrics into [`Status`] as they change.
pub(super) fn start(
    raft: &Raft,
    status: watch::Sender<Status>,
    answered: Answered,
) -> AbortOnDropHandle<()> {
    let mut metrics = raft.metrics();
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            update(&status, &metrics.borrow_and_update(), &answered);
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }))
}

fn update(status: &watch::Sender<Status>, metrics: &Metrics, answered: &Answered) {
    status.send_if_modified(|status| {
        let now = read(status.seat, metrics, Some(status));
        let differs = now.differs(status);
        if now.seats != status.seats {
            answered.retain(|seat| now.seats.get(seat).is_some());
        }
        *status = now;
        differs
    });
}

fn read(seat: Seat, metrics: &Metrics, before: Option<&Status>) -> Status {
    let now = Instant::now();
    let seats = Seats::from(metrics.membership_config.as_ref());
    let role = match metrics.state {
        _ if metrics.running_state.is_err() => Role::Stopped,
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Stopped,
    };
    let leading_since = match before {
        _ if role != Role::Leader => None,
        Some(before) if before.term == metrics.current_term && before.role == Role::Leader => {
            before.leading_since
        }
        _ => Some(now),
    };
    let progress = |stored: Option<u64>| Progress {
        stored,
        lag: lag(metrics.last_log_index, stored),
    };
    let others = metrics
        .replication
        .iter()
        .flatten()
        .filter(|(other, _)| **other != seat);
    Status {
        seat,
        term: metrics.current_term,
        role,
        leader: metrics.current_leader.map(|seat| Leader {
            seat,
            node: seats.get(seat),
        }),
        last_log: metrics.last_log_index,
        applied: metrics.last_applied.map(At::from),
        progress: others
            .map(|(other, stored)| (*other, progress(stored.map(|id| id.index))))
            .collect(),
        quorum_at: metrics
            .millis_since_quorum_ack
            .and_then(|millis| now.checked_sub(Duration::from_millis(millis))),
        leading_since,
        removed: before.is_some_and(|before| before.removed || has_left(before, &seats, metrics)),
        failed: metrics
            .running_state
            .as_ref()
            .err()
            .and_then(|fatal| match fatal {
                openraft::error::Fatal::Stopped => None,
                fatal => Some(fatal.to_string()),
            }),
        seats,
    }
}

/// Whether the log itself says that the seat is gone, in an entry that is committed. One that has never had its seat
/// in the log may only not have read so far.
fn has_left(before: &Status, seats: &Seats, metrics: &Metrics) -> bool {
    let known = before.seats.get(before.seat).is_some() || Some(before.seat) < seats.highest();
    let committed = metrics.last_applied.map(|id| id.index) >= seats.index;
    known && committed && seats.index.is_some() && seats.get(before.seat).is_none()
}

fn lag(last: Option<u64>, stored: Option<u64>) -> u64 {
    let entries = |index: Option<u64>| index.map_or(0, |index| index.saturating_add(1));
    entries(last).saturating_sub(entries(stored))
}
