//! An ensemble of real servers on loopback addresses, started by what its flavor says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_flavors::run::CommandLine;
use muster_flavors::{
    Allocation, Flavor, Health, HealthStatus, PeerMember, Registry, Role, Workload,
};
use muster_provisioners::{Deadline, Properties};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// Other work on the computer may slow everything down.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const PERIOD: Duration = Duration::from_millis(200);

/// One member: its workload, and its process while it runs.
pub(crate) struct Member {
    pub(crate) workload: Workload,
    child: Option<Child>,
}

/// All of them.
pub(crate) struct Ensemble {
    pub(crate) flavor: Arc<dyn Flavor>,
    pub(crate) members: BTreeMap<String, Member>,
    pub(crate) hosts: BTreeMap<String, String>,
    /// Dropped after the servers.
    _scratch: tempfile::TempDir,
}

impl Ensemble {
    /// Members of these names, of which none runs; `properties` are the flavor's, without addresses.
    pub(crate) fn new(flavor: &str, names: &[&str], properties: Value) -> Self {
        let scratch = tempfile::tempdir().expect("made");
        let pid = std::process::id();
        // The whole of 127.0.0.0/8 is this computer's own: each process of tests has a corner of it for itself.
        let host =
            |index: usize| format!("127.{}.{}.{}", 64 + pid % 128, pid / 128 % 250, index + 1);
        let hosts: BTreeMap<String, String> = names
            .iter()
            .enumerate()
            .map(|(index, name)| ((*name).to_owned(), host(index)))
            .collect();
        let members = names.iter().map(|name| {
            let directory = scratch.path().join(name);
            std::fs::create_dir(&directory).expect("made");
            let workload = Workload {
                machine: format!("machine-{name}"),
                group: "ensemble".to_owned(),
                member: (*name).to_owned(),
                directory: Some(directory),
                ..Workload::default()
            };
            let child = None;
            ((*name).to_owned(), Member { workload, child })
        });
        Self {
            flavor: build(flavor, &hosts, properties),
            members: members.collect(),
            hosts,
            _scratch: scratch,
        }
    }

    pub(crate) fn workload(&self, name: &str) -> &Workload {
        &self.members[name].workload
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.workload(name).directory.clone().expect("it has one")
    }

    /// Starts a member's server, as its guard would.
    pub(crate) async fn start(&mut self, name: &str) {
        let workload = self.workload(name).clone();
        let command = self
            .flavor
            .start(&workload, Deadline::after(PATIENCE))
            .await;
        let command = command.unwrap_or_else(|error| panic!("{name} can't start: {error}"));
        let CommandLine::Program(words) = command else {
            panic!("a program was expected: {command:?}")
        };
        println!("{name}: {}", words.join(" "));
        let log = std::fs::File::options();
        let mut log = log;
        let log = log
            .create(true)
            .append(true)
            .open(self.directory(name).join("log"))
            .expect("opened");
        let child = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(self.directory(name))
            .stdout(log.try_clone().expect("cloned"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("it runs");
        self.members.get_mut(name).expect("a member").child = Some(child);
    }

    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        let child = self.members[name].child.as_ref().expect("it runs");
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.expect("it runs"), signal).expect("it is ours");
    }

    pub(crate) async fn kill(&mut self, name: &str) {
        let member = self.members.get_mut(name).expect("a member");
        let mut child = member.child.take().expect("it runs");
        child.kill().await.expect("killed");
    }

    /// Waits until a server has ended by itself.
    pub(crate) async fn ended(&mut self, name: &str) {
        let member = self.members.get_mut(name).expect("a member");
        let mut child = member.child.take().expect("it runs");
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
        ended.expect("it ends").expect("asked");
    }

    /// From now on it is on record that the ensemble was founded.
    pub(crate) fn founded(&mut self) {
        for member in self.members.values_mut() {
            member.workload.founded = true;
        }
    }

    pub(crate) async fn health(&self, name: &str) -> Health {
        self.flavor.healthy(self.workload(name)).await
    }

    /// Waits until a member is well and plays one of these parts, and tends its ensemble meanwhile, as its agent would.
    pub(crate) async fn plays(&self, name: &str, roles: &[Role]) -> Role {
        let end = Instant::now() + PATIENCE;
        loop {
            let health = self.health(name).await;
            let role = health.part.map(|part| part.role);
            if let Some(role) = role.filter(|role| roles.contains(role))
                && health.status == HealthStatus::Ok
            {
                return role;
            }
            let deadline = Deadline::after(Duration::from_secs(5));
            let tended = self.flavor.tend(self.workload(name), deadline).await;
            assert!(
                Instant::now() < end,
                "{name} should be {roles:?}, and is {health:?}; tended: {tended:?}\n{}",
                std::fs::read_to_string(self.directory(name).join("log")).unwrap_or_default()
            );
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Waits until a member counts so many voters.
    pub(crate) async fn counts(&self, name: &str, voters: u8) {
        let end = Instant::now() + PATIENCE;
        loop {
            let health = self.health(name).await;
            if health.part.is_some_and(|part| part.voters == voters) {
                return;
            }
            let deadline = Deadline::after(Duration::from_secs(5));
            let tended = self.flavor.tend(self.workload(name), deadline).await;
            assert!(
                Instant::now() < end,
                "{name} counts {voters}: {health:?}; tended: {tended:?}"
            );
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Waits until a verdict is reached.
    pub(crate) async fn is(&self, name: &str, status: HealthStatus) -> Health {
        let end = Instant::now() + PATIENCE;
        loop {
            let health = self.health(name).await;
            if health.status == status {
                return health;
            }
            assert!(
                Instant::now() < end,
                "{name} should be {status}, and is {health:?}"
            );
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Waits for the one that leads among some.
    pub(crate) async fn leader(&self, among: &[&str]) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            for name in among {
                let part = self.health(name).await.part;
                if part.is_some_and(|part| part.role == Role::Leader) {
                    return (*name).to_owned();
                }
            }
            assert!(Instant::now() < end, "one of {among:?} leads");
            tokio::time::sleep(PERIOD).await;
        }
    }
}

/// The flavor for members at these addresses.
pub(crate) fn build(
    flavor: &str,
    hosts: &BTreeMap<String, String>,
    mut properties: Value,
) -> Arc<dyn Flavor> {
    properties["addresses"] = json!(hosts);
    let properties = Properties::from_value(properties).expect("an object");
    let allocation = Allocation::Pets {
        members: hosts.keys().cloned().collect(),
    };
    let built = Registry::builtin().build(flavor, &properties, &allocation);
    built.unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// A peer that says which part it plays.
pub(crate) fn peer(name: &str, part: muster_flavors::Part) -> PeerMember {
    PeerMember {
        member: name.to_owned(),
        machine: format!("machine-{name}"),
        address: None,
        part: Some(part),
    }
}
