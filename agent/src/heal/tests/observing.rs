use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;
use muster_provisioners::{Instance as Listed, InstanceState, Tags, tag};

use crate::fleet::testing::{cattle, group, pets};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::{
    Domain, Listing, MachineEvidence, Proofs, choose_witnesses, strangers, suspects,
};

fn listed(id: &str, state: InstanceState, op: Option<&OperationId>) -> Listed {
    let tags = op.map_or_else(Tags::new, |op| {
        Tags::new().with(tag::OPERATION, op.as_str())
    });
    Listed {
        id: id.parse().unwrap(),
        state,
        tags,
        address: None,
        properties: Properties::new(),
        created_at_ms: 0,
        attachments: Vec::new(),
    }
}

fn listing(world: &World, instances: Vec<Listed>) -> Listing {
    Listing {
        at_ms: world.now_ms(),
        list_lag_ms: 60_000,
        can_prove_off: true,
        can_reboot: true,
        can_power_cycle: true,
        can_reimage: false,
        is_hardware: false,
        said: Ok(instances),
    }
}

fn status(world: &World) -> impl Fn(MachineId) -> Option<MemberStatus> {
    |id| Some(world.seen.get(&id)?.member?.status)
}

#[test]
fn provisioners_are_asked_only_about_machines_in_trouble_or_to_go() {
    let mut world = World::new(&[cattle("web", 3), pets("db", &["db-1", "db-2"])]);
    let asked = |world: &World| -> Vec<_> {
        let suspects = suspects(&world.fleet.state, status(world), |_| false);
        let asked = suspects.iter().filter(|suspect| suspect.asked);
        let machines = &world.fleet.state.machines;
        let mut names: Vec<_> = asked
            .map(|suspect| machines[&suspect.machine].name.to_string())
            .collect();
        names.sort();
        names
    };
    assert!(asked(&world).is_empty());
    world.silence("web-2");
    world.fleet.declare(pets("db", &["db-2", "db-3"]));
    assert_eq!(asked(&world), ["db-1", "web-2"]);
    world.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 2,
    });
    assert_eq!(asked(&world), ["db-1", "web-1", "web-2", "web-3"]);
}

#[test]
fn a_list_says_of_a_machine_what_its_instance_is_or_that_there_is_none() {
    let mut world = World::new(&[cattle("web", 3)]);
    let ids = ["web-1", "web-2", "web-3"].map(|name| world.silence(name));
    let suspects = suspects(&world.fleet.state, status(&world), |_| false);
    let of = |id: MachineId| {
        suspects
            .iter()
            .find(|suspect| suspect.machine == id)
            .unwrap()
    };
    let listing = listing(
        &world,
        vec![
            listed(&format!("p-{}", ids[0]), InstanceState::Stopping, None),
            listed(&format!("p-{}", ids[1]), InstanceState::Stopped, None),
        ],
    );
    let words = ids.map(|id| of(id).word(&listing).unwrap().word);
    assert_eq!(
        words,
        [
            ProviderWord::Running,
            ProviderWord::Stopped,
            ProviderWord::Unknown
        ]
    );
}

#[test]
fn why_a_provider_can_not_say_is_in_its_list() {
    let mut world = World::new(&[cattle("web", 1)]);
    let id = world.silence("web-1");
    let suspects = suspects(&world.fleet.state, status(&world), |_| false);
    let suspect = suspects.iter().find(|one| one.machine == id).unwrap();
    let mut instance = listed(&format!("p-{id}"), InstanceState::Unknown, None);
    let said = |instance: &Listed| {
        let listing = listing(&world, vec![instance.clone()]);
        suspect.word(&listing).unwrap().word.to_string()
    };
    assert!(said(&instance).contains("does not know its state"));
    instance.properties.set("why", "instance.json is damaged");
    assert!(said(&instance).contains("instance.json is damaged"));
}

#[test]
fn an_instance_that_nobody_lived_to_report_is_found_by_its_order() {
    let mut world = World::new(&[cattle("web", 2)]);
    world.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 3,
    });
    world.settle();
    let id = world.id("web-3");
    let op = world.fleet.state.machines[&id].order.clone();
    let suspects = suspects(&world.fleet.state, status(&world), |_| false);
    let suspect = suspects
        .iter()
        .find(|suspect| suspect.machine == id)
        .unwrap();
    let listing = listing(
        &world,
        vec![listed("i-9", InstanceState::Running, op.as_ref())],
    );
    assert_eq!(suspect.word(&listing).unwrap().word, ProviderWord::Running);
    let strangers = strangers(&world.fleet.state, [("process", &listing)]);
    assert_eq!(strangers.len(), 1, "it is on nobody's record yet");
    assert_eq!(strangers[0].op, op);
}

