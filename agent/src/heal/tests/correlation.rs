use muster_mesh::identity::MachineId;

use crate::fleet::limits::{MINUTE_MS, SECOND_MS};
use crate::fleet::testing::{cattle, group, pets};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::{DETECTION_MS, EVENT_MS, MOMENT_MS};

fn acting(world: &World, ids: &[MachineId]) -> usize {
    let acts = |id: &&MachineId| world.replacing(**id);
    ids.iter().filter(acts).count()
}

/// A group whose budget would let all of its machines be replaced at once.
fn generous(id: &str, size: u32) -> GroupSpec {
    let mut spec = cattle(id, size);
    spec.heal.budget = BudgetPolicy {
        at_once: Some(size),
        per_hour: Some(100),
    };
    spec
}

fn kill(world: &mut World, names: &[&str]) -> Vec<MachineId> {
    kill_apart(world, names, 0)
}

/// One after the other, so many milliseconds apart.
fn kill_apart(world: &mut World, names: &[&str], apart_ms: u64) -> Vec<MachineId> {
    let mut kill = |name: &&str| {
        world.pass(apart_ms);
        world.kill(name)
    };
    let ids = names.iter().map(&mut kill).collect();
    world.pass(DETECTION_MS);
    world.settle();
    ids
}

fn with_label(world: &mut World, name: &str, label: &str, value: &str) {
    let id = world.id(name);
    let machine = world.fleet.state.machines.get_mut(&id).unwrap();
    machine.labels.insert(label.to_owned(), value.to_owned());
}

#[test]
fn of_machines_that_fail_together_one_is_healed_first_and_the_others_follow_when_it_is_well() {
    let mut world = World::new(&[generous("web", 12)]);
    let failed = kill(&mut world, &["web-2", "web-3", "web-4", "web-5"]);
    assert_eq!(acting(&world, &failed), 1);
    let held = failed.iter().find(|id| !world.replacing(**id)).unwrap();
    world.assert_held(
        *held,
        Rule::Correlation,
        "4 that failed together share the template of group web",
    );
    for _ in 0..2 {
        world.carry_out();
        world.settle();
        assert_eq!(world.fleet.state.open_intents().count(), 1, "the canary");
    }
    world.carry_out();
    world.settle();
    let waiting: Vec<_> = failed
        .iter()
        .filter(|id| world.fleet.state.machines.contains_key(id))
        .copied()
        .collect();
    assert_eq!(waiting.len(), 3);
    assert_eq!(
        acting(&world, &waiting),
        3,
        "all at once, as the budget lets them"
    );
    world.heal();
    assert_eq!(world.running("web").len(), 12);
}

#[test]
fn two_may_fail_by_chance_and_so_may_any_that_fail_far_apart() {
    let mut world = World::new(&[generous("web", 12)]);
    let two = kill(&mut world, &["web-2", "web-3"]);
    assert_eq!(acting(&world, &two), 2);
    world.heal();
    world.pass(EVENT_MS + MINUTE_MS);
    let third = kill(&mut world, &["web-4"]);
    assert_eq!(acting(&world, &third), 1, "that was another event");
}

#[test]
fn what_was_healed_a_moment_ago_counts_towards_the_event() {
    let mut world = World::new(&[generous("web", 12)]);
    kill(&mut world, &["web-2", "web-3"]);
    world.pass(MINUTE_MS);
    let third = kill(&mut world, &["web-4"]);
    world.assert_held(third[0], Rule::Correlation, "as the canary");
    world.heal();
    assert_eq!(world.running("web").len(), 12);
}

#[test]
fn a_rack_or_a_zone_makes_failures_of_different_groups_one_event() {
    for label in ["zone", "rack"] {
        let groups = [
            generous("web", 3),
            generous("app", 3),
            pets("db", &["db-1", "db-2"]),
        ];
        let mut world = World::new(&groups);
        let names = ["web-1", "app-1", "db-1"];
        for name in names {
            with_label(&mut world, name, label, "a");
        }
        let failed = kill(&mut world, &names);
        assert_eq!(acting(&world, &failed), 1, "{label}");
        let held = failed.iter().find(|id| !world.replacing(**id)).unwrap();
        world.assert_held(*held, Rule::Correlation, &format!("share {label} a"));
    }
    let mut world = World::new(&[
        generous("web", 3),
        generous("app", 3),
        pets("db", &["db-1", "db-2"]),
    ]);
    for (name, zone) in [("web-1", "a"), ("app-1", "b"), ("db-1", "c")] {
        with_label(&mut world, name, "zone", zone);
        with_label(&mut world, name, "rack", "r1");
    }
    let failed = kill_apart(&mut world, &["web-1", "app-1", "db-1"], MOMENT_MS + 1);
    assert_eq!(
        acting(&world, &failed),
        3,
        "rack r1 of three zones is three racks"
    );
}

