//! Starting an agent so that no process is ever untracked.
//!
//! Whoever orders the start runs a launcher, `EXECUTABLE process-launch DIRECTORY`. The launcher takes the instance's
//! lock and those of its disks, checks that it may start, writes down *itself* as the instance's process, and only
//! then becomes the agent by `exec`, which keeps its process ID and start time and drops the locks. So
//!
//! - before the record is written there is no agent, and after it there is none that isn't recorded;
//! - that checks and record are one step doesn't depend on the one who ordered it: it may die at any moment;
//! - the agent leads its own session and outlives whoever ordered it, without a terminal or a parent.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tracing::debug;

use super::Inner;
use super::addresses::is_free;
use super::census::{Census, MARK};
use super::create::exists;
use super::files::{Lasting, Lock, failure, remove, write_json};
use super::identity::{Host, Liveness, ProcessIdentity};
use super::layout::{Place, Root};
use super::log;
use super::properties::ProcessProperties;
use super::record::{ProcessRecord, Record, StartOrder, VERSION};
use super::root::refuse_if_stopping;
use super::terminate::terminate;
use crate::clock::now_ms;
use crate::{Deadline, InstanceId, ProvisionError};

/// The subcommand that has to call [`launch`].
pub const LAUNCH_COMMAND: &str = "process-launch";
/// How long a launcher waits for locks and for what is left of an earlier life: longer than its order holds, it
/// would be in vain.
const LAUNCHER_PATIENCE: Duration = StartOrder::VALID;
/// A launcher's answer is one line; an error's words are bounded.
const ANSWER_MAX_BYTES: u64 = 64 * 1024;

/// What a launcher that did not become the agent says.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// The instance runs already.
    Running,
    /// There is no order to start it (any more).
    Void,
    /// It may not, or can't, be started.
    Failed(ProvisionError),
}

/// What became of an order to start an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    /// It runs, or ran until a moment ago.
    Yes,
    /// The order was void: someone else has decided otherwise meanwhile.
    Void,
}

