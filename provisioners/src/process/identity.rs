//! Which process is meant, beyond any doubt.
//!
//! A process ID alone says nothing: numbers are used again. A process is told from all others by its ID, its
//! start time, the boot that both count from, and the namespace that the ID is valid in.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A `stat` line is below 1 kB; a name can't make it longer than this.
const STAT_MAX_BYTES: u64 = 4096;

/// Set among the flags of `stat` for a part of the kernel (`PF_KTHREAD`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Exactly one process, past or present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessIdentity {
    /// Its number.
    pub(super) pid: u32,
    /// When it started, in clock ticks since the boot (`/proc/PID/stat`, field 22).
    pub(super) started: u64,
    /// The boot's ID.
    pub(super) boot: String,
    /// The namespace in which the number means anything.
    pub(super) namespace: String,
}

/// Whether a process lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Liveness {
    Alive,
    /// Certainly not any more, and why.
    Dead(&'static str),
    /// It can't be seen from here, and why.
    Unknown(&'static str),
}

/// The computer (and the part of it) that we run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    boot: String,
    namespace: String,
}

impl Host {
    /// Where this process runs.
    pub(super) fn current() -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let namespace = fs::read_link("/proc/self/ns/pid")?;
        Ok(Self {
            boot: boot.trim().to_owned(),
            namespace: namespace.to_string_lossy().into_owned(),
        })
    }

    /// The process that has the number `pid` now; `None` if there is none, or only its remains.
    pub(super) fn process(&self, pid: u32) -> io::Result<Option<ProcessIdentity>> {
        Ok(stat(pid)?
            .filter(|stat| !stat.is_dead())
            .map(|stat| self.identity(&stat)))
    }

    pub(super) fn identity(&self, stat: &Stat) -> ProcessIdentity {
        ProcessIdentity {
            pid: stat.pid,
            started: stat.started,
            boot: self.boot.clone(),
            namespace: self.namespace.clone(),
        }
    }

    /// Whether that very process lives, and not merely one with its number.
    pub(super) fn liveness(&self, process: &ProcessIdentity) -> io::Result<Liveness> {
        if process.boot != self.boot {
            return Ok(Liveness::Dead(
                "the computer was restarted since it started",
            ));
        }
        if process.namespace != self.namespace {
            return Ok(Liveness::Unknown(
                "it was started in another PID namespace (container)",
            ));
        }
        Ok(match stat(process.pid)? {
            None => Liveness::Dead("there is no process of its number"),
            Some(stat) if stat.started != process.started => {
                Liveness::Dead("its number belongs to another process")
            }
            Some(stat) if stat.is_dead() => Liveness::Dead("it has exited"),
            Some(_) => Liveness::Alive,
        })
    }

    /// Whether the number of that process can't have been given to another one that lives now.
    pub(super) fn owns_its_number(&self, process: &ProcessIdentity) -> io::Result<bool> {
        if process.boot != self.boot || process.namespace != self.namespace {
            return Ok(false);
        }
        Ok(stat(process.pid)?.is_none_or(|stat| stat.started == process.started))
    }

    /// A handle of that very process which stays valid whatever becomes of its number; `None` if it is dead.
    pub(super) fn open(&self, process: &ProcessIdentity) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The handle means whichever process had the number when it was opened. If that very process is there
        // now, its number wasn't free in between, so it is the one.
        Ok(match self.liveness(process)? {
            Liveness::Alive => Some(handle),
            Liveness::Dead(_) | Liveness::Unknown(_) => None,
        })
    }
}

/// What `/proc/PID/stat` says, as far as we need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: u32,
    pub(super) state: char,
    pub(super) session: u32,
    pub(super) started: u64,
    flags: u64,
    /// Where its environment ends in its memory; 0 if we may not know.
    environment_end: u64,
}

impl Stat {
    /// Whether only an exit code is left of it, which nobody has asked for yet.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Whether it is a part of the kernel, without memory or environment of its own.
    pub(super) fn is_kernel_thread(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }

    /// Whether it is between two programs: the old one's environment has gone, the new one's isn't there yet.
    pub(super) fn is_changing_program(&self) -> bool {
        !self.is_dead() && !self.is_kernel_thread() && self.environment_end == 0
    }

