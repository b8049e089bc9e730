//! Serf as Debian ships it: encrypted, LAN profile, nothing else configured.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::scenarios::CHURN_EVERY;
use super::{Agent, News, Restored, System};
use crate::command::{self, DEADLINE};
use crate::fleet::{Namespace, PATIENCE};
use crate::wait::{now, pause, until};

/// A fleet of Serf agents.
#[derive(Debug)]
pub struct Serf {
    agents: Vec<(Agent, Child)>,
    key: String,
    started: u32,
    // Dropped after the agents, whose logs and network these are.
    dir: TempDir,
    namespace: Namespace,
}

impl Serf {
    /// Starts as many agents and waits until all know each other.
    pub fn start(size: u32) -> Self {
        let key = command::run(Command::new("serf").arg("keygen"), b"", DEADLINE).ok();
        let mut serf = Self {
            agents: Vec::new(),
            key: key.stdout.trim().to_owned(),
            started: 0,
            dir: tempfile::tempdir().expect("the temporary directory is writable"),
            namespace: Namespace::new(),
        };
        for _ in 0..size {
            serf.start_one();
        }
        serf.wait_joined();
        serf
    }

    /// The IP address of the agent of that number.
    fn ip(number: u32) -> String {
        format!("127.20.{}.{}", number / 250, number % 250 + 1)
    }

    fn start_one(&mut self) {
        let number = self.started;
        self.started += 1;
        let (key, ip) = (format!("node-{number}"), Self::ip(number));
        let log: PathBuf = self.dir.path().join(format!("{key}.log"));
        let output = File::create(&log).expect("the directory is ours");
        let mut command = self.namespace.command("serf".as_ref());
        command.args([
            "agent", "-profile", "lan", "-encrypt", &self.key, "-node", &key,
        ]);
        command.args([
            "-bind",
            &format!("{ip}:7946"),
            "-rpc-addr",
            &format!("{ip}:7373"),
        ]);
        if let Some((first, _)) = self.agents.first() {
            command.args([
                "-retry-join",
                &format!("{}:7946", first.ip),
                "-retry-interval",
                "1s",
            ]);
        }
        let errors = output.try_clone().expect("a file can be shared");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn();
        // `ip netns exec` turns into the program that it starts, so the child is Serf itself.
        let child = child.expect("serf runs");
        let agent = Agent {
            name: key.clone(),
            key,
            ip,
            pid: child.id(),
            is_coordinator: false,
            is_leader: false,
            log,
            node: String::new(),
        };
        self.agents.push((agent, child));
    }

    /// Waits until the first and the last agent know everybody; they learn from each other, so then all do soon.
    fn wait_joined(&self) {
        let size = self.agents.len();
        for (agent, _) in [self.agents.first(), self.agents.last()]
            .into_iter()
            .flatten()
        {
            until("all have joined", PATIENCE, || {
                let rpc = format!("-rpc-addr={}:7373", agent.ip);
                let mut command = self.namespace.command("serf".as_ref());
                command.args(["members", "-status=alive", &rpc]);
                let members = command::run(&mut command, b"", DEADLINE);
                match members.stdout.lines().count() {
                    count if count == size => Ok(()),
                    count => Err(format!("{count} of {size}: {}", members.stderr)),
                }
            });
        }
    }
}

impl System for Serf {
    fn name(&self) -> &'static str {
        "serf"
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn agents(&mut self) -> Vec<Agent> {
        self.agents.iter().map(|(agent, _)| agent.clone()).collect()
    }

    /// Sets the tag `health` of every agent as a script that reports health would, one after the other: machines
    /// change when they change, not all at one moment.
    fn change_health(&mut self, round: u32) {
        let tag = format!("health={round}");
        let period = CHURN_EVERY * 9 / 10;
        let start = now();
        let mut children = Vec::new();
        for (index, (agent, _)) in (0_u32..).zip(&self.agents) {
            let due = start + period * index / u32::try_from(self.agents.len()).unwrap_or(u32::MAX);
            pause(due.saturating_duration_since(now()));
            let rpc = format!("-rpc-addr={}:7373", agent.ip);
            let mut command = self.namespace.command("serf".as_ref());
            command.args(["tags", &rpc, "-set", &tag]);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            children.push(command.spawn().expect("serf runs"));
        }
        for mut child in children {
            let _ = child.wait();
        }
    }

    fn news(&self) -> fn(&str) -> Option<News> {
        |line| {
            let key = |rest: &str| rest.split_ascii_whitespace().next().map(str::to_owned);
            let after = |event: &str| line.split_once(event).and_then(|(_, rest)| key(rest));
            let down = after("EventMemberFailed: ").map(News::Down);
            down.or_else(|| after("EventMemberJoin: ").map(News::Up))
        }
    }

    /// Serf tries the dead again every half a minute, and there is nothing to measure in that: another agent is
    /// started in its place.
    fn welcome_back(&mut self, silenced: &Agent) {
        self.restore(silenced, now());
    }

    /// Serf replaces nobody: another agent is started in the victim's place.
    fn restore(&mut self, victim: &Agent, _killed: Instant) -> Restored {
        let place = self
            .agents
            .iter()
            .position(|(agent, _)| agent.key == victim.key);
        if let Some(place) = place {
            let (_, mut child) = self.agents.remove(place);
            let _ = child.kill();
            let _ = child.wait();
        }
        self.start_one();
        self.wait_joined();
        // Deaths are passed on for a while; what is measured next shall not contain that.
        pause(Duration::from_secs(5));
        Restored::default()
    }

    fn explain(&self, _asked: &Agent, _about: &Agent) -> Option<Duration> {
        None
    }
}

impl Drop for Serf {
    fn drop(&mut self) {
        for (_, child) in &mut self.agents {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
