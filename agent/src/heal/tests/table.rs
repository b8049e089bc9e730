//! Sizes 1 to 50, some or all failing at one moment, cattle and pets, proved gone or merely silent: each cell
//! heals, or holds with the rule that it should hold with.

use crate::fleet::limits::HOUR_MS;
use crate::fleet::testing::{Fleet, cattle, found, group, instance, name, pets};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::{CROWD_SILENT_MS, MOVING_MS, PROOF_STANDS_MS};

/// A fleet whose machines are all of one group, the founder included, which leads and never fails.
fn world(size: u32, kind: GroupKind) -> World {
    let mut fleet = Fleet::new();
    fleet.state = FleetState::default();
    let names: Vec<_> = (1..=size).map(|number| format!("web-{number}")).collect();
    let (spec, member) = match kind {
        GroupKind::Cattle => (cattle("web", size), Member::Cattle(1)),
        GroupKind::Pets => {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            (pets("web", &names), Member::Pet(name("web-1")))
        }
    };
    let mut found = found();
    found.machine_name = name("web-1");
    found.place = Some((group("web"), member));
    found.instance = Some(instance("p-1"));
    fleet.ok(Command::Found(Box::new(found)));
    fleet.declare(spec);
    fleet.fill(&group("web"));
    World::of(fleet)
}

/// Up to this size each number of failures is tried, and each cell healed to the end.
const WHOLE_MAX: u32 = 12;
const SIZE_MAX: u32 = 50;

/// How many of a group fail: any number of a small one; of a large one few, around half, and nearly all.
fn failures(size: u32) -> Vec<u32> {
    if size <= WHOLE_MAX {
        return (0..size).collect();
    }
    vec![0, 1, 2, 3, size / 2 - 1, size / 2, size / 2 + 1, size - 1]
}

/// How many of a group are replaced at once when so many have failed together, and what holds the others.
fn expected(size: u32, failures: usize) -> (usize, Rule) {
    let at_once = (size as usize / 20).max(1);
    if failures < 3 {
        (failures.min(at_once), Rule::Budget)
    } else if at_once > 1 {
        (1, Rule::Correlation)
    } else {
        (1, Rule::Budget)
    }
}

#[test]
fn every_cell_heals_or_holds_with_its_rule() {
    for size in 1..=SIZE_MAX {
        for kind in [GroupKind::Cattle, GroupKind::Pets] {
            let world = world(size, kind);
            for failures in failures(size) {
                for proved in [true, false] {
                    cell(world.clone(), size, failures, kind, proved);
                }
            }
        }
    }
}

fn cell(mut world: World, size: u32, failures: u32, kind: GroupKind, proved: bool) {
    let cell = format!("{failures} of {size} {kind}, proved: {proved}");
    let fail = |number: u32| {
        let name = format!("web-{number}");
        if proved {
            world.kill(&name)
        } else {
            world.silence(&name)
        }
    };
    let failed: Vec<_> = (2..2 + failures).map(fail).collect();
    world.pass(MOVING_MS);
    world.settle();
    let majority = (size - failures) * 2 > size;
    let acting = |world: &World| failed.iter().filter(|id| world.replacing(**id)).count();
    let rules = |world: &World| -> Vec<_> {
        let held = failed.iter().filter_map(|id| world.held(*id));
        held.map(|held| held.0).collect()
    };
    let count = failures as usize;
    let (healed, rule) = expected(size, count);
    let heals = |world: &World| {
        assert_eq!(acting(world), healed, "{cell}");
        assert_eq!(rules(world), vec![rule; count - healed], "{cell}");
    };
    // Each outcome in turn: by whom it is held now, and after how long it goes on.
    match (failures, majority, proved) {
        (0, _, _) => assert!(world.look().into_commands().is_empty(), "{cell}"),
        (_, true, true) => heals(&world),
        (_, true, false) => {
            assert_eq!(rules(&world), vec![Rule::Grace; count], "{cell}");
            world.pass(CROWD_SILENT_MS);
            world.settle();
            heals(&world);
        }
        (_, false, _) => {
            assert_eq!(rules(&world), vec![Rule::Quorum; count], "{cell}");
            world.pass(PROOF_STANDS_MS);
            world.settle();
            if proved {
                heals(&world);
            } else {
                assert_eq!(rules(&world), vec![Rule::Quorum; count], "{cell}");
            }
        }
    }
    if size > WHOLE_MAX {
        return;
    }
    let healable = majority || proved;
    for _ in 0..2 {
        world.heal();
        world.pass(HOUR_MS);
    }
    let expected = if healable { size } else { size - failures };
    assert_eq!(world.alive().len(), expected as usize, "{cell}");
    assert_eq!(world.fleet.state.machines.len(), size as usize, "{cell}");
}
