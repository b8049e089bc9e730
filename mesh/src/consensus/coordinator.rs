//! One machine's seat among the coordinators, running.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, RaftError};
use tokio::sync::{Mutex, watch};
use tokio_util::task::AbortOnDropHandle;

pub use self::change::ChangeError;
pub use self::compact::Compaction;
pub use self::inbound::answer_without_seat;
use self::presence::Presence;
pub use self::start::{CoordinatorConfig, FoundError, StartError};
pub use self::status::{Leader, Progress, Role, Status};
pub use self::timing::Timing;
use self::vouch::Vouched;
use super::network::Links;
use super::raft::{Command, Node, Raft};
use super::replica::Replica;
use super::seat::{At, Seat, SeatNode};
use super::seats::{CouncilView, MachineView, SeatView};
use super::store::Store;
pub use super::store::StoreError;
use super::wire::Request;
use super::{COMMAND_BYTES_MAX, StateMachine};
use crate::identity::MachineId;

mod change;
mod compact;
mod elect;
mod inbound;
mod presence;
mod salvage;
mod start;
mod status;
mod timing;
mod vouch;

/// At most so many commands wait for their outcome at once. More are refused: whoever proposes that much is not
/// waiting for answers.
const PROPOSALS_MAX: usize = 256;

/// A learner that lacks no more entries than this has caught up: while commands keep coming it will always lack some.
const CAUGHT_UP_LAG_MAX: u64 = 16;

/// A running coordinator: a learner, a voter, or the leader. Clones are handles to the same one.
///
/// It stops when [stopped](Self::stop), or by itself when its store fails, which [`Status::failed`] tells.
#[derive(Debug)]
pub struct Coordinator<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    config: CoordinatorConfig,
    raft: Raft,
    replica: Replica<S>,
    store: Store,
    links: Links,
    presence: Arc<Presence>,
    vouched: Vouched,
    status: watch::Receiver<Status>,
    waiting: AtomicUsize,
    /// Held while the seats are being changed: one change at a time.
    changing: Arc<Mutex<()>>,
    _tasks: [AbortOnDropHandle<()>; 4],
}

/// A committed and applied command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Where it is in the log.
    pub at: At,
    /// What the state machine answered.
    pub reply: Vec<u8>,
}

/// Why a command was not committed, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was not proposed: somebody else leads, or nobody does.
    #[error("this coordinator does not lead")]
    NotLeader {
        /// Who does, as far as this coordinator knows.
        leader: Option<Leader>,
    },
    /// It was not proposed: the leader has not heard from most of the voters lately.
    #[error("most coordinators have not answered lately")]
    NoQuorum,
    /// It was not proposed: it is too long.
    #[error("the command has {bytes} bytes, and at most {COMMAND_BYTES_MAX} can be proposed")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It was not proposed: too many commands wait for their outcome.
    #[error("{PROPOSALS_MAX} commands wait for their outcome")]
    Busy,
    /// It was not proposed: the coordinator has stopped.
    #[error("the coordinator has stopped: {0}")]
    Stopped(String),
    /// It was proposed and its outcome is unknown: it may be committed, or may yet be. Whoever proposes again needs
    /// commands that do nothing the second time.
    #[error("the command was proposed, and its outcome is unknown")]
    Unknown,
}

/// A leadership that most voters have just confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// The term it holds for.
    pub term: u64,
    /// The replica has applied everything that was committed when the confirmation was asked for, and this is the
    /// last of it.
    pub index: u64,
}

/// Why a leadership was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    /// Somebody else leads, or nobody does.
    #[error("this coordinator does not lead")]
    NotLeader {
        /// Who does, as far as this coordinator knows.
        leader: Option<Leader>,
    },
    /// Too few voters answered in time.
    #[error("most coordinators did not answer")]
    NoQuorum,
    /// The coordinator has stopped.
    #[error("the coordinator has stopped: {0}")]
    Stopped(String),
}

impl<S> Clone for Coordinator<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<S> Drop for Inner<S> {
    fn drop(&mut self) {
        self.replica.detach();
    }
}

