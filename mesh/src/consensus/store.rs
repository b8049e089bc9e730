//! What a coordinator has on disk: its log, its vote, its last snapshot.
//!
//! One redb file. Format (version 1; `about` names it):
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `about` | [`About`]: whose store this is |
//! | `meta` | `vote`, `committed`, `purged` | the library's vote and log positions |
//! | `meta` | `snapshot` | [`StoredSnapshot`]: the snapshot's position, length and number of pieces |
//! | `log` | index | an entry |
//! | `snapshot` | number | a piece of the last snapshot |
//!
//! Every value is postcard under a [seal](super::seal) whose context is `table/key`. Votes, entries and snapshots
//! are durable before their call returns, each batch in one transaction. `committed` only spares replay work and
//! rides along with the next of those.
//!
//! Everything that touches the file runs on tokio's blocking threads: an fsync takes milliseconds, and redb may
//! panic on a file that was damaged under it, which there becomes an error.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::raft::{Entry, LogId, Vote, next_index};
use super::seal::{seal, unseal};
use super::seat::{LogGeneration, Seat};
use crate::identity::ClusterId;

mod log;
mod open;
mod snapshot;

pub(crate) use self::log::LogStore;
pub(crate) use self::open::Seed;
use self::snapshot::StoredSnapshot;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const SNAPSHOT: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("snapshot");

/// Whose store this is. It is opened by nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) cluster: ClusterId,
    pub(crate) generation: LogGeneration,
    pub(crate) seat: Seat,
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cluster,
            generation,
            seat,
        } = self;
        write!(
            f,
            "cluster {cluster}, generation {generation} of its log, seat {seat}"
        )
    }
}

/// A coordinator's store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is damaged, cut short or of an unknown version.
    #[error(
        "the coordinator's log at {} is damaged: {detail}. Nothing committed is lost while most other coordinators \
         have theirs. Move the file away; this machine then joins again as a new coordinator",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The operating system refused.
    #[error("cannot access the coordinator's log at {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Another process, or another coordinator of this process, has the file open.
    #[error("the coordinator's log at {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// There is no such file, and the coordinator was to continue from it.
    #[error(
        "the coordinator's log at {} is missing. This machine must join again as a new coordinator: one that forgot \
         its votes could vote twice",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is such a file already, and the coordinator was to start afresh.
    #[error("there is a coordinator's log at {} already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file belongs to another seat, another cluster or another generation of the log.
    #[error("the coordinator's log at {} belongs to somebody else: {detail}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What differs.
        detail: String,
    },
    /// The store was closed while it was asked.
    #[error("the coordinator's log at {} has been closed", path.display())]
    Closed {
        /// The file.
        path: PathBuf,
    },
}

/// A handle to an open store. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    file: Arc<StoreFile>,
}

#[derive(Debug)]
struct StoreFile {
    path: PathBuf,
    /// `None` once closed: the library's tasks may keep handles for a while after it was told to stop.
    database: RwLock<Option<Database>>,
    /// Held from the reading of `known` until the change to it is on disk.
    writing: Mutex<()>,
    known: Mutex<Known>,
    /// The index of a leader's snapshot that is about to be stored. See [`Store::expect_snapshot`].
    expected: watch::Sender<Option<u64>>,
}

/// What is in the file, as far as it is asked for all the time.
#[derive(Debug, Clone, Default)]
struct Known {
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// Whether `committed` is newer than the file's.
    committed_unsaved: bool,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// The lengths of the log's entries, oldest first; the last one belongs to `last`.
    lengths: VecDeque<u32>,
    bytes: u64,
    snapshot: Option<StoredSnapshot>,
}