    /// Reads the line. The name, in parentheses, may itself contain anything.
    fn parse(line: &str) -> Option<Self> {
        let (pid, rest) = line.split_once(" (")?;
        let (_, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split_ascii_whitespace();
        // The state is field 3 of the line.
        let state = fields.next()?.chars().next()?;
        // A process that is just being forgotten is in session -1, which is none.
        let session: i64 = fields.nth(2)?.parse().ok()?;
        let flags = fields.nth(2)?.parse().ok()?;
        let started = fields.nth(12)?.parse().ok()?;
        let environment_end = fields.nth(28).and_then(|end| end.parse().ok()).unwrap_or(0);
        Some(Self {
            pid: pid.parse().ok()?,
            state,
            session: u32::try_from(session).unwrap_or(0),
            started,
            flags,
            environment_end,
        })
    }
}

/// What there is of a process; `None` if nothing.
pub(super) fn stat(pid: u32) -> io::Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    let mut line = String::new();
    let read = fs::File::open(Path::new(&path))
        .and_then(|file| file.take(STAT_MAX_BYTES).read_to_string(&mut line));
    match read {
        Ok(_) => {}
        // The process may end between opening and reading.
        Err(error) if is_gone(&error) => return Ok(None),
        // A name that is no UTF-8: read it again as bytes.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => match fs::read(&path) {
            Ok(bytes) => line = String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    }
    Stat::parse(&line).map(Some).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{path} is not understood"),
        )
    })
}

/// Whether an error of `/proc` means that the process has gone.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn host() -> Host {
        Host::current().expect("Linux")
    }

    #[test]
    fn this_process_is_itself_and_nobody_else() {
        let host = host();
        let me = host
            .process(std::process::id())
            .expect("readable")
            .expect("alive");
        assert_eq!(host.liveness(&me).expect("readable"), Liveness::Alive);
        assert!(host.open(&me).expect("opened").is_some());

        // The number was used again: the start time differs.
        let reused = ProcessIdentity {
            started: me.started - 1,
            ..me.clone()
        };
        assert!(matches!(
            host.liveness(&reused).expect("readable"),
            Liveness::Dead(_)
        ));
        assert!(host.open(&reused).expect("no error").is_none());
        assert!(!host.owns_its_number(&reused).expect("readable"));

        let before = ProcessIdentity {
            boot: "another".into(),
            ..me.clone()
        };
        assert!(matches!(
            host.liveness(&before).expect("readable"),
            Liveness::Dead(_)
        ));
        let elsewhere = ProcessIdentity {
            namespace: "pid:[1]".into(),
            ..me
        };
        assert!(matches!(
            host.liveness(&elsewhere).expect("readable"),
            Liveness::Unknown(_)
        ));
    }

    #[test]
    fn a_zombie_is_dead() {
        let host = host();
        let mut child = Command::new("sleep").arg("1000").spawn().expect("started");
        let identity = host.process(child.id()).expect("readable").expect("alive");
        child.kill().expect("killed");
        // Not waited for, so it stays as a zombie.
        let start = tokio::time::Instant::now();
        while host.liveness(&identity).expect("readable") == Liveness::Alive {
            assert!(start.elapsed().as_secs() < 20, "it doesn't die");
            std::thread::yield_now();
        }
        assert_eq!(
            host.liveness(&identity).expect("readable"),
            Liveness::Dead("it has exited")
        );
        assert!(host.owns_its_number(&identity).expect("readable"));
        child.wait().expect("reaped");
        assert!(matches!(
            host.liveness(&identity).expect("readable"),
            Liveness::Dead(_)
        ));
    }

    #[test]
    fn a_name_may_contain_anything() {
        let line = "12 (a) R 1 (x) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3\n";
        let stat = Stat::parse(line).expect("parses");
        assert_eq!(
            (stat.pid, stat.state, stat.session, stat.started),
            (12, 'S', 3, 98765)
        );
        assert!(!stat.is_kernel_thread());
        let line = "7 (sleep) X 0 -1 -1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 0 0 98765 1 2 3\n";
        let stat = Stat::parse(line).expect("parses");
        assert!(stat.is_dead() && stat.session == 0, "{stat:?}");
        assert_eq!(Stat::parse("12 (a) S 1"), None);
    }

    #[test]
    fn the_kernels_own_threads_are_told_apart() {
        let me = stat(std::process::id()).expect("readable").expect("alive");
        assert!(!me.is_kernel_thread() && !me.is_changing_program());
        // An empty environment has an end as well.
        let mut child = Command::new("sleep")
            .arg("1000")
            .env_clear()
            .spawn()
            .expect("started");
        let start = tokio::time::Instant::now();
        while stat(child.id())
            .expect("readable")
            .expect("alive")
            .is_changing_program()
        {
            assert!(start.elapsed().as_secs() < 20, "it never begins");
        }
        child.kill().expect("killed");
        child.wait().expect("reaped");
        // The kernel's own, where there are any to be seen.
        if let Some(kthreadd) = stat(2).expect("readable")
            && kthreadd.session == 0
        {
            assert!(kthreadd.is_kernel_thread() && !kthreadd.is_changing_program());
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(line in any::<String>()) {
            let _ = Stat::parse(&line);
        }
    }
}
