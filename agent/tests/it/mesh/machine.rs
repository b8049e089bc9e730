//! One machine of a mesh made by hand.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::node::{Ended, muster, run};

/// Within this a debug build on a busy machine reaches any healthy condition. Tests that pass never wait for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A machine; its agent ends, and its directory goes, when it is dropped.
pub(super) struct Machine {
    directory: TempDir,
    name: String,
    addr: SocketAddr,
    /// Flags that every start has.
    flags: Vec<String>,
    agent: Option<Child>,
}

impl Machine {
    /// A machine without an identity, at a free port.
    pub(super) fn new(name: &str, flags: &[&str]) -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            name: name.to_owned(),
            addr: free_port(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            agent: None,
        }
    }

    /// A running machine that has founded a mesh.
    pub(super) fn founder(flags: &[&str]) -> Self {
        let mut machine = Self::new("m1", flags);
        machine.start(&["init", "--run"]);
        machine.wait_for("it leads", |status| match &status["leader"] {
            Value::String(_) => Ok(()),
            other => Err(other.to_string()),
        });
        machine
    }

    /// A running machine that has joined the mesh of another.
    pub(super) fn joined(name: &str, by: &Self, flags: &[&str]) -> Self {
        let mut machine = Self::new(name, flags);
        let (token, seed) = (by.token(&[]), by.addr.to_string());
        machine.start(&["join", &seed, "--token", &token, "--run"]);
        by.wait_alive(name);
        machine
    }

    /// A join token.
    pub(super) fn token(&self, arguments: &[&str]) -> String {
        let made = self
            .ask(&[&["token", "create", "--json"], arguments].concat())
            .with(0);
        made.json()["token"].as_str().expect("a token").to_owned()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Has it listen at another port from its next start on.
    pub(super) fn move_away(&mut self) {
        self.addr = free_port();
    }

    pub(super) fn data(&self) -> &Path {
        self.directory.path()
    }

    /// `muster WORDS` with this machine's flags.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = muster(words);
        command
            .args(["--name", &self.name, "--bind", &self.addr.to_string()])
            .arg("--data-dir")
            .arg(self.data())
            .args(&self.flags)
            .current_dir(self.data());
        command
    }

    /// Runs a command with this machine's flags to its end.
    pub(super) fn run(&self, words: &[&str]) -> Ended {
        run(self.command(words), "")
    }

    /// Starts what becomes, or is, the agent.
    pub(super) fn start(&mut self, words: &[&str]) {
        assert!(self.agent.is_none(), "it runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        let child = self
            .command(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("writable"))
            .spawn();
        self.agent = Some(child.expect("the binary runs"));
    }

    fn log_path(&self) -> PathBuf {
        self.data().join("log")
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(super) fn signal(&self, signal: Signal) {
        let agent = self.agent.as_ref().expect("it runs");
        rustix::process::kill_process(Pid::from_child(agent), signal).expect("it runs");
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        let mut agent = self.agent.take().expect("it runs");
        agent.kill().expect("it is ours");
        agent.wait().expect("it is ours");
    }

    /// Waits until the agent ends by itself.
    pub(super) fn wait_ended(&mut self) -> ExitStatus {
        let mut agent = self.agent.take().expect("it runs");
        until("it ends", PATIENCE, || {
            match agent.try_wait().expect("it is ours") {
                Some(status) => Ok(status),
                None => Err(self.log()),
            }
        })
    }

    /// `muster WORDS`, asked of this machine.
    pub(super) fn ask(&self, words: &[&str]) -> Ended {
        let mut command = muster(words);
        command
            .arg("--node")
            .arg(self.data().join("api.sock"))
            .current_dir(self.data());
        run(command, "")
    }

    pub(super) fn status(&self) -> Option<Value> {
        let answer = self.ask(&["status", "--json"]);
        (answer.code == Some(0)).then(|| answer.json())
    }

    /// Waits until this machine's answer to `status` is as it should be.
    #[track_caller]
    pub(super) fn wait_for<T>(
        &self,
        what: &str,
        mut check: impl FnMut(&Value) -> Result<T, String>,
    ) -> T {
        until(what, PATIENCE, || match self.status() {
            Some(status) => check(&status).map_err(|why| format!("{why}\n{}", self.log())),
            None => Err(format!("no answer\n{}", self.log())),
        })
    }

    /// Waits until this machine says that another is alive; its row.
    #[track_caller]
    pub(super) fn wait_alive(&self, name: &str) -> Value {
        self.wait_for(&format!("{name} is alive"), |status| {
            let row = row(status, name);
            match row["status"].as_str() {
                Some("alive") => Ok(row),
                _ => Err(row.to_string()),
            }
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// What an answer to `status` says of a machine; null when it does not know it.
pub(super) fn row(status: &Value, name: &str) -> Value {
    let rows = status["machines"].as_array().expect("rows");
    let found = rows.iter().find(|row| row["name"] == name);
    found.cloned().unwrap_or_default()
}

/// A free port of the loopback. Another process could take it before it is used; none here looks for one that way
/// between.
pub(super) fn free_port() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound")
}

/// The present.
#[allow(
    clippy::disallowed_methods,
    reason = "tests of real processes run in real time"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Asks again and again until the answer is good, and panics with the last bad one when that takes too long.
#[track_caller]
pub(super) fn until<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> Result<T, String>,
) -> T {
    let start = now();
    loop {
        match ask() {
            Ok(done) => return done,
            Err(why) if start.elapsed() > deadline => panic!("not in time: {what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
