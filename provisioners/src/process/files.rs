//! Small files that a crash can't leave half-written, and locks that a crash releases.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Deadline, ProvisionError};

/// The most that is read of a file that we wrote ourselves; the largest holds properties and a script.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// How long to wait between attempts to get a lock: short at first, since most are held for milliseconds.
const LOCK_WAIT_MIN: Duration = Duration::from_millis(1);
const LOCK_WAIT_MAX: Duration = Duration::from_millis(50);
/// For the owner alone: keys and join tokens are below the root.
const MODE_FILE: u32 = 0o600;
const MODE_DIRECTORY: u32 = 0o700;

/// An I/O error in the words of provisioners.
pub(super) fn failure(what: &str, path: &Path, error: &io::Error) -> ProvisionError {
    let text = format!("{what} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ProvisionError::denied(text)
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ProvisionError::capacity(text),
        _ => ProvisionError::failed(text),
    }
}

/// Makes a directory and those above it, for the owner alone.
pub(super) fn make_directory(path: &Path) -> Result<(), ProvisionError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(MODE_DIRECTORY)
        .create(path)
        .map_err(|error| failure("making", path, &error))
}

/// How much a file has to survive. Each step costs some milliseconds on an ordinary disk, and only a loss of power makes
/// a difference: a crash of ours leaves what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lasting {
    /// After a loss of power it may be gone, or damaged.
    Loosely,
    /// After a loss of power it may be gone, but is never damaged.
    Whole,
    /// It is there after a loss of power.
    Durably,
}

/// Writes a file so that whoever looks sees the old one or the new one.
pub(super) fn write(path: &Path, bytes: &[u8], lasting: Lasting) -> Result<(), ProvisionError> {
    let temporary = path.with_extension("tmp");
    let attempt = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE_FILE)
            .open(&temporary)?;
        file.write_all(bytes)?;
        if lasting >= Lasting::Whole {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        if lasting >= Lasting::Durably {
            sync_directory_of(path)?;
        }
        Ok(())
    };
    attempt().map_err(|error| failure("writing", path, &error))
}

/// Makes durable what was added to, renamed in or removed from the directory that holds `path`.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes a value as JSON, see [`write()`].
pub(super) fn write_json(
    path: &Path,
    value: &impl Serialize,
    lasting: Lasting,
) -> Result<(), ProvisionError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| ProvisionError::failed(format!("{}: {error}", path.display())))?;
    text.push(b'\n');
    write(path, &text, lasting)
}

/// Reads a JSON file; `None` if there is none.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ProvisionError> {
    let Some(bytes) = read(path).map_err(|error| failure("reading", path, &error))? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| ProvisionError::failed(format!("{} is damaged: {error}", path.display())))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    // One more than allowed, so that a file that is too long fails to parse and is not taken for a shorter one.
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Removes a file; that it isn't there is fine.
pub(super) fn remove(path: &Path) -> Result<(), ProvisionError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failure("removing", path, &error)),
    }
}

/// An exclusive lock between processes, released when dropped, and by the kernel when its holder dies.
///
/// The descriptor closes on `exec`, so a program that is started doesn't keep its starter's locks.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock that the file `path` stands for; the file is made if its directory exists.
    /// `None` if the directory doesn't, or has moved away while we waited.
    ///
    /// # Errors
    /// [`ProvisionError::Unavailable`] if somebody holds it until the deadline: nothing was done.
    pub(super) fn acquire(path: &Path, deadline: Deadline) -> Result<Option<Self>, ProvisionError> {
        let open = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE_FILE)
            .open(path);
        let file = match open {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failure("opening", path, &error)),
        };
        let mut wait = LOCK_WAIT_MIN;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(failure("locking", path, &error)),
                Err(TryLockError::WouldBlock) if deadline.has_passed() => {
                    let text = format!("another operation holds {}", path.display());
                    return Err(ProvisionError::unavailable(text));
                }
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(wait.min(deadline.remaining()));
                    wait = (2 * wait).min(LOCK_WAIT_MAX);
                }
            }
        }
        let ours = file
            .metadata()
            .map_err(|error| failure("reading", path, &error))?;
        match fs::metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                Ok(Some(Self { _file: file }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure("reading", path, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(30))
    }

    #[test]
    fn a_lock_excludes_until_it_is_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let held = Lock::acquire(&path, soon()).expect("free").expect("there");
        let error = Lock::acquire(&path, soon()).expect_err("held");
        assert!(matches!(error, ProvisionError::Unavailable(_)), "{error}");
        drop(held);
        assert!(Lock::acquire(&path, soon()).expect("free").is_some());
    }

    #[test]
    fn a_lock_whose_directory_moved_away_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let old = directory.path().join("old");
        make_directory(&old).expect("made");
        let path = old.join("lock");
        let held = Lock::acquire(&path, soon()).expect("free").expect("there");
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || Lock::acquire(&path, Deadline::after(Duration::from_secs(20)))
        });
        // Whether the other thread waits already or finds nothing at all, it must not get the lock.
        fs::rename(&old, directory.path().join("new")).expect("renamed");
        drop(held);
        assert!(
            waiting
                .join()
                .expect("no panic")
                .expect("no error")
                .is_none()
        );
        assert!(Lock::acquire(&path, soon()).expect("no error").is_none());
    }

    #[test]
    fn files_that_are_damaged_or_missing_are_told_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("value.json");
        assert_eq!(read_json::<u32>(&path), Ok(None));
        write_json(&path, &5, Lasting::Durably).expect("written");
        assert_eq!(read_json::<u32>(&path), Ok(Some(5)));
        fs::write(&path, "{").expect("written");
        let error = read_json::<u32>(&path).expect_err("damaged");
        assert!(error.to_string().contains("damaged"), "{error}");
        remove(&path).expect("removed");
        remove(&path).expect("nothing to remove is fine");
    }
}
