//! The socket file: made with the right mode at once, cleared only when stale, found under any path.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Read and write for the owner and the group: who may administer the machine is a matter of group membership.
const SOCKET_MODE: u32 = 0o660;
const PRIVATE_MODE: u32 = 0o600;

/// Unix socket addresses hold at most 107 bytes; longer paths are reached through `/proc/self/fd`.
const PATH_BYTES_MAX: usize = 107;

/// Why the socket can't be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another agent listens there.
    #[error(
        "another agent already listens at {path}; stop it, or give this one a socket of its own"
    )]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// Something that is no socket has the name, and is left alone.
    #[error("{path} exists and is no socket; move it away, or choose another path")]
    NotASocket {
        /// The socket's path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("can't listen at {path}: {source}")]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A listening socket whose file goes with it.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our file, so that a successor's is never removed.
    file: (u64, u64),
}

impl Socket {
    /// Where its file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next connection.
    ///
    /// # Errors
    /// The system's own.
    pub async fn accept(&self) -> io::Result<(UnixStream, tokio::net::unix::SocketAddr)> {
        self.listener.accept().await
    }

    /// Listens at `path`. A socket file that nobody listens at any more is replaced.
    ///
    /// The new socket is made under a temporary name, given its mode, and renamed into place: at no moment is
    /// there one with a wider mode, or none at all.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(path: &Path) -> Result<Self, BindError> {
        Self::bind_as(path, SOCKET_MODE).await
    }

    /// [`bind`](Self::bind), for this user alone.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind_private(path: &Path) -> Result<Self, BindError> {
        Self::bind_as(path, PRIVATE_MODE).await
    }

    async fn bind_as(path: &Path, mode: u32) -> Result<Self, BindError> {
        let io = |source| BindError::Io {
            path: path.to_owned(),
            source,
        };
        ensure_free(path).await?;
        let (directory, name) = split(path).map_err(io)?;
        let temporary = directory.join(format!(".{name}.{}", std::process::id()));
        // Left by a process of the same ID that died between the two steps.
        remove_if_present(&temporary).map_err(io)?;

        let reach = Reach::new(&temporary).map_err(io)?;
        let listener = UnixListener::bind(&reach.path).map_err(io)?;
        let placed = std::fs::set_permissions(&temporary, PermissionsExt::from_mode(mode))
            .and_then(|()| std::fs::symlink_metadata(&temporary))
            .and_then(|metadata| std::fs::rename(&temporary, path).map(|()| metadata));
        match placed {
            Ok(metadata) => Ok(Self {
                listener,
                path: path.to_owned(),
                file: (metadata.dev(), metadata.ino()),
            }),
            Err(error) => {
                // The first failure is the one to tell.
                let _ = std::fs::remove_file(&temporary);
                Err(io(error))
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours {
            // A file that stays is stale, and cleared by whoever binds next.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Connects to the agent that listens at `path`.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let reach = Reach::new(path)?;
    UnixStream::connect(&reach.path).await
}

async fn ensure_free(path: &Path) -> Result<(), BindError> {
    let io = |source| BindError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(BindError::NotASocket {
            path: path.to_owned(),
        }),
        Ok(_) => match connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io(error)),
            Ok(_) => Err(BindError::InUse {
                path: path.to_owned(),
            }),
        },
    }
}

/// A path short enough for a socket address, and whatever keeps it valid.
struct Reach {
    path: PathBuf,
    _directory: Option<File>,
}

impl Reach {
    fn new(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self {
                path: path.to_owned(),
                _directory: None,
            });
        }
        let (directory, name) = split(path)?;
        let directory = File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()));
        Ok(Self {
            path,
            _directory: Some(directory),
        })
    }
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((directory, name))
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn has_its_mode_and_goes_with_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("api.sock");
        let socket = Socket::bind(&path).await.expect("free");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("there").count(),
            1
        );
        connect(&path).await.expect("it listens");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_living_agent_keeps_its_socket_and_a_dead_one_loses_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("api.sock");
        let first = Socket::bind(&path).await.expect("free");
        assert!(matches!(
            Socket::bind(&path).await,
            Err(BindError::InUse { .. })
        ));
        // As after `kill -9`: the file stays, nobody listens.
        let leftover = directory.path().join("kept");
        std::fs::rename(&path, &leftover).expect("same directory");
        drop(first);
        std::fs::rename(&leftover, &path).expect("same directory");
        assert!(connect(&path).await.is_err());
        let _second = Socket::bind(&path)
            .await
            .expect("stale sockets are cleared");
        connect(&path).await.expect("it listens");
    }

    #[tokio::test]
    async fn a_successors_socket_is_not_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("api.sock");
        let first = Socket::bind(&path).await.expect("free");
        std::fs::remove_file(&path).expect("there");
        let _second = Socket::bind(&path).await.expect("free");
        drop(first);
        connect(&path)
            .await
            .expect("the second one's file is still there");
    }

    #[tokio::test]
    async fn other_files_are_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("precious");
        std::fs::write(&path, "data").expect("writable");
        assert!(matches!(
            Socket::bind(&path).await,
            Err(BindError::NotASocket { .. })
        ));
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "data");
    }

    #[tokio::test]
    async fn paths_of_any_length_work() {
        let directory = tempfile::tempdir().expect("a directory");
        let deep = directory.path().join("d".repeat(120));
        std::fs::create_dir(&deep).expect("writable");
        let path = deep.join("api.sock");
        let _socket = Socket::bind(&path).await.expect("long paths work");
        connect(&path).await.expect("it listens");
    }
}
