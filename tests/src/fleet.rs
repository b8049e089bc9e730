//! A fleet of real processes under `muster dev`, in a directory of its own, gone without a trace when dropped.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::binary::muster;
use crate::command::{self, Answer};
use crate::fleet::dev::Dev;
use crate::process::{self, Process};
use crate::slots::{self, Slot};
use crate::status::{MachineRow, Status};
use crate::wait::{is_signalled, until};

mod dev;
mod namespace;

pub use namespace::Namespace;

/// Within this a debug build on a busy machine reaches any healthy condition. Tests that pass never wait for it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How a fleet is started.
#[derive(Debug, Default)]
pub struct Options {
    /// `--machines`; the default fleet when `None`.
    pub machines: Option<u32>,
    /// The text of a spec file for `-f`; the default groups when `None`.
    pub spec: Option<String>,
    /// Whether it runs in a network namespace of its own, whose packets can be filtered.
    pub namespace: bool,
    /// Whether it waits until no other fleet runs, and keeps others from starting: for measurements.
    pub alone: bool,
    /// More arguments of `muster dev`.
    pub arguments: Vec<String>,
}

/// A running fleet. Dropping it ends every process of it, also when the test panics.
#[derive(Debug)]
pub struct Fleet {
    dev: Option<Dev>,
    options: Options,
    namespace: Option<Namespace>,
    // The directory must outlive the processes in it, and the slot both: fields are dropped in this order.
    dir: TempDir,
    _slot: Slot,
}

/// A machine that was killed.
#[derive(Debug, Clone)]
pub struct Killed {
    /// As it was before.
    pub machine: MachineRow,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Fleet {
    /// Starts the default fleet, three of `web`, `db-1` and `db-2`, and waits until it is whole.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// Starts a fleet and waits until it is whole.
    #[track_caller]
    pub fn start_with(options: Options) -> Self {
        let fleet = Self::launch(options);
        fleet.wait_whole();
        fleet
    }

    /// Starts a fleet and waits for nothing.
    #[track_caller]
    pub fn launch(options: Options) -> Self {
        let slot = if options.alone {
            slots::all()
        } else {
            slots::one()
        };
        let root =
            std::env::var_os("MUSTER_TEST_ROOT").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = tempfile::Builder::new()
            .prefix("fleet-")
            .tempdir_in(root)
            .expect("the temporary directory is writable");
        let namespace = options.namespace.then(Namespace::new);
        let mut fleet = Self {
            dev: None,
            options,
            namespace,
            dir,
            _slot: slot,
        };
        fleet.start_dev();
        fleet
    }

    /// The fleet's directory, as given to `--dir`.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().join("fleet")
    }

    /// A directory for whatever else a test needs; processes that work there are ended with the fleet.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// The fleet's own network.
    ///
    /// # Panics
    ///
    /// When it was not asked for.
    #[track_caller]
    pub fn namespace(&self) -> &Namespace {
        self.namespace
            .as_ref()
            .expect("the options ask for a namespace")
    }

    // === the supervisor ===

    /// Starts `muster dev` on the fleet's directory, anew after an end.
    #[track_caller]
    pub fn start_dev(&mut self) {
        assert!(self.dev.is_none(), "it runs already");
        let mut command = self.command(["dev", "--json", "--dir"]);
        command.arg(self.dir());
        if let Some(machines) = self.options.machines {
            command.args(["--machines", &machines.to_string()]);
        }
        if let Some(spec) = &self.options.spec {
            let path = self.dir.path().join("fleet.toml");
            fs::write(&path, spec).expect("the directory is ours");
            command.arg("-f").arg(path);
        }
        command.args(&self.options.arguments);
        self.dev = Some(Dev::start(command));
    }

    /// Ends `muster dev` as Ctrl-C does, and with it every machine.
    #[track_caller]
    pub fn stop_dev(&mut self) {
        self.dev.take().expect("it runs").stop();
        let left = process::all_of(self.dir.path());
        assert!(left.is_empty(), "Ctrl-C left {left:?}");
    }

    /// Ends `muster dev` as a crash would.
    #[track_caller]
    pub fn kill_dev(&mut self) {
        self.dev.take().expect("it runs").kill();
    }

    /// The lines that `muster dev` has written so far.
    pub fn dev_lines(&self) -> Vec<String> {
        self.dev.as_ref().map_or_else(Vec::new, Dev::lines)
    }

    // === commands ===

