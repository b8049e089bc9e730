//! Whether there is anything to judge: cheap enough to be asked at every change.
//!
//! Judging asks provisioners, witnesses and half of the roster. A calm fleet is spared all that.

use crate::fleet::{Allocation, FleetState, Machine, Member, MemberStatus, Phase, Workload};
use crate::node::world::World;

/// Whether anything is under way, on record as wrong, or different from what it should be.
pub(super) fn is_needed(state: &FleetState, world: &World) -> bool {
    state.open_intents().next().is_some()
        || !state.concerns.is_empty()
        || state
            .machines
            .values()
            .filter(|machine| concerns_us(machine))
            .any(|machine| {
                !matches!(machine.phase, Phase::Joined)
                    || world.status(machine.id) != Some(MemberStatus::Alive)
                    || said_so(world, machine)
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

/// Whether it says itself that it is going away, or that its workload does not work.
fn said_so(world: &World, machine: &Machine) -> bool {
    world
        .members
        .get(&machine.id)
        .and_then(|seen| seen.said.as_ref())
        .is_some_and(|said| said.leaving.is_some() || is_ill(said.workload.as_ref()))
}

fn is_ill(workload: Option<&Workload>) -> bool {
    matches!(workload, Some(Workload::Failed { .. }))
}
