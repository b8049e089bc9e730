//! Who is no longer welcome although a certificate of theirs is still valid.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::names::Subject;
use crate::identity::MachineId;

/// The revoked machines and operators. The coordinators' log is the source; every agent has a copy, and the
/// transport refuses and closes accordingly.
///
/// A machine need only stay in here for as long as its last certificate lives, because the coordinators do not
/// renew it: the set stays small by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// Revoked machines.
    pub machines: BTreeSet<MachineId>,
    /// Revoked operators, by name.
    pub operators: BTreeSet<String>,
}

impl Revocations {
    /// Whether this machine or operator is revoked.
    pub fn contains(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Machine(machine) => self.machines.contains(machine),
            Subject::Operator(name) => self.operators.contains(name),
        }
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.operators.is_empty()
    }
}
