use crate::fleet::testing::{Fleet, cattle, group, instance, name, pets};
use crate::fleet::*;

fn change(spec: GroupSpec, expected: Option<u64>) -> Command {
    Command::ApplySpecs(vec![SpecChange {
        spec,
        expected: expected.map(SpecRevision),
    }])
}

#[test]
fn specs_are_applied_all_or_none() {
    let mut fleet = Fleet::new();
    let mut bad = pets("db", &["db-1"]);
    bad.heal.budget.at_once = Some(0);
    let changes = [cattle("web", 3), bad]
        .map(|spec| SpecChange {
            spec,
            expected: None,
        })
        .to_vec();
    let refusal = fleet.refused(Command::ApplySpecs(changes));
    assert!(refusal.to_string().contains("observe"), "{refusal}");
    assert!(fleet.state.groups.is_empty());
}

#[test]
fn a_change_from_an_old_revision_is_refused() {
    let mut fleet = Fleet::new();
    fleet.ok(change(cattle("web", 1), None));
    assert!(matches!(
        fleet.refused(change(cattle("web", 2), None)),
        Refusal::RevisionMoved {
            found: Some(SpecRevision(1)),
            expected: None,
            ..
        }
    ));
    fleet.ok(change(cattle("web", 2), Some(1)));
    assert!(matches!(
        fleet.refused(change(cattle("web", 3), Some(1))),
        Refusal::RevisionMoved {
            found: Some(SpecRevision(2)),
            ..
        }
    ));
    let same = fleet.ok(change(cattle("web", 2), Some(2)));
    let Reply::Applied(applied) = same else {
        panic!("{same:?}")
    };
    assert_eq!(
        (applied[0].revision, applied[0].changed),
        (SpecRevision(2), false)
    );
}

#[test]
fn kind_and_provisioner_stay_while_machines_run() {
    let mut fleet = Fleet::with(&[cattle("web", 1)]);
    let refusal = fleet.refused(change(pets("web", &["a"]), Some(1)));
    assert!(matches!(refusal, Refusal::KindChange { .. }), "{refusal}");
    assert!(
        refusal.to_string().contains("muster group destroy web"),
        "{refusal}"
    );
    let mut moved = cattle("web", 1);
    moved.instance.provisioner = "ec2".into();
    let refusal = fleet.refused(change(moved.clone(), Some(1)));
    assert!(
        matches!(refusal, Refusal::ProvisionerChange { .. }),
        "{refusal}"
    );

    let mut fleet = Fleet::new();
    fleet.ok(change(cattle("web", 1), None));
    fleet.ok(change(moved, Some(1)));
    fleet.ok(change(pets("web", &["a"]), Some(2)));
}

#[test]
fn templates_are_kept_while_machines_run_them() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let mut next = cattle("web", 3);
    next.flavor.properties.set("v", 2);
    fleet.ok(change(next, Some(1)));
    fleet.fill(&group("web"));
    let web = &fleet.state.groups[&group("web")];
    assert_eq!(web.templates.len(), 2);
    let template = |name: &str| {
        let machine = fleet.state.machine_by_name(name).unwrap();
        fleet
            .state
            .template(machine)
            .unwrap()
            .flavor
            .properties
            .get("v")
            .cloned()
    };
    assert_eq!(template("web-1"), None);
    assert_eq!(template("web-3"), Some(2.into()));

    for machine in ["web-1", "web-2"] {
        let machine = fleet.id(machine);
        fleet.ok(Command::Forget { machine });
    }
    let mut third = cattle("web", 3);
    third.flavor.properties.set("v", 3);
    fleet.ok(change(third, Some(2)));
    let kept: Vec<_> = fleet.state.groups[&group("web")].templates.keys().collect();
    assert_eq!(kept, [&SpecRevision(2), &SpecRevision(3)]);
}

#[test]
fn pets_are_not_scaled_and_their_names_are_their_own() {
    let mut fleet = Fleet::with(&[pets("db", &["db-1", "db-2"])]);
    let refusal = fleet.refused(Command::ScaleGroup {
        group: group("db"),
        size: 3,
    });
    assert_eq!(refusal, Refusal::PetsHaveNoSize(group("db")));
    assert!(matches!(
        fleet.refused(change(pets("other", &["db-1"]), None)),
        Refusal::PetNameInUse { .. }
    ));
    assert!(matches!(
        fleet.refused(change(pets("seed", &["seed-1"]), None)),
        Refusal::PetNameInUse { .. }
    ));
}

#[test]
fn a_destroyed_group_goes_with_its_last_machine() {
    let mut fleet = Fleet::with(&[cattle("web", 1)]);
    let web = group("web");
    fleet.ok(Command::DestroyGroup { group: web.clone() });
    assert_eq!(
        fleet.refused(Command::ScaleGroup {
            group: web.clone(),
            size: 2
        }),
        Refusal::GroupDestroying(web.clone())
    );
    let machine = fleet.id("web-1");
    fleet.act(fleet.retire(machine, Cause::Destroyed));
    fleet.done(machine);
    assert!(fleet.state.groups.contains_key(&web));
    fleet.done(machine);
    assert!(!fleet.state.groups.contains_key(&web));
    assert_eq!(fleet.phase(machine), None);
    assert!(fleet.state.revoked_machines().contains(&machine));

    // Declared anew, it begins anew, and yet no operation ID is used twice.
    let before: Vec<_> = fleet.state.intents.keys().cloned().collect();
    fleet.declare(cattle("web", 1));
    fleet.fill(&web);
    assert!(fleet.state.machine_by_name("web-1").is_some());
    assert!(fleet.state.intents.len() > before.len());
}