/// Has an instance started. Its order to start must have been written.
pub(super) async fn start(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<Started, ProvisionError> {
    let place = inner.root.instance(id);
    let launcher = match &inner.config.launcher {
        Some(path) => path.clone(),
        None => inner.config.executable()?,
    };
    let mut child = tokio::process::Command::new(&launcher)
        .arg(LAUNCH_COMMAND)
        .arg(place.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failure("running", &launcher, &error))?;
    debug!(%id, pid = child.id(), "started a launcher");
    let pid = child.id();
    let output = child.stdout.take();
    // The launcher becomes the agent. Whenever that ends, somebody has to ask for its exit code.
    tokio::spawn(async move { child.wait().await });
    let mut answer = Vec::new();
    if let Some(output) = output {
        // Becoming the agent closes its end of the pipe without a word.
        let reading = async {
            let mut output = output.take(ANSWER_MAX_BYTES);
            let read = output.read_to_end(&mut answer).await;
            read.map_err(|error| ProvisionError::failed(format!("asking the launcher: {error}")))
        };
        deadline.limit("starting the agent", reading).await?;
    }
    if answer.is_empty() {
        let process = ProcessRecord::read(&place)?;
        return match process {
            Some(process) if Some(process.pid) == pid => Ok(Started::Yes),
            // It was killed before it had written itself down; or after, and others were quick.
            _ => Err(ProvisionError::timeout(
                "starting the agent, whose launcher ended without a word",
            )),
        };
    }
    match serde_json::from_slice(&answer) {
        Ok(Answer::Running) => Ok(Started::Yes),
        Ok(Answer::Void) => Ok(Started::Void),
        Ok(Answer::Failed(error)) => Err(error),
        Err(_) => {
            let said = String::from_utf8_lossy(&answer);
            Err(ProvisionError::failed(format!(
                "{} {LAUNCH_COMMAND} is no launcher; it said: {said}",
                launcher.display()
            )))
        }
    }
}

/// Becomes the agent of the instance in `directory`. To be called by the program's subcommand
/// [`LAUNCH_COMMAND`], early, while there is only one thread; returns only if it did not become the agent.
pub fn launch(directory: &Path) -> ExitCode {
    // `exec` replaces the standard streams before it fails, so the way to answer has to be kept elsewhere. The
    // copy closes on `exec`.
    let pipe = match io::stdout().as_fd().try_clone_to_owned() {
        Ok(pipe) => pipe,
        Err(_) => return ExitCode::FAILURE,
    };
    let answer = become_agent(directory).unwrap_or_else(Answer::Failed);
    let code = match answer {
        Answer::Running | Answer::Void => ExitCode::SUCCESS,
        Answer::Failed(_) => ExitCode::FAILURE,
    };
    match say(pipe, &answer) {
        Ok(()) => code,
        // Whoever ordered it has gone. There is nobody else to be told.
        Err(_) => ExitCode::FAILURE,
    }
}

fn say(pipe: OwnedFd, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    fs::File::from(pipe).write_all(&line)
}

/// Does not return if it becomes the agent.
fn become_agent(directory: &Path) -> Result<Answer, ProvisionError> {
    let deadline = Deadline::after(LAUNCHER_PATIENCE);
    let directory = match fs::canonicalize(directory) {
        Ok(directory) => directory,
        // Destroyed, or taken back.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Answer::Void),
        Err(error) => return Err(failure("resolving", directory, &error)),
    };
    let place = Place::new(directory);
    let root = place
        .root()
        .ok_or_else(|| ProvisionError::failed("an instance lies under a root"))?;
    let host = Host::current().map_err(seen)?;

    let Some(_lock) = Lock::acquire(&place.lock(), deadline)? else {
        return Ok(Answer::Void);
    };
    let before = ProcessRecord::read(&place)?;
    if let Some(process) = &before {
        match host.liveness(process).map_err(seen)? {
            Liveness::Alive => return Ok(Answer::Running),
            Liveness::Dead(_) => {}
            Liveness::Unknown(why) => return Err(ProvisionError::unavailable(why)),
        }
    }
    let void = exists(&place.doomed())? || exists(&place.stopped())?;
    let Some(order) = StartOrder::read(&place).filter(|_| !void) else {
        return Ok(Answer::Void);
    };
    // Whatever comes of it, this order has been tried.
    remove(&place.starting())?;
    refuse_if_stopping(&root)?;
    let Some(record) = Record::read(&place)? else {
        return Ok(Answer::Void);
    };
    let _disk_locks = take_disks(&host, &root, &record, deadline)?;
    end_earlier_life(&host, &place, &record, before.as_ref(), deadline)?;
    if !is_free(record.address).map_err(seen)? {
        let text = format!("another program has bound {}", record.address);
        return Err(ProvisionError::failed(text));
    }
    let mut command = command(&root, &place, &record, order)?;

    // From here on nothing may fail without taking the record back.
    let me = host.process(std::process::id()).map_err(seen)?;
    let process = me.ok_or_else(|| ProvisionError::failed("this process is not in /proc"))?;
    rustix::process::setsid().map_err(|error| {
        ProvisionError::failed(format!(
            "making a session: {error}; run it from muster, not from a shell"
        ))
    })?;
    let record = ProcessRecord {
        version: VERSION,
        process,
        started_at_ms: now_ms(),
    };
    // No process outlives a loss of power, so it need not be there after one; only whole if it is.
    write_json(&place.process(), &record, Lasting::Whole)?;
    let error = command.exec();
    remove(&place.process())?;
    Err(failure("running", Path::new(command.get_program()), &error))
}

fn seen(error: io::Error) -> ProvisionError {
    ProvisionError::failed(format!("looking at this computer: {error}"))
}

/// Locks the instance's disks and makes sure that nobody else who may still run has one of them. The locks hold until
/// the agent's record is written, so of two that want the same disk the second one sees the first one run.
fn take_disks(
    host: &Host,
    root: &Root,
    record: &Record,
    deadline: Deadline,
) -> Result<Vec<Lock>, ProvisionError> {
    let disks = record.disks();
    let mut locks = Vec::new();
    for disk in &disks {
        let path = root.disk_locks().join(disk);
        locks.push(Lock::acquire(&path, deadline)?.ok_or_else(|| {
            ProvisionError::failed(format!("{} has been removed", root.disk_locks().display()))
        })?);
    }
    if disks.is_empty() {
        return Ok(locks);
    }
    let mut census = None;
    for (id, other) in root.records()? {
        if id == record.id {
            continue;
        }
        let holding = match other {
            Ok(other) => disks
                .iter()
                .find(|disk| other.disks().contains(disk))
                .map(|disk| ProvisionError::Held {
                    attachment: (*disk).to_owned(),
                    holder: id.clone(),
                }),
            Err(error) => Some(ProvisionError::failed(format!(
                "{id} runs, and its record can't be read, so it may hold `{}`: {error}; stop that machine, or restore its record",
                disks.join("`, `")
            ))),
        };
        if let Some(holding) = holding
            && may_run(host, &root.instance(&id), &mut census)?
        {
            return Err(holding);
        }
    }
    Ok(locks)
}

/// Whether anything of an instance may be running.
fn may_run(
    host: &Host,
    place: &Place,
    census: &mut Option<Census>,
) -> Result<bool, ProvisionError> {
    // An unreadable record of a process counts as one that runs.
    let Ok(agent) = ProcessRecord::read(place) else {
        return Ok(true);
    };
    if let Some(agent) = &agent
        && !matches!(host.liveness(agent).map_err(seen)?, Liveness::Dead(_))
    {
        return Ok(true);
    }
    let census = match census {
        Some(census) => census,
        None => census.insert(Census::take().map_err(seen)?),
    };
    Ok(!census
        .members(host, place.path(), agent.as_ref())
        .map_err(seen)?
        .is_empty())
}

/// Ends what is left of the instance's earlier life: a restarted machine has no processes from before.
fn end_earlier_life(
    host: &Host,
    place: &Place,
    record: &Record,
    before: Option<&ProcessIdentity>,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let Some(before) = before else { return Ok(()) };
    let doubtful = terminate(host, place.path(), Some(before), Duration::ZERO, deadline)?;
    super::destroy::refuse_doubt(record, &doubtful)
}

/// The agent's command line and environment.
fn command(
    root: &Root,
    place: &Place,
    record: &Record,
    order: StartOrder,
) -> Result<Command, ProvisionError> {
    let properties =
        ProcessProperties::read(&record.spec.properties).map_err(ProvisionError::Invalid)?;
    log::rotate(place)?;
    let path = place.log();
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failure("opening", &path, &error))?;
    let errors = log
        .try_clone()
        .map_err(|error| failure("opening", &path, &error))?;
    let inherited = order
        .inherit
        .iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = Command::new(order.executable);
    command
        .args(["agent", "--config"])
        .arg(place.config())
        .args(&properties.args)
        .env_clear()
        .envs(inherited)
        .envs(&properties.env)
        .env(MARK, place.path())
        .current_dir(place.path())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    if let Some(disk) = record.spec.attachments.first() {
        command.env("MUSTER_DATA", root.disk(&disk.id));
    }
    Ok(command)
}
