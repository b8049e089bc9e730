//! Scenarios over a fleet of real processes, one behaviour each.

mod applying;
mod asking;
mod by_hand;
mod disk;
mod groups;
mod guest;
mod healing;
mod joining;
mod last_words;
mod leases;
mod modes;
mod ordering;
mod pets;
mod quorum;
mod recovering;
mod reimaging;
mod restarting;
mod rubbish;

mod standstill;
mod starving;
mod supervising;

use muster_tests::{Fleet, MachineRow, Status};

/// Some machine of the cattle group that does not lead.
#[track_caller]
pub(crate) fn follower(status: &Status) -> MachineRow {
    let leads = |machine: &MachineRow| status.leader.as_deref() == Some(&machine.name);
    let cattle = status.machines_of("web");
    let found = cattle.into_iter().find(|machine| !leads(machine));
    found.expect("at most one of three leads").clone()
}

/// The machine that leads.
#[track_caller]
fn leader(status: &Status) -> MachineRow {
    let name = status
        .leader
        .as_deref()
        .expect("a whole fleet has a leader");
    status.machine(name).clone()
}

/// Waits until the fleet is whole again without a machine that was lost.
#[track_caller]
pub(crate) fn wait_replaced(fleet: &Fleet, lost: &MachineRow) -> Status {
    fleet.wait_for("the lost machine is replaced", |status| {
        if status
            .machines
            .iter()
            .any(|machine| machine.machine_id == lost.machine_id)
        {
            return Err(format!(
                "{} is still in the roster: {:#?}",
                lost.name, status.groups
            ));
        }
        status.whole().map(|()| status.clone())
    })
}

/// Fails unless exactly the lost machines were replaced, each once, and nobody else was touched.
#[track_caller]
pub(crate) fn expect_only_replaced(
    fleet: &Fleet,
    before: &Status,
    after: &Status,
    lost: &[&MachineRow],
) {
    for machine in &before.machines {
        let is_lost = lost
            .iter()
            .any(|lost| lost.machine_id == machine.machine_id);
        let now = after
            .machines
            .iter()
            .find(|now| now.machine_id == machine.machine_id);
        match now {
            Some(now) if !is_lost => {
                assert_eq!(now.name, machine.name);
                assert_eq!(now.pid(), machine.pid(), "{} was restarted", machine.name);
            }
            Some(_) => panic!("{} was lost and is still there", machine.name),
            None => assert!(is_lost, "{} was replaced for no reason", machine.name),
        }
    }
    assert_eq!(
        before.machines.len(),
        after.machines.len(),
        "{:?}",
        after.identities()
    );
    let ordered = fleet.events_of("replacing");
    assert_eq!(
        ordered.len(),
        lost.len(),
        "one order per loss: {ordered:#?}"
    );
}
