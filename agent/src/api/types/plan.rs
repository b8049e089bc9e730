//! What an `apply` or `scale` changes.

use serde::{Deserialize, Serialize};

use super::{AsOf, GroupKind};

/// What an `apply` or `scale` would change, or has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Who answers, and how old the state is that the plan was made from.
    #[serde(flatten)]
    pub as_of: AsOf,
    /// Whether it has been done (`false`: only a plan).
    pub applied: bool,
    /// One entry for each group that was sent, in that order.
    pub groups: Vec<GroupPlan>,
}

/// What changes in one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// The group's ID.
    pub id: String,
    /// Cattle or pets.
    pub kind: GroupKind,
    /// What sort of change.
    pub change: Change,
    /// The current revision; `null` for a new group. What `expected` of an apply takes.
    pub revision: Option<u64>,
    /// How many machines it should have now; 0 for a new group.
    pub desired_before: u32,
    /// How many it should have then.
    pub desired_after: u32,
    /// The pets that come.
    pub members_added: Vec<String>,
    /// The pets that go, with their data.
    pub members_removed: Vec<String>,
    /// Which fields of the spec change.
    pub fields: Vec<FieldChange>,
    /// What one should know before saying yes.
    pub warnings: Vec<String>,
    /// Why this can't be done, if so; then nothing of the whole request is.
    pub refused: Option<Refusal>,
}

/// The sorts of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The group is new.
    Create,
    /// Only the number of machines changes.
    Scale,
    /// The spec changes and gets a new revision.
    Update,
    /// Nothing changes.
    Unchanged,
}

/// One field of a spec that changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its path, such as `instance.properties.env`.
    pub field: String,
    /// The value now; `null` when it is absent.
    pub before: serde_json::Value,
    /// The value then; `null` when it goes.
    pub after: serde_json::Value,
}

/// Why a change can't be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong.
    pub reason: String,
    /// The safe way.
    pub remedy: String,
}

// === impl Plan ===

impl Plan {
    /// Whether applying it would do nothing.
    pub fn is_empty(&self) -> bool {
        self.groups
            .iter()
            .all(|group| group.change == Change::Unchanged && group.refused.is_none())
    }

    /// The first refusal, with its group.
    pub fn refusal(&self) -> Option<(&str, &Refusal)> {
        self.groups
            .iter()
            .find_map(|group| Some((group.id.as_str(), group.refused.as_ref()?)))
    }
}
