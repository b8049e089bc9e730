//! Groups that begin with instances of another tool.

use super::super::testing::{Fleet, addr, cattle, group, instance, name, pets};
use super::super::*;

const SECRET: SecretHash = SecretHash([7; 32]);

fn adopt(spec: &GroupSpec, instances: &[(Member, &str)]) -> Command {
    let instances = instances
        .iter()
        .map(|(member, id)| (member.clone(), instance(id)));
    Command::Adopt(Box::new(Adopt {
        spec: spec.clone(),
        instances: instances.collect(),
    }))
}

fn pet(id: &str) -> Member {
    Member::Pet(name(id))
}

fn phases(fleet: &Fleet) -> Vec<(String, String)> {
    let machines = fleet
        .state
        .machines
        .values()
        .filter(|one| one.place.is_some());
    let mut all: Vec<_> = machines
        .map(|one| (one.name.to_string(), one.phase.to_string()))
        .collect();
    all.sort();
    all
}

#[test]
fn the_machines_are_there_from_the_first_moment() {
    let mut fleet = Fleet::new();
    let web = cattle("web", 3);
    fleet.ok(adopt(
        &web,
        &[(Member::Cattle(1), "i-1"), (Member::Cattle(2), "i-2")],
    ));
    let adopted = |name: &str| (name.to_owned(), "adopted".to_owned());
    assert_eq!(phases(&fleet), [adopted("web-1"), adopted("web-2")]);
    let id = group("web");
    assert_eq!(fleet.state.existing(&id), 2, "they fill their slots");
    assert_eq!(fleet.state.groups[&id].next_ordinal, 3);
    let machine = &fleet.state.machines[&fleet.id("web-1")];
    assert_eq!(machine.instance, Some(instance("i-1")));
    assert!(
        !machine.is_elector(),
        "nobody there could acknowledge a leader"
    );
    fleet.ok(adopt(
        &pets("db", &["db-1", "db-2"]),
        &[(pet("db-2"), "i-3")],
    ));
    assert_eq!(phases(&fleet)[0], adopted("db-2"));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut fleet = Fleet::with(&[cattle("app", 1)]);
    let (web, db) = (cattle("web", 1), pets("db", &["db-1"]));
    let before = fleet.state.clone();
    let known = before.machines[&fleet.id("app-1")]
        .instance
        .clone()
        .expect("made")
        .id;
    for wrong in [
        adopt(&cattle("app", 3), &[]),
        adopt(
            &web,
            &[(Member::Cattle(1), "i-1"), (Member::Cattle(2), "i-2")],
        ),
        adopt(
            &cattle("web", 2),
            &[(Member::Cattle(1), "i-1"), (Member::Cattle(1), "i-2")],
        ),
        adopt(
            &cattle("web", 2),
            &[(Member::Cattle(1), "i-1"), (Member::Cattle(2), "i-1")],
        ),
        adopt(&web, &[(pet("web-1"), "i-1")]),
        adopt(&web, &[(Member::Cattle(1), known.as_str())]),
        adopt(&db, &[(pet("db-9"), "i-1")]),
        adopt(&db, &[(Member::Cattle(1), "i-1")]),
    ] {
        fleet.refused(wrong);
        assert_eq!(fleet.state, before);
    }
    let mut foreign = web;
    foreign.instance.provisioner = "lxd".to_owned();
    fleet.refused(adopt(&foreign, &[(Member::Cattle(1), "i-1")]));
}

#[test]
fn an_agent_joins_as_the_machine_whose_name_it_has() {
    let mut fleet = Fleet::new();
    fleet.ok(adopt(
        &cattle("web", 2),
        &[(Member::Cattle(1), "i-1"), (Member::Cattle(2), "i-2")],
    ));
    fleet.ok(Command::CreateToken {
        id: TokenId(77),
        secret: SECRET,
        note: "for agents".into(),
        group: Some(group("web")),
        expires_ms: fleet.now_ms + 10_000,
        uses: 3,
    });
    let admit = |key: u8, wanted: &str| {
        Command::Admit(Box::new(Admit {
            token: TokenId(77),
            secret: SECRET,
            key: KeyHash([key; 32]),
            name: Some(name(wanted)),
            addr: addr(9),
            labels: Default::default(),
        }))
    };
    let id = fleet.id("web-1");
    fleet.ok(admit(1, "web-1"));
    fleet.ok(admit(1, "web-1"));
    assert_eq!(
        fleet.phase(id),
        Some(Phase::Joined),
        "once, however often it asks"
    );
    assert_eq!(fleet.state.machines[&id].instance, Some(instance("i-1")));
    assert!(fleet.state.machines[&id].is_elector());
    assert_eq!(fleet.state.tokens[&TokenId(77)].uses_left, 2);
    fleet.refused(admit(2, "web-1"));
    assert!(matches!(
        fleet.phase(fleet.id("web-2")),
        Some(Phase::Adopted { .. })
    ));
}
