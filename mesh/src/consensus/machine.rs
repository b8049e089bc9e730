//! The replica, as the consensus library wants its state machine.
//!
//! A coordinator builds its state from its own store and from its leader. Until that state is as far as the
//! machine's replica, which may have followed the log from other machines, it is kept beside it; then it
//! takes the replica's place for good. So readers never see the state go backwards, and a peer's copy never
//! becomes the base of what a coordinator stores.

use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::{AnyError, OptionalSend, StorageError, StorageIOError};
use tokio::sync::Notify;

use super::StateMachine;
use super::image::{IMAGE_BYTES_MAX, Image};
use super::raft::{Entry, LogId, Node, Reply, Snapshot, SnapshotMeta, StoredMembership, Types};
use super::replica::{Applied, Driver, Replica};
use super::seat::{LogGeneration, Seat};
use super::store::{Store, StoreError};

/// The library's view of one machine's state.
#[derive(Debug)]
pub(crate) struct Machine<S> {
    replica: Replica<S>,
    /// Nobody waits for this lock: the library wants to share the machine between threads, and a state machine need
    /// not allow that.
    state: Mutex<State<S>>,
    store: Store,
    /// Told after every batch of applied entries: the log may have to be compacted.
    grown: Arc<Notify>,
}

/// Where the coordinator's state is.
#[derive(Debug)]
enum State<S> {
    /// Beside the replica, which is further.
    Own(Box<Applied<S>>),
    /// It is the replica's.
    Replica(Driver),
}

/// A stored snapshot whose state cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the stored snapshot cannot be used: {0}")]
    Snapshot(String),
}

/// The state as of the stored snapshot; empty when there is none.
pub(crate) async fn own_state<S: StateMachine>(
    store: &Store,
    generation: LogGeneration,
) -> Result<Applied<S>, MachineError> {
    let Some((_, bytes)) = store.load_snapshot().await? else {
        return Ok(Applied::empty(generation));
    };
    let unusable = |error: &dyn ToString| MachineError::Snapshot(error.to_string());
    let image = Image::from_bytes(&bytes).map_err(|error| unusable(&error))?;
    Applied::from_image(&image).map_err(|error| unusable(&error))
}

impl<S: StateMachine> Machine<S> {
    /// The state as of the stored snapshot; the library replays the log on it.
    pub(crate) async fn load(
        replica: Replica<S>,
        store: Store,
        generation: LogGeneration,
        grown: Arc<Notify>,
    ) -> Result<Self, MachineError> {
        let own = own_state(&store, generation).await?;
        let state = Mutex::new(State::settle(&replica, Box::new(own)));
        Ok(Self {
            replica,
            state,
            store,
            grown,
        })
    }

    /// Changes the state, wherever it is; `None` when the replica has been taken from this coordinator.
    fn change<R>(&mut self, change: impl FnOnce(&mut Applied<S>) -> R) -> Option<R> {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        match state {
            State::Replica(driver) => self.replica.drive(*driver, change),
            State::Own(own) => {
                let result = change(own);
                let empty = Box::new(Applied::empty(own.generation()));
                *state = State::settle(&self.replica, std::mem::replace(own, empty));
                Some(result)
            }
        }
    }

    fn image(&mut self) -> Image {
        match self.state.get_mut().unwrap_or_else(PoisonError::into_inner) {
            State::Own(own) => own.image(),
            State::Replica(_) => self.replica.image(),
        }
    }
}

impl<S: StateMachine> State<S> {
    /// Makes the coordinator's own state the replica's, if it is as far.
    fn settle(replica: &Replica<S>, own: Box<Applied<S>>) -> Self {
        replica.attach(own).map_or_else(Self::Own, Self::Replica)
    }
}

impl<S: StateMachine> RaftStateMachine<Types> for Machine<S> {
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembership), StorageError<Seat>> {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        Ok(match state {
            State::Own(own) => (own.last(), own.membership().clone()),
            State::Replica(_) => self.replica.position(),
        })
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Reply>, StorageError<Seat>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter();
        let replies =
            self.change(|applied| entries.map(|entry| Reply(applied.apply(&entry))).collect());
        let replies = replies.ok_or_else(let_go)?;
        self.grown.notify_one();
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // Taken now, so that what is applied while it is being stored is not in it.
        let image = self.image();
        Builder {
            image,
            store: self.store.clone(),
        }
    }

    async fn begin_receiving_snapshot(
        &mut self,
    ) -> Result<Box<Cursor<Vec<u8>>>, StorageError<Seat>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<Seat>> {
        let bytes = snapshot.into_inner();
        let unusable = |error: AnyError| {
            StorageError::from(StorageIOError::read_snapshot(Some(meta.signature()), error))
        };
        let image = Image::from_bytes(&bytes).map_err(|error| unusable(AnyError::new(&error)))?;
        let applied =
            Applied::from_image(&image).map_err(|error| unusable(AnyError::new(&error)))?;
        let saved = self.store.save_snapshot(meta.clone(), bytes.into()).await;
        saved.map_err(|error| {
            StorageIOError::write_snapshot(Some(meta.signature()), AnyError::new(&error))
        })?;
        self.change(|own| *own = applied).ok_or_else(let_go)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError<Seat>> {
        let loaded = self.store.load_snapshot().await;
        let loaded =
            loaded.map_err(|error| StorageIOError::read_snapshot(None, AnyError::new(&error)))?;
        Ok(loaded.map(|(meta, bytes)| Snapshot {
            meta,
            snapshot: Box::new(Cursor::new(bytes)),
        }))
    }
}

/// The coordinator has been stopped, and its tasks have not ended yet.
fn let_go() -> StorageError<Seat> {
    let error = AnyError::error("the coordinator has let go of the replica");
    StorageIOError::write_state_machine(error).into()
}

/// A snapshot that was taken and is to be stored.
#[derive(Debug)]
pub(crate) struct Builder {
    image: Image,
    store: Store,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError<Seat>> {
        let bytes = self.image.to_bytes();
        if bytes.len() as u64 > IMAGE_BYTES_MAX {
            tracing::error!(
                bytes = bytes.len(),
                "the state is larger than what other machines take from us: none can join any more"
            );
        }
        let meta = meta_of(&self.image, &bytes);
        let saved = self
            .store
            .save_snapshot(meta.clone(), bytes.clone().into())
            .await;
        saved.map_err(|error| {
            StorageIOError::write_snapshot(Some(meta.signature()), AnyError::new(&error))
        })?;
        Ok(Snapshot {
            meta,
            snapshot: Box::new(Cursor::new(bytes)),
        })
    }
}

/// What the library calls the snapshot. The ID tells two streams of pieces apart, so it names the bytes.
pub(crate) fn meta_of(image: &Image, bytes: &[u8]) -> openraft::SnapshotMeta<Seat, Node> {
    let index = image
        .at
        .map_or_else(|| "none".to_owned(), |at| at.index.to_string());
    // The seal's checksum, which follows the version.
    let checksum = bytes.get(1..9).unwrap_or_default();
    SnapshotMeta {
        last_log_id: image.at,
        last_membership: image.membership.clone(),
        snapshot_id: format!("{index}-{}", data_encoding::HEXLOWER.encode(checksum)),
    }
}
