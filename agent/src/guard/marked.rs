//! Finding and killing what is left of a workload.
//!
//! Whatever a guard starts inherits a mark in its environment, [`MARK`], with the guard's directory. A process that drops
//! its environment is not found; ending those is for the flavor's `stop`, and for the watchdog.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use muster_mesh::clock::boot_ms;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The variable that marks a workload's processes.
pub(super) const MARK: &str = "MUSTER_LEASE";

/// The kernel limits arguments and environment together to 2 MiB by default.
const ENVIRONMENT_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// How often in a row nothing may be found until nothing is left: a process that was just being made, or was changing its
/// program, is missed by one look and not by three.
const EMPTY_LOOKS: u32 = 3;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Kills everything that carries the mark of `directory`, until nothing does or the clock since the boot says `until_ms`.
/// Says whether nothing is left.
pub(super) fn kill_all(directory: &Path, until_ms: u64) -> io::Result<bool> {
    let mut mark = MARK.as_bytes().to_vec();
    mark.push(b'=');
    mark.extend_from_slice(directory.as_os_str().as_bytes());
    let mut empty = 0;
    loop {
        empty = if kill_marked(&mark)? == 0 {
            empty + 1
        } else {
            0
        };
        if empty == EMPTY_LOOKS {
            return Ok(true);
        }
        if boot_ms() >= until_ms {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Kills what is marked at this moment. Says how many those were.
fn kill_marked(mark: &[u8]) -> io::Result<usize> {
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        // The handle first: what is read after it is of the process that the signal goes to, or of none.
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        if carries(pid, mark) && pidfd_send_signal(&handle, Signal::KILL).is_ok() {
            killed += 1;
        }
    }
    Ok(killed)
}

/// Whether a process carries the mark. The dead, who only wait to be asked for, have no environment.
fn carries(pid: Pid, mark: &[u8]) -> bool {
    let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
    let mut environment = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| {
        file.take(ENVIRONMENT_BYTES_MAX)
            .read_to_end(&mut environment)
    });
    read.is_ok() && environment.split(|byte| *byte == 0).any(|one| one == mark)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_is_marked_is_killed_with_its_children_and_nothing_else_is() {
        let directory = tempfile::tempdir().expect("made");
        let sleeper = |mark: &str| {
            Command::new("/bin/sh")
                .args(["-c", "setsid sleep 1000 & sleep 1000"])
                .env(MARK, mark)
                .stdout(Stdio::null())
                .spawn()
                .expect("started")
        };
        let mut ours = sleeper(&directory.path().display().to_string());
        let mut other = sleeper(&directory.path().join("other").display().to_string());
        assert!(kill_all(directory.path(), boot_ms() + 10_000).expect("looked"));
        assert!(!ours.wait().expect("ended").success());
        assert!(other.try_wait().expect("asked").is_none(), "it is not ours");
        assert!(kill_all(&directory.path().join("other"), boot_ms() + 10_000).expect("looked"));
        other.wait().expect("ended");
    }
}
