//! The guard itself: `muster lease-guard DIRECTORY`, with its [`Charge`] on standard input.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use muster_flavors::run::CommandLine;
use muster_flavors::{Flavor, Registry};
use muster_mesh::clock::boot_ms;
use muster_provisioners::Deadline;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setsid};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

use super::charge::{Charge, Ending, Place, Standing, this_boot};
use super::marked::{Known, MARK, Wanted};
use super::timers::{Alarm, Executioner};

/// The subcommand that has to call [`run`].
pub const GUARD_COMMAND: &str = "lease-guard";

/// The subcommand that has to call [`become_workload`].
pub const EXEC_COMMAND: &str = "lease-exec";

/// How long before the end the flavor's `stop` is given up and what is left is killed, in milliseconds.
const KILL_MS: u64 = 500;

/// How long a flavor may take to make everything ready for its workload: a member that joins an ensemble may have to wait for
/// the others.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The pauses before a workload is started again that has ended by itself: the shortest, and the longest, which is also how long
/// it has to run to be taken for one that works.
const AGAIN_MIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// A charge is a flavor's properties and a few names.
const CHARGE_BYTES_MAX: u64 = 1024 * 1024;

/// A moment that never comes, in milliseconds since the boot: for a workload that is released from its lease. The kernel's
/// timers reach 292 years far.
const NEVER_MS: u64 = 100 * 366 * 24 * 3600 * 1000;

/// How long it may take until nobody looks at the lock any more, and the pause between two tries.
const LOCK_WITHIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(10));

/// What a guard answers when it has begun.
pub(super) const READY: &str = "ready";

/// Guards a workload until that is stopped. To be called by the subcommand [`GUARD_COMMAND`].
pub fn run(directory: &Path) -> ExitCode {
    // Whoever ends the agent's session or terminal must not end this.
    let _ = setsid();
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(guard(&Place::new(directory))));
    match ended {
        Ok(Ending::Failed(why)) => fail(&why),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(why: &str) -> ExitCode {
    say(why);
    ExitCode::FAILURE
}

/// Into the agent's log, which standard error is.
fn say(words: &str) {
    // Where nobody reads any more, the workload has to be stopped all the same.
    let _ = writeln!(io::stderr(), "muster {GUARD_COMMAND}: {words}");
}

/// Has the flavor make everything ready, and becomes the workload, as the child that the kernel kills with the guard `parent`.
/// To be called by the subcommand [`EXEC_COMMAND`], early, with the [`Charge`] on standard input; returns only if that fails.
pub fn become_workload(parent: u32) -> ExitCode {
    // A session of its own: otherwise the kernel would wake what is stopped when the guard dies.
    let _ = setsid();
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return fail(&format!("binding the workload to its guard: {error}"));
    }
    let guard = getppid().map(Pid::as_raw_nonzero);
    if guard.is_none_or(|guard| u32::try_from(guard.get()) != Ok(parent)) {
        // It died before it was bound to.
        return ExitCode::FAILURE;
    }
    let command = match made_ready() {
        Ok(command) => command,
        Err(error) => return fail(&format!("the workload is not started: {error}")),
    };
    let words = match &command {
        CommandLine::Shell(line) => vec!["/bin/sh", "-c", line.as_str()],
        CommandLine::Program(words) => words.iter().map(String::as_str).collect(),
    };
    let [program, arguments @ ..] = words.as_slice() else {
        return fail("there is no command to start");
    };
    let error = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .exec();
    fail(&format!("starting {program}: {error}"))
}

/// Makes everything ready for a workload, and says what starts it.
fn made_ready() -> io::Result<CommandLine> {
    let charge = read_charge()?;
    let flavor = flavor_of(&charge)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let deadline = Deadline::after(READY_WITHIN);
    let started = runtime.block_on(flavor.start(&charge.workload, deadline));
    started.map_err(io::Error::other)
}

/// What a guard, or a workload, is told on standard input.
fn read_charge() -> io::Result<Charge> {
    let mut charge = Vec::new();
    io::stdin()
        .take(CHARGE_BYTES_MAX)
        .read_to_end(&mut charge)?;
    Ok(serde_json::from_slice(&charge)?)
}

fn flavor_of(charge: &Charge) -> io::Result<Arc<dyn Flavor>> {
    let flavor = &charge.flavor;
    let built = Registry::builtin().build(&flavor.name, &flavor.properties, &charge.allocation);
    built.map_err(|_| io::Error::other("the flavor refuses its properties"))
}

/// When a workload that has ended by itself is started again: at once at first, and ever more rarely where it ends again
/// soon.
struct Again {
    pause: Duration,
    began: tokio::time::Instant,
    due: Option<tokio::time::Instant>,
}

impl Default for Again {
    fn default() -> Self {
        Self {
            pause: AGAIN_MIN,
            began: tokio::time::Instant::now(),
            due: None,
        }
    }
}

impl Again {
    fn began(&mut self) {
        self.began = tokio::time::Instant::now();
        self.due = None;
    }

