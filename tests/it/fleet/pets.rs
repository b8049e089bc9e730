//! A pet's successor takes its name and its data.

use std::fs;

use muster_tests::{Fleet, MachineRow, Status};

use super::{expect_only_replaced, wait_replaced};

#[test]
fn a_pets_successor_keeps_its_name_and_its_data() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let victim = before.machine("db-1").clone();
    fs::write(victim.disk().join("kept"), "precious").expect("the directory is ours");
    fleet.kill(&victim);
    let after = wait_replaced(&fleet, &victim);
    expect_only_replaced(&fleet, &before, &after, &[&victim]);
    let successor = after.machine("db-1");
    assert_ne!(
        successor.machine_id, victim.machine_id,
        "it is another machine"
    );
    assert_eq!(successor.member.as_deref(), Some("db-1"));
    assert_eq!(
        fs::read_to_string(successor.disk().join("kept")).expect("kept"),
        "precious"
    );
}

const WEB: &str = "[[group]]\nid = \"web\"\nsize = 3\n\n";

/// Declares who the pets are, and waits until it is so.
#[track_caller]
fn declare(fleet: &Fleet, pets: &[&str]) -> Status {
    let text = format!("{WEB}[[group]]\nid = \"db\"\nmembers = {pets:?}\n");
    let node = fleet.any_node();
    fleet
        .run_with_input(&["apply", "--yes", "-f", "-", "--node", &node], &text)
        .ok();
    fleet.wait_for("the pets are those", |status| {
        let names: Vec<_> = status
            .machines_of("db")
            .iter()
            .map(|machine| machine.name.clone())
            .collect();
        if names != pets {
            return Err(format!("{names:?}: {:?}", status.groups));
        }
        status.whole().map(|()| status.clone())
    })
}

/// The numbers of the agents that run a pet of this name.
fn copies(fleet: &Fleet, pet: &MachineRow) -> Vec<u32> {
    let home = pet.dir().display().to_string();
    let all = fleet.processes().into_iter();
    all.filter(|process| process.command.contains(&home))
        .map(|process| process.pid)
        .collect()
}

#[test]
fn pets_go_come_and_are_exchanged_by_name() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let (first, second) = (before.machine("db-1"), before.machine("db-2"));
    fs::write(first.disk().join("kept"), "precious").expect("the directory is ours");

    // One fewer: it goes, the other one is not touched.
    let fewer = declare(&fleet, &["db-2"]);
    assert_eq!(fewer.machine("db-2").pid(), second.pid());
    assert!(copies(&fleet, first).is_empty());

    // As many as before, but another one in its place.
    let exchanged = declare(&fleet, &["db-3"]);
    assert!(copies(&fleet, second).is_empty());
    assert_eq!(copies(&fleet, exchanged.machine("db-3")).len(), 1);

    // Whoever is declared again is another machine with the old one's data.
    let back = declare(&fleet, &["db-1", "db-3"]);
    let again = back.machine("db-1");
    assert_ne!(again.machine_id, first.machine_id);
    assert_eq!(
        fs::read_to_string(again.disk().join("kept")).expect("kept"),
        "precious"
    );
    assert_eq!(back.machine("db-3").pid(), exchanged.machine("db-3").pid());

    fleet.ask_any(&["group", "destroy", "db", "--yes"]).ok();
    let after = fleet.wait_for("the group is gone", |status| {
        let left = status.groups.iter().any(|group| group.id == "db");
        if left || !status.machines_of("db").is_empty() {
            return Err(format!("{:#?}", status.groups));
        }
        status.whole().map(|()| status.clone())
    });
    for pet in [again, back.machine("db-3")] {
        assert!(copies(&fleet, pet).is_empty(), "{} runs on", pet.name);
    }
    let web = |status: &Status| {
        status
            .machines_of("web")
            .iter()
            .map(|m| m.pid())
            .collect::<Vec<_>>()
    };
    assert_eq!(web(&after), web(&before), "the others were not touched");
    assert!(fleet.events_of("replacing").is_empty());
}
