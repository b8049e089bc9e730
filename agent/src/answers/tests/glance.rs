//! The fleet at a glance.

use muster_mesh::identity::Generation;
use serde_json::{Value, json};

use super::scene::Scene;
use crate::answers::members::members;
use crate::answers::{Snapshot, explain, figures, status};
use crate::api::types::{
    AsOf, GroupState, GroupStatus, MachineRow, MachineState, MemberCounts, Status,
};
use crate::fleet::testing::{START_MS, group, pets};
use crate::fleet::{
    Cause, Command, Diagnosis, FleetState, Leaving, MemberStatus, Outcome, PauseScope, Phase, Rule,
};

fn seen(scene: &Scene) -> Status {
    scene.look(|snapshot| status(snapshot).unwrap())
}

fn state(scene: &Scene, id: &str) -> GroupState {
    group_row(scene, id).state
}

fn group_row(scene: &Scene, id: &str) -> GroupStatus {
    let found = seen(scene).groups.into_iter().find(|group| group.id == id);
    found.unwrap_or_else(|| panic!("no group {id}"))
}

fn row(scene: &Scene, name: &str) -> MachineRow {
    let found = seen(scene)
        .machines
        .into_iter()
        .find(|row| row.name == name);
    found.unwrap_or_else(|| panic!("no machine {name}"))
}

