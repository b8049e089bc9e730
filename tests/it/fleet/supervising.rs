//! `muster dev` itself: what it says, what it leaves, and what is left when it is killed.

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, Options, wait};
use serde_json::Value;

#[test]
fn without_a_terminal_it_says_one_event_a_line() {
    let fleet = Fleet::start();
    wait::until("the lines are there", PATIENCE, || {
        let lines = fleet.dev_lines();
        let events: Vec<Value> = lines
            .iter()
            .filter(|line| !line.starts_with("(standard error)"))
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect();
        let count = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
        // The first machine founds the mesh, the others join it.
        match (count("founded"), count("joined"), count("dev_ready")) {
            (1, 4, 1) => Ok(()),
            other => Err(format!("{other:?}: {lines:#?}")),
        }
    });
}

#[test]
fn machines_outlive_a_killed_supervisor_and_the_next_one_takes_them_over() {
    let mut fleet = Fleet::start();
    let before = fleet.wait_whole();
    fleet.kill_dev();
    let alone = fleet.wait_whole();
    assert_eq!(
        alone.identities(),
        before.identities(),
        "nobody needs the supervisor"
    );
    fleet.start_dev();
    let after = fleet.wait_whole();
    assert_eq!(after.identities(), before.identities());
    let pids = |status: &muster_tests::Status| -> Vec<_> {
        let mut pids: Vec<_> = status
            .machines
            .iter()
            .map(|machine| machine.pid())
            .collect();
        pids.sort_unstable();
        pids
    };
    assert_eq!(
        pids(&after),
        pids(&before),
        "no machine was started anew or twice"
    );
    fleet.stop_dev();
}

#[test]
fn clean_clears_away_what_a_killed_supervisor_left() {
    let mut fleet = Fleet::start();
    fleet.kill_dev();
    assert!(fleet.processes().len() >= 5);
    let asked = fleet.run_dev(&["clean"]).exits(2);
    assert!(
        asked.stderr.contains("web-1") && asked.stderr.contains("--yes"),
        "{asked}"
    );
    assert!(fleet.processes().len() >= 5, "nobody said yes");
    fleet.run_dev(&["clean", "--yes"]).ok();
    assert!(fleet.processes().is_empty(), "{:?}", fleet.processes());
    assert!(fleet.sockets().is_empty());
    fleet.run_dev(&["clean", "--yes"]).ok();
    fleet.start_dev();
    fleet.wait_whole();
}

#[test]
fn a_second_supervisor_on_the_same_directory_is_refused() {
    let fleet = Fleet::start();
    let answer = fleet.run_dev(&["--json"]);
    assert_eq!(answer.code, Some(1), "{answer}");
    fleet.wait_whole();
}

#[test]
fn the_number_of_machines_can_be_chosen() {
    let fleet = Fleet::start_with(Options {
        machines: Some(7),
        ..Options::default()
    });
    let status = fleet.wait_whole();
    assert_eq!(status.machines.len(), 7);
    assert_eq!(status.members.alive, 7);
    assert_eq!(status.coordinators.len(), 3);
}

#[test]
fn one_machine_alone_is_a_fleet() {
    let fleet = Fleet::start_with(Options {
        machines: Some(1),
        ..Options::default()
    });
    assert_eq!(fleet.wait_whole().machines.len(), 1);
}
