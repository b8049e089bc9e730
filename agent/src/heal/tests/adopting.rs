//! Machines of another tool, of which only their provisioner can say anything.

use crate::fleet::testing::{Fleet, cattle, group, instance};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::DETECTION_MS;

fn world() -> World {
    let mut fleet = Fleet::new();
    fleet.ok(Command::Adopt(Box::new(Adopt {
        spec: cattle("web", 2),
        instances: vec![
            (Member::Cattle(1), instance("i-1")),
            (Member::Cattle(2), instance("i-2")),
        ],
    })));
    let mut world = World::of(fleet);
    world.pass(DETECTION_MS * 10);
    for name in ["web-1", "web-2"] {
        let id = world.id(name);
        world.seen.remove(&id);
        world.say(id, ProviderWord::Running);
    }
    world
}

#[test]
fn silence_is_nothing_to_replace_them_for() {
    let mut world = world();
    let before = world.fleet.state.machines.clone();
    for _ in 0..5 {
        world.heal();
        world.pass(60_000);
    }
    assert_eq!(world.fleet.state.machines, before);
    let id = world.id("web-1");
    let why = ProviderWord::CannotSay { why: "down".into() };
    world.say(id, why);
    world.heal();
    assert_eq!(world.fleet.state.machines, before);
}

#[test]
fn one_that_its_provisioner_has_lost_is_replaced_and_the_other_stays() {
    let mut world = world();
    let (lost, kept) = (world.id("web-1"), world.id("web-2"));
    world.say(lost, ProviderWord::Unknown);
    world.heal();
    let machines = &world.fleet.state.machines;
    assert!(!machines.contains_key(&lost));
    assert!(matches!(machines[&kept].phase, Phase::Adopted { .. }));
    assert_eq!(world.fleet.state.existing(&group("web")), 2);
}
