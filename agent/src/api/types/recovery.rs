//! `muster recover`: what is left of a fleet that lost most of its coordinators and machines, and what may be done.

use serde::{Deserialize, Serialize};

/// The order to found the log anew.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverOrder {
    /// The cluster's name, typed by whoever vouches for the machines that are missing.
    pub cluster: String,
    /// What was shown to that person; where it isn't so any more, the answer is a `conflict`. Not checked when absent.
    #[serde(default)]
    pub plan: Option<String>,
    /// Whether they vouch for machines, too, that may run on.
    #[serde(default)]
    pub despite_doubts: bool,
}

/// What is known, what would be done, and what may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The cluster's name, which the order has to repeat.
    pub cluster: String,
    /// The machine that was asked, and would found the log.
    pub machine: String,
    /// Which log it follows now.
    pub generation: u64,
    /// The machines of the roster that answer.
    pub survivors: Vec<SurvivorRow>,
    /// Those that don't.
    pub absent: Vec<AbsentRow>,
    /// The coordinators of the present log.
    pub coordinators: Vec<LostCoordinatorRow>,
    /// The survivor whose copy is gone on from.
    pub newest: Option<String>,
    /// What may be lost, in words; `null` where nothing can be.
    pub may_lose: Option<String>,
    /// What speaks for it that missing machines run on; the order has to be given despite it.
    pub doubts: Vec<String>,
    /// Why it can't be done, or need not be; `null` where an order is taken.
    pub obstacle: Option<String>,
    /// What to do instead.
    pub remedy: Option<String>,
    /// A mark of who is there and who is not.
    pub plan: String,
    /// Which log was founded; `null` where nothing was done.
    pub founded: Option<u64>,
}

/// A machine that is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurvivorRow {
    /// Its name.
    pub name: String,
    /// The term of the last entry of the log that it has.
    pub log_term: Option<u64>,
    /// The index of that entry.
    pub log_index: Option<u64>,
    /// Its coordinator's seat, if it has one.
    pub seat: Option<u64>,
    /// Whether it has the CA's key, without which it could not found a log.
    pub has_key: bool,
}

/// A machine that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentRow {
    /// Its name.
    pub name: String,
    /// What the mesh believes of it: `alive`, `suspect`, `down` or `left`; `unknown` where the asked machine has not heard
    /// of it since its agent started.
    pub status: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Its coordinator's seat, if it has one.
    pub seat: Option<u64>,
}

/// A coordinator of the log that was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostCoordinatorRow {
    /// Its seat.
    pub seat: u64,
    /// The machine in it.
    pub name: String,
    /// Whether it answers.
    pub there: bool,
}
