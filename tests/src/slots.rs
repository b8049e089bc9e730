//! Keeps tests from starting more fleets than the machine can run at once, in this process and in others.

use std::fs::{self, File};
use std::thread;

use crate::wait::PAUSE;

/// The right to run a fleet; ends when dropped, also when its process is killed.
#[derive(Debug)]
pub struct Slot {
    _locks: Vec<File>,
}

/// How many fleets may run at once: `$MUSTER_TEST_FLEETS`, by default one per processor and four at most.
fn slots_max() -> usize {
    let given = std::env::var("MUSTER_TEST_FLEETS")
        .ok()
        .and_then(|text| text.parse().ok());
    given
        .unwrap_or_else(|| thread::available_parallelism().map_or(2, |cpus| cpus.get().min(4)))
        .max(1)
}

fn lock_file(number: usize) -> File {
    let dir = std::env::temp_dir().join("muster-test-slots");
    fs::create_dir_all(&dir).expect("the temporary directory is writable");
    let path = dir.join(number.to_string());
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .expect("the lock is ours to open")
}

/// Waits for one slot.
pub fn one() -> Slot {
    loop {
        for number in 0..slots_max() {
            let file = lock_file(number);
            if file.try_lock().is_ok() {
                return Slot { _locks: vec![file] };
            }
        }
        thread::sleep(PAUSE);
    }
}

/// Waits for all slots: for measurements, which anything else would spoil.
pub fn all() -> Slot {
    let lock = |number| {
        let file = lock_file(number);
        file.lock().expect("locks wait, they do not fail");
        file
    };
    // Always in the same order, so that two of these cannot wait for each other.
    Slot {
        _locks: (0..slots_max()).map(lock).collect(),
    }
}