#[test]
fn status_of_a_calm_fleet_has_the_shape_that_scripts_rely_on() {
    let mut scene = Scene::new();
    scene
        .world
        .members
        .values_mut()
        .for_each(|seen| seen.since_ms = START_MS);
    let shown = serde_json::to_value(seen(&scene)).unwrap();
    assert_eq!(
        shown["cluster"],
        json!({"id": "000000000000fee1", "name": "test"})
    );
    assert_eq!(shown["answered_by"], "seed-1");
    assert_eq!(shown["leader"], "seed-1");
    assert_eq!(shown["coordinators"], json!(["db-1", "seed-1", "web-1"]));
    assert_eq!(shown["quorum"], true);
    assert_eq!(shown["age_ms"], 250);
    assert_eq!(
        shown["members"],
        json!({"alive": 6, "suspect": 0, "down": 0, "left": 0})
    );
    assert_eq!(shown["holds"], json!([]));
    let db = &shown["groups"][0];
    assert_eq!((&db["id"], &db["kind"]), (&json!("db"), &json!("pets")));
    let web = &shown["groups"][1];
    assert_eq!(
        (&web["id"], &web["kind"]),
        (&json!("web"), &json!("cattle"))
    );
    assert_eq!((&web["desired"], &web["running"]), (&json!(3), &json!(3)));
    assert_eq!(
        (&web["state"], &web["holds"]),
        (&json!("converged"), &json!([]))
    );

    let names: Vec<_> = shown["machines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["name"])
        .collect();
    assert_eq!(names, ["db-1", "db-2", "seed-1", "web-1", "web-2", "web-3"]);
    let web_1 = &shown["machines"][3];
    assert_eq!(web_1["group"], "web");
    assert_eq!(web_1["member"], "1");
    assert_eq!(web_1["status"], "alive");
    assert_eq!(web_1["diagnosis"], "healthy");
    assert_eq!(web_1["health"], "ok");
    assert_eq!(web_1["instance"]["provisioner"], "process");
    assert!(web_1["instance"]["properties"].is_object());
    assert_eq!(web_1["api"], "/run/web-1/muster.sock");
    assert!(web_1["address"].is_string());
    assert_eq!(web_1["as_of_ms"], scene.fleet.now_ms);
    assert_eq!(
        shown["machines"][2]["instance"],
        Value::Null,
        "it joined by hand"
    );
    assert_eq!(shown["machines"][2]["group"], Value::Null);
    assert_eq!(seen(&scene).complaints(), Vec::<String>::new());
}

#[test]
fn before_the_first_copy_there_is_no_status_but_an_error() {
    let mut scene = Scene::new();
    let id = scene.fleet.id("seed-1");
    let error = scene.look(|snapshot| {
        let state = FleetState::default();
        status(&Snapshot {
            state: &state,
            ..snapshot.clone()
        })
        .unwrap_err()
    });
    assert!(error.is_transient(), "{error:?}");
    scene.fleet.now_ms = 0;
    scene.as_of_ms = u64::MAX;
    assert_eq!(
        seen(&scene).as_of.age_ms,
        0,
        "clocks that differ do no harm to {id}"
    );
}

#[test]
fn an_old_copy_says_so_and_is_not_healthy() {
    let mut scene = Scene::new();
    scene.as_of_ms = scene.fleet.now_ms - AsOf::STALE_AFTER_MS;
    assert!(!seen(&scene).as_of.stale);
    assert_eq!(seen(&scene).complaints(), Vec::<String>::new());
    scene.as_of_ms -= 1;
    assert!(seen(&scene).as_of.stale);
    let complaints = seen(&scene).complaints();
    assert_eq!(
        complaints,
        ["seed-1's copy is 30 s old, so this may be the past"]
    );
    assert!(!seen(&scene).is_whole());
}

#[test]
fn a_healing_can_be_followed_in_status() {
    let mut scene = Scene::new();
    let old = scene.fleet.id("web-2");
    scene.see("web-2", MemberStatus::Suspect);
    assert_eq!(row(&scene, "web-2").status, MachineState::Suspect);
    assert_eq!(row(&scene, "web-2").diagnosis.as_deref(), Some("suspected"));
    assert_eq!(state(&scene, "web"), GroupState::Converged);

    scene.see("web-2", MemberStatus::Down);
    assert_eq!(
        row(&scene, "web-2").diagnosis,
        None,
        "nobody has looked yet"
    );
    assert_eq!(state(&scene, "web"), GroupState::Healing);
    assert_eq!(group_row(&scene, "web").running, 2);
    let counts = MemberCounts {
        alive: 5,
        down: 1,
        ..MemberCounts::default()
    };
    assert_eq!(seen(&scene).members, counts);

    let new = scene.fleet.act(scene.fleet.replace(old, Diagnosis::Gone));
    assert_eq!(row(&scene, "web-2").status, MachineState::Destroying);
    assert_eq!(row(&scene, "web-2").diagnosis.as_deref(), Some("gone"));
    assert_eq!(row(&scene, "web-4").status, MachineState::Provisioning);
    assert_eq!(row(&scene, "web-4").diagnosis.as_deref(), Some("starting"));
    assert_eq!(row(&scene, "web-4").address, None);
    assert_eq!(
        seen(&scene).members,
        counts,
        "the mesh still knows the dead one"
    );
    assert_eq!(state(&scene, "web"), GroupState::Healing);

    scene.fleet.done(new);
    let names: Vec<_> = seen(&scene)
        .machines
        .into_iter()
        .map(|row| row.name)
        .collect();
    assert!(!names.contains(&"web-2".to_owned()), "{names:?}");
    assert_eq!(seen(&scene).members.down, 0, "it is history");
    scene.fleet.made(new);
    scene.fleet.join(new);
    assert_eq!(
        row(&scene, "web-4").status,
        MachineState::Provisioning,
        "news on its way"
    );
    scene.meet_all();
    assert_eq!(group_row(&scene, "web").running, 3);
    assert_eq!(state(&scene, "web"), GroupState::Converged);
}

#[test]
fn without_a_quorum_a_group_with_machines_down_holds_and_says_why() {
    let mut scene = Scene::new();
    scene.lose_quorum();
    assert_eq!(
        state(&scene, "db"),
        GroupState::Converged,
        "nothing is the matter with it"
    );
    assert_eq!(seen(&scene).holds[0].rule, "quorum");
    scene.see("web-1", MemberStatus::Down);
    let web = group_row(&scene, "web");
    assert_eq!(web.state, GroupState::Holding);
    assert_eq!(web.holds.len(), 1);
    assert_eq!(web.holds[0].rule, "quorum");
    assert_eq!(
        web.holds[0].detail,
        "1 of 3 coordinators answers; 2 are needed"
    );
    assert!(!seen(&scene).quorum);
    assert_eq!(seen(&scene).leader, None);

    // Also where something was ordered before: nothing of it can go on.
    let mut scene = Scene::new();
    scene.see("web-1", MemberStatus::Down);
    scene.fleet.act(
        scene
            .fleet
            .replace(scene.fleet.id("web-1"), Diagnosis::Gone),
    );
    assert_eq!(state(&scene, "web"), GroupState::Healing);
    scene.lose_quorum();
    assert_eq!(state(&scene, "web"), GroupState::Holding);
}

#[test]
fn a_hold_on_record_shows_with_its_rule_and_machine() {
    let mut scene = Scene::new();
    scene.see("web-1", MemberStatus::Down);
    let id = scene.fleet.id("web-1");
    let hold = scene.fleet.hold(id, Diagnosis::Unreachable, Rule::Budget);
    scene.fleet.ok(Command::Decide(vec![hold]));
    let web = group_row(&scene, "web");
    assert_eq!(web.state, GroupState::Holding);
    assert_eq!(web.holds[0].rule, "budget");
    assert_eq!(web.holds[0].detail, "web-1 (unreachable): not now");
    assert_eq!(
        row(&scene, "web-1").diagnosis.as_deref(),
        Some("unreachable")
    );
    assert_eq!(state(&scene, "db"), GroupState::Converged);
}

#[test]
fn metrics_say_what_status_says() {
    let mut scene = Scene::new();
    scene.see("web-1", MemberStatus::Down);
    let id = scene.fleet.id("web-1");
    let hold = scene.fleet.hold(id, Diagnosis::Unreachable, Rule::Budget);
    scene.fleet.ok(Command::Decide(vec![hold]));
    let seen = scene.look(figures);
    assert_eq!((seen.holds["budget"], seen.holds["quorum"]), (1, 0));
    assert_eq!(seen.holds.len(), Rule::ORDER.len());
    assert_eq!((seen.members["alive"], seen.members["down"]), (5, 1));
    let web = &seen.groups["web"];
    assert_eq!((web.desired, web.running, web.paused), (3, 2, false));
    assert_eq!(seen.decisions["hold"], 1);
    assert!(seen.quorum && seen.leader_known);
    // What stops without being on record shows too.
    scene.lose_quorum();
    let lost = scene.look(figures);
    assert_eq!(lost.holds["quorum"], 1);
    assert!(!lost.quorum && !lost.leader_known);
}

#[test]
fn pauses_show_until_they_end() {
    let mut scene = Scene::new();
    let until_ms = scene.fleet.now_ms + 600_000;
    scene.fleet.ok(Command::Pause {
        name: None,
        scope: PauseScope::Fleet,
        reason: "moving racks".into(),
        until_ms: Some(until_ms),
    });
    assert_eq!(state(&scene, "web"), GroupState::Paused);
    let holds = seen(&scene).holds;
    assert_eq!(holds[0].rule, "paused");
    assert_eq!(
        holds[0].detail,
        "the fleet is paused for another 10 min: moving racks"
    );
    scene.fleet.now_ms = until_ms;
    assert_eq!(state(&scene, "web"), GroupState::Converged);
}

#[test]
fn a_group_that_grows_is_provisioning_and_one_that_shrinks_is_updating() {
    let mut scene = Scene::new();
    scene.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 4,
    });
    assert_eq!(state(&scene, "web"), GroupState::Provisioning);
    let proposal = scene.fleet.provision(&group("web"));
    scene.fleet.act(proposal);
    assert_eq!(state(&scene, "web"), GroupState::Provisioning);
    scene.fleet.ok(Command::DestroyGroup { group: group("db") });
    let db = group_row(&scene, "db");
    assert_eq!(
        (db.state, db.desired, db.running),
        (GroupState::Updating, 0, 2)
    );
    scene.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 0,
    });
    let mut calm = Scene::new();
    calm.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 0,
    });
    assert_eq!(state(&calm, "web"), GroupState::Updating);
}

