//! The public JSON of `muster status --json`, read as a script would: only the documented keys, and no others.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The fleet at a glance.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Which cluster.
    pub cluster: Cluster,
    /// Who answers.
    pub answered_by: String,
    /// Who leads.
    pub leader: Option<String>,
    /// Who coordinates.
    pub coordinators: Vec<String>,
    /// Whether the fleet can act.
    pub quorum: bool,
    /// Members by condition.
    pub members: Members,
    /// What stops the whole fleet.
    pub holds: Vec<Hold>,
    /// The groups.
    pub groups: Vec<GroupRow>,
    /// The machines.
    pub machines: Vec<MachineRow>,
}

/// Which cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Cluster {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Members by condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Members {
    /// They answer.
    pub alive: u32,
    /// They missed a probe.
    pub suspect: u32,
    /// They are held to be down.
    pub down: u32,
    /// They said that they leave.
    pub left: u32,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GroupRow {
    /// Its ID.
    pub id: String,
    /// `cattle` or `pets`.
    pub kind: String,
    /// How many there should be.
    pub desired: u32,
    /// How many there are.
    pub running: u32,
    /// What is going on.
    pub state: String,
    /// What stops it.
    pub holds: Vec<Hold>,
}

/// A rule that stops something.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Hold {
    /// The rule.
    pub rule: String,
    /// Why.
    pub detail: String,
}

/// A machine.
#[derive(Debug, Clone, Deserialize)]
pub struct MachineRow {
    /// Its name.
    pub name: String,
    /// Its ID.
    pub machine_id: String,
    /// Its group.
    pub group: Option<String>,
    /// Which one of its group.
    pub member: Option<String>,
    /// What the provisioner made.
    pub instance: Option<Instance>,
    /// Where it listens.
    pub address: Option<String>,
    /// What `--node` takes.
    pub api: Option<String>,
    /// How it is.
    pub status: String,
    /// What the fleet makes of it.
    pub diagnosis: Option<String>,
    /// How it feels.
    pub health: Option<String>,
    /// Whether it coordinates.
    #[serde(default)]
    pub coordinator: bool,
    /// From when the row is.
    pub as_of_ms: u64,
}

/// What a provisioner made.
#[derive(Debug, Clone, Deserialize)]
pub struct Instance {
    /// Its ID.
    pub id: String,
    /// The provisioner.
    pub provisioner: String,
    /// What the provisioner says of it.
    pub properties: Map<String, Value>,
}

impl Status {
    /// A group that has to be there.
    #[track_caller]
    pub fn group(&self, id: &str) -> &GroupRow {
        let found = self.groups.iter().find(|group| group.id == id);
        found.unwrap_or_else(|| panic!("there is no group {id}: {self:#?}"))
    }

    /// A machine, if there is one of that name.
    pub fn find(&self, name: &str) -> Option<&MachineRow> {
        self.machines.iter().find(|machine| machine.name == name)
    }

    /// A machine that has to be there.
    #[track_caller]
    pub fn machine(&self, name: &str) -> &MachineRow {
        self.find(name)
            .unwrap_or_else(|| panic!("there is no machine {name}: {self:#?}"))
    }

    /// The machines of a group, by name.
    pub fn machines_of(&self, group: &str) -> Vec<&MachineRow> {
        let mut found: Vec<_> = self
            .machines
            .iter()
            .filter(|machine| machine.group.as_deref() == Some(group))
            .collect();
        found.sort_by(|left, right| left.name.cmp(&right.name));
        found
    }

    /// The names and machine IDs of all machines, by name: who is who.
    pub fn identities(&self) -> Vec<(String, String)> {
        let mut found: Vec<_> = self
            .machines
            .iter()
            .map(|machine| (machine.name.clone(), machine.machine_id.clone()))
            .collect();
        found.sort();
        found
    }

    /// Whether the whole fleet is as it should be; else what is not.
    ///
    /// # Errors
    ///
    /// What is not, in words for a person who reads a failed test.
    pub fn whole(&self) -> Result<(), String> {
        for group in &self.groups {
            if group.state != "converged" || group.running != group.desired {
                return Err(format!(
                    "{} is {} with {} of {}, holds {:?}",
                    group.id, group.state, group.running, group.desired, group.holds
                ));
            }
        }
        if let Some(machine) = self
            .machines
            .iter()
            .find(|machine| machine.status != "alive")
        {
            return Err(format!(
                "{} is {} ({:?})",
                machine.name, machine.status, machine.diagnosis
            ));
        }
        if self.leader.is_none() || !self.quorum {
            return Err(format!("leader {:?}, quorum {}", self.leader, self.quorum));
        }
        // Three can spare one; with fewer machines than that there is no such thing.
        let wanted = if self.machines.len() < 3 { 1 } else { 3 };
        let coordinators = self
            .machines
            .iter()
            .filter(|machine| machine.coordinator)
            .count();
        if coordinators.min(self.coordinators.len()) < wanted {
            let names = &self.coordinators;
            return Err(format!(
                "{coordinators} coordinators of {wanted}: {names:?}"
            ));
        }
        if let Some(machine) = self.machines.iter().find(|machine| !machine.is_described()) {
            return Err(format!(
                "nobody has described {} yet: {machine:?}",
                machine.name
            ));
        }
        if self.groups.is_empty() || self.machines.is_empty() {
            return Err("there is nothing in it".to_owned());
        }
        Ok(())
    }
}

impl MachineRow {
    /// Whether everything is known that its provisioner and it itself have to tell.
    fn is_described(&self) -> bool {
        let local = |made: &Instance| made.provisioner == "process";
        let Some(made) = self.instance.as_ref().filter(|made| local(made)) else {
            // By hand, or somewhere else: neither says more than it has when it is ordered.
            return self.group.is_none() || self.instance.is_some();
        };
        let pid = made.properties.contains_key("pid");
        pid && self.api.as_ref().is_some_and(|api| api.starts_with('/'))
    }

    /// The number of its process.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let pid = self
            .property("pid")
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok());
        pid.unwrap_or_else(|| panic!("no process number: {self:?}"))
    }

    /// Its directory.
    #[track_caller]
    pub fn dir(&self) -> std::path::PathBuf {
        let dir = self.property("dir").as_str();
        dir.unwrap_or_else(|| panic!("no directory: {self:?}"))
            .into()
    }

    /// The directory of its disk, which outlives it: a pet's data.
    #[track_caller]
    pub fn disk(&self) -> std::path::PathBuf {
        let disks = self.dir().join("disks");
        let mut found = std::fs::read_dir(&disks).into_iter().flatten().flatten();
        let disk = found
            .next()
            .unwrap_or_else(|| panic!("no disk in {}", disks.display()));
        disk.path()
    }

    /// What `--node` takes to ask it.
    #[track_caller]
    pub fn api(&self) -> &str {
        self.api
            .as_deref()
            .unwrap_or_else(|| panic!("no way to ask it: {self:?}"))
    }

    #[track_caller]
    fn property(&self, key: &str) -> &Value {
        let instance = self
            .instance
            .as_ref()
            .unwrap_or_else(|| panic!("no instance: {self:?}"));
        instance
            .properties
            .get(key)
            .unwrap_or_else(|| panic!("no {key}: {self:?}"))
    }
}
