//! The replica, as the consensus library wants its state machine.
//!
//! A coordinator builds its state from its own store and from its leader. Until that state is as far as the
//! machine's replica, which may have followed the log from other machines, it is kept beside it (`own`); then it
//! takes the replica's place for good. So readers never see the state go backwards, and a peer's copy never
//! becomes the base of what a coordinator stores.

use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::{AnyError, OptionalSend, StorageError, StorageIOError};
use tokio::sync::Notify;

use super::StateMachine;
use super::image::Image;
use super::raft::{Entry, LogId, Node, Reply, Snapshot, SnapshotMeta, StoredMembership, Types};
use super::replica::{Applied, Replica};
use super::seat::{LogGeneration, Seat};
use super::store::{Store, StoreError};

/// The library's view of one machine's state.
#[derive(Debug)]
pub(crate) struct Machine<S> {
    replica: Replica<S>,
    /// The coordinator's own state; `None` once it has become the replica's. Nobody waits for this lock: the
    /// library wants to share the machine between threads, and a state machine need not allow that.
    own: Mutex<Option<Applied<S>>>,
    store: Store,
    /// Told after every batch of applied entries: the log may have to be compacted.
    grown: Arc<Notify>,
}

/// A stored snapshot whose state cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the stored snapshot cannot be used: {0}")]
    Snapshot(String),
}

impl<S: StateMachine> Machine<S> {
    /// The state as of the stored snapshot; the library replays the log on it.
    pub(crate) async fn load(
        replica: Replica<S>,
        store: Store,
        generation: LogGeneration,
        grown: Arc<Notify>,
    ) -> Result<Self, MachineError> {
        let own = match store.load_snapshot().await? {
            None => Applied::empty(generation),
            Some((_, bytes)) => {
                let unusable = |error: &dyn ToString| MachineError::Snapshot(error.to_string());
                let image = Image::from_bytes(&bytes).map_err(|error| unusable(&error))?;
                Applied::from_image(&image).map_err(|error| unusable(&error))?
            }
        };
        let mut machine = Self {
            replica,
            own: Mutex::new(Some(own)),
            store,
            grown,
        };
        machine.take_over();
        Ok(machine)
    }

    /// Makes the coordinator's own state the replica's, once it is as far.
    fn take_over(&mut self) {
        if let Some(own) = self.own().take() {
            *self.own() = self.replica.attach(own);
        }
    }

    fn own(&mut self) -> &mut Option<Applied<S>> {
        self.own.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut Applied<S>) -> R) -> R {
        match self.own() {
            Some(own) => {
                let result = change(own);
                self.take_over();
                result
            }
            None => self.replica.drive(change),
        }
    }
}

impl<S: StateMachine> RaftStateMachine<Types> for Machine<S> {
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembership), StorageError<Seat>> {
        Ok(match self.own() {
            Some(own) => (own.last(), own.membership().clone()),
            None => self.replica.position(),
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
        self.grown.notify_one();
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // Taken now, so that what is applied while it is being stored is not in it.
        let image = match self.own() {
            Some(own) => own.image(),
            None => self.replica.image(),
        };
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
        self.change(|own| *own = applied);
        Ok(())
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

/// A snapshot that was taken and is to be stored.
#[derive(Debug)]
pub(crate) struct Builder {
    image: Image,
    store: Store,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError<Seat>> {
        let bytes = self.image.to_bytes();
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
