//! A network that falls apart: the smaller side never acts, and no side replaces what lives.

use std::thread;
use std::time::Duration;

use muster_tests::fleet::PATIENCE;
use muster_tests::process::Process;
use muster_tests::system::{may_make_namespaces, require};
use muster_tests::{Fleet, MachineRow, Options, Status, wait};

fn in_namespace() -> Options {
    Options {
        namespace: true,
        ..Options::default()
    }
}

/// The IP addresses of machines.
fn addresses<'a>(machines: impl IntoIterator<Item = &'a MachineRow>) -> Vec<String> {
    let address = |machine: &MachineRow| {
        let address = machine.address.as_deref().expect("joined");
        address
            .rsplit_once(':')
            .expect("an address with a port")
            .0
            .to_owned()
    };
    machines.into_iter().map(address).collect()
}

/// Cuts the leader and the machine that `companion` prefers off from the other three.
#[track_caller]
fn cut_off_leader(
    fleet: &Fleet,
    before: &Status,
    companion: fn(&MachineRow) -> bool,
) -> (Vec<MachineRow>, Vec<MachineRow>) {
    let leader = before.leader.as_deref().expect("a whole fleet has one");
    let mut small = before.machines.clone();
    small.sort_by_key(|machine| (machine.name != leader, !companion(machine)));
    let large = small.split_off(2);
    fleet
        .namespace()
        .part(&addresses(&small), &addresses(&large));
    (small, large)
}

/// Waits until all of these know that they may not act.
#[track_caller]
fn wait_holding(fleet: &Fleet, machines: &[MachineRow]) {
    for machine in machines {
        wait::until("it knows that it may not act", PATIENCE, || {
            let status = fleet.status_of(machine.api())?;
            let alone = status.members.alive as usize == machines.len();
            let held = status.groups.iter().flat_map(|group| &group.holds);
            let held = held.filter(|hold| hold.rule == "quorum").count();
            if alone && !status.quorum && held > 0 {
                Ok(())
            } else {
                Err(format!("{status:#?}"))
            }
        });
    }
}

/// Waits until all is well again, and fails if anything exists twice.
#[track_caller]
fn expect_well(fleet: &Fleet) -> Status {
    fleet.namespace().heal();
    let after = fleet.wait_whole();
    let mut names: Vec<_> = after.machines.iter().map(|machine| &machine.name).collect();
    names.dedup();
    assert_eq!(names.len(), 5, "{names:?}");
    let agents = |process: &&Process| process.command.contains(" agent ");
    let count = fleet.processes().iter().filter(agents).count();
    assert_eq!(count, 5, "{:?}", fleet.processes());
    after
}

/// Waits until each of `machines` sees one of them lead, with a quorum behind it.
fn wait_led(fleet: &Fleet, machines: &[MachineRow]) {
    for machine in machines {
        wait::until("the larger side has a leader of its own", PATIENCE, || {
            let status = fleet.status_of(machine.api())?;
            let leader = status.leader.as_ref().filter(|_| status.quorum);
            match leader {
                Some(name) if machines.iter().any(|machine| machine.name == *name) => Ok(()),
                _ => Err(format!("{status:#?}")),
            }
        });
    }
}

fn expect_nothing_ordered(fleet: &Fleet, machines: &[MachineRow], before: &Status) {
    let held = fleet.status_of(machines[0].api()).expect("it answers");
    assert_eq!(
        held.identities(),
        before.identities(),
        "the smaller side ordered something"
    );
}

#[test]
fn the_larger_side_of_a_partition_goes_on_and_the_smaller_one_holds() {
    if !require(
        "the right to make network namespaces",
        may_make_namespaces(),
    ) {
        return;
    }
    let fleet = Fleet::start_with(in_namespace());
    let before = fleet.wait_whole();
    let (small, large) = cut_off_leader(&fleet, &before, |machine| !machine.coordinator);
    wait_holding(&fleet, &small);
    wait_led(&fleet, &large);
    expect_nothing_ordered(&fleet, &small, &before);
    expect_well(&fleet);
}

#[test]
fn most_coordinators_on_the_smaller_side_are_given_up_by_the_larger_one() {
    if !require(
        "the right to make network namespaces",
        may_make_namespaces(),
    ) {
        return;
    }
    let fleet = Fleet::start_with(in_namespace());
    let before = fleet.wait_whole();
    // Two of three coordinators are among the two that are cut off: a majority of coordinators on one side, of
    // machines on the other.
    let (small, large) = cut_off_leader(&fleet, &before, |machine| machine.coordinator);
    wait_holding(&fleet, &small);
    wait_led(&fleet, &large);
    expect_nothing_ordered(&fleet, &small, &before);
    // The old coordinators stand down. Until they have heard of the later log all looks well to them, too.
    fleet.namespace().heal();
    wait::until("the later log is everybody's", PATIENCE, || {
        match fleet.events_of("refounded").len() {
            0 => Err("not founded yet".to_owned()),
            _ => Ok(()),
        }
    });
    let after = expect_well(&fleet);
    // One log, and one leader in it.
    assert_eq!(fleet.events_of("refounded").len(), 1);
    assert!(after.leader.is_some());
}

#[test]
fn a_silent_machine_is_noticed_and_no_second_pet_is_started_beside_it() {
    if !require(
        "the right to make network namespaces",
        may_make_namespaces(),
    ) {
        return;
    }
    let fleet = Fleet::start_with(in_namespace());
    let before = fleet.wait_whole();
    let victim = before.machine("db-2").clone();
    fleet.namespace().silence(&addresses([&victim])[0]);
    let others: Vec<_> = before
        .machines
        .iter()
        .filter(|machine| machine.name != victim.name)
        .collect();
    for machine in &others {
        wait::until("all know", PATIENCE, || {
            let status = fleet.status_of(machine.api())?;
            match status.machine("db-2").status.as_str() {
                "down" => Ok(()),
                other => Err(other.to_owned()),
            }
        });
    }
    let of_pet = |fleet: &Fleet| {
        let dir = victim.dir().display().to_string();
        fleet
            .processes()
            .iter()
            .filter(|process| process.command.contains(&dir))
            .count()
    };
    // While the fleet makes up its mind, and acts on it, there are never two.
    for _ in 0..100 {
        assert!(
            of_pet(&fleet) <= 1,
            "two copies of a pet: {:?}",
            fleet.processes()
        );
        thread::sleep(Duration::from_millis(200));
    }
    fleet.namespace().heal();
    let after = fleet.wait_whole();
    assert!(after.find("db-2").is_some());
    assert!(of_pet(&fleet) == 1, "{:?}", fleet.processes());
}
