//! Running a command beside the workload, within bounds.
//!
//! A command gets a process group of its own. When its time is up, or when whoever waits for it gives up (the
//! future is dropped), the whole group is killed, so that a hanging health check can't pile up. Only the
//! end of its output is kept.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::Instant;

/// How long after a command's end its output is waited for, if something that it left behind keeps the pipe.
const OUTPUT_GRACE: Duration = Duration::from_millis(100);

/// A command: a line for `sh -c`, or a program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CommandLine {
    /// A line for the shell.
    Shell(String),
    /// A program, looked up in `PATH`, and its arguments.
    Program(Vec<String>),
}

/// What a command may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long it may run.
    pub timeout: Duration,
    /// How much of the end of its output (both streams) is kept, in bytes.
    pub output_max: usize,
    /// Whether processes of its group that it leaves running may go on when it ends by itself. A health check
    /// must leave none; a script that starts a service must.
    pub may_leave_processes: bool,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With an exit code; 0 is success.
    Exited(i32),
    /// By a signal that wasn't ours.
    Signalled(i32),
    /// It took longer than it may and was killed.
    TimedOut,
    /// It could not be started at all.
    CannotRun(String),
}

/// How a command ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// The end of its output, bytes that are no UTF-8 replaced.
    pub output: String,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether it exited with code 0.
    pub fn is_success(&self) -> bool {
        self.ending == Ending::Exited(0)
    }
}

/// Runs a command with `variables` added to this process's environment and waits until it has ended, by
/// itself or because its time was up. Never fails: what goes wrong is an [`Ending`].
pub async fn run(
    command: &CommandLine,
    variables: &BTreeMap<String, String>,
    directory: Option<&Path>,
    limits: Limits,
) -> Outcome {
    let start = Instant::now();
    let mut tail = Tail::new(limits.output_max);
    let ending = match spawn_joined(command, variables, directory) {
        Ok((child, output)) => supervise(child, tail.read_from(output), limits, start).await,
        Err(error) => Err(error),
    };
    outcome(ending, tail, start)
}

/// Runs a command as [`run`] does, with `input` on its standard input. Gives what it wrote on its standard output apart: at
/// most [`Limits::output_max`] bytes, beyond which the pipe is closed. The outcome's output is the end of its standard error.
pub async fn converse(
    command: &CommandLine,
    variables: &BTreeMap<String, String>,
    directory: Option<&Path>,
    input: &[u8],
    limits: Limits,
) -> (Outcome, Vec<u8>) {
    let start = Instant::now();
    let mut tail = Tail::new(limits.output_max);
    let mut answer = Vec::new();
    let ending = match spawn_apart(command, variables, directory) {
        Ok((child, pipes)) => {
            let talk = talk(pipes, input, (&mut answer, limits.output_max), &mut tail);
            supervise(child, talk, limits, start).await
        }
        Err(error) => Err(error),
    };
    (outcome(ending, tail, start), answer)
}

fn outcome(ending: io::Result<Ending>, tail: Tail, start: Instant) -> Outcome {
    Outcome {
        ending: ending.unwrap_or_else(|error| Ending::CannotRun(error.to_string())),
        output: tail.into_text(),
        took: start.elapsed(),
    }
}

/// The three streams of a child.
struct Pipes {
    input: ChildStdin,
    output: ChildStdout,
    errors: ChildStderr,
}

/// Says all there is to say, and listens until both streams have ended.
async fn talk(pipes: Pipes, input: &[u8], (answer, max): (&mut Vec<u8>, usize), tail: &mut Tail) {
    let Pipes {
        input: mut stdin,
        output,
        errors,
    } = pipes;
    let say = async move {
        // Who does not want to hear it has its answer ready.
        let _ = stdin.write_all(input).await;
    };
    let listen = async move {
        let limit = u64::try_from(max).unwrap_or(u64::MAX);
        // What fails to be read ends the answer, which is judged as it is.
        let _ = output.take(limit).read_to_end(answer).await;
    };
    tokio::join!(say, listen, tail.read_from(errors));
}

fn spawn_joined(
    line: &CommandLine,
    variables: &BTreeMap<String, String>,
    directory: Option<&Path>,
) -> io::Result<(Child, pipe::Receiver)> {
    // One pipe for both streams keeps the order of what was said.
    let (reader, writer) = io::pipe()?;
    let mut command = prepared(line, variables, directory)?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let child = command.spawn()?;
    // `command` holds the writing end until it is dropped here, at the end of this function.
    Ok((child, pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?))
}

