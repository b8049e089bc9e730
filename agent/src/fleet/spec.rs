//! What a group should be: canonical, as the fleet state keeps it.
//!
//! People write specifications as TOML or JSON; the `spec` module reads those, fills in the defaults, has
//! provisioner and flavor validate their parts, and makes these. What is checked here again is what the state
//! machine itself relies on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::lease::LeaseTerms;
use super::limits::{MINUTE_MS, SECOND_MS};
use super::names::{GroupId, MachineName};
use super::{Attachment, Properties};

/// Free-form facts about a machine or group: `zone`, `rack`, anything.
pub type Labels = BTreeMap<String, String>;

/// A group's specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// The group's name.
    pub id: GroupId,
    /// How many machines, or which.
    pub allocation: Allocation,
    /// What makes its machines, and how.
    pub instance: InstanceSpec,
    /// What its machines are for.
    pub flavor: FlavorSpec,
    /// Labels that its machines get.
    pub labels: Labels,
    /// Where its machines go.
    pub placement: Placement,
    /// When and how fast it is healed.
    pub heal: HealPolicy,
}

impl GroupSpec {
    /// The part that a machine is made from.
    pub fn template(&self) -> Template {
        Template {
            instance: self.instance.clone(),
            flavor: self.flavor.clone(),
            labels: self.labels.clone(),
        }
    }

    /// How many machines the group should have.
    pub fn desired(&self) -> usize {
        self.allocation.desired()
    }
}

/// How many machines a group has, or which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// Identical and replaceable.
    Cattle {
        /// How many; 0 is allowed.
        size: u32,
    },
    /// Each with a name, and with attachments that outlive its machines.
    Pets {
        /// The members by logical ID.
        members: BTreeMap<MachineName, PetSpec>,
    },
}

impl Allocation {
    /// How many machines the group should have.
    pub fn desired(&self) -> usize {
        match self {
            // A u32 fits into usize on every platform that the agent runs on.
            Self::Cattle { size } => *size as usize,
            Self::Pets { members } => members.len(),
        }
    }

    /// Cattle or pets.
    pub fn kind(&self) -> GroupKind {
        match self {
            Self::Cattle { .. } => GroupKind::Cattle,
            Self::Pets { .. } => GroupKind::Pets,
        }
    }
}

/// Cattle or pets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupKind {
    /// Identical and replaceable.
    Cattle,
    /// Named, each with something of its own.
    Pets,
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cattle => "cattle",
            Self::Pets => "pets",
        })
    }
}

/// What one pet has of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PetSpec {
    /// What outlives its machines: disks, addresses.
    pub attachments: Vec<Attachment>,
}

/// What makes a group's machines, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// The provisioner's name: `process`, or a plugin's.
    pub provisioner: String,
    /// The provisioner's own settings.
    pub properties: Properties,
}

/// What a group's machines are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlavorSpec {
    /// The flavor's name: `vanilla`, or a plugin's.
    pub name: String,
    /// The flavor's own settings.
    pub properties: Properties,
}

/// The part of a specification that a machine is made from. A repair uses the template that its machine had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// What makes the machine, and how.
    pub instance: InstanceSpec,
    /// What it is for.
    pub flavor: FlavorSpec,
    /// Labels that it gets.
    pub labels: Labels,
}

/// Where a group's machines go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Zones to spread over evenly; none means that the provisioner chooses.
    pub zones: BTreeSet<String>,
}

/// The number of a group's specification; grows with every change, from 1. A [`Template`] is known by the number
/// of the specification that brought it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct SpecRevision(pub u64);