#[test]
fn a_freed_group_is_taken_up_again() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    fleet.ok(Command::FreeGroup {
        group: group("web"),
    });
    assert!(fleet.state.groups.is_empty());
    assert_eq!(fleet.state.machines.len(), 3);
    assert!(matches!(
        fleet.refused(change(pets("web", &["web-1"]), None)),
        Refusal::Invalid(_)
    ));
    fleet.ok(change(cattle("web", 2), None));
    assert_eq!(fleet.state.existing(&group("web")), 2);
    assert_eq!(fleet.state.groups[&group("web")].next_ordinal, 3);
}

#[test]
fn a_group_with_work_under_way_is_not_let_go() {
    let mut fleet = Fleet::new();
    fleet.declare(cattle("web", 1));
    fleet.act(fleet.provision(&group("web")));
    assert!(matches!(
        fleet.refused(Command::FreeGroup {
            group: group("web")
        }),
        Refusal::GroupBusy { open: 1, .. }
    ));
}

#[test]
fn the_founder_becomes_a_member_of_a_group_that_is_declared_later() {
    let mut fleet = Fleet::new();
    fleet.state = FleetState::default();
    let mut found = testing::found();
    found.machine_name = name("web-1");
    found.place = Some((group("web"), Member::Cattle(1)));
    found.instance = Some(instance("p-1"));
    let mut misnamed = found.clone();
    misnamed.machine_name = name("web-2");
    assert!(matches!(
        fleet.refused(Command::Found(Box::new(misnamed))),
        Refusal::Invalid(_)
    ));
    fleet.ok(Command::Found(Box::new(found)));
    fleet.declare(cattle("web", 2));
    assert_eq!(fleet.state.existing(&group("web")), 1);
    fleet.fill(&group("web"));
    assert!(fleet.state.machine_by_name("web-2").is_some());
}

#[test]
fn pauses_expire_and_are_lifted() {
    let mut fleet = Fleet::with(&[cattle("web", 1)]);
    let scope = PauseScope::Group(group("web"));
    let pause = |until_ms| Command::Pause {
        name: None,
        scope: scope.clone(),
        reason: "why not".into(),
        until_ms,
    };
    let resume = Command::Resume {
        scope: scope.clone(),
    };
    assert_eq!(
        fleet.refused(resume.clone()),
        Refusal::NotPaused(scope.clone())
    );
    let until_ms = fleet.now_ms + 1000;
    fleet.ok(pause(Some(until_ms)));
    let paused = |fleet: &Fleet, now_ms| fleet.state.paused(&group("web"), now_ms).is_some();
    assert!(paused(&fleet, until_ms - 1));
    assert!(!paused(&fleet, until_ms));
    fleet.ok(pause(None));
    fleet.ok(resume);
    assert!(!paused(&fleet, fleet.now_ms));
}

#[test]
fn the_declared_size_counts_what_should_be_there_and_who_belongs_to_nothing() {
    let mut fleet = Fleet::with(&[cattle("web", 3), pets("db", &["db-1", "db-2"])]);
    assert_eq!(fleet.state.size_declared(), 6);
    fleet.ok(Command::FreeGroup { group: group("db") });
    assert_eq!(fleet.state.size_declared(), 6, "freed, and still there");
    fleet.ok(Command::DestroyGroup {
        group: group("web"),
    });
    assert_eq!(fleet.state.size_declared(), 3);
}

fn pause(scope: PauseScope, called: Option<&str>, until_ms: Option<u64>) -> Command {
    Command::Pause {
        scope,
        name: called.map(name),
        reason: "power works".into(),
        until_ms,
    }
}

#[test]
fn pauses_of_one_place_are_told_apart_by_name_and_end_one_by_one() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let zone = || PauseScope::Zone("a".into());
    let until_ms = Some(fleet.now_ms + 60_000);
    fleet.ok(pause(zone(), None, None));
    fleet.ok(pause(zone(), Some("power"), until_ms));
    fleet.ok(pause(zone(), Some("works"), None));
    assert_eq!(fleet.state.pauses.len(), 3);
    assert!(matches!(
        fleet.refused(pause(PauseScope::Fleet, Some("power"), None)),
        Refusal::PauseNameInUse { .. }
    ));
    fleet.ok(Command::EndPause {
        name: name("works"),
    });
    assert!(matches!(
        fleet.refused(Command::EndPause {
            name: name("works")
        }),
        Refusal::NoPause(_)
    ));
    fleet.pass(60_000);
    assert!(matches!(
        fleet.refused(Command::EndPause {
            name: name("power")
        }),
        Refusal::NoPause(_)
    ));
    fleet.ok(pause(PauseScope::Fleet, Some("power"), None));
    fleet.ok(Command::Resume { scope: zone() });
    assert_eq!(fleet.state.pauses.len(), 1);
    assert!(matches!(
        fleet.refused(pause(PauseScope::Zone(String::new()), None, None)),
        Refusal::Invalid(_)
    ));
}