#[test]
fn an_exchange_of_pets_is_not_converged_although_the_number_is_the_same() {
    let mut scene = Scene::new();
    scene.fleet.declare(pets("db", &["db-2", "db-3"]));
    let db = group_row(&scene, "db");
    assert_eq!((db.desired, db.running), (2, 2));
    assert_eq!(db.state, GroupState::Provisioning);
    assert_eq!(state(&scene, "web"), GroupState::Converged);
}

#[test]
fn every_phase_has_its_status_and_diagnosis() {
    let cases = [
        (
            Phase::Ordered,
            MachineState::Provisioning,
            Some("starting"),
            1,
        ),
        (Phase::Joined, MachineState::Alive, Some("healthy"), 0),
        (
            Phase::Lost { at_ms: 5 },
            MachineState::Down,
            Some("never joined"),
            5,
        ),
        (
            Phase::Left {
                at_ms: 6,
                life: None,
            },
            MachineState::Left,
            Some("left"),
            6,
        ),
        // It answers up to its end.
        (
            Phase::Retiring,
            MachineState::Destroying,
            Some("healthy"),
            1,
        ),
    ];
    for (phase, status, diagnosis, since_ms) in cases {
        let mut scene = Scene::new();
        let id = scene.fleet.id("web-1");
        scene.world.members.get_mut(&id).unwrap().since_ms = 0;
        let machine = scene.fleet.state.machines.get_mut(&id).unwrap();
        (machine.phase, machine.ordered_ms) = (phase, 1);
        let row = row(&scene, "web-1");
        assert_eq!(row.status, status, "{phase}");
        assert_eq!(row.diagnosis.as_deref(), diagnosis, "{phase}");
        assert_eq!(row.since_ms, since_ms, "{phase}");
    }
}

