//! A network that falls apart: the smaller side never acts, and no side replaces what lives.

use std::thread;
use std::time::Duration;

use muster_tests::fleet::PATIENCE;
use muster_tests::system::{may_make_namespaces, require};
use muster_tests::{Fleet, MachineRow, Options, wait};

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

#[test]
fn the_smaller_side_of_a_partition_holds_and_all_is_well_after_it() {
    if !require(
        "the right to make network namespaces",
        may_make_namespaces(),
    ) {
        return;
    }
    let fleet = Fleet::start_with(in_namespace());
    let before = fleet.wait_whole();
    // The leader and one more are cut off from the other three.
    let leader = before.leader.clone().expect("a whole fleet has one");
    let mut machines = before.machines.clone();
    machines.sort_by_key(|machine| {
        (
            machine.name != leader,
            !before.coordinators.contains(&machine.name),
        )
    });
    let (small, large) = machines.split_at(2);
    fleet.namespace().part(&addresses(small), &addresses(large));

    for machine in small {
        wait::until(
            "the smaller side knows that it may not act",
            PATIENCE,
            || {
                let status = fleet.status_of(machine.api())?;
                if status.quorum || status.members.alive > 2 {
                    Err(format!("{status:#?}"))
                } else {
                    Ok(())
                }
            },
        );
    }
    for machine in large {
        wait::until("the larger side has a leader of its own", PATIENCE, || {
            let status = fleet.status_of(machine.api())?;
            match &status.leader {
                Some(name)
                    if large.iter().any(|machine| machine.name == *name) && status.quorum =>
                {
                    Ok(())
                }
                _ => Err(format!("{status:#?}")),
            }
        });
    }
    // The provisioner says that both run, and the larger side cannot know better: give it time to do wrong.
    thread::sleep(Duration::from_secs(20));
    for machine in &before.machines {
        assert!(
            fleet.process(machine).is_some(),
            "{} was destroyed while it lived",
            machine.name
        );
    }
    fleet.namespace().heal();
    let after = fleet.wait_whole();
    assert_eq!(after.identities(), before.identities());
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
