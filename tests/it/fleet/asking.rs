//! Every machine answers for the fleet, in shapes that scripts rely on.

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, until};

#[test]
fn every_machine_gives_the_same_answer() {
    let fleet = Fleet::start();
    let status = fleet.wait_whole();
    assert_eq!(status.machines.len(), 5);
    assert_eq!(status.members.alive, 5);
    assert_eq!(status.coordinators.len(), 3);
    for machine in &status.machines {
        let own = fleet.status_of(machine.api()).expect("it answers");
        assert_eq!(own.answered_by, machine.name);
        assert_eq!(own.cluster, status.cluster);
        until("it knows all", PATIENCE, || {
            let own = fleet.status_of(machine.api())?;
            own.whole()?;
            let same = own.identities() == status.identities() && own.leader == status.leader;
            if same {
                Ok(())
            } else {
                Err(format!("{own:#?}"))
            }
        });
    }
}

#[test]
fn every_question_has_an_answer_for_people_and_for_scripts() {
    let fleet = Fleet::start();
    let status = fleet.wait_whole();
    let node = status.machine("db-1").api().to_owned();
    let questions: [&[&str]; 8] = [
        &["status"],
        &["members"],
        &["machine", "db-1"],
        &["group", "list"],
        &["group", "show", "web"],
        &["explain", "db-1"],
        &["events"],
        &["health"],
    ];
    for question in questions {
        let people = fleet.ask(&node, question).ok();
        assert!(!people.stdout.trim().is_empty(), "{people}");
        let scripts = fleet.ask(&node, &[question, &["--json"]].concat()).ok();
        assert!(
            !scripts.json_lines().is_empty() || scripts.json().is_object(),
            "{scripts}"
        );
    }
    let events = fleet.ask(&node, &["events", "--json"]).ok();
    for event in events.json_lines() {
        for key in ["at", "kind", "machine", "group", "decision", "detail"] {
            assert!(event.get(key).is_some(), "{key} in {event}");
        }
    }
    for page in [&["completions", "bash"][..], &["man"]] {
        assert!(fleet.run(page).ok().stdout.len() > 200, "{page:?}");
    }
}

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let fleet = Fleet::start();
    let node = fleet.any_node();
    fleet.ask(&node, &["status", "--check"]).exits(0);
    fleet.ask(&node, &["machine", "nobody"]).exits(1);
    fleet.ask(&node, &["group", "show", "nobody"]).exits(1);
    fleet.ask(&node, &["explain", "nobody"]).exits(1);
    fleet.ask(&node, &["statsu"]).exits(2);
    fleet.run(&["no-such-command"]).exits(2);
    let nowhere = fleet.scratch().join("nowhere.sock").display().to_string();
    fleet.ask(&nowhere, &["status"]).exits(3);
    let config = fleet.scratch().join("bad-agent.toml");
    std::fs::write(&config, "nmae = \"x\"\n[health]\ninterval = 5\n")
        .expect("the directory is ours");
    let bad = fleet
        .run(&["agent", "--config", &config.display().to_string()])
        .exits(64);
    bad.says("bad-agent.toml:1").says("did you mean `name`?");
}

#[test]
fn the_level_of_logs_changes_at_run_time() {
    let fleet = Fleet::start();
    let node = fleet.any_node();
    fleet.ask(&node, &["log-level", "debug"]).ok();
    fleet.ask(&node, &["log-level"]).ok().says("debug");
    fleet.ask(&node, &["log-level", "loud=very"]).exits(1);
    fleet.ask(&node, &["log-level"]).ok().says("debug");
}

#[test]
fn an_operator_asks_over_the_mesh() {
    let fleet = Fleet::start();
    let status = fleet.wait_whole();
    let node = fleet.any_node();
    let file = fleet.scratch().join("alice.pem").display().to_string();
    fleet
        .ask(&node, &["operator", "create", "alice", "--out", &file])
        .ok();
    let address = status
        .machine("db-2")
        .address
        .clone()
        .expect("it has joined");
    let ask = || fleet.run(&["status", "--json", "--node", &address, "--identity", &file]);
    assert_eq!(ask().ok().json()["answered_by"], "db-2");

    let none = fleet.scratch().join("none.pem").display().to_string();
    let stranger = fleet.run(&["status", "--node", &address, "--identity", &none]);
    assert_ne!(stranger.code, Some(0), "{stranger}");

    fleet.ask(&node, &["operator", "revoke", "alice"]).ok();
    until("the certificate is refused", PATIENCE, || match ask() {
        answer if answer.code == Some(0) => Err(answer.to_string()),
        _ => Ok(()),
    });
}
