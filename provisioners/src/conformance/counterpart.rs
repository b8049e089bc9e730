//! Real software that a back end is tested against, run for the length of a test.
//!
//! `tests/backends/NAME` knows how to install and run it; `tests/run` installs, tests start and stop.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// What the script exits with where the software can't be had.
const EXIT_SKIP: i32 = 77;
/// How long it may take until it is ready: a Java program and three daemons on a busy machine.
const START_MAX: Duration = Duration::from_secs(120);
/// How long it may take to end what it started.
const STOP_MAX: Duration = Duration::from_secs(30);
/// The longest line in which it says where it is.
const READY_BYTES_MAX: u64 = 1 << 20;

/// A running counterpart with its own directory; ends, with all that it started, when dropped.
#[derive(Debug)]
pub struct Counterpart {
    name: String,
    child: Child,
    /// As long as it is open the script goes on; the end of this process closes it, too.
    stdin: Option<ChildStdin>,
    ready: Value,
    directory: TempDir,
}

impl Counterpart {
    /// Starts `tests/backends/NAME run DIR ARGUMENTS` and waits until it is ready. `None`, and one line on standard error, if
    /// it is not installed here.
    ///
    /// # Panics
    /// If it is installed and doesn't come up, and with `CI=true` also if it isn't installed.
    pub fn start(name: &str, arguments: &[&str]) -> Option<Self> {
        let script = script(name);
        let directory = tempfile::Builder::new()
            .prefix(&format!("muster-{name}-"))
            .tempdir()
            .expect("a temporary directory");
        if !is_installed(&script, name) {
            return None;
        }
        let mut child = Command::new(&script)
            .arg("run")
            .arg(directory.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        let stdin = child.stdin.take();
        let line = first_line(&mut child);
        let mut this = Self {
            name: name.to_owned(),
            child,
            stdin,
            ready: Value::Null,
            directory,
        };
        let line = line.unwrap_or_else(|| panic!("{name} was not ready in time"));
        this.ready = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{name} says `{}`: {error}", line.trim()));
        Some(this)
    }

    /// What it said when it was ready: where it is.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// A text of what it said when it was ready.
    ///
    /// # Panics
    /// If it did not say that.
    pub fn text(&self, key: &str) -> &str {
        let said = self.ready[key].as_str();
        said.unwrap_or_else(|| panic!("{} says no `{key}`: {}", self.name, self.ready))
    }

    /// Where all of its state is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its process, for tests that freeze or kill it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Counterpart {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let (ended, wait) = mpsc::sync_channel(1);
        let pid = self.child.id();
        thread::scope(|scope| {
            let child = &mut self.child;
            scope.spawn(move || {
                let _ = child.wait();
                let _ = ended.send(());
            });
            if wait.recv_timeout(STOP_MAX).is_err() {
                eprintln!("{} (process {pid}) does not end and is killed", self.name);
                let pid = i32::try_from(pid)
                    .ok()
                    .and_then(rustix::process::Pid::from_raw);
                if let Some(pid) = pid {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        });
    }
}

/// Asks the script; what is missing is a failure only where everything has to be there.
fn is_installed(script: &Path, name: &str) -> bool {
    let status = Command::new(script)
        .arg("check")
        .stdin(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    match status.code() {
        Some(0) => true,
        Some(EXIT_SKIP) => {
            assert!(
                std::env::var_os("CI").is_none_or(|value| value != "true"),
                "{name} is not installed: run `tests/backends/{name} install`"
            );
            eprintln!("skip: {name} is not installed: run `tests/backends/{name} install`");
            false
        }
        code => panic!("{} check: {code:?}", script.display()),
    }
}

/// The first line that it prints; the rest is read and thrown away, so that it never waits for us.
fn first_line(child: &mut Child) -> Option<String> {
    let stdout = child.stdout.take()?;
    let (said, wait) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        let _ = reader.by_ref().take(READY_BYTES_MAX).read_line(&mut line);
        let _ = said.send(line);
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
    });
    let line = wait.recv_timeout(START_MAX).ok()?;
    Some(line).filter(|line| !line.is_empty())
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/backends")
        .join(name)
}
