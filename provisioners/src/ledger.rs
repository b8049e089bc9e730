//! What a provisioner has to remember for all coordinators.
//!
//! Most back ends remember what they made. Some can't: a rack of bare metal doesn't know whose its nodes are. Such a
//! provisioner keeps that in a small table of its own, which its agent keeps in the fleet's log: whatever is written there was
//! agreed on by a quorum of coordinators, and whoever leads next reads it.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Deadline, ProvisionError};

#[cfg(feature = "conformance")]
mod memory;

#[cfg(feature = "conformance")]
pub use memory::MemoryLedger;

/// A provisioner's table, shared by all coordinators.
#[async_trait]
pub trait Ledger: fmt::Debug + Send + Sync {
    /// The table as this coordinator knows it. It may be a moment old; [`write`](Self::write) notices.
    ///
    /// # Errors
    /// [`ProvisionError::Unavailable`] while it is not known.
    async fn read(&self, deadline: Deadline) -> Result<Table, ProvisionError>;

    /// Makes all `changes` at once, or none. `false` if the table is not at `revision` any more: then nothing was changed, and the
    /// caller reads it again.
    ///
    /// # Errors
    /// [`ProvisionError::Timeout`] where nobody can say whether it was written; [`ProvisionError::Unavailable`] where it was not;
    /// [`ProvisionError::Failed`] where it can't be (see the limits).
    async fn write(
        &self,
        revision: u64,
        changes: &Changes,
        deadline: Deadline,
    ) -> Result<bool, ProvisionError>;
}

/// New values by key; `None` takes an entry away.
pub type Changes = BTreeMap<String, Option<String>>;

/// A provisioner's table as it was at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// How often it has been changed.
    pub revision: u64,
    /// Its entries by key.
    pub entries: BTreeMap<String, String>,
}

impl Table {
    /// Entries of one table: a large hall has fewer nodes.
    pub const ENTRIES_MAX: usize = 8192;
    /// Bytes of a key.
    pub const KEY_BYTES_MAX: usize = 128;
    /// Bytes of a value: every machine of the fleet keeps a copy of each.
    pub const VALUE_BYTES_MAX: usize = 8192;
    /// Changes that are made at once.
    pub const CHANGES_MAX: usize = 16;

    /// What is wrong with changes by the limits; `None` if nothing is.
    pub fn refuse(&self, changes: &Changes) -> Option<String> {
        let new = |key: &&String| !self.entries.contains_key(*key);
        let added = changes.iter().filter(|(_, value)| value.is_some());
        let added = added.map(|(key, _)| key).filter(new).count();
        let key = changes.keys().map(String::len).max().unwrap_or_default();
        let value = changes.values().flatten().map(String::len).max();
        [
            ("entries", self.entries.len() + added, Self::ENTRIES_MAX),
            ("changes at once", changes.len(), Self::CHANGES_MAX),
            ("bytes of a key", key, Self::KEY_BYTES_MAX),
            (
                "bytes of a value",
                value.unwrap_or_default(),
                Self::VALUE_BYTES_MAX,
            ),
        ]
        .into_iter()
        .find(|(_, count, most)| count > most)
        .map(|(what, count, most)| format!("{count} {what} are too many: at most {most}"))
    }

    /// How many bytes keys and values have.
    pub fn bytes(&self) -> usize {
        let entries = self.entries.iter();
        entries.map(|(key, value)| key.len() + value.len()).sum()
    }

    /// Makes changes that [were not refused](Self::refuse).
    pub fn change(&mut self, changes: Changes) {
        self.revision += 1;
        for (key, value) in changes {
            match value {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_hold_for_each_part_of_a_change() {
        let table = Table::default();
        let one =
            |key: &str, value: &str| Changes::from([(key.to_owned(), Some(value.to_owned()))]);
        assert_eq!(table.refuse(&one("node", "{}")), None);
        assert!(table.refuse(&one(&"k".repeat(129), "")).is_some());
        assert!(table.refuse(&one("node", &"v".repeat(8193))).is_some());
        let many = (0..17).map(|n| (n.to_string(), None)).collect();
        assert!(table.refuse(&many).is_some());
        let full = Table {
            revision: 1,
            entries: (0..Table::ENTRIES_MAX)
                .map(|n| (n.to_string(), String::new()))
                .collect(),
        };
        assert!(full.refuse(&one("another", "")).is_some());
        assert_eq!(full.refuse(&one("0", "changed")), None);
    }
}
