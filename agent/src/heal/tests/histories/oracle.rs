//! The invariants that watch simulated fleets watch these histories as well, after every command.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use super::sim::Made;
use crate::fleet::*;
use crate::heal::{Plan, Situation};
use crate::simulate::invariants::{Call, Sight, Watch};

/// What is remembered of a history to judge it.
pub(super) struct Oracle {
    /// Every command, as bytes.
    pub(super) log: Vec<Vec<u8>>,
    watch: Watch,
}

impl Default for Oracle {
    fn default() -> Self {
        Self {
            log: Vec::new(),
            watch: Watch::new(),
        }
    }
}

impl Oracle {
    #[track_caller]
    fn see(&mut self, sight: &Sight<'_>) {
        self.watch.see(0, sight);
        assert_eq!(self.watch.violations, []);
    }

    /// A leader has decided.
    pub(super) fn looked(&mut self, state: &FleetState, situation: &Situation, plan: &Plan) {
        self.see(&Sight::Decided {
            state,
            situation,
            plan,
            left_out: None,
        });
    }

    /// A machine is made in the place of this one.
    pub(super) fn makes(
        &mut self,
        intent: &Intent,
        step: Step,
        place: &Place,
        running: &[MachineId],
    ) {
        self.see(&Sight::Called(&Call {
            op: &intent.op,
            intent,
            step,
            ends: None,
            is_back: false,
            makes: Some((place, running)),
            made_again: false,
            // Who stands behind an executor is not simulated here.
            hears: (1, 1),
        }));
    }

    /// A command was applied.
    pub(super) fn applied(
        &mut self,
        before: &FleetState,
        after: &FleetState,
        envelope: &Envelope,
        reply: &Reply,
        bytes: Vec<u8>,
    ) {
        self.see(&Sight::Applied {
            before: Some(before),
            state: after,
            envelope,
            bytes: &bytes,
            reply,
        });
        self.log.push(bytes);
    }

    /// What holds for every state, however it came about.
    pub(super) fn sound(&self, state: &FleetState) {
        assert_eq!(self.watch.unsound(state), None);
    }

    /// Whether the fleet is what it should be, and all of it works.
    pub(super) fn is_calm(&self, state: &FleetState, serves: impl Fn(MachineId) -> bool) -> bool {
        state.is_at_rest() && state.machines.values().all(|machine| serves(machine.id))
    }
}

/// What else runs as the pet that an operation is about to make.
pub(super) fn copy<'a>(
    made: &'a BTreeMap<OperationId, Made>,
    op: &OperationId,
    place: &Place,
) -> Option<&'a Made> {
    let is_copy = |(other, made): &(&OperationId, &Made)| {
        *other != op && made.running && made.place.member == place.member
    };
    let (_, copy) = made.iter().find(is_copy)?;
    place.member.is_pet().then_some(copy)
}
