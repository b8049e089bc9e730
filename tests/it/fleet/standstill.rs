//! Machines that stand still for a while, as under a debugger, a snapshot or an overloaded host, and then go on as if
//! nothing had been.

use std::thread;
use std::time::Duration;

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, MachineRow, Options, Status, wait};
use rustix::process::Signal;

use super::{expect_only_replaced, follower, leader};

/// The default groups, with more patience than any test has.
const PATIENT: &str = r#"heal = { unreachable_after = "10m" }"#;

/// The default groups, with as little patience as may be. A new group would otherwise be spared for a minute.
const IMPATIENT: &str =
    r#"heal = { unreachable_after = "8s", boot_grace = "6s", change_grace = "1s" }"#;

#[track_caller]
fn start(heal: &str) -> Fleet {
    let web = "[[group]]\nid = \"web\"\nsize = 3\n";
    let db = "[[group]]\nid = \"db\"\nmembers = [\"db-1\", \"db-2\"]\n";
    Fleet::start_with(Options {
        spec: Some(format!("{web}{heal}\n\n{db}{heal}\n")),
        ..Options::default()
    })
}

#[track_caller]
fn signal(fleet: &Fleet, machine: &MachineRow, signal: Signal) {
    let process = fleet.process(machine);
    process.expect("it runs").signal(signal);
}

/// Waits for a condition as a machine sees it that does not stand still: the others would not even refuse to answer.
#[track_caller]
fn wait_seen_without<T>(
    fleet: &Fleet,
    before: &Status,
    still: &MachineRow,
    what: &str,
    mut condition: impl FnMut(&Status) -> Result<T, String>,
) -> T {
    let moves = |machine: &&MachineRow| machine.machine_id != still.machine_id;
    let witness = before.machines.iter().find(moves).expect("five machines");
    wait::until(what, PATIENCE, || {
        condition(&fleet.status_of(witness.api())?)
    })
}

#[test]
fn a_leader_that_stands_still_is_succeeded_held_and_welcome_back() {
    let fleet = start(PATIENT);
    let before = fleet.wait_whole();
    let still = leader(&before);
    signal(&fleet, &still, Signal::STOP);
    wait_seen_without(
        &fleet,
        &before,
        &still,
        "it is succeeded and held",
        |status| {
            let succeeded = status
                .leader
                .as_ref()
                .is_some_and(|name| *name != still.name);
            let held = status.groups.iter().any(|group| !group.holds.is_empty());
            if succeeded && held && status.quorum {
                Ok(())
            } else {
                Err(format!("{:?}: {:#?}", status.leader, status.groups))
            }
        },
    );
    signal(&fleet, &still, Signal::CONT);
    let after = fleet.wait_whole();
    expect_only_replaced(&fleet, &before, &after, &[]);
    // It follows: what is decided now reaches it, and it obeys the one who leads.
    fleet
        .ask(still.api(), &["group", "scale", "web", "4", "--yes"])
        .ok();
    let grown = fleet.wait_for("the group has grown", |status| {
        let machines = status.machines_of("web").len();
        let whole = status.whole().map(|()| status.clone());
        if machines == 4 {
            whole
        } else {
            Err(format!("{machines} machines"))
        }
    });
    wait::until("it knows", PATIENCE, || {
        let own = fleet.status_of(still.api())?;
        if own.identities() == grown.identities() && own.leader == grown.leader {
            Ok(())
        } else {
            Err(format!("{own:#?}"))
        }
    });
}

#[test]
fn a_machine_that_stands_still_too_long_is_replaced_once() {
    let fleet = start(IMPATIENT);
    let before = fleet.wait_whole();
    let still = follower(&before);
    let process = fleet.process(&still).expect("it runs");
    process.signal(Signal::STOP);
    let after = wait_seen_without(&fleet, &before, &still, "it is replaced", |status| {
        let there = status
            .machines
            .iter()
            .any(|machine| machine.machine_id == still.machine_id);
        if there {
            return Err(format!("{:#?}", status.groups));
        }
        status.whole().map(|()| status.clone())
    });
    process.signal(Signal::CONT);
    process.wait_gone(PATIENCE);
    expect_only_replaced(&fleet, &before, &after, &[&still]);
}

#[test]
fn a_fleet_that_stood_still_as_a_whole_goes_on_as_itself() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    for machine in &before.machines {
        signal(&fleet, machine, Signal::STOP);
    }
    // Longer than a silent machine is given.
    thread::sleep(Duration::from_secs(35));
    for machine in &before.machines {
        signal(&fleet, machine, Signal::CONT);
        // The first ones get to see the others stand still.
        thread::sleep(Duration::from_millis(700));
    }
    let after = fleet.wait_whole();
    expect_only_replaced(&fleet, &before, &after, &[]);
}
