//! One machine's seat among the coordinators, running.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, InitializeError, RaftError};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::task::AbortOnDropHandle;

pub use self::change::ChangeError;
pub use self::compact::Compaction;
use self::elect::Elector;
use self::presence::Presence;
pub use self::status::{Leader, Progress, Role, Status};
pub use self::timing::Timing;
use super::machine::{Machine, MachineError};
use super::network::{Answered, Links};
use super::raft::{Command, Node, Raft};
use super::replica::Replica;
use super::seat::{At, LogGeneration, Seat, SeatNode};
pub use super::store::StoreError;
use super::store::{About, LogStore, Store};
use super::wire::Request;
use super::{COMMAND_BYTES_MAX, Network, StateMachine};
use crate::identity::ClusterId;

mod change;
mod compact;
mod elect;
mod inbound;
mod presence;
mod status;
mod timing;

/// At most so many commands wait for their outcome at once. More are refused: whoever proposes that much is not
/// waiting for answers.
const PROPOSALS_MAX: usize = 256;

/// What a coordinator needs to know to start.
#[derive(Debug, Clone)]
pub struct CoordinatorConfig {
    /// The file that holds its log; the folder is made when it is missing.
    pub path: PathBuf,
    /// The mesh that the log belongs to.
    pub cluster: ClusterId,
    /// Which log of that mesh.
    pub generation: LogGeneration,
    /// The seat. One seat, one file, for ever.
    pub seat: Seat,
    /// How often and how soon; the default is right for a mesh.
    pub timing: Timing,
    /// When the log is compacted; the default is right for a mesh.
    pub compaction: Compaction,
}

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
    status: watch::Receiver<Status>,
    waiting: AtomicUsize,
    /// Held while the seats are being changed: one change at a time.
    changing: Arc<Mutex<()>>,
    _tasks: [AbortOnDropHandle<()>; 4],
}

/// A coordinator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in its store makes no sense to the state machine.
    #[error("{0}")]
    State(String),
    /// The timing contradicts itself.
    #[error("the coordinators' timing cannot work: {0}")]
    Timing(String),
    /// This machine knows a log of a higher generation; a coordinator of the older one must not come back.
    #[error(
        "generation {wanted} of the log has been given up; this machine knows generation {known}"
    )]
    Outlived {
        /// The generation that was to be started.
        wanted: LogGeneration,
        /// The generation of the machine's replica.
        known: LogGeneration,
    },
    /// A new store for a seat that has been voting: its votes were lost, and it could vote twice.
    #[error("seat {0} is in use already; a machine that lost its store needs a new seat")]
    SeatInUse(Seat),
}

/// A log could not be founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The coordinator has a log, or takes part in one.
    #[error("there is a log already")]
    Exists,
    /// The coordinator has stopped.
    #[error("the coordinator has stopped: {0}")]
    Stopped(String),
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
    /// Starts a coordinator on a seat that is new to this machine, with an empty log.
    ///
    /// It does nothing until it [founds](Self::found) a log, or the leader of one adds it.
    ///
    /// # Errors
    /// When its store cannot be made, or the seat is not new.
    pub async fn create(
        config: CoordinatorConfig,
        replica: Replica<S>,
        network: Arc<dyn Network>,
    ) -> Result<Self, StartError> {
        // Not proof against everything (the replica may know nothing), but against a lost file on a machine that
        // still has its copy.
        let known = replica.seats();
        if replica.generation() == config.generation && known.voters.contains_key(&config.seat) {
            return Err(StartError::SeatInUse(config.seat));
        }
        let store = Store::create(config.path.clone(), about(&config)).await?;
        Self::start(config, store, replica, network).await
    }

    /// The seat and the log whose store is at `path`, for a machine that starts and wants to know whether it was a
    /// coordinator; `None` when there is no store.
    ///
    /// # Errors
    /// When there is a store and it can't be used.
    pub async fn stored(path: PathBuf) -> Result<Option<(Seat, LogGeneration)>, StoreError> {
        let about = Store::about(path).await?;
        Ok(about.map(|about| (about.seat, about.generation)))
    }

    /// Starts the coordinator that this machine was before it stopped.
    ///
    /// # Errors
    /// When its store is missing, damaged or somebody else's.
    pub async fn open(
        config: CoordinatorConfig,
        replica: Replica<S>,
        network: Arc<dyn Network>,
    ) -> Result<Self, StartError> {
        let store = Store::open(config.path.clone(), about(&config)).await?;
        Self::start(config, store, replica, network).await
    }

    async fn start(
        config: CoordinatorConfig,
        store: Store,
        replica: Replica<S>,
        network: Arc<dyn Network>,
    ) -> Result<Self, StartError> {
        let known = replica.generation();
        if known > config.generation {
            return Err(StartError::Outlived {
                wanted: config.generation,
                known,
            });
        }
        let raft_config = config
            .timing
            .raft_config(config.cluster)
            .map_err(StartError::Timing)?;
        let grown = Arc::new(Notify::new());
        let machine = Machine::load(
            replica.clone(),
            store.clone(),
            config.generation,
            grown.clone(),
        )
        .await;
        let machine = machine.map_err(|error| match error {
            MachineError::Store(error) => StartError::Store(error),
            error @ MachineError::Snapshot(_) => StartError::State(error.to_string()),
        })?;
        let links = Links {
            network,
            generation: config.generation,
            seat: config.seat,
            answered: Answered::default(),
        };
        let log = LogStore(store.clone());
        let raft = Raft::new(
            config.seat,
            Arc::new(raft_config),
            links.clone(),
            log,
            machine,
        )
        .await
        .map_err(|error| StartError::State(error.to_string()))?;
        let presence = Arc::new(Presence::default());
        let (status_tx, status) = watch::channel(status::first(&raft, config.seat));
        let changing = Arc::new(Mutex::new(()));
        let tasks = [
            change::start(
                raft.clone(),
                changing.clone(),
                status.clone(),
                config.timing.beat,
            ),
            compact::start(raft.clone(), store.clone(), grown, config.compaction),
            status::start(&raft, status_tx.clone(), links.answered.clone()),
            Elector::start(
                raft.clone(),
                links.clone(),
                presence.clone(),
                config.timing,
                status_tx,
            ),
        ];
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                raft,
                replica,
                store,
                links,
                presence,
                status,
                waiting: AtomicUsize::new(0),
                changing,
                _tasks: tasks,
            }),
        })
    }

    /// Begins a new log with this coordinator as its only voter, sitting on `node`.
    ///
    /// To be called once in a mesh's life, on the machine that starts it, and never on the guess that there might
    /// be no log yet.
    ///
    /// # Errors
    /// When this coordinator has or takes part in a log.
    pub async fn found(&self, node: SeatNode) -> Result<(), FoundError> {
        let members = [(self.inner.config.seat, Node(Some(node)))];
        let founded = self
            .inner
            .raft
            .initialize(std::collections::BTreeMap::from(members))
            .await;
        founded.map_err(|error| match error {
            RaftError::APIError(
                InitializeError::NotAllowed(_) | InitializeError::NotInMembers(_),
            ) => FoundError::Exists,
            RaftError::Fatal(fatal) => FoundError::Stopped(fatal.to_string()),
        })
    }

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

    /// How long the leader has had no answer from `seat`. `None` when it never answered this coordinator.
    pub fn silent_for(&self, seat: Seat) -> Option<Duration> {
        self.inner
            .links
            .answered
            .since(seat)
            .map(|answered| answered.elapsed())
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

fn about(config: &CoordinatorConfig) -> About {
    About {
        cluster: config.cluster,
        generation: config.generation,
        seat: config.seat,
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
