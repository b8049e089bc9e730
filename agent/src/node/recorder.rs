//! The leader's record of what it judged: a ring of files, for `muster replay`.

use std::path::{Path, PathBuf};

use muster_mesh::state_dir::FileKind;

/// The directory in the state directory.
pub(crate) const DIRECTORY: &str = "decisions";

/// How the files end.
pub(crate) const ENDING: &str = "replay";

/// Records that are kept: some hours of a fleet in trouble.
const FILES_MAX: usize = 128;

/// Bytes of records that are kept. A record of five machines takes some 50 kB, one of 10,000 some 5 MB.
const BYTES_MAX: u64 = 32 << 20;

/// How a record is kept.
pub(crate) const RECORD: FileKind = FileKind {
    tag: *b"rply",
    version: crate::replay::RECORD_VERSION,
    what: "record of a decision",
    remedy: "Remove it: nothing else depends on it.",
    size_max: 16 << 20,
};

/// Keeps records in a ring of files. One writer at a time.
#[derive(Debug)]
pub(super) struct Recorder {
    directory: PathBuf,
    next: u64,
}

impl Recorder {
    /// Goes on after the last record that is there.
    pub(super) fn new(directory: PathBuf) -> Self {
        let last = files(&directory).last().map(|(number, _)| *number);
        Self {
            directory,
            next: last.map_or(0, |last| last + 1),
        }
    }

    /// Writes a record, in the background: decisions don't wait for it, and it may be lost.
    pub(super) fn keep(&mut self, record: Vec<u8>) {
        let directory = self.directory.clone();
        let path = directory.join(format!("{:010}.{ENDING}", self.next));
        self.next += 1;
        if record.len() > RECORD.size_max {
            tracing::debug!(
                bytes = record.len(),
                "a decision is too large to be recorded"
            );
            return;
        }
        drop(tokio::task::spawn_blocking(move || {
            let written = std::fs::create_dir_all(&directory)
                .map_err(anyhow::Error::from)
                .and_then(|()| Ok(RECORD.write(&path, &record)?));
            match written {
                Ok(()) => make_room(&directory),
                Err(error) => tracing::debug!(%error, "a decision was not recorded"),
            }
        }));
    }
}

/// The records of a directory, oldest first.
pub(crate) fn files(directory: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let numbered = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        let ours = path.extension().is_some_and(|ending| ending == ENDING);
        let number = path.file_stem()?.to_str()?.parse().ok()?;
        ours.then_some((number, path))
    });
    let mut files: Vec<_> = numbered.collect();
    files.sort();
    files
}

/// Removes the oldest records above the limits.
fn make_room(directory: &Path) {
    let mut bytes = 0;
    for (kept, (_, path)) in files(directory).iter().rev().enumerate() {
        bytes += std::fs::metadata(path).map_or(0, |file| file.len());
        if kept >= FILES_MAX || (bytes > BYTES_MAX && kept > 0) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_ring_keeps_the_last_records_and_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let directory = dir.path().join(DIRECTORY);
        let mut recorder = Recorder::new(directory.clone());
        for number in 0..FILES_MAX as u64 + 3 {
            recorder.keep(vec![7; 100]);
            // One after the other, so that the order is known.
            while !directory.join(format!("{number:010}.{ENDING}")).exists() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        while files(&directory).len() > FILES_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let kept = files(&directory);
        assert_eq!(kept.first().map(|(number, _)| *number), Some(3));
        assert_eq!(Recorder::new(directory).next, FILES_MAX as u64 + 3);
        let content = RECORD.read(&kept[0].1).expect("whole").expect("there");
        assert_eq!(content, vec![7; 100]);
    }
}