#[test]
fn witnesses_come_from_other_zones_and_the_suspects_own_comes_last() {
    let world = World::new(&[cattle("web", 1)]);
    let me = world.fleet.leader;
    let mut suspect = suspects(&world.fleet.state, |_| None, |_| false)
        .pop()
        .unwrap();
    suspect.domain = domain("a", None);
    let machine = |number: u64| MachineId::new(number).unwrap();
    let in_zone = |number: u64, zone: &str| (machine(number), domain(zone, None));
    let many = (10..20).map(|number| in_zone(number, "a"));
    let many = many.chain((20..30).map(|number| in_zone(number, "b")));
    let many: Vec<_> = many.chain([in_zone(31, "c")]).collect();
    let chosen = choose_witnesses(me, &suspect, many.clone());
    let zones: Vec<_> = chosen
        .iter()
        .filter_map(|id| {
            many.iter()
                .find(|(other, _)| other == id)?
                .1
                .zone
                .as_deref()
        })
        .collect();
    assert_eq!(chosen.len(), 4);
    assert_eq!(chosen.last(), Some(&me));
    let of = |zone: &str| zones.iter().filter(|other| **other == zone).count();
    assert_eq!((of("a"), of("b"), of("c")), (0, 2, 1));
    let alone = choose_witnesses(
        me,
        &suspect,
        [in_zone(10, "a"), (suspect.machine, Domain::default())],
    );
    assert_eq!(alone, [machine(10), me], "better its neighbour than nobody");
}

fn domain(zone: &str, rack: Option<&str>) -> Domain {
    Domain {
        zone: Some(zone.to_owned()),
        rack: rack.map(str::to_owned),
    }
}

#[test]
fn in_one_zone_witnesses_come_from_other_racks() {
    let world = World::new(&[cattle("web", 1)]);
    let me = world.fleet.leader;
    let mut suspect = suspects(&world.fleet.state, |_| None, |_| false)
        .pop()
        .unwrap();
    suspect.domain = domain("a", Some("r1"));
    let rack = |number: u64| format!("r{}", number % 5 + 1);
    let all = (10..60).map(|number| {
        let rack = rack(number);
        (MachineId::new(number).unwrap(), domain("a", Some(&rack)))
    });
    let chosen = choose_witnesses(me, &suspect, all);
    let mut racks: Vec<_> = chosen[..3].iter().map(|id| rack(id.get())).collect();
    assert!(!racks.contains(&"r1".to_owned()), "{racks:?}");
    racks.sort();
    racks.dedup();
    assert_eq!(racks.len(), 3, "each from another rack");
}

#[test]
fn what_anybody_reaches_is_not_counted_as_gone() {
    let mut world = World::new(&[cattle("web", 3)]);
    let (id, by) = (world.kill("web-1"), world.id("web-2"));
    let mut proofs = Proofs::default();
    let mut proved = |world: &World| {
        proofs.note(&world.fleet.state, &world.seen, world.now_ms());
        proofs.since().contains_key(&id)
    };
    assert!(proved(&world));
    world.fleet.pass(1);
    world.witness(id, by, Answer::Answered);
    assert!(!proved(&world));
    world.fleet.pass(1);
    world.witness(id, by, Answer::Silent);
    assert!(proved(&world));
    world.revive(id);
    world.say(id, ProviderWord::Stopped);
    assert!(!proved(&world), "the mesh hears it");
}

#[test]
fn no_such_instance_proves_nothing_while_the_list_may_lag() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.silence("web-1");
    let made_ms = world.fleet.state.machines[&id].made_by_ms().unwrap();
    let mut proofs = Proofs::default();
    let mut proved = |world: &World, at_ms: u64, word: ProviderWord| {
        let provider = ProviderEvidence {
            word,
            can_prove_off: true,
            can_reboot: true,
            can_power_cycle: true,
            can_reimage: false,
            is_hardware: false,
            list_lag_ms: 60_000,
            at_ms,
        };
        let seen = MachineEvidence {
            provider: Some(provider),
            ..MachineEvidence::default()
        };
        let seen = BTreeMap::from([(id, seen)]);
        proofs.note(&world.fleet.state, &seen, at_ms);
        proofs.since().get(&id).copied()
    };
    assert_eq!(
        proved(&world, made_ms + 59_999, ProviderWord::Unknown),
        None
    );
    let since = Some(made_ms + 60_000);
    assert_eq!(
        proved(&world, made_ms + 60_000, ProviderWord::Unknown),
        since
    );
    assert_eq!(
        proved(&world, made_ms + 70_000, ProviderWord::Stopped),
        since
    );
    assert_eq!(
        proved(&world, made_ms + 80_000, ProviderWord::Running),
        None
    );
    let again = Some(made_ms + 90_000);
    assert_eq!(
        proved(&world, made_ms + 90_000, ProviderWord::Stopped),
        again
    );
}
