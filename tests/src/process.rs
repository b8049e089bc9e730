//! Processes of the fleets under test: found, watched and ended without ever touching one that is not theirs.
//!
//! A process belongs to a fleet when its command line, its working directory or its environment names the fleet's
//! own temporary directory, which nothing else does. Signals go through a pidfd that was opened before that check, so
//! that a number which the kernel has given to another process in the meantime cannot be hit.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::wait;

/// A live process that has been identified as one of a fleet.
#[derive(Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    handle: OwnedFd,
}

impl Process {
    /// The process with this number, provided that it lives and belongs to the fleet in `dir`.
    pub fn of(pid: u32, dir: &Path) -> Option<Self> {
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let handle = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let named = |file: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            names(&bytes, dir)
        };
        let works_there =
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        let belongs = works_there || named("cmdline") || named("environ");
        (belongs && is_running(pid)).then(|| Self {
            pid,
            command: command.trim_end().to_owned(),
            handle,
        })
    }

    /// Sends a signal; nothing happens when the process has ended.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    /// Ends it as a crash would (`kill -9`) and waits until it is gone.
    #[track_caller]
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.wait_gone(Duration::from_secs(10));
    }

    /// Waits until it has ended; being left as a zombie by whoever started it counts.
    #[track_caller]
    pub fn wait_gone(&self, deadline: Duration) {
        wait::until(&format!("process {} is gone", self.pid), deadline, || {
            if self.is_alive() {
                Err(self.command.clone())
            } else {
                Ok(())
            }
        });
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        // Signal 0 would be the usual way, but it also succeeds for zombies.
        is_running(self.pid) && pidfd_send_signal_works(&self.handle)
    }
}

/// A pidfd answers for its own process only, whoever has the number now.
fn pidfd_send_signal_works(handle: &OwnedFd) -> bool {
    let mut fds = [rustix::event::PollFd::new(
        handle,
        rustix::event::PollFlags::IN,
    )];
    let none = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // A pidfd becomes readable when its process ends.
    matches!(rustix::event::poll(&mut fds, Some(&none)), Ok(0))
}

/// Whether a process has the number and is no zombie.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may contain anything, parentheses included.
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next())
        .is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Whether a text names the directory or something in it, not merely a longer name that begins alike.
fn names(text: &[u8], dir: &Path) -> bool {
    let dir = dir.as_os_str().as_encoded_bytes();
    let ends = |rest: &[u8]| matches!(rest.first(), None | Some(b'/' | b'\0' | b':' | b' '));
    !dir.is_empty()
        && text
            .windows(dir.len())
            .enumerate()
            .any(|(at, part)| part == dir && ends(&text[at + dir.len()..]))
}

/// All live processes of the fleet in `dir`, this one excepted.
pub fn all_of(dir: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid| *pid != std::process::id())
        .filter_map(|pid| Process::of(pid, dir))
        .collect()
}

/// Kills all processes of the fleet in `dir`, again until none comes up any more.
pub fn kill_all_of(dir: &Path) {
    let _ = wait::poll(Duration::from_secs(10), Duration::from_millis(20), || {
        let left = all_of(dir);
        left.iter().for_each(|process| process.signal(Signal::KILL));
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{} are left", left.len()))
        }
    });
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sleeper(dir: &Path) -> std::process::Child {
        Command::new("sleep")
            .arg("100")
            .env("FLEET", dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("sleep exists")
    }

    #[test]
    fn only_its_own_processes_are_found_and_killed() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let (mine, other) = (root.path().join("a"), root.path().join("ab"));
        let (mut victim, mut bystander) = (sleeper(&mine), sleeper(&other));
        wait::until("both are found", Duration::from_secs(5), || {
            let found = all_of(&mine).len() + all_of(&other).len();
            if found == 2 {
                Ok(())
            } else {
                Err(format!("{found} found"))
            }
        });
        assert!(Process::of(bystander.id(), &mine).is_none());
        assert!(Process::of(victim.id(), &mine).is_some_and(|process| process.is_alive()));
        kill_all_of(&mine);
        assert!(
            Process::of(victim.id(), &mine).is_none(),
            "a zombie does not live"
        );
        assert!(Process::of(bystander.id(), &other).is_some());
        victim.wait().expect("it is our child");
        bystander.kill().expect("it is our child");
        bystander.wait().expect("it is our child");
    }
}
