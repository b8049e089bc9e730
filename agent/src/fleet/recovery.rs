//! An operator's order to found the log anew without most of the roster.

use std::collections::BTreeSet;

use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

use super::limits::MACHINES_MAX;
use super::text::Text;

/// Most bytes of a signature by the cluster's CA.
const SIGNATURE_BYTES_MAX: usize = 72;

/// The order, as it comes into the new log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Who gave it, as far as known.
    pub by: Text,
    /// The machines that were there, and promised the new log. All others are unaccounted for.
    pub present: BTreeSet<MachineId>,
    /// What shows machines of the old log that it was given.
    pub proof: Recovered,
}

/// What shows that a log was founded anew by an operator's order: machines of an older one believe it, although most of
/// their roster never promised it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Which log.
    pub generation: u64,
    /// Who founded it.
    pub machine: MachineId,
    /// The cluster CA's signature over [`statement`](Self::statement).
    pub signature: Vec<u8>,
}

impl Recovered {
    /// What the CA signs.
    pub fn statement(generation: u64, machine: MachineId) -> Vec<u8> {
        let mut statement = generation.to_be_bytes().to_vec();
        statement.extend_from_slice(&machine.get().to_be_bytes());
        statement
    }
}

impl Recovery {
    /// Whether it is within its limits, and about the log and the machine that it comes with.
    pub(super) fn is_about(&self, generation: u64, machine: MachineId) -> bool {
        let proof = &self.proof;
        (proof.generation, proof.machine) == (generation, machine)
            && proof.signature.len() <= SIGNATURE_BYTES_MAX
            && self.present.len() <= MACHINES_MAX
            && self.present.contains(&machine)
    }
}
