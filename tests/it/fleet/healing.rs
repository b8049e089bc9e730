//! A lost machine is noticed, agreed on and replaced: once, and nothing else is touched.

use muster_tests::{Fleet, MachineRow};

use super::{expect_only_replaced, follower, leader, wait_replaced};

#[test]
fn a_killed_machine_is_replaced() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let victim = follower(&before);
    fleet.kill(&victim);
    let after = wait_replaced(&fleet, &victim);
    expect_only_replaced(&fleet, &before, &after, &[&victim]);
    let names = |machines: Vec<&MachineRow>| -> Vec<_> {
        machines
            .into_iter()
            .map(|machine| machine.name.clone())
            .collect()
    };
    let (old, new) = (
        names(before.machines_of("web")),
        names(after.machines_of("web")),
    );
    let fresh = new
        .iter()
        .find(|name| !old.contains(name))
        .expect("cattle get new names");
    assert_ne!(*fresh, victim.name);
    assert!(
        !victim.dir().join("api.sock").exists(),
        "the old machine's directory is cleared"
    );
}

#[test]
fn a_killed_leader_is_succeeded_and_replaced() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let victim = leader(&before);
    fleet.kill(&victim);
    let after = wait_replaced(&fleet, &victim);
    expect_only_replaced(&fleet, &before, &after, &[&victim]);
    assert_ne!(leader(&after).machine_id, victim.machine_id);
    assert!(
        after.coordinators.len() >= 3,
        "lost coordinators are succeeded: {after:#?}"
    );
}

#[test]
fn each_machine_in_turn_is_replaced_once() {
    let fleet = Fleet::start();
    let mut lost = Vec::new();
    let first = fleet.wait_whole();
    let mut before = first.clone();
    for original in &first.machines {
        let same = |machine: &&MachineRow| machine.machine_id == original.machine_id;
        let victim = before.machines.iter().find(same).cloned();
        let victim = victim.unwrap_or_else(|| panic!("{} was replaced by mistake", original.name));
        fleet.kill(&victim);
        before = wait_replaced(&fleet, &victim);
        lost.push(victim.machine_id.clone());
        let replaced = fleet.events_of("replacing");
        assert_eq!(
            replaced.len(),
            lost.len(),
            "one order per loss: {replaced:#?}"
        );
    }
    assert_eq!(before.machines.len(), first.machines.len());
    let old: Vec<_> = before
        .machines
        .iter()
        .filter(|machine| lost.contains(&machine.machine_id))
        .collect();
    assert!(old.is_empty(), "{old:#?}");
}

#[test]
fn everything_is_explained_after_the_decider_died() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let victim = follower(&before);
    fleet.kill(&victim);
    let healed = wait_replaced(&fleet, &victim);
    let decider = leader(&healed);
    fleet.kill(&decider);
    let after = wait_replaced(&fleet, &decider);
    for machine in &after.machines {
        let answer = fleet
            .ask(machine.api(), &["explain", &victim.name, "--json"])
            .ok();
        let explained = answer.json();
        let decisions = explained["decisions"].as_array().expect("a list");
        let acted = decisions
            .iter()
            .find(|decision| decision["outcome"]["kind"] == "act");
        let acted = acted.unwrap_or_else(|| panic!("no decision about {}: {answer}", victim.name));
        assert_eq!(acted["leader"], decider.name.as_str());
        assert_eq!(acted["diagnosis"], "gone");
        assert!(
            !acted["evidence"].as_array().expect("a list").is_empty(),
            "{acted:#}"
        );
        let rules: Vec<_> = acted["checks"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|check| &check["rule"])
            .collect();
        for rule in [
            "paused",
            "mode",
            "quorum",
            "settled",
            "budget",
            "last-good-replica",
        ] {
            assert!(
                rules.iter().any(|passed| *passed == rule),
                "{rule} in {rules:?}"
            );
        }
        fleet
            .ask(machine.api(), &["explain", &victim.name])
            .ok()
            .says("gone");
    }
}
