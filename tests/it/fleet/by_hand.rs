//! Orders by hand: cordon, drain, replace, reboot, through the same rules.

use muster_tests::fleet::Options;
use muster_tests::{Fleet, MachineRow, Status};

use super::{follower, leader};

/// A pet that does not lead.
fn pet(status: &Status) -> MachineRow {
    let pets = status.machines_of("db");
    let leads = |machine: &&MachineRow| status.leader.as_deref() == Some(&machine.name);
    let found = pets.into_iter().find(|machine| !leads(machine));
    found.expect("one of two does not lead").clone()
}

/// Some machine's socket other than that of the machine that is meant.
fn asked(status: &Status, meant: &MachineRow) -> String {
    let others = status.machines.iter();
    let mut others = others.filter(|machine| machine.name != meant.name);
    others.next().expect("five machines").api().to_owned()
}

#[test]
fn machines_that_are_well_are_rebooted_drained_and_replaced_by_hand() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();

    // Reboot: the same machine, in a new life. The answer shows every rule.
    let web = follower(&before);
    let order = ["reboot", &web.name, "--reason", "new kernel", "--wait"];
    fleet
        .ask(&asked(&before, &web), &order)
        .ok()
        .says("workload-quorum")
        .says("done: it was carried out");
    let rebooted = fleet.wait_for("it runs as another process", |status| {
        let now = status.machine(&web.name);
        assert_eq!(now.machine_id, web.machine_id);
        match now.pid() == web.pid() {
            true => Err(format!("{now:#?}")),
            false => status.whole().map(|()| status.clone()),
        }
    });

    // Replace: another machine under the pet's name, with its disk.
    let db = pet(&rebooted);
    let order = ["replace", &db.name, "--wait", "--json"];
    let answer = fleet.ask(&asked(&rebooted, &db), &order).ok().json();
    assert_eq!(answer["order"]["state"], "done", "{answer:#}");
    assert_eq!(answer["decision"]["diagnosis"], "asked", "{answer:#}");
    let replaced = fleet.wait_whole();
    let now = replaced.machine(&db.name);
    assert_ne!(now.machine_id, db.machine_id);
    let fenced = fleet.events_of("fenced");
    assert_eq!(fenced.len(), 1, "{fenced:#?}");

    // The leader is drained: its seat and its lead go to another machine first, and it stays cordoned.
    let first = leader(&replaced);
    let order = ["drain", &first.name, "--reason", "hardware", "--wait"];
    fleet.ask(&asked(&replaced, &first), &order).ok();
    let drained = fleet.wait_for("another machine leads", |status| {
        let leads = status.leader.as_deref() == Some(&first.name);
        let coordinates = status.coordinators.contains(&first.name);
        match leads || coordinates {
            true => Err(format!("{:?} {:?}", status.leader, status.coordinators)),
            false => status.whole().map(|()| status.clone()),
        }
    });
    assert_eq!(drained.machine(&first.name).machine_id, first.machine_id);
    let shown = fleet.ask_any(&["status"]).ok();
    shown.says(&format!("{} is cordoned", first.name));

    // What can't be forced is refused with the reason; what is not there is not found.
    let force = ["reboot", &web.name, "--force", "quorum"];
    fleet.ask_any(&force).exits(1).says("can't be forced");
    fleet.ask_any(&["cancel", "99"]).exits(1);
    fleet.ask_any(&["uncordon", &first.name]).ok();
    fleet.ask_any(&["uncordon", &first.name]).exits(1);
}

#[test]
fn what_a_rule_holds_stands_until_it_is_taken_back() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let web = follower(&before);
    let node = asked(&before, &web);
    fleet.ask(&node, &["pause", "--reason", "works"]).ok();
    let order = ["replace", &web.name, "--for", "1h"];
    fleet
        .ask(&node, &order)
        .ok()
        .says("rule `paused` holds: the fleet is paused until resumed: works")
        .says("muster cancel");
    fleet.wait_for("every machine shows it", |status| {
        let holds = &status.group("web").holds;
        let held = holds.iter().any(|hold| hold.rule == "paused");
        held.then_some(()).ok_or_else(|| format!("{holds:#?}"))
    });
    let explained = fleet.ask_any(&["explain", &web.name]).ok();
    explained.says("order 1 by hand, to replace it");
    fleet.ask_any(&["cancel", &web.name]).ok();
    fleet.ask(&node, &["resume"]).ok();
    let after = fleet.wait_whole();
    assert_eq!(after.identities(), before.identities());

    // The same, with the rule's name typed.
    fleet.ask(&node, &["pause", "--reason", "works"]).ok();
    let order = ["replace", &web.name, "--force", "paused", "--wait"];
    fleet.ask(&node, &order).ok().says("forced");
    let after = fleet.wait_for("it is replaced", |status| {
        let there = status.find(&web.name).is_some();
        let all = status.group("web").running == 3;
        (all && !there)
            .then(|| status.clone())
            .ok_or_else(|| format!("{:#?}", status.groups))
    });
    assert_eq!(after.group("web").state, "paused");
}

#[test]
fn the_leaders_own_workload_is_restarted_and_drained() {
    let commands = r#"
[[group]]
id = "web"
size = 3

[group.flavor.properties]
restart = { command = "echo restarted >> said" }
drain = { command = "echo drained >> said" }
"#;
    let fleet = Fleet::start_with(Options {
        spec: Some(commands.to_owned()),
        ..Options::default()
    });
    let before = fleet.wait_whole();
    let first = leader(&before);
    let said = || {
        let said = first.dir().join("state").join("work").join("said");
        std::fs::read_to_string(said).unwrap_or_default()
    };
    let node = asked(&before, &first);
    fleet.ask(&node, &["restart", &first.name, "--wait"]).ok();
    assert_eq!(said(), "restarted\n");
    // It goes on leading: all three have a seat, so nobody can take its own, which is waited for a minute.
    fleet.ask(&node, &["drain", &first.name]).ok();
    let said = fleet.wait_for("it is drained", |status| match said().as_str() {
        "restarted\n" => Err(format!("{:#?}", status.groups)),
        said => Ok(said.to_owned()),
    });
    assert_eq!(said, "restarted\ndrained\n");
    // What the leader has done is on record a moment later.
    let drained = fleet.wait_for("the drain is on record", |_| {
        let drained = fleet.events_of("drained");
        (!drained.is_empty())
            .then_some(drained)
            .ok_or_else(|| "no event".to_owned())
    });
    assert_eq!(drained.len(), 1, "{drained:#?}");
}
