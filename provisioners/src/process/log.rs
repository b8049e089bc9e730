//! Keeping an agent's log from filling the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::files::failure;
use super::layout::Place;
use crate::ProvisionError;

/// How long a log may become before its beginning is cut off.
const LOG_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// How much of its end is kept then, as the old log.
const KEPT_BYTES: u64 = 1024 * 1024;

/// Before a start: a long log becomes the old log.
pub(super) fn rotate(place: &Place) -> Result<(), ProvisionError> {
    let path = place.log();
    match fs::metadata(&path) {
        Ok(found) if found.len() > LOG_MAX_BYTES => {
            fs::rename(&path, place.old_log()).map_err(|error| failure("moving", &path, &error))
        }
        _ => Ok(()),
    }
}

/// While the agent runs: the end of a long log is copied to the old log, and the log begins anew. The agent appends,
/// so it goes on at the beginning; what it writes between the two steps is lost.
pub(super) fn cut(place: &Place) -> io::Result<bool> {
    let path = place.log();
    let length = match fs::metadata(&path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if length <= LOG_MAX_BYTES {
        return Ok(false);
    }
    let mut log = OpenOptions::new().read(true).write(true).open(&path)?;
    // Others look as well; whoever comes second would find the log short and take its end for nothing.
    if log.try_lock().is_err() || log.metadata()?.len() < length {
        return Ok(false);
    }
    log.seek(SeekFrom::Start(length - KEPT_BYTES))?;
    let mut end = Vec::new();
    // Bounded, although the agent goes on writing.
    (&log).take(2 * KEPT_BYTES).read_to_end(&mut end)?;
    let mut old = File::create(place.old_log())?;
    old.write_all(&end)?;
    log.set_len(0)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_cut_and_its_end_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::new(directory.path());
        assert!(!cut(&place).expect("no log is fine"));
        let mut log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(place.log())
            .expect("made");
        log.write_all(b"short").expect("written");
        assert!(!cut(&place).expect("no error"));

        let length = usize::try_from(LOG_MAX_BYTES).expect("fits");
        log.write_all(&vec![b'x'; length]).expect("written");
        log.write_all(b"the end").expect("written");
        assert!(cut(&place).expect("no error"));
        let old = fs::read(place.old_log()).expect("there");
        assert_eq!(old.len() as u64, KEPT_BYTES);
        assert!(old.ends_with(b"the end"));
        // Who had it open goes on at its beginning.
        log.write_all(b"go on").expect("written");
        assert_eq!(fs::read(place.log()).expect("there"), b"go on");

        log.write_all(&vec![b'x'; length]).expect("written");
        rotate(&place).expect("moved");
        assert!(!place.log().exists());
    }
}
