//! Whether there is anything to judge: cheap enough to be asked at every change.
//!
//! Judging asks provisioners, witnesses and half of the roster. A calm fleet is spared all that.

use muster_flavors::Part;
use muster_mesh::identity::MachineId;

use crate::fleet::{Allocation, Demand, FleetState, GroupId, Machine, Member, MemberStatus, Phase};
use crate::node::world::World;

/// Whether anything is under way, on record as wrong, or different from what it should be. `fails` tells whose workload
/// has failed for long enough to matter.
pub(super) fn is_needed(
    state: &FleetState,
    world: &World,
    fails: impl Fn(MachineId) -> bool,
) -> bool {
    state.open_intents().next().is_some()
        || state.trials().next().is_some()
        || !state.concerns.is_empty()
        || state.demands.values().any(Demand::is_open)
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
            existing != group.desired()
                || exchanged
                || group.destroying
                || group.ensemble_ms.is_none() && has_formed(state, world, id)
        })
}

/// Whether a machine of a group says that it votes in an ensemble.
fn has_formed(state: &FleetState, world: &World, id: &GroupId) -> bool {
    let votes = |machine: &Machine| {
        let seen = world.members.get(&machine.id);
        let said = seen.and_then(|seen| seen.said.as_ref());
        said.and_then(|said| said.part).is_some_and(Part::votes)
    };
    state.group_machines(id).any(votes)
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

#[cfg(test)]
mod tests {
    use muster_mesh::identity::{Generation, Peer};

    use super::*;
    use crate::fleet::testing::{Fleet, cattle};

    #[test]
    fn a_calm_fleet_needs_none_and_a_workload_that_fails_for_good_does() {
        let fleet = Fleet::with(&[cattle("web", 1)]);
        let (state, web) = (&fleet.state, fleet.id("web-1"));
        let addr = ([127, 0, 0, 1], 7000).into();
        let machine = fleet.id("seed-1");
        let mut world = World::alone(Peer { machine, addr }, Generation(1), 5);
        let seen = world.members[&machine].clone();
        world.members.insert(web, seen);
        assert!(!is_needed(state, &world, |_| false));
        assert!(is_needed(state, &world, |machine| machine == web));
        world.members.get_mut(&web).expect("there").status = MemberStatus::Suspect;
        assert!(is_needed(state, &world, |_| false));
    }
}
