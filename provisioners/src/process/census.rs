//! Which processes belong to an instance, its agent's children and grandchildren among them.
//!
//! Every process of an instance inherits a mark in its environment, [`MARK`], that names the instance's directory.
//! A process that dropped its environment (`env -i`, `sudo`) is still in the agent's session.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::identity::{Host, Liveness, ProcessIdentity, Stat, is_gone, stat};

/// The environment variable that names the directory of the instance that a process belongs to.
pub(super) const MARK: &str = "MUSTER_INSTANCE";
/// The kernel limits arguments and environment together to 2 MiB by default; ours comes early enough.
const ENVIRONMENT_MAX_BYTES: u64 = 2 * 1024 * 1024;

/// How often and how long a process is waited for that is just changing its program, which takes microseconds.
const PROGRAM_CHANGE_LOOKS: u32 = 100;
const PROGRAM_CHANGE_WAIT: Duration = Duration::from_millis(1);

/// All processes of this computer at one moment.
#[derive(Debug)]
pub(super) struct Census {
    processes: Vec<Process>,
}

#[derive(Debug)]
struct Process {
    stat: Stat,
    /// The value of [`MARK`], if it has one and we may see it.
    mark: Option<Vec<u8>>,
}

/// The processes of one instance.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Those that certainly belong to it.
    pub(super) certain: Vec<ProcessIdentity>,
    /// Those that may belong to it: they are in a session of its agent's number, but the agent is dead and
    /// nothing else ties them to the instance.
    pub(super) doubtful: Vec<ProcessIdentity>,
}

impl Members {
    pub(super) fn is_empty(&self) -> bool {
        self.certain.is_empty() && self.doubtful.is_empty()
    }
}

impl Census {
    /// Looks at every process. Those that end meanwhile, or that are dead already, are left out.
    pub(super) fn take() -> io::Result<Self> {
        let mut processes = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let Some(stat) = stat(pid)?.filter(|stat| !stat.is_dead()) else {
                continue;
            };
            processes.push(Process {
                mark: mark_of(&stat)?,
                stat,
            });
        }
        Ok(Self { processes })
    }

    /// The processes of the instance in `directory`, whose agent is or was `agent`.
    pub(super) fn members(
        &self,
        host: &Host,
        directory: &Path,
        agent: Option<&ProcessIdentity>,
    ) -> io::Result<Members> {
        // A session has its leader's number, which isn't given away while the session lasts. So while our agent
        // lives, its session is ours; later it is ours or belongs to a newer process of that number.
        let session = match agent {
            Some(agent) if host.owns_its_number(agent)? => Some(agent),
            _ => None,
        };
        let agent_lives = match session {
            Some(agent) => host.liveness(agent)? == Liveness::Alive,
            None => false,
        };
        let mut members = Members::default();
        for process in &self.processes {
            let identity = host.identity(&process.stat);
            let marked = process.mark.as_deref() == Some(directory.as_os_str().as_bytes());
            let in_session = session.is_some_and(|agent| {
                process.stat.session == agent.pid && process.stat.started >= agent.started
            });
            if marked || in_session && (agent_lives || touches(process.stat.pid, directory)) {
                members.certain.push(identity);
            } else if in_session {
                members.doubtful.push(identity);
            }
        }
        Ok(members)
    }

    /// All processes that carry the mark of an instance below `root`.
    pub(super) fn marked_below(&self, host: &Host, root: &Path) -> Vec<ProcessIdentity> {
        let below = |mark: &[u8]| Path::new(std::ffi::OsStr::from_bytes(mark)).starts_with(root);
        self.processes
            .iter()
            .filter(|process| process.mark.as_deref().is_some_and(below))
            .map(|process| host.identity(&process.stat))
            .collect()
    }
}

/// The mark of a process, waiting for it if the process is just changing its program: until the new program's
/// environment is in place the kernel shows none, and a member would be missed.
fn mark_of(process: &Stat) -> io::Result<Option<Vec<u8>>> {
    if process.is_kernel_thread() {
        return Ok(None);
    }
    let mut in_place = false;
    for _ in 0..PROGRAM_CHANGE_LOOKS {
        match environment_of(process.pid)? {
            None => return Ok(None),
            Some(environment) if !environment.is_empty() => {
                return Ok(find_mark(&environment).map(<[u8]>::to_vec));
            }
            // It was there before this look, so it is really empty.
            Some(_) if in_place => return Ok(None),
            Some(_) => {}
        }
        let Some(now) = stat(process.pid)? else {
            return Ok(None);
        };
        if now.is_dead() || now.started != process.started {
            return Ok(None);
        }
        in_place = !now.is_changing_program();
        if !in_place {
            std::thread::sleep(PROGRAM_CHANGE_WAIT);
        }
    }
    Ok(None)
}