    /// A `muster` command that finds this fleet's network, and nothing of the environment that tests run in.
    pub fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = match &self.namespace {
            Some(namespace) => namespace.command(muster()),
            None => Command::new(muster()),
        };
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("MUSTER_") {
                command.env_remove(variable);
            }
        }
        command.args(arguments).current_dir(self.dir.path());
        command
    }

    /// Runs `muster` with these arguments.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Answer {
        command::run(&mut self.command(arguments), b"", command::DEADLINE)
    }

    /// Runs `muster` with these arguments and this standard input.
    #[track_caller]
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Answer {
        command::run(
            &mut self.command(arguments),
            input.as_bytes(),
            command::DEADLINE,
        )
    }

    /// Runs `muster dev WORDS --dir DIR`.
    #[track_caller]
    pub fn run_dev(&self, words: &[&str]) -> Answer {
        let dir = self.dir().display().to_string();
        self.run(&[&["dev"], words, &["--dir", &dir]].concat())
    }

    /// Asks a machine: `muster ARGUMENTS --node NODE`.
    #[track_caller]
    pub fn ask(&self, node: &str, arguments: &[&str]) -> Answer {
        self.run(&[arguments, &["--node", node]].concat())
    }

    /// Asks whichever machine answers.
    #[track_caller]
    pub fn ask_any(&self, arguments: &[&str]) -> Answer {
        let node = self.any_node();
        self.ask(&node, arguments)
    }

    /// The socket of a machine that answers now.
    #[track_caller]
    pub fn any_node(&self) -> String {
        until("a machine answers", PATIENCE, || {
            let answers = |socket: &String| self.ask(socket, &["status", "--json"]).code == Some(0);
            self.sockets()
                .into_iter()
                .find(answers)
                .ok_or_else(|| "none does".to_owned())
        })
    }

    /// The Unix sockets in the fleet's directory, answered or not.
    pub fn sockets(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut pending = vec![self.dir()];
        while let Some(dir) = pending.pop() {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            for entry in entries {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                    Ok(kind) if kind.is_socket() => found.push(entry.path().display().to_string()),
                    _ => {}
                }
            }
        }
        found.sort();
        found
    }

    // === what it says ===

    /// The status as whichever machine answers sees it.
    #[track_caller]
    pub fn status(&self) -> Status {
        let node = self.any_node();
        self.status_of(&node)
            .unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// The status as one machine sees it.
    ///
    /// # Errors
    ///
    /// What the command said, when there was no status.
    pub fn status_of(&self, node: &str) -> Result<Status, String> {
        let answer = self.ask(node, &["status", "--json"]);
        if answer.code != Some(0) {
            return Err(answer.to_string());
        }
        serde_json::from_str(&answer.stdout).map_err(|error| format!("{error}\n{answer}"))
    }

    /// Waits until a condition on the status holds; the machine that is asked may change meanwhile.
    #[track_caller]
    pub fn wait_for<T>(
        &self,
        what: &str,
        mut condition: impl FnMut(&Status) -> Result<T, String>,
    ) -> T {
        until(what, PATIENCE, || {
            let mut last = "no machine answers".to_owned();
            for socket in self.sockets() {
                match self.status_of(&socket) {
                    Ok(status) => return condition(&status),
                    Err(refusal) => last = refusal,
                }
            }
            Err(last)
        })
    }

    /// Waits until the fleet is whole, and says how it is then.
    #[track_caller]
    pub fn wait_whole(&self) -> Status {
        self.wait_for("the fleet is whole", |status| {
            status.whole().map(|()| status.clone())
        })
    }

    /// All events, oldest first.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        self.ask_any(&["events", "--json"]).ok().json_lines()
    }

    /// The events of one kind.
    #[track_caller]
    pub fn events_of(&self, kind: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["kind"] == kind);
        events
    }

    // === what is done to it ===

    /// Kills a machine's agent, `kill -9`.
    #[track_caller]
    pub fn kill(&self, machine: &MachineRow) -> Killed {
        let pid = machine.pid();
        let process = Process::of(pid, self.dir.path());
        let process =
            process.unwrap_or_else(|| panic!("{} does not run: {machine:?}", machine.name));
        let at_ms = crate::wait::unix_ms();
        process.kill();
        Killed {
            machine: machine.clone(),
            at_ms,
        }
    }

    /// The process of a machine, if it lives.
    pub fn process(&self, machine: &MachineRow) -> Option<Process> {
        Process::of(machine.pid(), self.dir.path())
    }

    /// All processes of the fleet.
    pub fn processes(&self) -> Vec<Process> {
        process::all_of(self.dir.path())
    }

    /// Those of them that are agents.
    pub fn agents(&self) -> Vec<Process> {
        let mut agents = self.processes();
        agents.retain(|process| process.command.contains(" agent "));
        agents
    }

    /// What a person would want to see of a fleet in which a test failed.
    fn print_state(&self) {
        eprintln!("=== the fleet in {} at the end", self.dir().display());
        for line in self.dev_lines().iter().rev().take(40).rev() {
            eprintln!("dev: {line}");
        }
        for process in self.processes() {
            eprintln!("process {}: {}", process.pid, process.command);
        }
        if let Some(socket) = self.sockets().first() {
            eprintln!("{}", self.ask(socket, &["status"]));
        }
        for log in logs(self.dir.path()) {
            eprintln!("--- {}", log.display());
            let text = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(30)..]
                .iter()
                .for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() && !is_signalled() {
            self.print_state();
        }
        if let Some(dev) = self.dev.take() {
            dev.end(Signal::INT, Duration::from_secs(5));
        }
        process::kill_all_of(self.dir.path());
        if !std::thread::panicking() {
            let panics = panics(self.dir.path());
            assert!(panics.is_empty(), "agents panicked: {panics:#?}");
        }
    }
}

/// What the logs below a directory tell of panics, which nothing may cause.
fn panics(dir: &Path) -> Vec<String> {
    let read = |log: PathBuf| fs::read_to_string(log).unwrap_or_default();
    let texts = logs(dir).into_iter().map(read);
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| line.contains("panicked at"))
        .collect()
}

/// The log files below a directory.
fn logs(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                Ok(kind)
                    if kind.is_file() && entry.path().extension() == Some(OsStr::new("log")) =>
                {
                    found.push(entry.path());
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}
