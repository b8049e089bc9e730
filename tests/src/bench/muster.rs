//! muster as `muster dev` runs it: the real agents, with default settings.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Agent, News, Restored, System};
use crate::fleet::{Fleet, Namespace, Options, PATIENCE};
use crate::status::{MachineRow, Status};
use crate::wait::{now, poll, unix_ms};

/// A fleet of muster agents.
#[derive(Debug)]
pub struct Muster {
    fleet: Fleet,
    size: u32,
}

/// How often the fleet is asked whether it is whole; the result is late by half of that on average.
const PAUSE: Duration = Duration::from_millis(100);

impl Muster {
    /// Starts as many agents, in one group of cattle unless `spec` says otherwise, and waits until all is well.
    pub fn start(size: u32, spec: Option<String>) -> Self {
        let options = Options {
            machines: spec.is_none().then_some(size),
            spec,
            namespace: true,
            alone: true,
            ..Options::default()
        };
        let muster = Self {
            fleet: Fleet::launch(options),
            size,
        };
        muster.wait_whole();
        muster
    }

    /// A spec with a health command whose verdict changes every five seconds.
    pub fn changing_health(size: u32) -> String {
        let command = "test $(( $(date +%s) / 5 % 2 )) = 0";
        format!(
            "[[group]]\nid = \"web\"\nsize = {size}\n\n[group.flavor.properties.health]\n\
             command = \"{command}\"\ninterval = \"5s\"\nfailures = 1\nsuccesses = 1\n"
        )
    }

    /// Waits until every machine is alive in everybody's eyes.
    fn wait_whole(&self) -> Status {
        let size = usize::try_from(self.size).expect("a number of processes");
        self.fleet.wait_for("the fleet is whole", |status| {
            if status.machines.len() != size || status.members.alive != self.size {
                return Err(format!("{} of {size} machines", status.members.alive));
            }
            status.whole().map(|()| status.clone())
        })
    }

    /// When an event of a kind that is about a machine happened, since `killed_ms`.
    fn event_after(&self, node: &str, kind: &str, name: &str, killed_ms: u64) -> Option<Duration> {
        let answer = self.fleet.ask(node, &["events", "--json"]);
        let event = answer
            .stdout
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut times = event.filter_map(|event| {
            let of_it = event["kind"] == kind && event["machine"] == name;
            event["at_ms"]
                .as_u64()
                .filter(|at_ms| of_it && *at_ms >= killed_ms)
        });
        times
            .next()
            .map(|at_ms| Duration::from_millis(at_ms - killed_ms))
    }

    fn agent(&self, machine: &MachineRow, status: &Status) -> Agent {
        let address = machine.address.as_deref().unwrap_or_default();
        Agent {
            key: machine.machine_id.clone(),
            name: machine.name.clone(),
            ip: address.rsplit_once(':').map_or("", |(ip, _)| ip).to_owned(),
            pid: machine.pid(),
            is_coordinator: status.coordinators.contains(&machine.name),
            is_leader: status.leader.as_deref() == Some(&machine.name),
            log: machine.dir().join("agent.log"),
            node: machine.api().to_owned(),
        }
    }
}

impl System for Muster {
    fn name(&self) -> &'static str {
        "muster"
    }

    fn namespace(&self) -> &Namespace {
        self.fleet.namespace()
    }

    fn agents(&mut self) -> Vec<Agent> {
        let status = self.wait_whole();
        status
            .machines
            .iter()
            .map(|machine| self.agent(machine, &status))
            .collect()
    }

    fn news(&self) -> fn(&str) -> Option<News> {
        |line| {
            let field = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}="))?;
                rest.split_ascii_whitespace().next().map(str::to_owned)
            };
            let machine = field("machine")?;
            match field("kind")?.as_str() {
                "member_down" => Some(News::Down(machine)),
                "member_up" => Some(News::Up(machine)),
                _ => None,
            }
        }
    }

    /// The health command that it was started with does that.
    fn change_health(&mut self, _round: u32) {}

    fn welcome_back(&mut self, _silenced: &Agent) {
        self.wait_whole();
    }

    fn restore(&mut self, victim: &Agent, killed: Instant) -> Restored {
        let killed_ms =
            unix_ms().saturating_sub(u64::try_from(killed.elapsed().as_millis()).unwrap_or(0));
        let replaced = poll(PATIENCE, PAUSE, || {
            let sockets = self.fleet.sockets();
            let answered = sockets
                .iter()
                .find_map(|socket| Some((socket, self.fleet.status_of(socket).ok()?)));
            let (node, status) = answered.ok_or("nobody answers")?;
            if status
                .machines
                .iter()
                .any(|machine| machine.machine_id == victim.key)
            {
                return Err("it is still in the roster".to_owned());
            }
            status.whole().map(|()| (node.clone(), now()))
        });
        let Ok((node, at)) = replaced else {
            return Restored::default();
        };
        let ordered = self.event_after(&node, "replacing", &victim.name, killed_ms);
        Restored {
            ordered,
            whole: Some(at.duration_since(killed)),
        }
    }

    fn explain(&self, asked: &Agent, about: &Agent) -> Option<Duration> {
        let start = now();
        let answer = self
            .fleet
            .ask(&asked.node, &["explain", &about.name, "--json"])
            .ok();
        let took = start.elapsed();
        let decisions = &answer.json()["decisions"];
        let explained = decisions.as_array().is_some_and(|list| !list.is_empty());
        assert!(explained, "nothing is explained\n{answer}");
        Some(took)
    }
}