/// The environment that a process began with; `None` if it has gone or belongs to another user, and then it is none of
/// ours, or one that changed its user, which its session tells.
fn environment_of(pid: u32) -> io::Result<Option<Vec<u8>>> {
    let mut environment = Vec::new();
    let read = fs::File::open(format!("/proc/{pid}/environ")).and_then(|file| {
        file.take(ENVIRONMENT_MAX_BYTES)
            .read_to_end(&mut environment)
    });
    match read {
        Ok(_) => Ok(Some(environment)),
        Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn find_mark(environment: &[u8]) -> Option<&[u8]> {
    environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="))
}

/// Whether a process works in a directory, or has one of its files for its input or output.
fn touches(pid: u32, directory: &Path) -> bool {
    ["cwd", "fd/0", "fd/1", "fd/2"].iter().any(|link| {
        fs::read_link(format!("/proc/{pid}/{link}"))
            .is_ok_and(|target| target.starts_with(directory))
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn sleeper(change: impl FnOnce(&mut Command)) -> (Killed, ProcessIdentity) {
        let mut command = Command::new("sleep");
        command
            .arg("1000")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        change(&mut command);
        let child = Killed(command.spawn().expect("started"));
        let identity = Host::current().expect("Linux").process(child.0.id());
        (child, identity.expect("readable").expect("alive"))
    }

    #[test]
    fn the_mark_is_found_wherever_it_stands() {
        assert_eq!(
            find_mark(b"A=1\0MUSTER_INSTANCE=/x\0B=2\0"),
            Some(&b"/x"[..])
        );
        assert_eq!(find_mark(b"MUSTER_INSTANCE=/x"), Some(&b"/x"[..]));
        assert_eq!(
            find_mark(b"XMUSTER_INSTANCE=/x\0MUSTER_INSTANCEY=/y\0"),
            None
        );
        assert_eq!(find_mark(b""), None);
    }

    #[test]
    fn marked_processes_are_members_and_others_are_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("instances/p-1");
        let host = Host::current().expect("Linux");
        let (_ours, marked) = sleeper(|command| {
            command.env(MARK, &place);
        });
        let (_other, neighbour) = sleeper(|command| {
            command.env(MARK, directory.path().join("instances/p-2"));
        });
        let (_foreign, unmarked) = sleeper(|_| {});
        let census = Census::take().expect("readable");
        let members = census.members(&host, &place, None).expect("readable");
        assert_eq!(members.certain, std::slice::from_ref(&marked));
        assert!(members.doubtful.is_empty());
        let below = census.marked_below(&host, directory.path());
        assert!(below.contains(&marked) && below.contains(&neighbour));
        assert!(!below.contains(&unmarked));
    }

    #[test]
    fn the_session_counts_only_while_the_agents_number_is_its_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let host = Host::current().expect("Linux");
        let (_one, one) = sleeper(|_| {});
        let session = stat(one.pid).expect("readable").expect("alive").session;
        // Whoever leads our own session plays the agent: sleepers are in its session without a mark.
        let Some(leader) = host.process(session).expect("readable") else {
            return;
        };
        let members = |agent: &ProcessIdentity| {
            let census = Census::take().expect("readable");
            census
                .members(&host, directory.path(), Some(agent))
                .expect("readable")
        };
        assert!(members(&leader).certain.contains(&one));
        let reused = ProcessIdentity {
            started: leader.started - 1,
            ..leader
        };
        assert!(members(&reused).is_empty());
    }

    #[test]
    fn without_its_agent_a_process_of_the_session_needs_another_tie() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().canonicalize().expect("there");
        let host = Host::current().expect("Linux");
        // The agent leads a session, leaves two children without environment, and dies.
        let script = "env -i sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; \
                      cd \"$0\"; env -i sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; exit";
        let output = Command::new("setsid")
            .args(["--wait", "sh", "-c", &format!("echo $$; {script}")])
            .arg(&place)
            .output()
            .expect("ran");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let pids: Vec<u32> = text
            .lines()
            .map(|line| line.parse().expect("a number"))
            .collect();
        let [agent, stray, working_here] = pids[..] else {
            panic!("unexpected: {text}")
        };
        let alive = |pid| host.process(pid).expect("readable").expect("alive");
        let (stray, working_here) = (alive(stray), alive(working_here));
        let agent = ProcessIdentity {
            pid: agent,
            started: 0,
            ..stray.clone()
        };
        let census = Census::take().expect("readable");
        let members = census
            .members(&host, &place, Some(&agent))
            .expect("readable");
        assert_eq!(members.certain, std::slice::from_ref(&working_here));
        assert_eq!(members.doubtful, std::slice::from_ref(&stray));
        for process in [stray, working_here] {
            let handle = host.open(&process).expect("opened").expect("alive");
            rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::KILL)
                .expect("killed");
        }
    }
}
