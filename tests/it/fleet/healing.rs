//! A lost machine is noticed, agreed on and replaced: once, and nothing else is touched.

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, MachineRow, until};

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

/// Where nothing that a rule looks at would have turned it, it says nothing.
fn says_what_would_turn_it(check: &serde_json::Value) {
    let otherwise = check["otherwise"].as_str().expect("a text");
    let always = ["paused", "mode", "budget"].map(Some);
    let silent = otherwise.is_empty() && !always.contains(&check["rule"].as_str());
    assert!(silent || otherwise.contains("would have"), "{check:#}");
}

#[test]
fn everything_is_explained_after_the_decider_and_half_of_the_coordinators_died() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let victim = follower(&before);
    fleet.kill(&victim);
    let healed = wait_replaced(&fleet, &victim);
    let decider = leader(&healed);
    let coordinates = |machine: &&MachineRow| healed.coordinators.contains(&machine.name);
    let coordinators = healed.machines.iter().filter(coordinates);
    let mut others = coordinators.filter(|machine| machine.machine_id != decider.machine_id);
    let other = others.next().expect("three coordinate").clone();
    let lost = [&decider.machine_id, &other.machine_id];
    let survivors = healed
        .machines
        .iter()
        .filter(|machine| !lost.contains(&&machine.machine_id));
    // What was decided a moment ago reaches those that follow the log a moment later.
    for machine in survivors.clone() {
        until("it has heard of the decision", PATIENCE, || {
            let asked = fleet.ask(machine.api(), &["explain", &victim.name, "--json"]);
            if asked.stdout.contains("\"act\"") {
                Ok(())
            } else {
                Err(asked.to_string())
            }
        });
    }
    fleet.kill(&decider);
    fleet.kill(&other);
    for machine in survivors {
        let words = ["explain", &victim.name, "--json", "--timeout", "1s"];
        let answer = fleet.ask(machine.api(), &words).ok();
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
        let checks = acted["checks"].as_array().expect("a list");
        checks.iter().for_each(says_what_would_turn_it);
        fleet
            .ask(machine.api(), &["explain", &victim.name])
            .ok()
            .says("gone");
    }
}
