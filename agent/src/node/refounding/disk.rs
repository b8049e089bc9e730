//! Whether a new log could be kept on this machine's disk.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;

/// Bytes that must fit: a new store with a copy of a small fleet's state in it.
const ROOM_BYTES: usize = 2 << 20;

/// How long that may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Held by who writes.
static PROBING: Semaphore = Semaphore::const_new(1);

/// Writes a file as large as a small log, waits until the disk has it, and deletes it.
///
/// # Errors
/// What the disk says, or that it says nothing for 10 s.
pub(super) async fn probe(directory: &Path) -> anyhow::Result<()> {
    tokio::time::timeout(WITHIN, probe_in_turn(directory))
        .await
        .with_context(|| {
            format!(
                "the disk of {} did not take a file within {} s; see whether it hangs",
                directory.display(),
                WITHIN.as_secs()
            )
        })?
}

async fn probe_in_turn(directory: &Path) -> anyhow::Result<()> {
    // A disk that hangs keeps one thread, however often it is tried.
    let turn = PROBING.acquire().await?;
    let path = directory.join("room");
    let tried = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let written = write(&path);
        let removed = std::fs::remove_file(&path);
        written.and(removed).with_context(|| {
            format!(
                "a new log needs {} MiB at {}; make room on its disk",
                ROOM_BYTES >> 20,
                path.display()
            )
        })
    });
    tried.await?
}

fn write(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(&vec![0; ROOM_BYTES])?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_takes_a_log_is_told_from_one_that_does_not() {
        let directory = tempfile::tempdir().expect("made");
        probe(directory.path()).await.expect("there is room");
        let left = std::fs::read_dir(directory.path()).expect("readable");
        assert_eq!(left.count(), 0, "nothing is left behind");
        // A device that is always full, in the place of the file.
        std::os::unix::fs::symlink("/dev/full", directory.path().join("room")).expect("made");
        let error = probe(directory.path()).await.expect_err("it is full");
        assert!(format!("{error:#}").contains("make room"), "{error:#}");
    }
}
