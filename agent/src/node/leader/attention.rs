//! Whether there is anything to judge: cheap enough to be asked at every change.
//!
//! Judging asks provisioners, witnesses and half of the roster. A calm fleet is spared all that.

use muster_mesh::identity::MachineId;

use crate::fleet::{Allocation, FleetState, Machine, Member, MemberStatus, Phase};
use crate::node::world::World;

/// Whether anything is under way, on record as wrong, or different from what it should be. `fails` tells whose workload
/// has failed for long enough to matter.
pub(super) fn is_needed(
    state: &FleetState,
    world: &World,
    fails: impl Fn(MachineId) -> bool,
) -> bool {
    state.open_intents().next().is_some()
        || !state.concerns.is_empty()
        || state
            .machines
            .values()
            .filter(|machine| concerns_us(machine))
            .any(|machine| {
                !matches!(machine.phase, Phase::Joined)
                    || world.status(machine.id) != Some(MemberStatus::Alive)
                    || is_going(world, machine)
                    || fails(machine.id)
            })
        || state.groups.iter().any(|(id, group)| {
            let existing = state
                .machines
                .values()
                .filter(|machine| machine.group() == Some(id) && machine.fills_its_slot())
                .count();
            let exchanged = match &group.spec.allocation {
                Allocation::Cattle { .. } => false,
                Allocation::Pets { members } => !members
                    .keys()
                    .all(|name| state.is_taken(id, &Member::Pet(name.clone()))),
            };
            existing != group.desired() || exchanged || group.destroying
        })
}

/// One that left, and belonged to no group, is nobody's concern any more.
fn concerns_us(machine: &Machine) -> bool {
    machine.place.is_some() || !matches!(machine.phase, Phase::Left { .. })
}

/// Whether it says itself that it is going away.
fn is_going(world: &World, machine: &Machine) -> bool {
    world
        .members
        .get(&machine.id)
        .and_then(|seen| seen.said.as_ref())
        .is_some_and(|said| said.leaving.is_some())
}
