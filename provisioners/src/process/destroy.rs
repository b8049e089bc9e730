//! Stopping and destroying instances, and what is kept of the destroyed.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tracing::{debug, warn};

use super::Inner;
use super::create::{clear, exists, is_ours};
use super::files::{Lasting, Lock, failure, remove, sync_directory_of, write, write_json};
use super::identity::{Liveness, ProcessIdentity};
use super::layout::Place;
use super::record::{Doom, ProcessRecord, Record};
use super::terminate::terminate;
use crate::clock::now_ms;
use crate::{Deadline, Destroyed, InstanceId, OperationId, ProvisionError};

/// Of how many destroyed instances the logs are kept.
const LOGS_KEPT: usize = 32;
/// Of how many destroyed instances it is remembered that they were: a call that comes later with their operation would
/// make them anew.
const RECORDS_KEPT: usize = 1024;

/// How an instance's processes are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// The agent is asked first, and killed only if it takes too long.
    Politely,
    /// As if the power were cut.
    AtOnce,
}

/// Ends everything of an instance, after which it stays off until a [`Provisioner::start`](crate::Provisioner::start).
pub(super) fn stop(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let (place, _lock) = inner.lock_instance(id, deadline)?;
    write(&place.stopped(), b"", Lasting::Durably)?;
    remove(&place.starting())?;
    end(inner, &place, Manner::Politely, deadline)
}

/// Ends everything of an instance and orders it to be started again.
pub(super) fn stop_to_restart(
    inner: &Inner,
    id: &InstanceId,
    manner: Manner,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let (place, _lock) = inner.lock_instance(id, deadline)?;
    inner.refuse_if_stopping()?;
    // Before it goes down, so that nobody takes it for dead; and again after, because it may have taken long.
    inner.order_start(&place)?;
    end(inner, &place, manner, deadline)?;
    remove(&place.stopped())?;
    inner.order_start(&place)
}

/// Orders an instance to be started.
pub(super) fn order_start(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let (place, _lock) = inner.lock_instance(id, deadline)?;
    inner.refuse_if_stopping()?;
    remove(&place.stopped())?;
    inner.order_start(&place)
}

/// Ends everything of an instance because the whole fleet goes down: it is meant to come back with it.
pub(super) fn suspend(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let place = inner.root.instance(id);
    let Some(_lock) = Lock::acquire(&place.lock(), deadline)? else {
        return Ok(());
    };
    remove(&place.starting())?;
    end(inner, &place, Manner::Politely, deadline)
}

/// Ends everything of an instance for good and moves what is left to the graveyard. Its disks stay.
pub(super) fn destroy(
    inner: &Inner,
    id: &InstanceId,
    op: &OperationId,
    deadline: Deadline,
) -> Result<Destroyed, ProvisionError> {
    if !is_ours(id) {
        return Ok(Destroyed::AlreadyGone);
    }
    let place = inner.root.instance(id);
    let Some(_lock) = Lock::acquire(&place.lock(), deadline)? else {
        return Ok(Destroyed::AlreadyGone);
    };
    if !exists(&place.doomed())? {
        let doom = Doom {
            operation: op.clone(),
            at_ms: now_ms(),
        };
        write_json(&place.doomed(), &doom, Lasting::Durably)?;
    }
    remove(&place.starting())?;
    end(inner, &place, Manner::Politely, deadline)?;
    bury(inner, id, &place)?;
    Ok(Destroyed::Destroyed)
}