#[test]
fn a_canary_that_is_not_well_is_followed_by_another_canary() {
    let mut world = World::new(&[generous("web", 12)]);
    let failed = kill(&mut world, &["web-2", "web-3", "web-4", "web-5"]);
    let canary = world.fleet.state.open_intents().next().unwrap().clone();
    world.carry_out();
    world.carry_out();
    // It was made, and never joins.
    world.pass(MINUTE_MS);
    world.settle();
    assert!(!world.fleet.state.intents[&canary.op].is_open());
    world.pass(30 * SECOND_MS);
    world.settle();
    let open = world.fleet.state.open_intents().count();
    assert_eq!(open, 1, "one at a time until one is well");
    assert!(acting(&world, &failed) <= 1);
}

#[test]
fn a_lost_rack_is_whole_again_in_at_most_twice_the_rounds() {
    let rounds = |correlated: bool| {
        let mut world = World::new(&[generous("web", 30)]);
        let names: Vec<_> = (2..12).map(|number| format!("web-{number}")).collect();
        for (at, name) in names.iter().enumerate() {
            let revision = SpecRevision(if correlated { 1 } else { at as u64 + 100 });
            let id = world.id(name);
            world.fleet.state.machines.get_mut(&id).unwrap().revision = Some(revision);
        }
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let apart_ms = if correlated { 0 } else { MOMENT_MS + 1 };
        kill_apart(&mut world, &names, apart_ms);
        let first = world.fleet.state.open_intents().count();
        let mut rounds = 0;
        while world.alive().len() < 31 {
            world.settle();
            world.carry_out();
            rounds += 1;
            assert!(rounds < 100);
        }
        (first, rounds)
    };
    let ((canary, together), (first, apart)) = (rounds(true), rounds(false));
    assert!(together <= 2 * apart, "{together} rounds, {apart} apart");
    assert_eq!(
        (canary, first),
        (1, 10),
        "one goes first, where the group's budget lets all go at once"
    );
}

#[test]
fn the_flavors_quorum_is_kept_when_a_machine_that_may_serve_is_taken_in_hand() {
    let mut spec = pets("db", &["db-1", "db-2", "db-3", "db-4", "db-5"]);
    let properties = serde_json::json!({ "quorum": "majority" });
    spec.flavor.properties = serde_json::from_value(properties).unwrap();
    spec.heal.budget.at_once = Some(5);
    let mut world = World::new(&[spec.clone(), cattle("web", 6)]);
    let dead = ["db-1", "db-2"].map(|name| world.silence(name));
    let down = world.agent_down("db-3");
    world.pass(20 * MINUTE_MS);
    for id in dead {
        world
            .seen
            .get_mut(&id)
            .unwrap()
            .provider
            .as_mut()
            .unwrap()
            .can_prove_off = false;
    }
    world.settle();
    world.assert_held(
        down,
        Rule::WorkloadQuorum,
        "without it 2 of 5 members are well; 3 are needed",
    );
    let mut free = spec;
    free.flavor.properties = Properties::new();
    world.fleet.declare(free);
    world.pass(MINUTE_MS);
    world.settle();
    assert_eq!(
        world.held(down),
        None,
        "a workload without a quorum has none to lose"
    );
    assert!(world.fleet.state.group_intents(&group("db")).count() > 0);
}

/// What `correlation` said of the last decision about the machine of this name.
fn said_of(world: &World, name: &str) -> String {
    let decision = world.fleet.decisions_on(name)[0];
    let mut checks = decision.proposal.checks.iter();
    let check = checks.find(|check| check.rule == Rule::Correlation);
    check.unwrap().margin.to_string()
}

#[test]
fn what_fails_again_and_again_in_one_place_fails_alone() {
    for (spec, name) in [
        (pets("db", &["db-1", "db-2"]), "db-1"),
        (cattle("web", 2), "web-1"),
    ] {
        let mut world = World::new(&[spec]);
        let mut name = name.to_owned();
        for _ in 0..3 {
            let id = world.kill(&name);
            world.pass(DETECTION_MS);
            world.settle();
            let said = said_of(&world, &name);
            assert!(said.contains("it fails alone"), "{said}");
            let Some(op) = world.fleet.state.machines[&id].intent.clone() else {
                break;
            };
            name = world.fleet.state.intents[&op].name.to_string();
            world.heal();
            world.pass(MINUTE_MS);
        }
    }
}

#[test]
fn of_what_as_many_share_the_rarer_is_named() {
    let mut world = World::new(&[generous("web", 12)]);
    for name in ["web-2", "web-3", "web-4"] {
        with_label(&mut world, name, "zone", "a");
    }
    let failed = kill(&mut world, &["web-2", "web-3", "web-4"]);
    let held = failed.iter().find(|id| !world.replacing(**id)).unwrap();
    world.assert_held(
        *held,
        Rule::Correlation,
        "3 that failed together share zone a",
    );
}
