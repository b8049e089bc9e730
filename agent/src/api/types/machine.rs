//! One machine, seen from the mesh and from itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

use super::{
    AsOf, DecisionRow, EventRow, HealthLevel, IntentRow, MachineRow, MachineState, QuarantineRow,
};

/// A machine as a member of the mesh, in the eyes of the answering one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberRow {
    /// What people call it; `null` while its record hasn't arrived.
    pub name: Option<String>,
    /// What the mesh calls it.
    pub machine_id: MachineId,
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is: alive, suspect, down or left.
    pub status: MachineState,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Which of its lives this is.
    pub generation: u64,
    /// The version of its agent; `null` while its record hasn't arrived.
    pub version: Option<String>,
    /// Whether it is a coordinator.
    pub coordinator: bool,
    /// How long a packet to it and back takes, where a connection is warm, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// From when this row is, in milliseconds since 1970.
    pub as_of_ms: u64,
}

/// How one machine feels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthRow {
    /// Its name.
    pub name: String,
    /// What the mesh calls it.
    pub machine_id: MachineId,
    /// The worst of its findings.
    pub health: Option<HealthLevel>,
    /// What it found, one sentence each.
    pub reasons: Vec<String>,
    /// What it measured, by name with the unit last, such as `memory_used_percent`.
    pub readings: BTreeMap<String, f64>,
    /// What the flavor says of the workload: that it failed, that it is stopped, or which part it plays in its ensemble; `null`
    /// where there is nothing to say.
    #[serde(default)]
    pub workload: Option<String>,
    /// From when this row is, in milliseconds since 1970.
    pub as_of_ms: u64,
}

/// All that is known of one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineDetail {
    /// Who answers, and how old the answer is.
    #[serde(flatten)]
    pub answer: AsOf,
    /// The row that `status` shows.
    pub machine: MachineRow,
    /// As a member of the mesh; `null` when the answering machine has never heard of it.
    pub member: Option<MemberRow>,
    /// How it feels.
    pub health: Option<HealthRow>,
    /// The spec revision it was made from.
    pub revision: Option<u64>,
    /// When it was ordered, in milliseconds since 1970.
    pub ordered_ms: Option<u64>,
    /// When it joined, in milliseconds since 1970.
    pub joined_ms: Option<u64>,
    /// What is being done to it.
    pub intents: Vec<IntentRow>,
    /// Hardware in quarantine on which it failed, or an earlier one of its name.
    #[serde(default)]
    pub quarantine: Vec<QuarantineRow>,
    /// The last decisions about it, newest first.
    pub decisions: Vec<DecisionRow>,
    /// The last events about it, newest first.
    pub events: Vec<EventRow>,
}