impl Inner {
    /// The place of an instance that is there to stay, and the lock under which it is changed.
    pub(super) fn lock_instance(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<(Place, Lock), ProvisionError> {
        let not_found = || ProvisionError::NotFound(id.clone());
        if !is_ours(id) {
            return Err(not_found());
        }
        let place = self.root.instance(id);
        let lock = Lock::acquire(&place.lock(), deadline)?.ok_or_else(not_found)?;
        if exists(&place.doomed())? {
            return Err(not_found());
        }
        Ok((place, lock))
    }
}

/// Ends all processes of an instance whose lock we hold.
pub(super) fn end(
    inner: &Inner,
    place: &Place,
    manner: Manner,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let agent = ProcessRecord::read(place).unwrap_or_else(|error| {
        // Then its marks have to tell which processes are its own.
        warn!(place = %place.path().display(), %error, "can't read which process it is");
        None
    });
    if let Some(agent) = &agent {
        let liveness = inner.host.liveness(agent).map_err(|error| {
            ProvisionError::failed(format!("looking at process {}: {error}", agent.pid))
        })?;
        if let Liveness::Unknown(why) = liveness {
            return Err(ProvisionError::unavailable(why));
        }
    }
    let grace = match manner {
        // Some of the time that there is belongs to killing.
        Manner::Politely => inner.config.stop_grace.min(deadline.remaining() / 4 * 3),
        Manner::AtOnce => Duration::ZERO,
    };
    let doubtful = terminate(&inner.host, place.path(), agent.as_ref(), grace, deadline)?;
    match Record::read(place) {
        Ok(Some(record)) => refuse_doubt(&record, &doubtful),
        _ if doubtful.is_empty() => Ok(()),
        _ => Err(doubt(&doubtful)),
    }
}

/// With disks at stake, processes that may belong to an instance are too many; without, they are somebody else's
/// as far as anyone can tell.
pub(super) fn refuse_doubt(
    record: &Record,
    doubtful: &[ProcessIdentity],
) -> Result<(), ProvisionError> {
    if doubtful.is_empty() || record.spec.attachments.is_empty() {
        return Ok(());
    }
    Err(doubt(doubtful))
}

fn doubt(doubtful: &[ProcessIdentity]) -> ProvisionError {
    let pids: Vec<_> = doubtful.iter().map(|process| process.pid).collect();
    ProvisionError::failed(format!(
        "processes {pids:?} may belong to it and use its disks, but can't be told from others; end them by hand"
    ))
}

/// Moves an instance to the graveyard, where only its record and its logs are kept: no keys, no tokens.
fn bury(inner: &Inner, id: &InstanceId, place: &Place) -> Result<(), ProvisionError> {
    let grave = inner.root.grave(id);
    // An empty grave by that name can only come from a crash in the middle of clearing it.
    clear(grave.path())?;
    fs::rename(place.path(), grave.path())
        .and_then(|()| sync_directory_of(place.path()))
        .and_then(|()| sync_directory_of(grave.path()))
        .map_err(|error| failure("burying", place.path(), &error))?;
    // It is destroyed. What follows is tidying, which the next burial repeats if it fails.
    if let Err(error) = tidy(&inner.root.graveyard()) {
        warn!(%error, "can't tidy the graveyard");
    }
    Ok(())
}

/// Strips the graves and removes the oldest.
fn tidy(graveyard: &Path) -> Result<(), ProvisionError> {
    let failed = |error: &io::Error| failure("reading", graveyard, error);
    let mut graves = Vec::new();
    for entry in fs::read_dir(graveyard).map_err(|error| failed(&error))? {
        let grave = Place::new(entry.map_err(|error| failed(&error))?.path());
        // The order to destroy it is the last that was written.
        let doomed = fs::metadata(grave.doomed()).and_then(|found| found.modified());
        graves.push((doomed.unwrap_or(SystemTime::UNIX_EPOCH), grave));
    }
    // Latest first.
    graves.sort_unstable_by(|(one, a), (other, b)| (other, b.path()).cmp(&(one, a.path())));
    for (index, (_, grave)) in graves.iter().enumerate() {
        if index >= RECORDS_KEPT {
            clear(grave.path())?;
        } else if index < 2 * LOGS_KEPT {
            // Beyond that all have been stripped before.
            strip(grave, index < LOGS_KEPT)?;
        }
    }
    Ok(())
}

/// Removes everything from a grave but what is kept.
fn strip(grave: &Place, with_logs: bool) -> Result<(), ProvisionError> {
    let kept = |path: &Path| {
        path == grave.record()
            || path == grave.doomed()
            || with_logs && (path == grave.log() || path == grave.old_log())
    };
    let failed = |error: &io::Error| failure("clearing", grave.path(), error);
    for entry in fs::read_dir(grave.path()).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let path = entry.path();
        if kept(&path) {
            continue;
        }
        debug!(path = %path.display(), "removing from the graveyard");
        // Links to disks are links, and removed as such.
        if entry.file_type().map_err(|error| failed(&error))?.is_dir() {
            clear(&path)?;
        } else {
            remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grave(graveyard: &Path, number: u64) -> Place {
        let place = Place::new(graveyard.join(format!("p-{number:012}")));
        fs::create_dir_all(place.state()).expect("made");
        for file in [
            place.record(),
            place.config(),
            place.log(),
            place.old_log(),
            place.doomed(),
        ] {
            fs::write(file, "x").expect("written");
        }
        let doomed = fs::File::options()
            .write(true)
            .open(place.doomed())
            .expect("there");
        let when = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + number);
        doomed.set_modified(when).expect("set");
        place
    }

    #[test]
    fn the_graveyard_is_bounded_and_forgets_the_oldest_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        // As they come: each burial tidies.
        let few = 2 * LOGS_KEPT as u64;
        for number in 0..few {
            grave(path, number);
            tidy(path).expect("tidied");
        }
        for number in 0..few {
            let place = Place::new(path.join(format!("p-{number:012}")));
            let recent = number >= few - LOGS_KEPT as u64;
            assert_eq!(place.log().exists(), recent, "{number}");
            assert_eq!(place.old_log().exists(), recent, "{number}");
            assert!(place.record().exists() && place.doomed().exists());
            assert!(!place.state().exists() && !place.config().exists());
        }
        for number in few..RECORDS_KEPT as u64 + 5 {
            grave(path, number);
        }
        tidy(path).expect("tidied");
        assert_eq!(fs::read_dir(path).expect("readable").count(), RECORDS_KEPT);
        assert!(!path.join(format!("p-{:012}", 4)).exists());
        assert!(path.join(format!("p-{:012}", 5)).exists());
    }
}
