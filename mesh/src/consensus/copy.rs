//! A machine's replica across restarts: a file that is rewritten now and then.
//!
//! It lets a machine that restarts answer at once, with the age of what it says, and lets a mesh whose coordinators
//! are all gone know who belonged to it. It is no part of what coordinators promise: they have their own store.
//!
//! A version, a checksum, when the state was current, and the [`Image`]. It is written beside the old one, synced, and
//! put in its place, so that a crash leaves one or the other, whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::StateMachine;
use super::image::Image;
use super::replica::Replica;
use super::seal::{seal, unseal};
use super::seat::At;
use crate::state_dir::{StateError, write_durably};

/// A changed replica is written after this time at the earliest.
const EVERY: Duration = Duration::from_secs(30);
/// Coordinators have their store, and need the copy only when they lose it or their seat.
const EVERY_AS_COORDINATOR: Duration = Duration::from_secs(300);
/// A large copy is written less often: at most about so many bytes a second on average (128 KiB).
const BYTES_A_SECOND: u64 = 128 << 10;

const CONTEXT: &str = "copy";

/// What was in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCopy {
    /// When the state was current, in milliseconds since 1970 by this machine's clock.
    pub as_of_ms: u64,
    /// The state.
    pub image: Image,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    as_of_ms: u64,
    image: Image,
}

/// The copy could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The file is damaged or of an unknown version.
    #[error(
        "the copy of the mesh's state at {} cannot be used: {detail}. It can be deleted: this machine then fetches a \
         new one",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The operating system refused.
    #[error("cannot access the copy of the mesh's state at {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Reads the copy at `path`; `None` when there is none.
///
/// # Errors
/// When there is one and it can't be read.
pub async fn load(path: PathBuf) -> Result<Option<StoredCopy>, CopyError> {
    blocking(path, |path| {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(Failure::Io)?,
        };
        let payload =
            unseal(CONTEXT, &bytes).map_err(|error| Failure::Damaged(error.to_string()))?;
        let Contents { as_of_ms, image } =
            postcard::from_bytes(payload).map_err(|error| Failure::Damaged(error.to_string()))?;
        Ok(Some(StoredCopy { as_of_ms, image }))
    })
    .await
}

/// Writes the copy at `path`, in place of the one before.
///
/// # Errors
/// When it can't be written; the one before is then still there.
pub async fn store(path: PathBuf, copy: StoredCopy) -> Result<(), CopyError> {
    blocking(path, move |path| {
        let StoredCopy { as_of_ms, image } = copy;
        let payload = postcard::to_stdvec(&Contents { as_of_ms, image })
            .expect("plain data serializes into memory without errors");
        replace(path, &seal(CONTEXT, &payload)).map_err(Failure::Io)
    })
    .await
}

/// Writes the copy whenever the replica has changed, but not often, and a last time at the end.
#[derive(Debug)]
pub struct CopyKeeper {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl CopyKeeper {
    /// Keeps `replica` at `path`. `as_of_ms` says when what it has was current, in milliseconds since 1970.
    pub fn start<S: StateMachine>(
        replica: Replica<S>,
        path: PathBuf,
        as_of_ms: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let mut at = replica.watch();
        // Whether the file has what the replica has now is not known.
        at.mark_changed();
        let task = tokio::spawn(keep(replica, at, path, as_of_ms, stopped));
        Self { stop, task }
    }

    /// Writes what has not been written, and ends.
    pub async fn stop(self) {
        // It has ended before only if it panicked, which the log shows.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn keep<S: StateMachine>(
    replica: Replica<S>,
    mut at: watch::Receiver<Option<At>>,
    path: PathBuf,
    as_of_ms: impl Fn() -> u64,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut failed = false;
    loop {
        let mut last = tokio::select! {
            changed = at.changed() => changed.is_err(),
            _ = &mut stopped => true,
        };
        if !last {
            tokio::select! {
                () = sleep(pause(&path, replica.is_driven())) => {}
                _ = &mut stopped => last = true,
            }
        }
        // At the end also when nothing has changed: the state is current now, and was written as of then.
        at.mark_unchanged();
        let copy = StoredCopy {
            as_of_ms: as_of_ms(),
            image: replica.image(),
        };
        if copy.image.at().is_some() {
            match store(path.clone(), copy).await {
                Ok(()) => failed = false,
                // Once is enough for a disk that stays full.
                Err(_) if failed => {}
                Err(error) => {
                    failed = true;
                    tracing::warn!(%error, "a restart will know less");
                }
            }
        }
        if last {
            return;
        }
    }
}

/// How long to collect changes before the copy is written.
fn pause(path: &Path, is_coordinator: bool) -> Duration {
    let size = fs::metadata(path).map_or(0, |file| file.len());
    let every = if is_coordinator {
        EVERY_AS_COORDINATOR
    } else {
        EVERY
    };
    every.max(Duration::from_secs(size / BYTES_A_SECOND))
}

enum Failure {
    Damaged(String),
    Io(io::Error),
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> Result<T, Failure> + Send + 'static,
) -> Result<T, CopyError> {
    let named = path.clone();
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    let done = done.unwrap_or_else(|error| Err(Failure::Io(io::Error::other(error))));
    done.map_err(|failure| match failure {
        Failure::Damaged(detail) => CopyError::Damaged {
            path: named,
            detail,
        },
        Failure::Io(source) => CopyError::Io {
            path: named,
            source,
        },
    })
}

/// Puts a file with `contents` in the place of the one at `path`, so that a crash leaves one of the two.
fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    write_durably(path, contents).map_err(StateError::into_io)
}
