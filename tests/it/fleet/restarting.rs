//! A fleet that was stopped whole comes back whole, as itself.

use std::fs;

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, MachineRow, Status, wait};
use rustix::process::Signal;

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

/// A fleet that has lost two of its three coordinators, as it is founded anew.
struct HalfFounded {
    fleet: Fleet,
    before: Status,
    /// Who founds it. It stands still, so that the others have all the time they need.
    founder: MachineRow,
    /// The coordinators that were lost, and are back.
    returned: Vec<MachineRow>,
}

impl HalfFounded {
    /// All that were left have promised to stand behind no leader of the old log. Then the coordinators that were lost come
    /// back and have a leader, while the founder stands still.
    #[track_caller]
    fn new() -> Self {
        let fleet = Fleet::start();
        let before = fleet.wait_whole();
        let coordinators = before.coordinators.iter();
        let mut coordinators = coordinators.map(|name| before.machine(name).clone());
        let founder = coordinators.next().expect("three of them");
        let lost: Vec<_> = coordinators.collect();
        for machine in &lost {
            fleet.kill(machine);
        }
        let is_lost = |machine: &&MachineRow| lost.iter().any(|lost| lost.name == machine.name);
        for machine in before.machines.iter().filter(|one| !is_lost(one)) {
            wait::until("it has promised", PATIENCE, || {
                let log = machine.dir().join("agent.log");
                let lines = fs::read_to_string(log).map_err(|error| error.to_string())?;
                let promised = lines.contains("has promised to stand behind no leader");
                promised.then_some(()).ok_or(lines)
            });
        }
        let process = fleet.process(&founder).expect("it runs");
        process.signal(Signal::STOP);
        for machine in &lost {
            fleet.run_dev(&["start", &machine.name]).ok();
        }
        let half = Self {
            fleet,
            before,
            founder,
            returned: lost,
        };
        // They take the founder for lost, and so does it take them: it has not heard of their return.
        half.wait_returned("they lead", |status| {
            let is_one = |name: &String| half.returned.iter().any(|machine| machine.name == *name);
            let leads = status.leader.as_ref().is_some_and(is_one);
            (leads && status.members.down > 0)
                .then_some(())
                .ok_or_else(|| format!("{status:?}"))
        });
        half
    }

    /// Waits for a condition as one of the coordinators sees it that are back.
    #[track_caller]
    fn wait_returned(&self, what: &str, mut condition: impl FnMut(&Status) -> Result<(), String>) {
        wait::until(what, PATIENCE, || {
            let status = self.fleet.status_of(self.returned[0].api())?;
            condition(&status)
        });
    }
}

#[test]
fn what_coordinators_commit_that_return_while_the_log_is_founded_anew_is_kept() {
    let half = HalfFounded::new();
    let HalfFounded { fleet, before, .. } = &half;
    wait::until("they accept a command", PATIENCE, || {
        let scale = ["group", "scale", "web", "4", "--yes"];
        let answer = fleet.ask(half.returned[0].api(), &scale);
        let accepted = answer.code == Some(0);
        accepted.then_some(()).ok_or_else(|| answer.to_string())
    });
    let founder = fleet.process(&half.founder).expect("it runs");
    founder.signal(Signal::CONT);
    wait::until("the log is founded anew all the same", PATIENCE, || {
        let founded = fleet.events_of("refounded");
        (founded.len() == 1)
            .then_some(())
            .ok_or_else(|| format!("{founded:?}"))
    });
    // Somebody may act, and does what was asked for.
    let after = fleet.wait_for("there are four", |status| {
        status.whole()?;
        let four = status.machines_of("web").len() == 4;
        four.then(|| status.clone())
            .ok_or_else(|| format!("{:#?}", status.groups))
    });
    expect_kept(before, &after, &[]);
}

#[test]
fn a_founder_that_dies_once_the_old_coordinators_are_back_leaves_somebody_who_may_act() {
    let half = HalfFounded::new();
    half.fleet.kill(&half.founder);
    let after = wait_replaced(&half.fleet, &half.founder);
    expect_kept(&half.before, &after, &[&half.founder]);
}

/// Fails unless every machine that was not lost is still there.
#[track_caller]
fn expect_kept(before: &Status, after: &Status, lost: &[&MachineRow]) {
    for machine in &before.machines {
        let is_lost = lost.iter().any(|lost| lost.name == machine.name);
        let mut now = after.machines.iter();
        let kept = now.any(|now| now.machine_id == machine.machine_id);
        assert!(
            kept || is_lost,
            "{} was replaced for no reason",
            machine.name
        );
    }
}
