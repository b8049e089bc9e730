//! Sizes 1 to 10, any number of failures at one moment, cattle and pets, proved gone or merely silent: each cell
//! heals, or holds with the rule that it should hold with.

use crate::fleet::limits::{HOUR_MS, SECOND_MS};
use crate::fleet::testing::{Fleet, cattle, found, group, instance, name, pets};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::{MOVING_MS, PROOF_STANDS_MS};

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

fn cells() -> impl Iterator<Item = (u32, u32, GroupKind, bool)> {
    (1..=10).flat_map(|size| {
        (0..size).flat_map(move |failures| {
            [GroupKind::Cattle, GroupKind::Pets]
                .into_iter()
                .flat_map(move |kind| [true, false].map(|proved| (size, failures, kind, proved)))
        })
    })
}

#[test]
fn every_cell_heals_or_holds_with_its_rule() {
    for (size, failures, kind, proved) in cells() {
        let cell = format!("{failures} of {size} {kind}, proved: {proved}");
        let mut world = world(size, kind);
        let failed: Vec<_> = (2..2 + failures)
            .map(|number| {
                let name = format!("web-{number}");
                if proved {
                    world.kill(&name)
                } else {
                    world.silence(&name)
                }
            })
            .collect();
        world.pass(MOVING_MS);
        world.settle();
        let majority = (size - failures) * 2 > size;
        let acting = |world: &World| failed.iter().filter(|id| world.replacing(**id)).count();
        let rules = |world: &World| -> Vec<_> {
            failed
                .iter()
                .filter_map(|id| world.held(*id))
                .map(|held| held.0)
                .collect()
        };
        // Each outcome in turn: by whom it is held now, and after how long it goes on.
        let count = failures as usize;
        match (failures, majority, proved) {
            (0, _, _) => assert!(world.look().into_commands().is_empty(), "{cell}"),
            (_, true, true) => {
                assert_eq!(acting(&world), 1, "{cell}");
                assert_eq!(rules(&world), vec![Rule::Budget; count - 1], "{cell}");
            }
            (_, true, false) => {
                assert_eq!(rules(&world), vec![Rule::Grace; count], "{cell}");
                world.pass(30 * SECOND_MS);
                world.settle();
                assert_eq!(acting(&world), 1, "{cell}");
            }
            (_, false, _) => {
                assert_eq!(rules(&world), vec![Rule::Quorum; count], "{cell}");
                world.pass(PROOF_STANDS_MS);
                world.settle();
                assert_eq!(acting(&world), usize::from(proved), "{cell}");
            }
        }
        let healable = majority || proved;
        world.heal();
        world.pass(HOUR_MS);
        world.heal();
        let expected = if healable { size } else { size - failures };
        assert_eq!(world.alive().len(), expected as usize, "{cell}");
        assert_eq!(world.fleet.state.machines.len(), size as usize, "{cell}");
    }
}