impl fmt::Display for SpecRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When and how fast a group is healed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealPolicy {
    /// Whether to act, ask or only watch.
    pub mode: HealMode,
    /// How long a machine may take from its order until it is in the mesh, and how long after that mere silence
    /// is put down to its boot, in milliseconds.
    pub boot_grace_ms: u64,
    /// How long after a change of the group's specification mere silence is put down to that, in milliseconds.
    pub change_grace_ms: u64,
    /// How long a machine must have been silent to every witness before it is replaced without the provider's
    /// proof that it is gone, in milliseconds. Counts from the suspicion; where several fell silent together, and for
    /// agents and workloads that may be restarted, `heal::timing` has longer times.
    pub unreachable_after_ms: u64,
    /// What comes first for a machine that is unreachable and runs, as its provisioner says; `None` for the power cycle
    /// where machines are hardware, and the replacement where another one is cheaply had.
    pub unreachable: Option<Unreachable>,
    /// How long a reimage may take from when it was begun until its provisioner has said so, or the new machine has come, in
    /// milliseconds.
    pub reimage_within_ms: u64,
    /// How many replacements.
    pub budget: BudgetPolicy,
    /// Under what lease its pets run their workloads; `None` for none.
    pub lease: Option<LeaseTerms>,
}

/// `process` machines are processes: what takes a minute has failed.
const BOOT_GRACE_PROCESS_MS: u64 = 60 * SECOND_MS;
/// Bare metal takes long to boot, and a cloud's image may update itself first.
const BOOT_GRACE_MS: u64 = 10 * MINUTE_MS;
/// One minute: long enough for what a change sets off to show.
const CHANGE_GRACE_MS: u64 = 60 * SECOND_MS;
/// By then the suspicion has run its course in meshes of a thousand, and three witnesses have tried twice. More would
/// only make users wait: what many machines have in common waits for longer anyway.
const UNREACHABLE_AFTER_MS: u64 = 5 * SECOND_MS;

/// An image of some gigabytes over a slow network, written by a controller that takes its time, is there by then.
const REIMAGE_WITHIN_MS: u64 = 30 * MINUTE_MS;

impl HealPolicy {
    /// The defaults for machines that `provisioner` makes: heal by itself; boot grace 60 s for `process` and
    /// 10 min for everything else; change grace 60 s; unreachable after 5 s; a reimage within 30 min; budget by size; no
    /// lease.
    pub fn defaults(provisioner: &str) -> Self {
        Self {
            mode: HealMode::Auto,
            boot_grace_ms: if provisioner == "process" {
                BOOT_GRACE_PROCESS_MS
            } else {
                BOOT_GRACE_MS
            },
            change_grace_ms: CHANGE_GRACE_MS,
            unreachable_after_ms: UNREACHABLE_AFTER_MS,
            unreachable: None,
            reimage_within_ms: REIMAGE_WITHIN_MS,
            budget: BudgetPolicy::default(),
            lease: None,
        }
    }
}

/// What is done first about a machine that is unreachable and runs, as its provisioner says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unreachable {
    /// Its power is cycled, as far as its provisioner can.
    PowerCycle,
    /// It is replaced.
    Replace,
}

/// Whether to act, ask or only watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealMode {
    /// Decide and write down what would have been done; do nothing.
    Observe,
    /// Decide, and act when a person approved.
    Approve,
    /// Decide and act.
    Auto,
}

impl fmt::Display for HealMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Approve => "approve",
            Self::Auto => "auto",
        })
    }
}

/// How many machines of a group may be replaced. `None` is the default by the group's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetPolicy {
    /// At one time; by default 5 %, and at least 1.
    pub at_once: Option<u32>,
    /// Within an hour; by default 20 %, and at least 10.
    pub per_hour: Option<u32>,
}

impl BudgetPolicy {
    /// How many machines of a group of `desired` may be replaced at one time.
    pub fn at_once(&self, desired: usize) -> usize {
        self.at_once
            .map_or_else(|| (desired / 20).max(1), |count| count as usize)
    }

    /// How many machines of a group of `desired` may be replaced within an hour.
    pub fn per_hour(&self, desired: usize) -> u32 {
        self.per_hour
            .unwrap_or_else(|| u32::try_from(desired / 5).unwrap_or(u32::MAX).max(10))
    }
}
