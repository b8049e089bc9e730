//! Replacing a small file so that a crash leaves the old content or the new.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::StateError;

/// Replaces `path` by a file with these bytes, readable by the owner only (0600), durable on return.
///
/// Written to a neighbour, synced, renamed over the old one, and the directory synced: whatever moment the
/// machine dies at, a reader finds the whole old content or the whole new. A neighbour left behind by a crash
/// is replaced next time. One writer at a time per path is assumed ([`super::StateDir`] sees to that).
///
/// # Errors
/// [`StateError::Io`] with the step that failed; the old content is then still in place.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let neighbour = neighbour_of(path);
    // Removed rather than reused: what a crash (or somebody else) left there may be readable by others.
    match std::fs::remove_file(&neighbour) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(StateError::io("remove", &neighbour, error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&neighbour)
        .map_err(|error| StateError::io("create", &neighbour, error))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| StateError::io("write", &neighbour, error))?;
    drop(file);
    std::fs::rename(&neighbour, path).map_err(|error| StateError::io("replace", path, error))?;
    sync_dir(parent_of(path))
}

/// Makes a directory for the owner only (0700), with its parents; an existing one is left as it is.
pub(super) fn create_private_dir(path: &Path) -> Result<(), StateError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| StateError::io("create directory", path, error))
}

/// A rename is durable only once the directory that holds the name is.
fn sync_dir(path: &Path) -> Result<(), StateError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| StateError::io("sync directory", path, error))
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn neighbour_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn replaces_and_leaves_no_neighbour() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_durably(&path, b"old").unwrap();
        std::fs::write(neighbour_of(&path), b"torn write of a dead agent, longer").unwrap();
        write_durably(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn says_which_path_failed() {
        let error = write_durably(Path::new("/nonexistent/dir/file"), b"x").unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/dir/file"),
            "{error}"
        );
    }
}
