//! Making and opening a store: whole, ours, and every value of it readable, or an error that says what to do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable};
use tokio::sync::watch;

use super::{
    About, Failure, Known, LOG, META, SNAPSHOT, Store, StoreError, StoreFile, decode_entry, get,
    put, snapshot,
};
use crate::consensus::raft::{LogId, SnapshotMeta, Vote};
use crate::consensus::seal::OVERHEAD_BYTES;
use crate::state_dir::create_private_file;

/// redb's page cache. Small: what is read often is kept in memory by us or was just written.
const CACHE_BYTES: usize = 1 << 20;

/// What a store begins with when its log goes on from another one's state.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) image: Vec<u8>,
}

impl Store {
    /// Makes a new store for `about` at `path`, whole or not at all.
    pub(crate) async fn create(
        path: PathBuf,
        about: About,
        seed: Option<Seed>,
    ) -> Result<Self, StoreError> {
        blocking(path, move |path| {
            if path.exists() {
                let path = path.to_owned();
                return Err(StoreError::Exists { path });
            }
            // A crash in between leaves the other name, which nobody reads.
            let unfinished = path.with_extension("new");
            let io = |source| Failure::Io(source).at(path);
            fs::create_dir_all(folder_of(path)).map_err(io)?;
            // Made here, because the database would let others read it; it takes an empty file for a new one.
            create_private_file(&unfinished).map_err(|error| io(error.into_io()))?;
            let database = builder()
                .create(&unfinished)
                .map_err(|error| open_error(path, error))?;
            initialize(&database, &about, seed).map_err(|failure| failure.at(path))?;
            drop(database);
            fs::rename(&unfinished, path).map_err(io)?;
            sync_folder(path).map_err(io)?;
            open_file(path, &about)
        })
        .await
    }

    /// Opens the store that `about` left at `path`.
    pub(crate) async fn open(path: PathBuf, about: About) -> Result<Self, StoreError> {
        blocking(path, move |path| open_file(path, &about)).await
    }

    /// Whose store is at `path`; `None` when there is none.
    pub(crate) async fn about(path: PathBuf) -> Result<Option<About>, StoreError> {
        blocking(path, |path| {
            if !path.exists() {
                return Ok(None);
            }
            let database = builder()
                .open(path)
                .map_err(|error| open_error(path, error))?;
            read_about(&database)
                .map(Some)
                .map_err(|failure| failure.at(path))
        })
        .await
    }

    /// A store on a caller's storage, for tests that crash it. Initialized when empty.
    #[cfg(test)]
    pub(crate) async fn on_backend(
        path: PathBuf,
        backend: impl redb::StorageBackend,
        about: About,
    ) -> Result<Self, StoreError> {
        blocking(path, move |path| {
            let empty = backend.len().is_ok_and(|bytes| bytes == 0);
            let database = builder()
                .create_with_backend(backend)
                .map_err(|error| open_error(path, error))?;
            if empty {
                initialize(&database, &about, None).map_err(|failure| failure.at(path))?;
            }
            check(path, database, &about)
        })
        .await
    }
}

/// Runs `work` on a blocking thread; a panic of the database over a damaged file is an error.
async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let named = path.clone();
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    done.unwrap_or_else(|_| {
        Err(StoreError::Damaged {
            path: named,
            detail: "the database gave up on it".to_owned(),
        })
    })
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    // Reads the whole file, a few megabytes at most, and finds what a plain open would trust.
    builder.set_check_integrity_on_open(true);
    builder
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path },
        // redb reports a file that is no database, or one that was cut, as bad input.
        DatabaseError::Storage(redb::StorageError::Io(source))
            if !matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::Io { path, source }
        }
        other => StoreError::Damaged {
            path,
            detail: other.to_string(),
        },
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn initialize(database: &Database, about: &About, seed: Option<Seed>) -> Result<(), Failure> {
    let write = database.begin_write()?;
    put(&mut write.open_table(META)?, "about", about)?;
    write.open_table(LOG)?;
    write.open_table(SNAPSHOT)?;
    if let Some(Seed { vote, meta, image }) = seed {
        put(&mut write.open_table(META)?, "vote", &vote)?;
        snapshot::replace(&write, meta, &image)?;
    }
    write.commit()?;
    Ok(())
}

fn open_file(path: &Path, about: &About) -> Result<Store, StoreError> {
    if !path.exists() {
        let path = path.to_owned();
        return Err(StoreError::Missing { path });
    }
    let database = builder()
        .open(path)
        .map_err(|error| open_error(path, error))?;
    check(path, database, about)
}

fn check(path: &Path, database: Database, about: &About) -> Result<Store, StoreError> {
    let stored = read_about(&database).map_err(|failure| failure.at(path))?;
    if stored != *about {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
            detail: format!("it is of {stored}, and not of {about}"),
        });
    }
    let known = read_all(&database).map_err(|failure| failure.at(path))?;
    Ok(Store {
        file: Arc::new(StoreFile {
            path: path.to_owned(),
            database: RwLock::new(Some(database)),
            writing: Mutex::new(()),
            known: Mutex::new(known),
            expected: watch::Sender::new(None),
        }),
    })
}

fn read_about(database: &Database) -> Result<About, Failure> {
    let table = database.begin_read()?.open_table(META)?;
    get(&table, "about")?.ok_or_else(|| Failure::Damaged("it does not say whose it is".to_owned()))
}

/// Reads every value once. What cannot be read is found now, and not when it is needed.
fn read_all(database: &Database) -> Result<Known, Failure> {
    let read = database.begin_read()?;
    let meta = read.open_table(META)?;
    let mut known = Known {
        vote: get(&meta, "vote")?,
        committed: get::<Option<LogId>>(&meta, "committed")?.flatten(),
        purged: get(&meta, "purged")?,
        snapshot: get(&meta, "snapshot")?,
        ..Known::default()
    };
    known.last = known.purged;
    let mut expected = None;
    for row in read.open_table(LOG)?.iter()? {
        let (index, sealed) = row?;
        let index = index.value();
        if expected.is_some_and(|expected| expected != index) {
            return Err(Failure::Damaged(format!(
                "entries before {index} are missing"
            )));
        }
        expected = Some(index.saturating_add(1));
        let entry = decode_entry(index, sealed.value())?;
        known.last = Some(entry.log_id);
        known.push_length(sealed.value().len() - OVERHEAD_BYTES);
    }
    if let Some(stored) = &known.snapshot {
        snapshot::read_snapshot(database, stored)?;
    }
    Ok(known)
}
