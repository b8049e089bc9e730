//! Finding and killing what is left of a workload.
//!
//! Whatever a guard starts inherits a mark in its environment, [`MARK`], with the guard's directory. The workload's first
//! process is known by its number and start besides: a process may drop its environment, and that of one that changed its
//! user can't be read by an agent that is not root. What such a process started in its turn is not found; ending that is for
//! the flavor's `stop`, and for the watchdog.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use muster_mesh::clock::boot_ms;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// The variable that marks a workload's processes.
pub(super) const MARK: &str = "MUSTER_LEASE";

/// The kernel limits arguments and environment together to 2 MiB by default.
const ENVIRONMENT_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// A line of numbers and a short name.
const STAT_BYTES_MAX: u64 = 4096;

/// How often in a row nothing may be found until nothing is left: a process that was just being made, or was changing its
/// program, is missed by one look and not by three.
const EMPTY_LOOKS: u32 = 3;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// A process that is known by its number and by when it was started, so that no other one is taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its number.
    pub pid: i32,
    /// When it was started, in the kernel's ticks since the boot.
    pub started: u64,
}

impl Known {
    /// The process that has this number now; `None` where there is none, or it is dead and only waits to be asked for.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let mut stat = Vec::new();
        let file = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?;
        file.take(STAT_BYTES_MAX).read_to_end(&mut stat).ok()?;
        // Its own name stands in brackets before, in any bytes, and may have brackets itself.
        let stat = String::from_utf8_lossy(&stat);
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let is_dead = matches!(fields.next()?, "Z" | "X");
        // `man 5 proc`: the state is the third field, and the start the twenty-second.
        let started = fields.nth(18)?.parse().ok()?;
        (!is_dead).then_some(Self { pid, started })
    }
}

/// What is to be found: processes with the mark of a directory, and one that is known besides.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    mark: Vec<u8>,
    known: Option<Known>,
}

/// What is left of a workload at one look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// The processes.
    pub(super) pids: BTreeSet<i32>,
    /// Whether the known one is among them, and its environment can't be read: what it started is not found, then.
    pub(super) blind: bool,
    /// Whether the time was up before it was certain that there is nothing else.
    pub(super) doubted: bool,
}

impl Left {
    /// Whether it is certain that nothing is left.
    pub(super) fn is_nothing(&self) -> bool {
        self.pids.is_empty() && !self.doubted
    }
}

impl Wanted {
    pub(super) fn new(directory: &Path, known: Option<Known>) -> Self {
        let mut mark = MARK.as_bytes().to_vec();
        mark.push(b'=');
        mark.extend_from_slice(directory.as_os_str().as_bytes());
        Self { mark, known }
    }

    /// Kills all of it, until nothing is left or the clock since the boot says `until_ms`. Says what is left, and whether the
    /// known process could not be looked into at any time.
    pub(super) fn kill_all(&self, until_ms: u64) -> io::Result<Left> {
        let (mut empty, mut blind) = (0, false);
        loop {
            let found = self.look(|handle| {
                // One that can't be killed is found again.
                let _ = pidfd_send_signal(handle, Signal::KILL);
            })?;
            blind |= found.blind;
            empty = if found.pids.is_empty() { empty + 1 } else { 0 };
            let certain = empty == EMPTY_LOOKS;
            if certain || boot_ms() >= until_ms {
                return Ok(Left {
                    pids: found.pids,
                    blind,
                    doubted: !certain,
                });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What there is at this moment.
    pub(super) fn find(&self) -> io::Result<Left> {
        self.look(|_| {})
    }

    fn look(&self, meet: impl Fn(&std::os::fd::OwnedFd)) -> io::Result<Left> {
        let mut left = Left::default();
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
            let raw = pid.as_raw_nonzero().get();
            let carried = self.carried_by(pid);
            let is_known = self
                .known
                .is_some_and(|known| known.pid == raw && Known::of(raw) == Some(known));
            if is_known || matches!(carried, Ok(true)) {
                left.blind |= carried.is_err();
                left.pids.insert(raw);
                meet(&handle);
            }
        }
        Ok(left)
    }

    /// Whether a process carries the mark. The dead, who only wait to be asked for, have no environment.
    fn carried_by(&self, pid: Pid) -> io::Result<bool> {
        let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
        let mut environment = Vec::new();
        std::fs::File::open(path)?
            .take(ENVIRONMENT_BYTES_MAX)
            .read_to_end(&mut environment)?;
        Ok(environment
            .split(|byte| *byte == 0)
            .any(|one| one == self.mark))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn start(command: &mut Command) -> Child {
        command.stdout(Stdio::null()).spawn().expect("started")
    }

    fn known(child: &Child) -> Known {
        let pid = i32::try_from(child.id()).expect("a process ID");
        Known::of(pid).expect("it runs")
    }

    fn soon() -> u64 {
        boot_ms() + 10_000
    }

    #[test]
    fn what_is_marked_is_killed_with_its_children_and_nothing_else_is() {
        let directory = tempfile::tempdir().expect("made");
        let other_directory = directory.path().join("other");
        let sleeper = |mark: &Path| {
            start(
                Command::new("/bin/sh")
                    .args(["-c", "setsid sleep 1000 & sleep 1000"])
                    .env(MARK, mark),
            )
        };
        let mut ours = sleeper(directory.path());
        let mut other = sleeper(&other_directory);
        let left = Wanted::new(directory.path(), None).kill_all(soon());
        assert_eq!(left.expect("looked"), Left::default());
        assert!(!ours.wait().expect("ended").success());
        assert!(other.try_wait().expect("asked").is_none(), "it is not ours");
        let in_no_time = Wanted::new(directory.path(), None).kill_all(0);
        assert!(
            !in_no_time.expect("looked").is_nothing(),
            "one look is none"
        );
        let left = Wanted::new(&other_directory, None).kill_all(soon());
        assert!(left.expect("looked").is_nothing());
        other.wait().expect("ended");
    }

    #[test]
    fn what_dropped_its_environment_is_known_by_its_number_and_start() {
        let directory = tempfile::tempdir().expect("made");
        let mut bare = start(Command::new("/bin/sleep").arg("1000").env_clear());
        let is = known(&bare);
        let unmarked = Wanted::new(directory.path(), None);
        assert_eq!(unmarked.find().expect("looked"), Left::default());
        // A later process of the same number is another one.
        let started = is.started + 1;
        let later = Wanted::new(directory.path(), Some(Known { started, ..is }));
        assert_eq!(later.kill_all(soon()).expect("looked"), Left::default());
        assert!(bare.try_wait().expect("asked").is_none(), "it is not ours");
        let wanted = Wanted::new(directory.path(), Some(is));
        assert_eq!(wanted.find().expect("looked").pids, [is.pid].into());
        // Nobody waits for it yet, so it is dead and still there: nothing is left of it.
        assert_eq!(wanted.kill_all(soon()).expect("looked"), Left::default());
        assert!(!bare.wait().expect("ended").success());
        assert_eq!(Known::of(is.pid), None);
    }
}
