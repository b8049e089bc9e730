//! Instances that carry the fleet's tags, and that nobody on the roster runs on.

use serde::{Deserialize, Serialize};

use super::{InstanceId, OperationId};

/// An instance that its provisioner lists for this fleet, and that belongs to no machine and to nothing that is under
/// way. Orphans are shown and never touched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Orphan {
    /// The provisioner's name.
    pub provisioner: String,
    /// What the provisioner calls it.
    pub id: InstanceId,
    /// The group that its tags name.
    pub group: Option<String>,
    /// The operation that made it, from its tags.
    pub op: Option<OperationId>,
    /// Since when it has been seen, in milliseconds since 1970.
    pub since_ms: u64,
}

impl Orphan {
    /// Which one it is.
    pub fn key(&self) -> (&str, &str) {
        (&self.provisioner, self.id.as_str())
    }
}
