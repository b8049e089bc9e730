//! A fleet that was stopped whole comes back whole, as itself.

use std::fs;

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, MachineRow, wait};

use super::wait_replaced;

#[test]
fn a_fleet_that_was_stopped_comes_back_as_itself() {
    let mut fleet = Fleet::start();
    let before = fleet.wait_whole();
    let file = before.machine("db-1").disk().join("kept");
    fs::write(&file, "precious").expect("the directory is ours");
    for _ in 0..2 {
        fleet.stop_dev();
        fleet.start_dev();
        let after = fleet.wait_whole();
        assert_eq!(after.cluster, before.cluster);
        assert_eq!(after.identities(), before.identities());
        assert_eq!(fs::read_to_string(&file).expect("it was kept"), "precious");
        assert!(
            fleet.events_of("replacing").is_empty(),
            "nothing was replaced"
        );
    }
}

#[test]
fn a_fleet_that_lost_power_comes_back_as_itself() {
    let mut fleet = Fleet::start();
    let before = fleet.wait_whole();
    fleet.kill_dev();
    for process in fleet.processes() {
        process.kill();
    }
    fleet.start_dev();
    let after = fleet.wait_whole();
    assert_eq!(after.identities(), before.identities());
    assert!(
        fleet.events_of("replacing").is_empty(),
        "nothing was replaced"
    );
}

#[test]
fn coordinators_with_damaged_logs_are_named_and_the_log_is_founded_anew() {
    let mut fleet = Fleet::start();
    let before = fleet.wait_whole();
    let damaged: Vec<_> = before.coordinators[..2].to_vec();
    fleet.stop_dev();
    damage_log(before.machine(&damaged[0]), |_| b"rubbish".to_vec());
    damage_log(before.machine(&damaged[1]), |mut log| {
        log.truncate(log.len() / 2);
        log
    });
    fleet.start_dev();
    fleet.wait_for("it says which logs fail", |status| {
        let mut details = status.holds.iter().map(|hold| hold.detail.as_str());
        let names = format!("{} can't read or write their logs", damaged.join(" and "));
        let other = format!(
            "{} and {} can't read or write their logs",
            damaged[1], damaged[0]
        );
        let said = details.any(|detail| {
            detail.starts_with("1 of 3 coordinators answers")
                && (detail.contains(&names) || detail.contains(&other))
        });
        if said && !status.quorum {
            Ok(())
        } else {
            Err(format!("quorum {}, {:#?}", status.quorum, status.holds))
        }
    });
    let after = fleet.wait_whole();
    assert_eq!(after.cluster, before.cluster);
    assert_eq!(after.identities(), before.identities());
    assert_eq!(fleet.events_of("refounded").len(), 1);
    assert!(
        fleet.events_of("replacing").is_empty(),
        "nothing was replaced"
    );
}

/// Changes the log of a coordinator that does not run.
fn damage_log(machine: &MachineRow, damage: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let files = fs::read_dir(machine.dir().join("state")).expect("it has a data directory");
    let mut logs = files
        .map(|file| file.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "redb"));
    let log = logs.next().expect("a coordinator has a log");
    let whole = fs::read(&log).expect("readable");
    fs::write(&log, damage(whole)).expect("the directory is ours");
}

#[test]
fn coordinators_that_return_while_the_log_is_founded_anew_keep_nobody_from_it() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let (founder, others) = before.coordinators.split_first().expect("three of them");
    for name in others {
        fleet.kill(before.machine(name));
    }
    // From then on most of the roster stand behind no leader of the old log, whoever comes back.
    let log = before.machine(founder).dir().join("agent.log");
    wait::until("promises are asked for", PATIENCE, || {
        let lines = fs::read_to_string(&log).map_err(|error| error.to_string())?;
        let asks = lines.contains("asking for promises to found the log anew");
        asks.then_some(()).ok_or(lines)
    });
    for name in others {
        fleet.run_dev(&["start", name]).ok();
    }
    wait::until("the log is founded anew all the same", PATIENCE, || {
        let founded = fleet.events_of("refounded");
        (founded.len() == 1)
            .then_some(())
            .ok_or_else(|| format!("{founded:?}"))
    });
    let after = fleet.wait_whole();
    assert_eq!(after.identities(), before.identities());
    // It has somebody who may act.
    let victim = after.machine(&others[0]).clone();
    fleet.kill(&victim);
    wait_replaced(&fleet, &victim);
}
