//! Which node is whose: one entry of the fleet's ledger for each node that was ever given out. Pure.
//!
//! An entry says what was *ordered*, and is written before it is done; what *is* only the node's controller can say. So
//! whoever leads next knows from the entry what may have been begun.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::Table;
use crate::{InstanceId, OperationId, Tags};

/// How many machines of the past a node remembers: by these it knows an operation that comes again, and says that what it
/// made is off.
const PAST_MAX: usize = 8;

/// How many operations of one machine are remembered: the one that made it, and reimages.
const OPERATIONS_MAX: usize = 8;

/// Bytes of a reason that is kept.
const WHY_BYTES_MAX: usize = 400;

/// All entries at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    /// The table's revision, which a change has to name.
    pub(super) revision: u64,
    /// By node. `None` is an entry that can't be read: it is nobody's to give out.
    pub(super) nodes: BTreeMap<String, Option<Entry>>,
}

/// What is on record of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) holder: Option<Holder>,
    /// Whether its disks have to be wiped before it is anybody's again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wipe: Option<Wipe>,
    /// Why nothing is made on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) quarantine: Option<Remark>,
    /// What went wrong when it was to be used last, so that others are tried first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trouble: Option<Remark>,
    /// Whose it was, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) past: Vec<Past>,
}

/// A machine on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) id: InstanceId,
    /// What made it, and what it was reimaged by, oldest first.
    pub(super) ops: Vec<OperationId>,
    pub(super) tags: Tags,
    pub(super) made_ms: u64,
    pub(super) phase: Phase,
    /// Until when a call that switches it on may still be carried out; 0 if none is outstanding.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) may_start_until_ms: u64,
    /// Whether it must be proved off before anything else runs on the node, wiping included.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_pet: bool,
    /// Whether our own Off was pressed and the node seen off, and nothing ordered on since: then it was off last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_held_off: bool,
}

/// What was ordered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// It was given out, and never switched on.
    Claimed,
    /// It shall run.
    On,
    /// It shall be off, and kept.
    Off,
    /// It is off for another system to be put on it.
    Reimaging,
    /// It goes back to the pool.
    Leaving,
}

/// How far a wipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wipe {
    /// It has to be done.
    Due { at_ms: u64 },
    /// The wiping image was ordered to start.
    Ordered { at_ms: u64 },
    /// The wiping image was seen to run; the node is clean when it has switched itself off.
    Seen { at_ms: u64 },
}

/// A reason, with its time in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remark {
    pub(super) why: String,
    pub(super) at_ms: u64,
}

impl Remark {
    /// A reason, cut to what is kept of it.
    pub(super) fn new(why: &str, at_ms: u64) -> Self {
        let mut end = why.len().min(WHY_BYTES_MAX);
        while !why.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            why: why[..end].to_owned(),
            at_ms,
        }
    }
}

/// A machine that was on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Past {
    pub(super) id: InstanceId,
    pub(super) ops: Vec<OperationId>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) may_start_until_ms: u64,
    /// Whether the node was off last by our own Off when it was given back, and nothing ordered on since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_held_off: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What an ID or an operation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// The machine is on this node.
    Held(&'a str, &'a Holder),
    /// The machine was on this node.
    Past(&'a str, &'a Past),
}

// === impl Book ===

impl Book {
    pub(super) fn read(table: Table) -> Self {
        let read = |(node, text): (String, String)| (node, serde_json::from_str(&text).ok());
        Self {
            revision: table.revision,
            nodes: table.entries.into_iter().map(read).collect(),
        }
    }

    /// What is on record of a node: nothing, for one that was never given out. `None` if it can't be read.
    pub(super) fn entry(&self, node: &str) -> Option<Entry> {
        self.nodes
            .get(node)
            .map_or_else(|| Some(Entry::default()), Clone::clone)
    }

    /// All machines, with their nodes.
    pub(super) fn holders(&self) -> impl Iterator<Item = (&str, &Holder)> {
        self.nodes.iter().filter_map(|(node, entry)| {
            let holder = entry.as_ref()?.holder.as_ref()?;
            Some((node.as_str(), holder))
        })
    }

    /// What an operation made, or wrote anew.
    pub(super) fn by_operation(&self, op: &OperationId) -> Option<Found<'_>> {
        self.find(|_, ops| ops.contains(op))
    }

    /// The machine of an ID.
    pub(super) fn by_id(&self, id: &InstanceId) -> Option<Found<'_>> {
        self.find(|one, _| one == id)
    }

    fn find(&self, is_it: impl Fn(&InstanceId, &[OperationId]) -> bool) -> Option<Found<'_>> {
        self.nodes.iter().find_map(|(node, entry)| {
            let entry = entry.as_ref()?;
            if let Some(holder) = entry.holder.as_ref().filter(|one| is_it(&one.id, &one.ops)) {
                return Some(Found::Held(node, holder));
            }
            let past = entry
                .past
                .iter()
                .rev()
                .find(|one| is_it(&one.id, &one.ops))?;
            Some(Found::Past(node, past))
        })
    }
}

// === impl Entry ===

impl Entry {
    /// Why the node is not to be given out, in a few words; `None` if it may be, as far as is on record.
    pub(super) fn unfit(&self) -> Option<&'static str> {
        if self.holder.is_some() {
            Some("in use")
        } else if self.quarantine.is_some() {
            Some("in quarantine")
        } else if matches!(self.wipe, Some(Wipe::Due { .. } | Wipe::Ordered { .. })) {
            Some("to be wiped first")
        } else {
            None
        }
    }

    /// Whether the node, which is nobody's, was off last by our own Off.
    pub(super) fn is_held_off(&self) -> bool {
        self.past.last().is_some_and(|past| past.is_held_off)
    }

    /// Something is ordered to run on the node, which is nobody's.
    pub(super) fn runs_again(&mut self) {
        for past in &mut self.past {
            past.is_held_off = false;
        }
    }

    /// Gives the node back.
    pub(super) fn free(&mut self) {
        let Some(holder) = self.holder.take() else {
            return;
        };
        // What made it and what wrote it last: what comes again after so long is one of these.
        let mut ops = holder.ops;
        ops.dedup();
        let between = 1..ops.len().saturating_sub(1).max(1);
        ops.drain(between);
        self.past.push(Past {
            id: holder.id,
            ops,
            may_start_until_ms: holder.may_start_until_ms,
            is_held_off: holder.is_held_off,
        });
        let surplus = self.past.len().saturating_sub(PAST_MAX);
        self.past.drain(..surplus);
    }

    pub(super) fn to_text(&self) -> String {
        // Texts, numbers and maps by text: JSON has a form for each.
        serde_json::to_string(self).unwrap_or_default()
    }
}

// === impl Holder ===

impl Holder {
    /// The operation that it is the work of.
    pub(super) fn op(&self) -> Option<&OperationId> {
        self.ops.last()
    }

    /// Another operation writes it anew.
    pub(super) fn reimaged(&mut self, op: &OperationId, tags: Tags) {
        if self.ops.len() >= OPERATIONS_MAX {
            // The first one made it, and is asked for longest.
            self.ops.remove(1);
        }
        self.ops.push(op.clone());
        self.tags = tags;
    }
}

/// The ID of the machine that an operation makes on a node.
pub(super) fn id_for(node: &str, op: &OperationId) -> Option<InstanceId> {
    format!("{node}.{}", op.short(12)).parse().ok()
}

#[cfg(test)]
mod tests;