impl<S> std::fmt::Debug for Inner<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl<S: StateMachine> Coordinator<S> {
    /// Proposes a command and waits until it is committed and applied here, or `deadline` has passed.
    ///
    /// # Errors
    /// See [`ProposeError`]: all but [`ProposeError::Unknown`] say that the command was not and will not be
    /// committed.
    pub async fn propose(
        &self,
        command: impl Into<Bytes>,
        deadline: Duration,
    ) -> Result<Proposed, ProposeError> {
        let command = command.into();
        if command.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLong {
                bytes: command.len(),
            });
        }
        let _place = Place::take(&self.inner.waiting).ok_or(ProposeError::Busy)?;
        {
            let status = self.inner.status.borrow();
            if status.role == Role::Leader
                && status.quorum_silence() > self.inner.config.timing.quorum_silence_max()
            {
                return Err(ProposeError::NoQuorum);
            }
        }
        let outcome = self
            .inner
            .raft
            .client_write_ff(Command(command))
            .await
            .map_err(|fatal| ProposeError::Stopped(fatal.to_string()))?;
        match tokio::time::timeout(deadline, outcome).await {
            Ok(Ok(Ok(written))) => Ok(Proposed {
                at: written.log_id.into(),
                reply: written.data.0,
            }),
            // The library says this before it appends, and after another leader has replaced the entry.
            Ok(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => Err(ProposeError::NotLeader {
                leader: self.leader(),
            }),
            Ok(Ok(Err(ClientWriteError::ChangeMembershipError(_)))) | Ok(Err(_)) | Err(_) => {
                Err(ProposeError::Unknown)
            }
        }
    }

    /// Asks the voters whether this coordinator still leads, now, and waits until everything committed before the
    /// question has been applied here.
    ///
    /// # Errors
    /// When another leads, too few answer, or `deadline` passes.
    pub async fn confirm(&self, deadline: Duration) -> Result<Confirmed, ConfirmError> {
        let term = {
            let status = self.inner.status.borrow();
            if status.role != Role::Leader {
                return Err(ConfirmError::NotLeader {
                    leader: status.leader,
                });
            }
            status.term
        };
        let asked = tokio::time::timeout(deadline, self.inner.raft.ensure_linearizable()).await;
        let confirmed = match asked {
            Err(_) => return Err(ConfirmError::NoQuorum),
            Ok(Ok(index)) => index,
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_)))) => {
                return Err(ConfirmError::NotLeader {
                    leader: self.leader(),
                });
            }
            Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) => {
                return Err(ConfirmError::NoQuorum);
            }
            Ok(Err(RaftError::Fatal(fatal))) => return Err(stopped(&fatal)),
        };
        // Of the term that was confirmed, or of the one before it that this coordinator still counted by.
        let now = self.inner.raft.metrics().borrow().current_term;
        let index = confirmed.map(|id| id.index);
        match index {
            Some(index) if now == term => Ok(Confirmed { term, index }),
            _ => Err(ConfirmError::NotLeader {
                leader: self.leader(),
            }),
        }
    }

    /// What the coordinator knows of itself and the others. Watchers are woken when something changes that is
    /// worth acting on; clocks and lags alone don't wake them.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.inner.status.clone()
    }

    /// For how long this leader has had no answer from `seat`, since it began to lead; zero when it doesn't lead.
    pub fn silent_for(&self, seat: Seat) -> Duration {
        let leading_since = self.inner.status.borrow().leading_since;
        let heard = self.inner.links.answered.since(seat).max(leading_since);
        match leading_since {
            Some(_) if seat != self.seat() => heard.map_or(Duration::ZERO, |heard| heard.elapsed()),
            _ => Duration::ZERO,
        }
    }

    /// What [`plan`](super::seats::plan) needs, from what this leader knows of the seats and its caller of the machines,
    /// of which `expected` are meant to be there; `None` when it doesn't lead.
    pub fn council(
        &self,
        machines: BTreeMap<MachineId, MachineView>,
        expected: usize,
    ) -> Option<CouncilView> {
        let status = self.inner.status.borrow().clone();
        if status.role != Role::Leader {
            return None;
        }
        let seat_view = |(seat, node): (Seat, SeatNode)| {
            let progress = status.progress.get(&seat);
            let view = SeatView {
                machine: node.machine,
                is_voter: status.seats.voters.contains_key(&seat),
                silent_for: self.silent_for(seat),
                is_caught_up: progress.is_some_and(|progress| progress.lag <= CAUGHT_UP_LAG_MAX),
            };
            (seat, view)
        };
        Some(CouncilView {
            leader: status.seat,
            machines,
            seats: status.seats.iter().map(seat_view).collect(),
            is_changing: status.seats.changing.is_some(),
            expected,
            wanted: None,
        })
    }

    /// The seat that this coordinator sits on.
    pub fn seat(&self) -> Seat {
        self.inner.config.seat
    }

    /// The replica that it feeds.
    pub fn replica(&self) -> &Replica<S> {
        &self.inner.replica
    }

    /// Tells the coordinator that the machine on `seat` is dead, as the membership says. If it was the leader, this
    /// voter stands for election as soon as the leader's last promise has run out and the others agree.
    ///
    /// It costs nothing to be wrong: the others would disagree, and the next beat takes it back.
    pub fn elect_now(&self, seat: Seat) {
        self.inner.presence.doubt(seat);
    }

    /// Stops, closes the store and lets go of the replica. A leader tells the others first, so that they need not
    /// miss it. Whatever waits for an outcome gets [`ProposeError::Unknown`].
    pub async fn stop(&self) {
        self.say_goodbye().await;
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "the coordinator did not stop cleanly");
        }
        self.inner.store.close().await;
        self.inner.replica.detach();
    }

    /// How many bytes of entries the log on disk has, and how many entries.
    #[cfg(test)]
    pub(crate) fn log_bytes(&self) -> (u64, u64) {
        self.inner.store.size()
    }

    async fn say_goodbye(&self) {
        let status = self.inner.status.borrow().clone();
        if status.role != Role::Leader {
            return;
        }
        let beat = self.inner.config.timing.beat;
        let others = status
            .seats
            .voters
            .iter()
            .filter(|(seat, _)| **seat != status.seat);
        let goodbyes = others.map(|(seat, node)| {
            self.inner
                .links
                .ask(*seat, Node(Some(*node)), Request::Leaving, beat)
        });
        // Politeness only: whoever does not hear it will miss the beats.
        let _ = tokio::time::timeout(beat, futures::future::join_all(goodbyes)).await;
    }

    fn leader(&self) -> Option<Leader> {
        self.inner.status.borrow().leader
    }
}

fn stopped(fatal: &Fatal<Seat>) -> ConfirmError {
    ConfirmError::Stopped(fatal.to_string())
}

/// One of [`PROPOSALS_MAX`] places.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize) -> Option<Self> {
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < PROPOSALS_MAX).then_some(taken + 1)
            })
            .ok()
            .map(|_| Self(taken))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