    /// It has ended, and is to be started again where the agent keeps it running.
    fn ended(&mut self, is_kept: bool) {
        self.pause = if self.began.elapsed() >= AGAIN_MAX {
            AGAIN_MIN
        } else {
            (2 * self.pause).min(AGAIN_MAX)
        };
        self.due = is_kept.then(|| tokio::time::Instant::now() + self.pause);
    }

    /// Returns when it is to be started; never while it runs.
    async fn due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

/// A guard at work.
struct Guarding {
    place: Place,
    charge: Charge,
    flavor: Arc<dyn Flavor>,
    executioner: Executioner,
    alarm: Alarm,
    until_ms: u64,
    /// The workload's first process: of this guard, or of an earlier one that may have left it behind.
    process: Option<Known>,
}

async fn guard(place: &Place) -> io::Result<Ending> {
    let _lock = lock(place)?;
    let charge = read_charge()?;
    let mut orders = orders(place)?;
    let mut told_to_end = signal(SignalKind::terminate())?;
    let flavor = flavor_of(&charge)?;
    let before = Standing::read(place).unwrap_or_else(|error| {
        say(&format!(
            "what an earlier guard has left behind can't be read: {error}"
        ));
        None
    });
    let boot = this_boot()?;
    let before = before.filter(|before| before.boot == boot);
    let mut guarding = Guarding {
        place: place.clone(),
        process: before.and_then(|before| before.process),
        until_ms: 0,
        flavor,
        executioner: Executioner::new()?,
        alarm: Alarm::new()?,
        charge,
    };
    let begins = guarding.charge.until_ms > stops_before(boot_ms(), &guarding.charge);
    if begins {
        guarding.extend(guarding.charge.until_ms)?;
        let workload = guarding.start()?;
        let pid = workload.as_ref().and_then(Child::id);
        guarding.process = pid.and_then(|pid| Known::of(i32::try_from(pid).ok()?));
        guarding.note();
        writeln!(io::stdout(), "{READY}")?;
        let watched = guarding.watch(workload, &mut orders, &mut told_to_end);
        if let Err(error) = watched.await {
            say(&format!(
                "the workload is stopped, since it can't be guarded: {error}"
            ));
        }
    } else {
        // What the file says of an earlier guard stands until this one has made it so.
        writeln!(io::stdout(), "{READY}")?;
    }
    guarding.stop(begins).await
}

/// From when on a workload is stopped that may run until the charge's end; what begins after that is not started at all.
fn stops_before(now_ms: u64, charge: &Charge) -> u64 {
    now_ms.saturating_add(charge.terms.stop_ms)
}

/// Takes the lock that says that a guard runs. Whoever just looks at it is waited for.
pub(super) fn lock(place: &Place) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(place.lock())?;
    let (within, pause) = LOCK_WITHIN;
    let deadline = Deadline::after(within);
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if deadline.remaining().is_zero() {
            let held = place.lock();
            return Err(io::Error::other(format!(
                "another guard holds {}",
                held.display()
            )));
        }
        std::thread::sleep(pause);
    }
    Ok(file)
}

/// The pipe through which the agent speaks. It is open for writing here too, so that it never ends.
fn orders(place: &Place) -> io::Result<Lines<BufReader<pipe::Receiver>>> {
    let path = place.pipe();
    match nix::unistd::mkfifo(
        &path,
        nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
    ) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let receiver = pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(path)?;
    Ok(BufReader::new(receiver).lines())
}

async fn ending_of(child: &mut Option<Child>) -> String {
    match child {
        Some(child) => match child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        },
        None => std::future::pending().await,
    }
}

impl Guarding {
    /// Returns when the workload is to be stopped.
    async fn watch(
        &mut self,
        mut workload: Option<Child>,
        orders: &mut Lines<BufReader<pipe::Receiver>>,
        told_to_end: &mut tokio::signal::unix::Signal,
    ) -> io::Result<()> {
        let mut again = Again::default();
        loop {
            tokio::select! {
                biased;
                rang = self.alarm.rings() => {
                    rang?;
                    say("the lease was not renewed; the workload is stopped");
                    return Ok(());
                }
                _ = told_to_end.recv() => {
                    say("told to end; the workload is stopped");
                    return Ok(());
                }
                order = orders.next_line() => {
                    if !self.obey(order?.as_deref())? {
                        return Ok(());
                    }
                }
                ended = ending_of(&mut workload) => {
                    workload = None;
                    say(&format!("the command that starts the workload has ended: {ended}"));
                    again.ended(self.flavor.is_kept());
                }
                () = again.due() => workload = self.begin(&mut again),
            }
        }
    }

    /// Starts the workload again that has ended by itself.
    fn begin(&mut self, again: &mut Again) -> Option<Child> {
        match self.start() {
            Ok(child) => {
                let pid = child.as_ref().and_then(Child::id);
                self.process = pid.and_then(|pid| Known::of(i32::try_from(pid).ok()?));
                // One that is released has no file.
                if self.until_ms < NEVER_MS {
                    self.note();
                }
                again.began();
                child
            }
            Err(error) => {
                say(&format!("the workload could not be started again: {error}"));
                again.ended(true);
                None
            }
        }
    }