fn spawn_apart(
    line: &CommandLine,
    variables: &BTreeMap<String, String>,
    directory: Option<&Path>,
) -> io::Result<(Child, Pipes)> {
    let mut child = prepared(line, variables, directory)?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(input), Some(output), Some(errors)) = pipes else {
        return Err(io::Error::other("the child has no streams"));
    };
    let pipes = Pipes {
        input,
        output,
        errors,
    };
    Ok((child, pipes))
}

/// A command in a process group of its own.
fn prepared(
    command: &CommandLine,
    variables: &BTreeMap<String, String>,
    directory: Option<&Path>,
) -> io::Result<tokio::process::Command> {
    let (program, arguments) = match command {
        CommandLine::Shell(line) => ("/bin/sh", vec!["-c", line.as_str()]),
        CommandLine::Program(words) => {
            let mut words = words.iter().map(String::as_str);
            let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
            (program, words.collect())
        }
    };
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .envs(variables)
        .process_group(0)
        .kill_on_drop(true);
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    Ok(command)
}

/// Waits until a command has ended, while `reading` takes in what it says.
async fn supervise(
    mut child: Child,
    reading: impl Future<Output = ()>,
    limits: Limits,
    start: Instant,
) -> io::Result<Ending> {
    // Declared after the child and so dropped before it: as long as the child isn't reaped, nobody else can
    // have its number, and the signal reaches this group or nothing.
    let group = Group::of(&child)?;
    let exit = exit_of(group.leader)?;
    let mut reading = pin!(reading);
    let mut output_ended = false;
    let mut time_is_up = pin!(tokio::time::sleep_until(start + limits.timeout));
    let timed_out = loop {
        tokio::select! {
            biased;
            ready = exit.readable() => {
                // A process ends once, so there is no readiness to be cleared.
                ready?.retain_ready();
                break false;
            }
            () = &mut time_is_up => break true,
            () = &mut reading, if !output_ended => output_ended = true,
        }
    };
    if timed_out || !limits.may_leave_processes {
        // Before the leader is reaped; see above.
        group.kill();
    }
    group.disarm();
    let status = child.wait().await?;
    if !output_ended {
        // An error here means that something left behind still holds the pipe, which is its own affair.
        let _ = tokio::time::timeout(OUTPUT_GRACE, reading).await;
    }
    Ok(if timed_out {
        Ending::TimedOut
    } else {
        ending_of(status)
    })
}

/// Becomes readable when the process ends, and unlike waiting leaves it to be reaped.
#[expect(
    deprecated,
    reason = "unsound only for types that lie about their descriptor; OwnedFd doesn't"
)]
fn exit_of(process: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(pidfd_open(process, PidfdFlags::empty())?)
}

fn ending_of(status: ExitStatus) -> Ending {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, Some(signal)) => Ending::Signalled(signal),
        (None, None) => Ending::CannotRun(format!("it ended in an unknown way: {status}")),
    }
}

/// The process group of a child that is not reaped yet; killed when dropped, unless disarmed.
struct Group {
    leader: Pid,
    armed: std::cell::Cell<bool>,
}

impl Group {
    fn of(child: &Child) -> io::Result<Self> {
        let leader = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("the child has no process ID"))?;
        Ok(Self {
            leader,
            armed: std::cell::Cell::new(true),
        })
    }

    fn kill(&self) {
        // The only error there can be is that nobody of the group is left.
        let _ = kill_process_group(self.leader, Signal::KILL);
    }

    fn disarm(&self) {
        self.armed.set(false);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.armed.get() {
            self.kill();
        }
    }
}

/// The last bytes of a stream.
struct Tail {
    bytes: Vec<u8>,
    max: usize,
}

impl Tail {
    fn new(max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            max,
        }
    }

    async fn read_from(&mut self, mut stream: impl AsyncRead + Unpin) {
        let mut buffer = [0; 4096];
        // A pipe fails to be read only if it is no pipe; then there is no output to be had.
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            self.push(&buffer[..count]);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let excess = self.bytes.len().saturating_sub(self.max);
        self.bytes.drain(..excess);
    }

    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests;
