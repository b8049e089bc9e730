use crate::fleet::testing::{Fleet, cattle, group, name};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::MOVING_MS;

#[test]
fn a_pause_holds_with_its_reason_until_it_is_over() {
    let mut world = World::new(&[cattle("web", 3)]);
    let until_ms = Some(world.now_ms() + 60_000);
    let scope = PauseScope::Group(group("web"));
    world.fleet.ok(Command::Pause {
        name: None,
        scope,
        reason: "moving racks".into(),
        until_ms,
    });
    let id = world.kill("web-1");
    world.settle();
    world.assert_held(id, Rule::Paused, "moving racks");
    assert_eq!(world.look().next_look_ms, until_ms);
    world.pass(60_000);
    world.settle();
    assert!(world.replacing(id));
}

pub(super) fn pause(world: &mut World, scope: PauseScope) {
    world.fleet.ok(Command::Pause {
        scope,
        name: None,
        reason: "power works".into(),
        until_ms: None,
    });
}

#[test]
fn another_pause_is_told_at_once_and_the_same_one_once() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-1");
    pause(&mut world, PauseScope::Group(group("web")));
    world.kill("web-1");
    world.settle();
    world.assert_held(id, Rule::Paused, "power works");
    let recorded_ms = world.concern(id).unwrap().recorded_ms;
    world.pass(1000);
    world.settle();
    assert_eq!(world.concern(id).unwrap().recorded_ms, recorded_ms);
    world.fleet.ok(Command::Pause {
        scope: PauseScope::Group(group("web")),
        name: None,
        reason: "moving racks".into(),
        until_ms: None,
    });
    world.settle();
    world.assert_held(id, Rule::Paused, "moving racks");
}

#[test]
fn a_step_that_another_pause_holds_says_so_at_once() {
    let held = Held {
        rule: Rule::Paused,
        detail: "group web is paused: power works".into(),
        since_ms: 1000,
        recorded_ms: 1000,
    };
    let other = "group web is paused: moving racks".into();
    assert!(held.makes_news(Rule::Paused, &other, 1001));
    assert!(!held.makes_news(Rule::Paused, &held.detail, 100_000));
    let quorum = Held {
        rule: Rule::Quorum,
        ..held
    };
    assert!(!quorum.makes_news(Rule::Quorum, &other, 1001));
}

#[test]
fn a_pause_of_one_machine_keeps_no_other_from_being_replaced() {
    let mut world = World::new(&[cattle("web", 40)]);
    pause(&mut world, PauseScope::Machine(name("web-1")));
    let (held, other) = (world.kill("web-1"), world.kill("web-2"));
    world.pass(MOVING_MS);
    world.settle();
    world.assert_held(held, Rule::Paused, "machine web-1 is paused until resumed");
    assert!(world.replacing(other));
    world.fleet.ok(Command::Resume {
        scope: PauseScope::Machine(name("web-1")),
    });
    world.heal();
    assert_eq!(world.running("web").len(), 40);
}

#[test]
fn in_a_paused_zone_nothing_is_taken_away_and_nothing_made() {
    let mut spec = cattle("web", 2);
    spec.placement.zones = ["a", "b"].map(str::to_owned).into();
    let mut world = World::of(Fleet::new());
    world.fleet.declare(spec);
    world.heal();
    pause(&mut world, PauseScope::Zone("a".into()));
    let web = group("web");
    let in_a = |world: &World| {
        let machines = world.fleet.state.group_machines(&web);
        let in_a = machines.filter(|machine| machine.known_zone() == Some("a"));
        in_a.map(|machine| machine.name.to_string())
            .collect::<Vec<_>>()
    };
    let before = in_a(&world);
    assert_eq!(before.len(), 1);
    let id = world.kill(&before[0]);
    world.pass(MOVING_MS);
    world.settle();
    world.assert_held(id, Rule::Paused, "zone a is paused");
    world.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 4,
    });
    world.heal();
    assert_eq!(in_a(&world), before, "growth goes to zone b");
    pause(&mut world, PauseScope::Zone("b".into()));
    world.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 5,
    });
    world.settle();
    let concern = &world.fleet.state.concerns[&Subject::Group(group("web"))];
    assert!(
        matches!(
            &concern.outcome,
            Outcome::Hold {
                rule: Rule::Paused,
                ..
            }
        ),
        "{concern:?}"
    );
}
