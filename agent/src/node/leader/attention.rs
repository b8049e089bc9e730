//! Whether there is anything to judge: cheap enough to be asked at every change.
//!
//! Judging asks provisioners, witnesses and half of the roster. A calm fleet is spared all that.

use crate::fleet::{FleetState, MemberStatus, Phase};
use crate::node::world::World;

/// Whether anything is under way, on record as wrong, or different from what it should be.
pub(super) fn is_needed(state: &FleetState, world: &World) -> bool {
    state.open_intents().next().is_some()
        || !state.concerns.is_empty()
        || state.machines.values().any(|machine| {
            !matches!(machine.phase, Phase::Joined)
                || world.status(machine.id) != Some(MemberStatus::Alive)
                || said_goodbye(world, machine)
        })
        || state.groups.iter().any(|(id, group)| {
            let existing = state
                .machines
                .values()
                .filter(|machine| machine.group() == Some(id) && machine.fills_its_slot())
                .count();
            existing != group.desired() || group.destroying
        })
}

fn said_goodbye(world: &World, machine: &crate::fleet::Machine) -> bool {
    world
        .members
        .get(&machine.id)
        .and_then(|seen| seen.said.as_ref())
        .is_some_and(|said| said.leaving.is_some() || said.workload.is_some())
}
