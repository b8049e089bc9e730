//! Replacing a small file so that a crash leaves the old content or the new.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
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
    let mut file = create_private_file(&neighbour)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| StateError::io("write", &neighbour, error))?;
    drop(file);
    std::fs::rename(&neighbour, path).map_err(|error| StateError::io("replace", path, error))?;
    sync_dir(parent_of(path))
}

/// Makes an empty file in the place of any that is there, readable by the owner only (0600), open for reading and
/// writing.
///
/// # Errors
/// [`StateError::Io`] with the step that failed.
pub(crate) fn create_private_file(path: &Path) -> Result<File, StateError> {
    // Removed rather than reused: what a crash (or somebody else) left there may be readable by others.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(StateError::io("remove", path, error));
        }
        _ => {}
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| StateError::io("create", path, error))
}

/// Makes a directory for the owner only (0700), with its parents. One that exists and is empty, or has `ours` in it,
/// is made so; one with other things in it is somebody else's too and stays as it is, and the files in it that are ours
/// are the owner's alone anyway.
pub(super) fn create_private_dir(path: &Path, ours: &str) -> Result<(), StateError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| StateError::io("create directory", path, error))?;
    let looked = (|| {
        let mode = std::fs::metadata(path)?.permissions().mode();
        let open = mode & 0o077 != 0;
        Ok(open && (path.join(ours).exists() || std::fs::read_dir(path)?.next().is_none()))
    })();
    if looked.map_err(|error| StateError::io("look into", path, error))? {
        std::fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(|error| StateError::io("make private", path, error))?;
    }
    Ok(())
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
    fn an_open_directory_is_closed_if_it_is_empty_or_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let open = || std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(&path).unwrap();
        open();
        create_private_dir(&path, "lock").unwrap();
        assert_eq!(mode(), 0o700, "it was empty");
        open();
        std::fs::write(path.join("thesis.tex"), "").unwrap();
        create_private_dir(&path, "lock").unwrap();
        assert_eq!(mode(), 0o755, "somebody else uses it");
        std::fs::write(path.join("lock"), "").unwrap();
        create_private_dir(&path, "lock").unwrap();
        assert_eq!(mode(), 0o700, "an agent uses it");
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
