//! The applied copy of the log's state that every machine has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

pub(crate) use self::applied::Applied;
pub use self::recent::Tail;
use super::image::{DecodeImageError, Image};
use super::raft::{Entry, LogId, StoredMembership, next_index};
use super::seat::{At, LogGeneration, Seats};
use super::{RestoreError, StateMachine};

mod applied;
mod recent;

/// The state machine of one machine and how far it is, shared by all who read it and the one who feeds it.
///
/// It is fed by a [`Coordinator`](super::Coordinator) while one [drives](Self::is_driven) it, and by the
/// follow protocol otherwise. Clones are handles to the same copy.
#[derive(Debug)]
pub struct Replica<S> {
    shared: Arc<Shared<S>>,
}

#[derive(Debug)]
struct Shared<S> {
    applied: Mutex<Applied<S>>,
    at: watch::Sender<Option<At>>,
    /// The coordinator that feeds the replica; changed under the lock of `applied` only.
    driver: watch::Sender<Option<Driver>>,
    drivers: AtomicU64,
}

/// One coordinator's right to feed a replica, until the coordinator lets go of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Driver(u64);

/// Entries or an image from a peer that were not taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// A coordinator on this machine feeds the replica; nobody else may.
    #[error("a coordinator on this machine feeds the replica")]
    Driven,
    /// The entries start beyond the next one. The entries in between are to be asked for.
    #[error("entries are missing: {wanted} is next and {got} came")]
    Gap {
        /// The index that is next.
        wanted: u64,
        /// The index that came.
        got: u64,
    },
    /// It is from another generation of the log than can follow on ours.
    #[error("it is of generation {got} of the log, and ours is {ours}")]
    Generation {
        /// Our generation.
        ours: LogGeneration,
        /// The generation of what came.
        got: LogGeneration,
    },
    /// It is older than what the replica has.
    #[error("it is older than what we have")]
    Old,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Malformed(String),
}

impl<S> Clone for Replica<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: StateMachine> Default for Replica<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: StateMachine> Replica<S> {
    /// An empty replica, which knows nothing of any log.
    pub fn new() -> Self {
        Self::with(Applied::empty(LogGeneration::default()))
    }

    /// A replica that starts from an image, such as the machine's own copy from before a restart.
    ///
    /// # Errors
    /// When the state machine cannot take over the image's state.
    pub fn from_image(image: &Image) -> Result<Self, RestoreError> {
        Ok(Self::with(Applied::from_image(image)?))
    }

    fn with(applied: Applied<S>) -> Self {
        let at = applied.at();
        Self {
            shared: Arc::new(Shared {
                applied: Mutex::new(applied),
                at: watch::Sender::new(at),
                driver: watch::Sender::new(None),
                drivers: AtomicU64::new(0),
            }),
        }
    }

    /// Looks at the state and the last entry that it contains.
    ///
    /// Applying waits meanwhile: take what is needed and return.
    pub fn read<R>(&self, look: impl FnOnce(&S, Option<At>) -> R) -> R {
        let applied = self.lock();
        look(applied.machine(), applied.at())
    }

    /// The last entry applied; `None` before the first.
    pub fn at(&self) -> Option<At> {
        *self.shared.at.borrow()
    }

    /// Follows the last entry applied. Woken once a batch of entries, not once an entry.
    ///
    /// Copy the position out of the borrow before calling the replica: it tells its watchers under its own lock.
    pub fn watch(&self) -> watch::Receiver<Option<At>> {
        self.shared.at.subscribe()
    }

    /// Whether a coordinator on this machine feeds the replica.
    pub fn is_driven(&self) -> bool {
        self.shared.driver.borrow().is_some()
    }

    /// Waits until no coordinator on this machine feeds the replica.
    pub async fn undriven(&self) {
        let mut driver = self.shared.driver.subscribe();
        // The sender lives in the replica, which lives as long as this call.
        let _ = driver.wait_for(Option::is_none).await;
    }

    /// The log that the state is of; the default value before anything is known.
    pub fn generation(&self) -> LogGeneration {
        self.lock().generation()
    }

    /// Who the coordinators are, as of the last entry applied.
    pub fn seats(&self) -> Seats {
        Seats::from(self.lock().membership())
    }

    /// The whole replica as of now, to be stored or sent.
    pub fn image(&self) -> Image {
        self.lock().image()
    }

    /// The entries from index `from` on, as far as they are remembered and up to about `bytes_max` bytes.
    pub fn tail(&self, from: u64, bytes_max: usize) -> Tail {
        let applied = self.lock();
        applied
            .recent()
            .tail(from, next_index(applied.last()), bytes_max)
    }

    /// Takes over an image that a peer sent.
    ///
    /// # Errors
    /// When it is not newer than what the replica has, or can't be read, or a coordinator feeds the replica.
    pub fn install(&self, image: &Image) -> Result<(), FeedError> {
        let newer =
            Applied::from_image(image).map_err(|error| FeedError::Malformed(error.to_string()))?;
        let mut applied = self.lock_to_feed()?;
        if (newer.generation(), newer.last().map(|id| id.index))
            <= (applied.generation(), applied.last().map(|id| id.index))
        {
            return Err(FeedError::Old);
        }
        *applied = newer;
        self.publish(&applied);
        Ok(())
    }

