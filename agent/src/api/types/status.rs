//! The fleet at a glance.

use std::collections::BTreeMap;
use std::fmt;

use muster_mesh::identity::{ClusterId, MachineId};
use serde::{Deserialize, Serialize};

use super::{AsOf, CordonRow, OrderRow};

/// The whole fleet: what `muster status` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Which cluster this is.
    pub cluster: ClusterInfo,
    /// Who answers, and how old the answer is.
    #[serde(flatten)]
    pub as_of: AsOf,
    /// The name of the machine that leads, as far as the answering one knows.
    pub leader: Option<String>,
    /// The names of the machines that coordinate.
    pub coordinators: Vec<String>,
    /// Whether the leader has a quorum of coordinators *and* more than half of the roster behind it, so that the
    /// fleet can act.
    pub quorum: bool,
    /// How many machines are in which condition, in the eyes of the answering one.
    pub members: MemberCounts,
    /// Holds that stop the whole fleet, not only one group.
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// Every group, by ID.
    pub groups: Vec<GroupStatus>,
    /// Every machine of the roster, by name.
    pub machines: Vec<MachineRow>,
    /// Instances that carry the fleet's tags and that no machine of the roster runs on. They are shown and not
    /// touched.
    #[serde(default)]
    pub orphans: Vec<OrphanRow>,
    /// Hardware on which nothing is made, because a machine on it has failed.
    #[serde(default)]
    pub quarantine: Vec<QuarantineRow>,
    /// Orders by hand that wait or are under way, oldest first.
    #[serde(default)]
    pub orders: Vec<OrderRow>,
}

/// An instance that nobody runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanRow {
    /// The provisioner's name for it.
    pub id: String,
    /// The provisioner.
    pub provisioner: String,
    /// The group that its tags name.
    pub group: Option<String>,
    /// The operation that made it, as far as its tags say.
    pub op: Option<String>,
    /// Since when it has been seen, in milliseconds since 1970.
    pub since_ms: u64,
}

/// Hardware in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRow {
    /// The provisioner.
    pub provisioner: String,
    /// What the provisioner calls the hardware: what `muster release` takes.
    pub hardware: String,
    /// Why nothing is made on it.
    pub why: String,
    /// Since when that has been known, in milliseconds since 1970.
    pub since_ms: u64,
    /// The machine that failed on it; `null` where the provisioner alone knows of it.
    pub machine: Option<String>,
    /// That machine's group.
    pub group: Option<String>,
    /// That machine's instance.
    pub instance: Option<String>,
    /// Since when a person wants it to be released, in milliseconds since 1970; `null` while nobody does.
    pub released_ms: Option<u64>,
}

/// Which cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// Its identifier, made by `muster init`.
    pub id: ClusterId,
    /// What people call it.
    pub name: String,
}

/// Members of the mesh by condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemberCounts {
    /// They answer.
    pub alive: u32,
    /// They missed a probe and may still refute.
    pub suspect: u32,
    /// They are held to be down.
    pub down: u32,
    /// They said that they leave.
    pub left: u32,
}

/// A rule that stops something from being done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The rule's name, such as `quorum` or `budget`.
    pub rule: String,
    /// Why it holds, with numbers.
    pub detail: String,
}

/// A group at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its ID.
    pub id: String,
    /// Cattle or pets.
    pub kind: GroupKind,
    /// How many machines it should have.
    pub desired: u32,
    /// How many are alive and joined.
    pub running: u32,
    /// What is going on.
    pub state: GroupState,
    /// What isn't done, and which rule stops it.
    pub holds: Vec<Hold>,
    /// Why nothing more is tried in it; `null` while it has not failed.
    #[serde(default)]
    pub failed: Option<FailedRow>,
    /// How far healing may go without a person.
    pub heal_mode: HealMode,
    /// The current revision of its spec.
    pub revision: u64,
}

/// What was tried in a group failed again and again, so nothing more is tried until its time is up or a person resumes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRow {
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// When something is tried again, in milliseconds since 1970.
    pub until_ms: u64,
    /// What failed, and what ends it.
    pub detail: String,
}

/// What the machines of a group are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupKind {
    /// All alike; only the number counts.
    Cattle,
    /// Each has its own name, and data that outlive it.
    Pets,
}

/// What is going on in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// As its spec says.
    Converged,
    /// Machines are being made to reach the desired number.
    Provisioning,
    /// A failed machine is being replaced.
    Healing,
    /// Machines go because the spec wants them no more, or a new revision rolls through it.
    Updating,
    /// Something should be done and a rule stops it.
    Holding,
    /// A person stopped it.
    Paused,
}

/// How far healing may go without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealMode {
    /// Only say what would be done.
    Observe,
    /// Ask before each action.
    Approve,
    /// Act.
    Auto,
}

