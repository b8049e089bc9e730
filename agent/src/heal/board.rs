//! Everything that one round of deciding looks at, worked out once.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use super::diagnose::{Finding, diagnose_all};
use super::gate::Gate;
use super::quorum::quorum;
use super::situation::Situation;
use crate::fleet::{FleetState, Mandate};

/// What one round of deciding looks at.
pub(super) struct Board<'a> {
    pub(super) situation: &'a Situation,
    /// The leader's clock: what evidence is dated by.
    pub(super) now_ms: u64,
    /// The fleet's clock, as the next command will find it: what the fleet state is dated by. It may be ahead of the
    /// leader's, when an earlier leader's was.
    pub(super) clock_ms: u64,
    pub(super) findings: BTreeMap<MachineId, Finding>,
    pub(super) mandate: Mandate,
    pub(super) quorum: Gate,
}

impl<'a> Board<'a> {
    pub(super) fn new(state: &FleetState, situation: &'a Situation) -> Self {
        let (mandate, gate) = quorum(state, &situation.authority, situation.now_ms);
        Self {
            situation,
            now_ms: situation.now_ms,
            clock_ms: state.clock_ms.max(situation.now_ms),
            findings: diagnose_all(state, situation),
            mandate,
            quorum: gate,
        }
    }
}
