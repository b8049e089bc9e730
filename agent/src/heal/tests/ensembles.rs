//! Workloads that are ensembles: their members say who can be missed, and in what order they go.

use muster_flavors::{Part, Role};
use muster_mesh::identity::MachineId;
use serde_json::json;

use super::hand::demand;
use crate::fleet::testing::{group, pets};
use crate::fleet::*;
use crate::heal::testing::World;

/// An ensemble of pets, of which the first leads.
fn world(names: &[&str]) -> World {
    let mut spec = pets("db", names);
    let properties =
        json!({ "command": "true", "does": ["health", "restart", "strike"], "quorum": "ensemble" });
    spec.flavor.name = "exec".to_owned();
    spec.flavor.properties = Properties::from_value(properties).expect("an object");
    let mut world = World::new(&[spec]);
    let voters = names.len();
    for (index, name) in names.iter().enumerate() {
        let role = if index == 0 {
            Role::Leader
        } else {
            Role::Follower
        };
        let id = world.id(name);
        world.plays(id, Part::new(role).counting(voters, voters));
    }
    world
}

fn three() -> World {
    world(&["db-1", "db-2", "db-3"])
}

fn ask(world: &mut World, name: &str, what: Would) -> MachineId {
    let id = world.id(name);
    let command = demand(world, id, what, &[]);
    world.fleet.ok(command);
    id
}

/// A voter is to be replaced of which the others are just no majority without.
pub(super) fn too_few() -> (World, Subject) {
    let mut world = three();
    let (id, ill) = (world.id("db-2"), world.id("db-3"));
    world.silence("db-3");
    world
        .fleet
        .state
        .groups
        .get_mut(&group("db"))
        .unwrap()
        .spec
        .heal
        .budget
        .at_once = Some(3);
    ask(&mut world, "db-2", Would::Replace);
    let part = Part::new(Role::Follower).counting(3, 2);
    world
        .seen
        .get_mut(&ill)
        .unwrap()
        .record
        .as_mut()
        .unwrap()
        .part = Some(part);
    (world, Subject::Machine(id))
}

/// The one that leads is to be replaced, and so is another one.
pub(super) fn leads() -> (World, Subject) {
    let mut world = three();
    let id = ask(&mut world, "db-1", Would::Replace);
    ask(&mut world, "db-3", Would::Replace);
    (world, Subject::Machine(id))
}

#[test]
fn an_ensemble_is_put_on_record_once() {
    let mut world = three();
    assert_eq!(world.fleet.state.groups[&group("db")].ensemble_ms, None);
    world.settle();
    let formed_ms = world.fleet.state.groups[&group("db")].ensemble_ms;
    assert!(formed_ms.is_some());
    world.pass(1000);
    world.settle();
    assert_eq!(
        world.fleet.state.groups[&group("db")].ensemble_ms,
        formed_ms
    );
}

#[test]
fn the_one_that_leads_goes_last_and_one_goes_at_a_time() {
    let (mut world, _) = leads();
    let budget = &mut world
        .fleet
        .state
        .groups
        .get_mut(&group("db"))
        .unwrap()
        .spec
        .heal
        .budget;
    budget.at_once = Some(3);
    let (leader, other) = (world.id("db-1"), world.id("db-3"));
    world.settle();
    assert!(
        world.fleet.state.machines[&other].intent.is_some(),
        "the other one goes first"
    );
    assert!(world.fleet.state.machines[&leader].intent.is_none());
    world.assert_held(
        leader,
        Rule::WorkloadQuorum,
        "it leads, so it goes last, after db-3",
    );
}

#[test]
fn one_goes_at_a_time() {
    let mut world = three();
    let budget = &mut world
        .fleet
        .state
        .groups
        .get_mut(&group("db"))
        .unwrap()
        .spec
        .heal
        .budget;
    budget.at_once = Some(3);
    ask(&mut world, "db-3", Would::Replace);
    let id = ask(&mut world, "db-2", Would::Replace);
    world.settle();
    world.assert_held(id, Rule::WorkloadQuorum, "one at a time");
}

#[test]
fn a_voter_is_kept_without_whom_the_others_are_no_majority() {
    let (mut world, subject) = too_few();
    let Subject::Machine(id) = subject else {
        unreachable!("it is a machine")
    };
    world.settle();
    world.assert_held(
        id,
        Rule::WorkloadQuorum,
        "without it 1 of 3 voters are at work; 2 are needed",
    );
}

#[test]
fn a_member_without_a_vote_is_missed_by_nobody() {
    let mut world = world(&["db-1", "db-2"]);
    let id = world.id("db-2");
    world.plays(id, Part::new(Role::Learner).counting(1, 1));
    ask(&mut world, "db-2", Would::Replace);
    world.settle();
    assert!(world.fleet.state.machines[&id].intent.is_some());
}

#[test]
fn one_whose_members_know_of_no_leader_is_left_to_itself() {
    let mut world = three();
    for name in ["db-1", "db-2", "db-3"] {
        let id = world.id(name);
        world.plays(id, Part::new(Role::Outside));
    }
    let id = ask(&mut world, "db-2", Would::Replace);
    world.settle();
    world.assert_held(id, Rule::WorkloadQuorum, "nobody knows who can be missed");
}

#[test]
fn who_goes_for_good_is_struck_off_and_who_is_replaced_is_not() {
    let mut world = three();
    let id = ask(&mut world, "db-3", Would::Replace);
    world.settle();
    assert!(!steps(&world, id).contains(&Step::Strike));
    let mut world = three();
    let id = world.id("db-3");
    let spec = &mut world.fleet.state.groups.get_mut(&group("db")).unwrap().spec;
    let Allocation::Pets { members } = &mut spec.allocation else {
        unreachable!("pets")
    };
    members.retain(|name, _| name.as_str() != "db-3");
    world.settle();
    assert_eq!(
        steps(&world, id),
        [Step::Drain, Step::Strike, Step::Fence, Step::Destroy]
    );
}

fn steps(world: &World, id: MachineId) -> Vec<Step> {
    let machine = &world.fleet.state.machines[&id];
    let op = machine.intent.as_ref().expect("it is taken in hand");
    let plan = &world.fleet.state.intents[op].plan;
    plan.iter().map(|record| record.step).collect()
}