#[test]
fn a_machine_that_nobody_has_heard_of_for_long_is_down() {
    let mut scene = Scene::new();
    let id = scene.fleet.id("web-1");
    scene.world.members.remove(&id);
    assert_eq!(row(&scene, "web-1").status, MachineState::Down);
    assert_eq!(seen(&scene).members.down, 1);
    assert_eq!(row(&scene, "web-1").health, None);
}

#[test]
fn a_machine_that_is_down_for_longer_than_this_one_looks_says_no_more_than_is_known() {
    let mut scene = Scene::new();
    let (id, me) = (scene.fleet.id("web-1"), scene.fleet.id("seed-1"));
    scene.world.members.remove(&id);
    let joined_ms = scene.fleet.state.machines[&id].joined_ms.unwrap();
    let began_ms = scene.fleet.now_ms - 5_000;
    scene.world.members.get_mut(&me).unwrap().since_ms = began_ms;
    let down = row(&scene, "web-1");
    assert_eq!((down.since_ms, down.as_of_ms), (began_ms, joined_ms));
    let silent_ms = scene.fleet.now_ms - 40_000;
    let mut hold = scene.fleet.hold(id, Diagnosis::Unreachable, Rule::Budget);
    hold.cause = Cause::Diagnosed {
        diagnosis: Diagnosis::Unreachable,
        since_ms: silent_ms,
        summary: "none of 3 witnesses got an answer".into(),
    };
    scene.fleet.ok(Command::Decide(vec![hold]));
    let down = row(&scene, "web-1");
    assert_eq!((down.since_ms, down.as_of_ms), (silent_ms, silent_ms));
}

#[test]
fn a_machine_that_said_it_restarts_is_rebooting_until_its_time_is_over() {
    let mut scene = Scene::new();
    let id = scene.fleet.id("web-1");
    let until_ms = scene.fleet.now_ms + 35_000;
    scene.see("web-1", MemberStatus::Left);
    let seen = scene.world.members.get_mut(&id).unwrap();
    let said = std::sync::Arc::make_mut(seen.said.as_mut().unwrap());
    said.leaving = Some(Leaving::Rebooting { until_ms });
    scene.fleet.pass(7_000);
    let rebooting = row(&scene, "web-1");
    assert_eq!(rebooting.status, MachineState::Down);
    assert_eq!(rebooting.diagnosis.as_deref(), Some("rebooting"));
    let web = group_row(&scene, "web");
    assert_eq!(web.state, GroupState::Holding);
    assert_eq!(
        web.holds[0].detail,
        "web-1 (rebooting): it said that it restarts; it has 28 s left to be back"
    );
    let members = scene.look(members);
    let member = members.items.iter().find(|row| row.machine_id == id);
    assert_eq!(member.unwrap().status, MachineState::Down);
    let told = scene.look(|snapshot| explain(snapshot, "web-1").unwrap().summary);
    assert!(told.contains("it has 28 s left to be back"), "{told}");

    scene.fleet.pass(30_000);
    let down = row(&scene, "web-1");
    assert_eq!((down.status, down.since_ms), (MachineState::Down, until_ms));
    assert_eq!(state(&scene, "web"), GroupState::Healing);
}