/// See [`Store::growth`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Store {
    /// Runs `work` on the open database on a blocking thread.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StoreFile, &Database) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = Arc::clone(&self.file);
        let path = file.path.clone();
        let done = tokio::task::spawn_blocking(move || {
            let database = file.database.read().unwrap_or_else(PoisonError::into_inner);
            let Some(database) = database.as_ref() else {
                return Err(StoreError::Closed {
                    path: file.path.clone(),
                });
            };
            work(&file, database).map_err(|failure| failure.at(&file.path))
        })
        .await;
        match done {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(StoreError::Damaged {
                path,
                detail: "the database gave up on it".to_owned(),
            }),
            Err(_) => Err(StoreError::Closed { path }),
        }
    }

    /// Closes the file, once what is being read or written has ended. Later calls fail.
    pub(crate) async fn close(&self) {
        let flushed = self
            .run(|file, database| {
                if file.known().committed_unsaved {
                    file.write(database, |_, _| Ok(()))?;
                }
                Ok(())
            })
            .await;
        if let Err(error) = flushed {
            // Only replay work is lost.
            tracing::debug!(%error, "cannot note the last committed entry");
        }
        let file = Arc::clone(&self.file);
        let closed = tokio::task::spawn_blocking(move || {
            let mut database = file
                .database
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            drop(database.take());
        });
        // A panic in there has been reported by the runtime; the file is closed by the process's end at the latest.
        let _ = closed.await;
    }

    /// What has come to the log since the last snapshot.
    pub(crate) fn growth(&self) -> Growth {
        let known = self.file.known();
        let covered = known
            .snapshot
            .as_ref()
            .and_then(|stored| stored.meta.last_log_id);
        let entries = next_index(known.last).saturating_sub(next_index(covered));
        let newest = known
            .lengths
            .iter()
            .rev()
            .take(usize::try_from(entries).unwrap_or(usize::MAX));
        Growth {
            entries,
            bytes: newest.map(|length| u64::from(*length)).sum(),
        }
    }

    /// How many bytes of entries the log has, and how many entries.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (u64, u64) {
        let known = self.file.known();
        (known.bytes, known.lengths.len() as u64)
    }

    /// The first index to keep so that what is kept are at most `bytes_max` bytes of entries.
    pub(crate) fn first_index_within(&self, bytes_max: u64) -> u64 {
        let known = self.file.known();
        let next = next_index(known.last);
        let mut bytes = 0;
        let kept = known
            .lengths
            .iter()
            .rev()
            .take_while(|length| {
                bytes += u64::from(**length);
                bytes <= bytes_max
            })
            .count();
        next - kept as u64
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.file.known()
    }
}

impl StoreFile {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One durable transaction. What it changes becomes known when it is on disk, and not before.
    fn write(
        &self,
        database: &Database,
        change: impl FnOnce(&redb::WriteTransaction, &mut Known) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut write = database.begin_write()?;
        write.set_durability(redb::Durability::Immediate)?;
        let mut known = self.known().clone();
        change(&write, &mut known)?;
        let committed = known.committed;
        if known.committed_unsaved {
            put(&mut write.open_table(META)?, "committed", &committed)?;
        }
        write.commit()?;
        let mut now = self.known();
        // The commit index may have moved on meanwhile; it doesn't wait for transactions.
        known.committed_unsaved = now.committed != committed;
        known.committed = now.committed;
        *now = known;
        Ok(())
    }
}

/// Why a piece of work on the database failed, before it is known on which file.
#[derive(Debug)]
enum Failure {
    Damaged(String),
    Io(std::io::Error),
}

impl Failure {
    fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Damaged(detail) => StoreError::Damaged { path, detail },
            Self::Io(source) => StoreError::Io { path, source },
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Io(source) => Self::Io(source),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Seals and stores a value in `meta`.
fn put<T: Serialize>(
    table: &mut redb::Table<'_, &str, &[u8]>,
    key: &str,
    value: &T,
) -> Result<(), Failure> {
    let payload = encode(value);
    table.insert(key, seal(&format!("meta/{key}"), &payload).as_slice())?;
    Ok(())
}

/// Reads a value of `meta`.
fn get<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<T>, Failure> {
    let Some(stored) = table.get(key)? else {
        return Ok(None);
    };
    decode(&format!("meta/{key}"), stored.value()).map(Some)
}

/// The entries in `range`, as far as there are any, up to about `bytes_max` bytes and at least one.
fn read_entries(
    database: &Database,
    range: Range<u64>,
    bytes_max: usize,
) -> Result<Vec<Entry>, Failure> {
    let table = database.begin_read()?.open_table(LOG)?;
    let mut entries = Vec::new();
    let mut bytes = 0;
    for row in table.range(range)? {
        let (index, sealed) = row?;
        let sealed = sealed.value();
        bytes += sealed.len();
        if !entries.is_empty() && bytes > bytes_max {
            break;
        }
        entries.push(decode_entry(index.value(), sealed)?);
    }
    Ok(entries)
}

fn decode_entry(index: u64, sealed: &[u8]) -> Result<Entry, Failure> {
    let context = format!("log/{index}");
    let entry: Entry = decode(&context, sealed)?;
    if entry.log_id.index != index {
        return Err(Failure::Damaged(format!("{context} holds another entry")));
    }
    Ok(entry)
}

fn decode<T: DeserializeOwned>(context: &str, sealed: &[u8]) -> Result<T, Failure> {
    let payload =
        unseal(context, sealed).map_err(|error| Failure::Damaged(format!("{context}: {error}")))?;
    postcard::from_bytes(payload).map_err(|error| Failure::Damaged(format!("{context}: {error}")))
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data serializes into memory without errors")
}
