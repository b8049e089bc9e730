//! A minority never acts, and says so.

use std::thread;
use std::time::Duration;

use muster_tests::{Fleet, MachineRow, Status, wait};

/// The machines to kill so that most of the coordinators, and most of the machines, are gone: the leader, another
/// coordinator, and one more machine, which leaves two of five and one of three coordinators.
pub(super) fn majority(status: &Status) -> (Vec<MachineRow>, Vec<MachineRow>) {
    let leader = status.leader.clone().expect("a whole fleet has a leader");
    let mut order: Vec<_> = status.machines.clone();
    let rank = |machine: &MachineRow| {
        let coordinates = status.coordinators.contains(&machine.name);
        (machine.name != leader, !coordinates)
    };
    order.sort_by_key(rank);
    let others = order.split_off(2);
    let (mut killed, mut left) = (order, others);
    let last = left.pop().expect("five machines");
    killed.push(last);
    (killed, std::mem::take(&mut left))
}

#[test]
fn a_minority_holds_says_why_and_heals_when_enough_return() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let (killed, left) = majority(&before);
    assert_eq!((killed.len(), left.len()), (3, 2));
    killed.iter().for_each(|machine| drop(fleet.kill(machine)));

    // Both survivors say that they hold, why, and with numbers.
    for survivor in &left {
        wait::until("a survivor holds", muster_tests::fleet::PATIENCE, || {
            let status = fleet.status_of(survivor.api())?;
            let hold = status
                .groups
                .iter()
                .flat_map(|group| &group.holds)
                .find(|hold| hold.rule == "quorum");
            match hold {
                Some(hold)
                    if hold.detail.contains(|c: char| c.is_ascii_digit()) && !status.quorum =>
                {
                    Ok(())
                }
                _ => Err(format!("quorum {}, {:#?}", status.quorum, status.groups)),
            }
        });
    }
    // They go on holding: long enough that a fleet which would act by mistake had acted.
    thread::sleep(Duration::from_secs(15));
    for survivor in &left {
        let status = fleet.status_of(survivor.api()).expect("it answers");
        assert_eq!(
            status.identities(),
            before.identities(),
            "nothing was ordered"
        );
        let answer = fleet.ask(survivor.api(), &["status", "--check"]);
        answer.exits(4);
    }

    // One returns: two of three coordinators and three of five machines are enough.
    fleet.run_dev(&["start", &killed[1].name]).ok();
    let dead: Vec<_> = [&killed[0], &killed[2]]
        .map(|machine| machine.machine_id.clone())
        .into();
    let after = fleet.wait_for("the rest is replaced", |status| {
        if status
            .machines
            .iter()
            .any(|machine| dead.contains(&machine.machine_id))
        {
            return Err(format!("{:#?}", status.groups));
        }
        status.whole().map(|()| status.clone())
    });
    let returned = after.machine(&killed[1].name);
    assert_eq!(
        returned.machine_id, killed[1].machine_id,
        "it came back as itself"
    );
    assert_eq!(fleet.events_of("replacing").len(), 2);
}

#[test]
fn a_stopped_machine_is_started_in_place_when_nobody_could_replace_it() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let (killed, _) = majority(&before);
    killed.iter().for_each(|machine| drop(fleet.kill(machine)));
    for machine in &killed {
        fleet.run_dev(&["start", &machine.name]).ok();
    }
    let after = fleet.wait_whole();
    assert_eq!(
        after.identities(),
        before.identities(),
        "all came back as themselves"
    );
    assert!(fleet.events_of("replacing").is_empty());
}
