//! One agent per directory.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StateError;

/// The file that is locked.
pub(super) const FILE: &str = "lock";

/// Holds the lock of a directory; the kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Locks `dir` for this process.
    ///
    /// # Errors
    /// [`StateError::Locked`] with the owner's pid when somebody else has it.
    pub fn take(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join(FILE);
        let io = |doing| move |error| StateError::io(doing, &dir.join(FILE), error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io("open"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(StateError::Locked {
                    path: dir.to_owned(),
                    pid: read_pid(&mut file),
                });
            }
            Err(errno) => return Err(StateError::io("lock", &path, errno.into())),
        }
        // The file stays when the lock is given up: deleting it would let a waiting process lock a ghost.
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io("write"))?;
        Ok(Self { _file: file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
