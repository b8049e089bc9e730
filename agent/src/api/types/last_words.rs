//! What a machine said of itself in its last minutes, put together from those that heard it.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

use super::{AsOf, HealthLevel};

/// A machine's last words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastWords {
    /// Who answers, and how old its copy of the fleet's state is.
    #[serde(flatten)]
    pub answer: AsOf,
    /// What people call it, or called it.
    pub name: String,
    /// What the mesh calls it.
    pub machine_id: MachineId,
    /// Other machines of the same name that are known of, the present one too; ask for them by ID.
    pub namesakes: Vec<MachineId>,
    /// When it was seen to go, in milliseconds since 1970, by whoever saw it first; `null` while it is there.
    pub ended_ms: Option<u64>,
    /// Who was asked.
    pub asked: Vec<HeldBy>,
    /// What it said, oldest first.
    pub words: Vec<WordsRow>,
}

/// One machine that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBy {
    /// Its name.
    pub name: String,
    /// Whether it answered in time.
    pub answered: bool,
    /// How many reports it holds.
    pub reports: u32,
}

/// One report of the machine about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WordsRow {
    /// When the first of those that were asked heard it, as RFC 3339 text.
    pub at: String,
    /// The same in milliseconds since 1970.
    pub at_ms: u64,
    /// In which of its lives.
    pub generation: u64,
    /// Which report of that life; `null` for what only the machine itself took down.
    pub report: Option<u64>,
    /// How it felt.
    pub health: HealthLevel,
    /// Why it was not `ok`.
    pub reasons: Vec<String>,
    /// What it had measured, by name with the unit last, such as `memory_used_percent`.
    pub readings: BTreeMap<String, f64>,
    /// The names of those that hold it.
    pub held_by: Vec<String>,
}