    /// Applies committed entries that a peer sent, as [`Self::tail`] gave them. Entries that were applied before
    /// are skipped. Returns how many were new.
    ///
    /// # Errors
    /// When entries are missing in between, can't be read, are of another log, or a coordinator feeds the replica.
    /// What came before the fault has been applied.
    pub fn extend(&self, generation: LogGeneration, entries: &[Bytes]) -> Result<usize, FeedError> {
        let mut applied = self.lock_to_feed()?;
        if generation != applied.generation() {
            // Entries of a new generation can only follow on an image of it; an empty replica has none yet.
            if applied.last().is_some() || generation < applied.generation() {
                let ours = applied.generation();
                return Err(FeedError::Generation {
                    ours,
                    got: generation,
                });
            }
            *applied = Applied::empty(generation);
        }
        let mut new = 0;
        let mut outcome = Ok(());
        for encoded in entries {
            match apply_encoded(&mut applied, encoded) {
                Ok(applied) => new += usize::from(applied),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if new > 0 {
            self.publish(&applied);
        }
        outcome.map(|()| new)
    }

    fn lock(&self) -> MutexGuard<'_, Applied<S>> {
        // A state machine that panicked has broken its own promise; readers still get what there is.
        self.shared
            .applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_to_feed(&self) -> Result<MutexGuard<'_, Applied<S>>, FeedError> {
        let applied = self.lock();
        // Under the lock: a coordinator takes over under it too.
        if self.is_driven() {
            return Err(FeedError::Driven);
        }
        Ok(applied)
    }

    /// Tells the watchers. Under the lock, so that two batches are told in their order.
    fn publish(&self, applied: &Applied<S>) {
        self.shared.at.send_replace(applied.at());
    }
}

/// Applies one entry as a peer sent it, unless it is already contained.
fn apply_encoded<S: StateMachine>(
    applied: &mut Applied<S>,
    encoded: &Bytes,
) -> Result<bool, FeedError> {
    let entry: Entry =
        postcard::from_bytes(encoded).map_err(|error| FeedError::Malformed(error.to_string()))?;
    let wanted = next_index(applied.last());
    let got = entry.log_id.index;
    if got < wanted {
        return Ok(false);
    }
    if got > wanted {
        return Err(FeedError::Gap { wanted, got });
    }
    if Some(entry.log_id.leader_id) < applied.last().map(|id| id.leader_id) {
        return Err(FeedError::Malformed("terms go backwards".to_owned()));
    }
    applied.apply(&entry);
    Ok(true)
}

// === impl Replica: what a coordinator does to it ===

impl<S: StateMachine> Replica<S> {
    /// Hands the replica to a coordinator whose own state is at least as far: from now on it alone feeds it. Gives
    /// the coordinator's state back when the replica is further.
    pub(crate) fn attach(&self, own: Box<Applied<S>>) -> Result<Driver, Box<Applied<S>>> {
        let mut applied = self.lock();
        let index = |applied: &Applied<S>| applied.last().map(|id| id.index);
        let same_log = own.generation() == applied.generation();
        // The first entries of a new log are better than the last ones of an old log; none at all are not.
        if index(&own) < index(&applied) && (same_log || index(&own).is_none()) {
            return Err(own);
        }
        if same_log && own.last() < applied.last() {
            tracing::error!(
                "the copy of the log that a peer served disagrees with the coordinators' own; it is discarded"
            );
        }
        *applied = *own;
        let driver = Driver(self.shared.drivers.fetch_add(1, Ordering::Relaxed));
        self.shared.driver.send_replace(Some(driver));
        self.publish(&applied);
        Ok(driver)
    }

    /// Lets the coordinator that feeds the replica change it; `None` when it is another by now, or nobody.
    pub(crate) fn drive<R>(
        &self,
        driver: Driver,
        change: impl FnOnce(&mut Applied<S>) -> R,
    ) -> Option<R> {
        let mut applied = self.lock();
        if *self.shared.driver.borrow() != Some(driver) {
            return None;
        }
        let result = change(&mut applied);
        self.publish(&applied);
        Some(result)
    }

    /// Who feeds the replica, followed.
    pub(crate) fn driver_watch(&self) -> watch::Receiver<Option<Driver>> {
        self.shared.driver.subscribe()
    }

    pub(crate) fn position(&self) -> (Option<LogId>, StoredMembership) {
        let applied = self.lock();
        (applied.last(), applied.membership().clone())
    }
}

impl<S> Replica<S> {
    /// The coordinator lets go; followers may feed the replica again.
    pub(crate) fn detach(&self) {
        let _applied = self.shared.applied.lock();
        self.shared.driver.send_replace(None);
    }
}

impl From<RestoreError> for FeedError {
    fn from(error: RestoreError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<DecodeImageError> for FeedError {
    fn from(error: DecodeImageError) -> Self {
        Self::Malformed(error.to_string())
    }
}