/// One machine of the roster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineRow {
    /// What people call it.
    pub name: String,
    /// What the mesh calls it.
    pub machine_id: MachineId,
    /// Its group; `null` for a machine that joined by hand.
    pub group: Option<String>,
    /// Which one in its group: the ordinal of cattle in decimal digits, the logical ID of a pet.
    pub member: Option<String>,
    /// What the provisioner made; `null` before it is made and for machines that joined by hand.
    pub instance: Option<InstanceRow>,
    /// Where its mesh endpoint listens; `null` until it has joined.
    pub address: Option<std::net::SocketAddr>,
    /// What `--node` takes to ask this machine: a socket path where the answering machine can see it, else the
    /// address.
    pub api: Option<String>,
    /// How it is.
    pub status: MachineState,
    /// What the fleet makes of it, such as `healthy`, `gone` or `unreachable`; `null` before the first look.
    pub diagnosis: Option<String>,
    /// How it feels; `null` until it has said so.
    pub health: Option<HealthLevel>,
    /// Why its successor could not be started safely if it failed now; `null` for cattle, and where nothing speaks against it.
    #[serde(default)]
    pub not_healable: Option<String>,
    /// Since when nobody can say what became of it, in milliseconds since 1970: the log was recovered without it. `null` for
    /// all others.
    #[serde(default)]
    pub unaccounted_ms: Option<u64>,
    /// Whether it is a coordinator.
    #[serde(default)]
    pub coordinator: bool,
    /// Why it is left to people; `null` for one that is not.
    #[serde(default)]
    pub cordoned: Option<CordonRow>,
    /// When its workload handed over its duties, in milliseconds since 1970: it serves nobody until it is restarted. `null`
    /// for one that has not.
    #[serde(default)]
    pub drained_ms: Option<u64>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When `status` last changed, in milliseconds since 1970.
    #[serde(default)]
    pub since_ms: u64,
    /// From when this row is, in milliseconds since 1970: the machine's last sign of life that got here.
    pub as_of_ms: u64,
}

/// What a provisioner made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRow {
    /// The provisioner's name for it.
    pub id: String,
    /// The provisioner.
    pub provisioner: String,
    /// What the provisioner says of it; `process` has `pid` and `dir` among them.
    pub properties: serde_json::Map<String, serde_json::Value>,
}

/// The condition of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    /// It answers.
    Alive,
    /// It missed a probe and may still refute.
    Suspect,
    /// It is held to be down.
    Down,
    /// It said that it leaves.
    Left,
    /// It is ordered and hasn't joined yet.
    Provisioning,
    /// It is being drained or destroyed.
    Destroying,
    /// Another tool made it, and no agent of it has joined yet: its provisioner alone watches over it.
    Adopted,
}

/// How a machine feels about itself, by its own thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthLevel {
    /// Nothing to report.
    Ok,
    /// Something is close to its limit.
    Warning,
    /// Something is beyond its limit.
    Critical,
}

macro_rules! display_as {
    ($($type:ty { $($variant:ident => $text:literal),+ $(,)? })+) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $text),+ })
            }
        }
    )+};
}

display_as! {
    GroupKind { Cattle => "cattle", Pets => "pets" }
    GroupState {
        Converged => "converged", Provisioning => "provisioning", Healing => "healing",
        Updating => "updating", Holding => "holding", Paused => "paused",
    }
    HealMode { Observe => "observe", Approve => "approve", Auto => "auto" }
    MachineState {
        Alive => "alive", Suspect => "suspect", Down => "down", Left => "left",
        Provisioning => "provisioning", Destroying => "destroying", Adopted => "adopted",
    }
    HealthLevel { Ok => "ok", Warning => "warning", Critical => "critical" }
}

// === impl Status ===

impl Status {
    /// Whether all is as the specs say. A fleet without groups has nothing to be whole by.
    pub fn is_whole(&self) -> bool {
        !self.groups.is_empty() && self.complaints().is_empty()
    }

    /// Why the fleet isn't healthy, one sentence each; empty when it is. `status --check` exits with 4 unless empty.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.as_of.stale {
            complaints.push(format!(
                "{}'s copy is {} s old, so this may be the past",
                self.as_of.answered_by,
                self.as_of.age_ms / 1000
            ));
        }
        if self.leader.is_none() {
            complaints.push("nobody leads".to_owned());
        }
        if !self.quorum {
            complaints.push("there is no quorum, so nothing can be decided".to_owned());
        }
        for hold in &self.holds {
            complaints.push(format!("{}: {}", hold.rule, hold.detail));
        }
        for group in &self.groups {
            if let Some(failed) = &group.failed {
                complaints.push(format!("group {} has failed: {}", group.id, failed.detail));
            }
            if group.state != GroupState::Converged || group.running != group.desired {
                complaints.push(format!(
                    "group {} is {} with {} of {} machines running",
                    group.id, group.state, group.running, group.desired
                ));
            }
        }
        for orphan in &self.orphans {
            complaints.push(format!(
                "instance {} of {} is an orphan: no machine runs on it",
                orphan.id, orphan.provisioner
            ));
        }
        for machine in &self.machines {
            let settled = matches!(machine.status, MachineState::Alive | MachineState::Left);
            if !settled {
                complaints.push(format!("{} is {}", machine.name, machine.status));
            } else if machine.health == Some(HealthLevel::Critical) {
                complaints.push(format!("{} reports critical health", machine.name));
            }
        }
        complaints
    }
}