#[test]
fn a_hold_says_how_much_time_is_left_when_it_is_asked_about() {
    let mut scene = Scene::new();
    let id = scene.fleet.id("web-1");
    let mut hold = scene.fleet.hold(id, Diagnosis::Unreachable, Rule::Settled);
    let until_ms = scene.fleet.now_ms + 60_000;
    hold.checks[0].until_ms = Some(until_ms);
    hold.outcome = Outcome::held_by(&hold.checks[0]);
    scene.fleet.ok(Command::Decide(vec![hold]));
    let detail = |scene: &Scene| group_row(scene, "web").holds[0].detail.clone();
    scene.fleet.pass(14_000);
    assert_eq!(detail(&scene), "web-1 (unreachable): not now (46 s left)");
    scene.fleet.pass(46_000);
    assert_eq!(detail(&scene), "web-1 (unreachable): not now");
}

#[test]
fn who_answers_is_alive_whatever_it_heard_of_itself() {
    let mut scene = Scene::new();
    scene.see("seed-1", MemberStatus::Down);
    assert_eq!(row(&scene, "seed-1").status, MachineState::Alive);
    scene.world.members.clear();
    assert_eq!(row(&scene, "seed-1").status, MachineState::Alive);
}

#[test]
fn a_machine_on_another_computer_is_asked_at_its_address() {
    let mut scene = Scene::new();
    let id = scene.fleet.id("web-1");
    let far = "192.0.2.7:7000".parse().unwrap();
    scene.world.members.get_mut(&id).unwrap().addr = far;
    assert_eq!(row(&scene, "web-1").api.as_deref(), Some("192.0.2.7:7000"));
    let me = scene.fleet.id("seed-1");
    scene.world.members.get_mut(&me).unwrap().addr = "192.0.2.7:7001".parse().unwrap();
    assert_eq!(
        row(&scene, "web-1").api.as_deref(),
        Some("/run/web-1/muster.sock")
    );
}

#[test]
fn a_group_in_which_too_much_failed_says_so_until_it_is_resumed() {
    let mut scene = Scene::new();
    assert_eq!(group_row(&scene, "web").failed, None);
    let web = scene.fleet.state.groups.get_mut("web").unwrap();
    web.failures.extend([START_MS; 3]);
    scene.fleet.now_ms = START_MS + 1000;
    let failed = group_row(&scene, "web").failed.expect("it has");
    assert_eq!(failed.until_ms, START_MS + 3_600_000);
    assert!(failed.detail.contains("3 operations failed"), "{failed:?}");
    assert!(
        failed.detail.contains("muster group resume web"),
        "{failed:?}"
    );
    assert_eq!(state(&scene, "web"), GroupState::Holding);
    let complaints = seen(&scene).complaints();
    let said = complaints
        .iter()
        .any(|said| said.starts_with("group web has failed"));
    assert!(said, "{complaints:?}");
    assert!(scene.look(figures).groups["web"].failed);
    scene.fleet.ok(Command::Resume {
        scope: PauseScope::Group(group("web")),
    });
    assert_eq!(group_row(&scene, "web").failed, None);
}

#[test]
fn who_was_there_before_the_asked_machine_has_been_there_since_its_own_life_began() {
    let mut scene = Scene::new();
    scene.fleet.pass(60_000);
    let (me, now_ms) = (scene.world.me, scene.fleet.now_ms);
    let life_ms = (START_MS / 1000 + 7) * 1000;
    for (id, seen) in &mut scene.world.members {
        seen.since_ms = now_ms;
        seen.generation = Generation(life_ms / 1000);
        if *id == me {
            seen.generation = Generation(now_ms / 1000);
        }
    }
    assert!(life_ms < now_ms);
    assert_eq!(row(&scene, "web-1").since_ms, life_ms);
    // One that came back while the asked machine looked on is told as it was seen.
    let id = scene.fleet.id("web-1");
    let mine = scene.world.members.get_mut(&me).unwrap();
    mine.since_ms = START_MS;
    scene.world.members.get_mut(&id).unwrap().since_ms = now_ms;
    assert_eq!(row(&scene, "web-1").since_ms, now_ms);
}

#[test]
fn a_machine_that_its_group_let_go_shows_none() {
    let mut scene = Scene::new();
    assert_eq!(row(&scene, "web-1").group.as_deref(), Some("web"));
    scene.fleet.ok(Command::FreeGroup {
        group: group("web"),
    });
    assert_eq!(row(&scene, "web-1").group, None);
}
