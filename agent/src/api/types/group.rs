//! One group, in full.

use serde::{Deserialize, Serialize};

use super::{AsOf, GroupStatus, MachineRow, OrphanRow};
use crate::fleet::spec::GroupSpec;

/// One group with everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupDetail {
    /// Who answers, and how old the answer is.
    #[serde(flatten)]
    pub answer: AsOf,
    /// The row that `status` shows.
    pub group: GroupStatus,
    /// The current spec, canonical.
    pub spec: GroupSpec,
    /// How many machines run which revision of the spec.
    pub revisions: Vec<RevisionUse>,
    /// What healing may still spend.
    pub budget: BudgetRow,
    /// Why it is paused; `null` when it isn't.
    pub paused: Option<String>,
    /// What is being done.
    pub intents: Vec<IntentRow>,
    /// Its machines, by name.
    pub machines: Vec<MachineRow>,
    /// Instances that carry this group's tags and that no machine of the roster runs on.
    #[serde(default)]
    pub orphans: Vec<OrphanRow>,
    /// Its pets that run without the lease that its spec asks for: their template has no `start` and `stop`, or they have not
    /// promised yet.
    #[serde(default)]
    pub without_lease: Vec<String>,
    /// The name of the machine that leads the fleet, of this group or not, as far as the answering one knows.
    #[serde(default)]
    pub leader: Option<String>,
}

/// How many machines run one revision of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionUse {
    /// The revision.
    pub revision: u64,
    /// How many machines were made from it and are still on the roster.
    pub machines: u32,
}

/// What healing may still spend in a group.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BudgetRow {
    /// So many machines may be in repair at once.
    pub at_once: u32,
    /// So many are.
    pub in_repair: u32,
    /// So many more repairs may be started before the bucket is empty.
    pub available: f64,
    /// The bucket holds so many at most.
    pub capacity: f64,
    /// So many flow in every hour.
    pub per_hour: f64,
}

/// A committed order that is being carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentRow {
    /// Its operation ID, which also tags the instance.
    pub op: String,
    /// What is done: `provision`, `replace` or `retire`.
    pub action: String,
    /// The machine's name.
    pub machine: String,
    /// The group's ID.
    pub group: Option<String>,
    /// How far it is: `fence`, `drain`, `destroy`, `provision`, `await_join`, `done` or `failed`.
    pub step: String,
    /// How often the step has been tried.
    pub attempts: u32,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When it is tried next, in milliseconds since 1970.
    pub next_attempt_ms: Option<u64>,
    /// The decision that ordered it.
    pub decision: Option<u64>,
}
