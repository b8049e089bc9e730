//! Ending the processes of an instance, and nobody else's.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::census::Census;
use super::identity::{Host, ProcessIdentity};
use crate::{Deadline, ProvisionError};

/// After the agent is dead, how long to wait for one killed process before looking at all of them again.
const KILLED_WAIT: Duration = Duration::from_secs(1);
/// How often in a row nothing may be found until nothing is left: a process forked while the list was being read
/// may be missed once, but not by two looks.
const EMPTY_LOOKS: u32 = 2;

/// Ends all processes of the instance in `directory`: asks the agent, waits `grace`, then kills.
///
/// Signals go through process handles that were checked against the recorded identity, so none ever reaches a
/// process that merely has the same number. Returns those left that may or may not belong to the instance.
///
/// # Errors
/// [`ProvisionError::Timeout`] if something doesn't die by the deadline.
pub(super) fn terminate(
    host: &Host,
    directory: &Path,
    agent: Option<&ProcessIdentity>,
    grace: Duration,
    deadline: Deadline,
) -> Result<Vec<ProcessIdentity>, ProvisionError> {
    let seen = |error: io::Error| {
        ProvisionError::failed(format!(
            "looking at the processes of {}: {error}",
            directory.display()
        ))
    };
    // While the agent lives, its session is certainly ours; handles taken now are good for later.
    let mut handles = Vec::new();
    if let Some(agent) = agent
        && let Some(handle) = host.open(agent).map_err(seen)?
    {
        let census = Census::take().map_err(seen)?;
        for member in census
            .members(host, directory, Some(agent))
            .map_err(seen)?
            .certain
        {
            handles.extend(host.open(&member).map_err(seen)?);
        }
        if !grace.is_zero() {
            signal(&handle, Signal::TERM).map_err(seen)?;
            wait(&handle, deadline.at_most(grace)).map_err(seen)?;
        }
        signal(&handle, Signal::KILL).map_err(seen)?;
        if !wait(&handle, deadline).map_err(seen)? {
            return Err(ProvisionError::timeout(format!(
                "killing process {}",
                agent.pid
            )));
        }
    }
    let mut looks = 0;
    loop {
        for handle in handles.drain(..) {
            signal(&handle, Signal::KILL).map_err(seen)?;
            wait(&handle, deadline.at_most(KILLED_WAIT)).map_err(seen)?;
        }
        let census = Census::take().map_err(seen)?;
        let members = census.members(host, directory, agent).map_err(seen)?;
        if members.certain.is_empty() {
            looks += 1;
            if looks == EMPTY_LOOKS {
                return Ok(members.doubtful);
            }
        } else {
            looks = 0;
            if deadline.has_passed() {
                let left: Vec<_> = members.certain.iter().map(|member| member.pid).collect();
                return Err(ProvisionError::timeout(format!(
                    "killing processes {left:?}"
                )));
            }
            for member in &members.certain {
                handles.extend(host.open(member).map_err(seen)?);
            }
        }
    }
}

/// Kills processes that are known to be ours. Those that are dead already are fine.
pub(super) fn kill_all(
    host: &Host,
    processes: &[ProcessIdentity],
    deadline: Deadline,
) -> io::Result<bool> {
    let mut all_dead = true;
    for process in processes {
        if let Some(handle) = host.open(process)? {
            signal(&handle, Signal::KILL)?;
            all_dead &= wait(&handle, deadline)?;
        }
    }
    Ok(all_dead)
}

/// Sends a signal; that the process is dead already is fine.
fn signal(process: &OwnedFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(process, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until a process has ended; `false` if it hasn't by the deadline.
fn wait(process: &OwnedFd, deadline: Deadline) -> io::Result<bool> {
    loop {
        let timeout = Timespec::try_from(deadline.remaining()).unwrap_or(Timespec {
            tv_sec: i64::from(u32::MAX),
            tv_nsec: 0,
        });
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