    /// The workload may run until then.
    fn extend(&mut self, until_ms: u64) -> io::Result<()> {
        self.until_ms = until_ms.min(NEVER_MS);
        self.executioner.set(self.until_ms)?;
        self.alarm
            .set(self.until_ms.saturating_sub(self.charge.terms.stop_ms))?;
        self.note();
        Ok(())
    }

    /// Writes down that the workload may run. The timers hold the deadline: a full disk is no reason to end what may run.
    fn note(&self) {
        if let Err(error) = self.put(Ending::Runs) {
            say(&format!(
                "until when the workload may run could not be written: {error}"
            ));
        }
    }

    /// Does what the agent says; `false` when that is to stop. What is not understood is left out.
    fn obey(&mut self, order: Option<&str>) -> io::Result<bool> {
        let Some(order) = order else { return Ok(false) };
        match order.split_once(' ') {
            Some(("until", rest)) => {
                let (at_ms, stop_ms) = rest.split_once(' ').unwrap_or_default();
                if let (Ok(at_ms), Ok(stop_ms)) = (at_ms.parse(), stop_ms.parse()) {
                    self.charge.terms.stop_ms = stop_ms;
                    // No lease gets shorter by a renewal that arrives late.
                    let released = self.until_ms == NEVER_MS;
                    self.extend(if released {
                        at_ms
                    } else {
                        self.until_ms.max(at_ms)
                    })?;
                }
            }
            None if order == "stop" => return Ok(false),
            None if order == "free" => {
                self.extend(NEVER_MS)?;
                std::fs::remove_file(self.place.standing())?;
            }
            _ => {}
        }
        Ok(true)
    }

    /// Starts the workload, as a process that the kernel kills with this one, and that makes everything ready first.
    fn start(&self) -> io::Result<Option<Child>> {
        if !self.flavor.can_start() {
            return Ok(None);
        }
        let charge = serde_json::to_vec(&self.charge)?;
        let mut child = tokio::process::Command::new("/proc/self/exe");
        child
            .args([EXEC_COMMAND, &std::process::id().to_string()])
            .envs(self.charge.workload.variables())
            .env(MARK, self.place.directory())
            .stdin(Stdio::piped())
            .stdout(io::stderr().as_fd().try_clone_to_owned()?);
        if let Some(directory) = &self.charge.workload.directory {
            child.current_dir(directory);
        }
        let mut child = child.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // One that does not listen ends, and that shows.
            tokio::spawn(async move { input.write_all(&charge).await });
        }
        Ok(Some(child))
    }

    /// Stops the workload and kills what is left of it. Where it was never begun there is no deadline but its own.
    async fn stop(&mut self, begun: bool) -> io::Result<Ending> {
        let end_ms = if begun && self.until_ms < NEVER_MS {
            self.until_ms
        } else {
            boot_ms().saturating_add(self.charge.terms.stop_ms.max(2 * KILL_MS))
        };
        let polite_ms = end_ms.saturating_sub(KILL_MS).saturating_sub(boot_ms());
        let deadline = Deadline::after(Duration::from_millis(polite_ms));
        let stopped = self.flavor.stop(&self.charge.workload, deadline).await;
        let wanted = Wanted::new(self.place.directory(), self.process);
        // Beyond the end only the kernel ends this process: until then it goes on killing.
        let killing = tokio::task::spawn_blocking(move || wanted.kill_all(end_ms));
        let left = killing.await.map_err(io::Error::other)??;
        if left.blind {
            say(
                "the environment of the workload's process can't be read, so it was known by its number and start; what it \
                 started itself is not found",
            );
        }
        let ending = match stopped {
            Ok(()) if left.is_nothing() => Ending::Stopped,
            Ok(()) if left.pids.is_empty() => Ending::Failed(
                "its time was up before it was certain that nothing of it is left".into(),
            ),
            Err(error) => Ending::Failed(error.to_string()),
            Ok(()) => {
                let pids: Vec<_> = left.pids.iter().map(ToString::to_string).collect();
                Ending::Failed(format!(
                    "of its processes {} could not be killed in time",
                    pids.join(", ")
                ))
            }
        };
        // Where nothing was begun and nothing could be stopped, what an earlier guard wrote is as true as before.
        if begun || ending == Ending::Stopped {
            self.put(ending.clone())?;
        }
        Ok(ending)
    }

    /// Writes the file. It has to survive this process, not the computer: what ran does not survive that either.
    fn put(&self, ending: Ending) -> io::Result<()> {
        let standing = Standing {
            boot: this_boot()?,
            until_ms: self.until_ms,
            stop_ms: self.charge.terms.stop_ms,
            process: self.process,
            ending,
        };
        let path = self.place.standing();
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(&standing)?)?;
        std::fs::rename(new, path)
    }
}
