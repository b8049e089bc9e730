//! A machine's own directory: small files that survive a crash at any moment, owned by one agent at a time.
//!
//! - [`write_durably`] replaces a file so that a crash leaves the old content or the new, never a mixture.
//! - [`FileKind`] gives a file a tag, a version and a checksum, so that what was damaged or put in the wrong
//!   place is said with its path and a remedy instead of being half understood.
//! - [`StateDir`] locks the directory, so that two agents never share one, and keeps the [`Generation`].

mod checked;
mod durable;
mod lock;

use std::io;
use std::path::{Path, PathBuf};

pub use self::checked::FileKind;
pub(crate) use self::durable::create_private_file;
pub use self::durable::write_durably;
pub use self::lock::DirLock;
use crate::identity::Generation;

/// Why a file or the directory of an agent could not be used. Every variant names the path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The operating system refused; the source says why (permissions, full disk, read-only filesystem).
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not what was written: cut short, altered, or of another kind.
    #[error("`{}` ({what}) is damaged: {detail}. {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the file is for.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// The file was written by a newer muster.
    #[error(
        "`{}` ({what}) has format version {found}, this muster knows up to {known}: start the newer muster again",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// What the file is for.
        what: &'static str,
        /// Version in the file.
        found: u16,
        /// Highest version that this build reads.
        known: u16,
    },
    /// Another agent runs on the same directory.
    #[error("`{}` is in use by another agent{}: stop it first, or give this one its own directory",
        path.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Its process, when it said so.
        pid: Option<u32>,
    },
}

impl StateError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// What the operating system said, for those who name the file themselves.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Io { source, .. } => source,
            other => io::Error::other(other),
        }
    }
}

/// The counter that tells one life of the agent from the next.
const GENERATION: FileKind = FileKind {
    tag: *b"gen ",
    version: 1,
    what: "the generation counter",
    remedy: "Delete it: the next start takes its generation from the clock, which must not be behind the last start's.",
    size_max: 64,
};

/// An agent's directory, locked for as long as this value lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: DirLock,
}

impl StateDir {
    /// Opens the directory, creating it for the owner only (0700) if need be, and locks it. An existing one that is
    /// empty, or an agent's, is made the owner's alone.
    ///
    /// # Errors
    /// [`StateError::Locked`] when another process has it; [`StateError::Io`] otherwise.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        durable::create_private_dir(path, lock::FILE)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: DirLock::take(path)?,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Begins a new life of this machine: returns `max(persisted + 1, unix_seconds)`, durable on return.
    ///
    /// To be called before the first packet is sent. The same call serves a machine that must outbid a
    /// rumour of its own death with a higher generation.
    ///
    /// # Errors
    /// When the counter cannot be read or written: then no packet may be sent, because two lives could be
    /// taken for one.
    pub fn begin_generation(&self, unix_seconds: u64) -> Result<Generation, StateError> {
        let path = self.file("generation");
        let persisted = match GENERATION.read(&path)? {
            None => None,
            Some(bytes) => Some(Generation(u64::from_le_bytes(
                bytes
                    .as_slice()
                    .try_into()
                    .map_err(|_| GENERATION.damaged(&path, "it does not hold one number"))?,
            ))),
        };
        let next = Generation::next(persisted, unix_seconds);
        GENERATION.write(&path, &next.0.to_le_bytes())?;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_only_grow() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.begin_generation(100).unwrap(), Generation(100));
        assert_eq!(state.begin_generation(100).unwrap(), Generation(101));
        assert_eq!(state.begin_generation(50).unwrap(), Generation(102));
        drop(state);
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.begin_generation(7).unwrap(), Generation(103));
        assert_eq!(state.begin_generation(9000).unwrap(), Generation(9000));
    }

    #[test]
    fn a_cut_generation_is_said_with_path_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        state.begin_generation(100).unwrap();
        let path = state.file("generation");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let error = state.begin_generation(100).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains("Delete it"), "{error}");
    }

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let held = StateDir::open(dir.path()).unwrap();
        let error = StateDir::open(dir.path()).unwrap_err();
        assert!(
            matches!(error, StateError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        drop(held);
        StateDir::open(dir.path()).unwrap();
    }
}
