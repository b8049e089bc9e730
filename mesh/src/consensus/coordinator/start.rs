//! From nothing, from a file, or the very first one: how a coordinator comes to be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use openraft::error::{InitializeError, RaftError};
use tokio::sync::{Mutex, Notify, watch};

use super::elect::Elector;
use super::presence::Presence;
use super::vouch::Vouched;
use super::{Compaction, Coordinator, Inner, Timing, change, compact, status};
use crate::consensus::machine::{Machine, MachineError, meta_of};
use crate::consensus::network::{Answered, Links};
use crate::consensus::raft::{Membership, Node, Raft, StoredMembership, Vote};
use crate::consensus::replica::Replica;
use crate::consensus::seat::{LogGeneration, Seat, SeatNode};
use crate::consensus::store::{About, LogStore, Seed, Store, StoreError};
use crate::consensus::{Network, StateMachine};
use crate::identity::ClusterId;

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
    /// A new generation must follow on a state of an older one.
    #[error(
        "generation {wanted} of the log cannot go on from what this machine has, which is of generation {known}"
    )]
    NothingToGoOnFrom {
        /// The generation that was to be founded.
        wanted: LogGeneration,
        /// The generation of the machine's replica; 0 when it has nothing.
        known: LogGeneration,
    },
    /// A new store for a seat that has been voting: its votes were lost, and it could vote twice.
    #[error("seat {0} is in use already; a machine that lost its store needs a new seat")]
    SeatInUse(Seat),
    /// A seat that is forgotten could be taken a second time.
    #[error("the seat could not be remembered: {0}")]
    Unremembered(String),
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

impl<S: StateMachine> Coordinator<S> {
    /// Starts a coordinator on a seat that is new to this machine, with an empty log.
    ///
    /// It does nothing until it [founds](Self::found) a log, or the leader of one adds it. For the latter the
    /// machine must have followed the log far enough to know some of its voters: it listens to nobody else.
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
        let store = Store::create(config.path.clone(), about(&config), None).await?;
        Self::start(config, store, replica, network).await
    }

    /// Founds the next generation of the log on `node`, from the state in `replica`: for a mesh that has lost most of
    /// its coordinators for good.
    ///
    /// Whatever the old coordinators committed and `replica` does not have is given up. That nobody follows the old
    /// ones any more is for the caller to make sure of; should they come back, they and the new one don't listen to
    /// each other, and machines that know the new generation don't go back to the old.
    ///
    /// `remember` keeps the seat for the next start. It is called once the new log is on disk, and before `replica` is of it:
    /// a machine whose copy is of a log that it coordinates must find that log again.
    ///
    /// # Errors
    /// When `config.generation` does not come after the replica's, the replica has nothing, or the seat can't be
    /// remembered.
    pub async fn found_anew(
        config: CoordinatorConfig,
        node: SeatNode,
        replica: Replica<S>,
        network: Arc<dyn Network>,
        remember: impl FnOnce() -> Result<(), String>,
    ) -> Result<Self, StartError> {
        let mut image = replica.image();
        let Some(at) = image.at.filter(|_| image.generation < config.generation) else {
            return Err(StartError::NothingToGoOnFrom {
                wanted: config.generation,
                known: image.generation,
            });
        };
        let members = BTreeMap::from([(config.seat, Node(Some(node)))]);
        image.generation = config.generation;
        image.membership = StoredMembership::new(Some(at), Membership::from(members));
        let bytes = image.to_bytes();
        let seed = Seed {
            // The new log's terms go on from the old one's, as its indexes do.
            vote: Vote::new(at.leader_id.term, config.seat),
            meta: meta_of(&image, &bytes),
            image: bytes,
        };
        let store = Store::create(config.path.clone(), about(&config), Some(seed)).await?;
        remember().map_err(StartError::Unremembered)?;
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
            let wanted = config.generation;
            return Err(StartError::Outlived { wanted, known });
        }
        let links = Links {
            network,
            generation: config.generation,
            seat: config.seat,
            answered: Answered::default(),
        };
        let grown = Arc::new(Notify::new());
        let raft = start_raft(&config, &store, &replica, &links, grown.clone()).await?;
        let presence = Arc::new(Presence::default());
        let (status_tx, status) = watch::channel(status::first(&raft, config.seat));
        let changing = Arc::new(Mutex::new(()));
        let timing = config.timing;
        let tasks = [
            compact::start(raft.clone(), store.clone(), grown, config.compaction),
            change::start(raft.clone(), changing.clone(), status.clone(), timing.beat),
            status::start(&raft, status_tx.clone(), links.answered.clone()),
            Elector::start(
                raft.clone(),
                links.clone(),
                presence.clone(),
                timing,
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
                vouched: Vouched::default(),
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
        let founded = self.inner.raft.initialize(BTreeMap::from(members)).await;
        founded.map_err(|error| match error {
            RaftError::APIError(
                InitializeError::NotAllowed(_) | InitializeError::NotInMembers(_),
            ) => FoundError::Exists,
            RaftError::Fatal(fatal) => FoundError::Stopped(fatal.to_string()),
        })
    }
}

async fn start_raft<S: StateMachine>(
    config: &CoordinatorConfig,
    store: &Store,
    replica: &Replica<S>,
    links: &Links,
    grown: Arc<Notify>,
) -> Result<Raft, StartError> {
    let raft_config = config.timing.raft_config(config.cluster);
    let raft_config = Arc::new(raft_config.map_err(StartError::Timing)?);
    let machine = Machine::load(replica.clone(), store.clone(), config.generation, grown).await;
    let machine = machine.map_err(|error| match error {
        MachineError::Store(error) => StartError::Store(error),
        error @ MachineError::Snapshot(_) => StartError::State(error.to_string()),
    })?;
    let log = LogStore(store.clone());
    Raft::new(config.seat, raft_config, links.clone(), log, machine)
        .await
        .map_err(|error| StartError::State(error.to_string()))
}

pub(super) fn about(config: &CoordinatorConfig) -> About {
    About {
        cluster: config.cluster,
        generation: config.generation,
        seat: config.seat,
    }
}
