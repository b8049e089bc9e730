//! Orders that go wrong on their way: the one who gave them dies, or what was made never comes.

use std::fs;

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, MachineRow, Options, Status, wait};

use super::leader;

/// Some machine that does not coordinate: with it and the leader lost, there is still a quorum.
#[track_caller]
fn bystander(status: &Status) -> MachineRow {
    let found = status.machines.iter().find(|machine| !machine.coordinator);
    found.expect("three of five coordinate").clone()
}

#[test]
fn an_order_is_finished_once_whoever_gave_it() {
    // Cattle only: a pet that dies time and again is not replaced any more.
    let fleet = Fleet::start_with(Options {
        spec: Some("[[group]]\nid = \"web\"\nsize = 5\n".to_owned()),
        ..Options::default()
    });
    let first = fleet.wait_whole();
    let mut lost = 0;
    // Later and later in the life of an order: decided, destroyed, made.
    for stage in ["replacing", "destroyed", "provisioned"] {
        let before = fleet.wait_whole();
        let (victim, decider) = (bystander(&before), leader(&before));
        let known = fleet.events_of(stage).len();
        fleet.kill(&victim);
        wait::until("the order is on its way", PATIENCE, || {
            let answer = fleet.ask(decider.api(), &["events", "--json"]);
            let count = answer
                .stdout
                .lines()
                .filter(|line| line.contains(&format!("\"kind\":\"{stage}\"")))
                .count();
            if count > known {
                Ok(())
            } else {
                Err(answer.to_string())
            }
        });
        fleet.kill(&decider);
        lost += 2;
        let after = fleet.wait_for("both are replaced", |status| {
            let dead = [&victim.machine_id, &decider.machine_id];
            let left = status
                .machines
                .iter()
                .find(|machine| dead.contains(&&machine.machine_id));
            match left {
                Some(machine) => Err(format!("{} is there: {:#?}", machine.name, status.groups)),
                None => status.whole().map(|()| status.clone()),
            }
        });
        assert_eq!(after.machines.len(), first.machines.len());
        let ordered = fleet.events_of("replacing");
        assert_eq!(ordered.len(), lost, "one order per loss: {ordered:#?}");
        let agents = fleet.agents();
        assert_eq!(
            agents.len(),
            first.machines.len(),
            "nothing was made twice: {agents:#?}"
        );
    }
}

#[test]
fn a_machine_that_never_joins_is_replaced() {
    let fleet = Fleet::start();
    let once = fleet.scratch().join("once");
    // The first machine to get here stays in its first boot, the next one does not.
    let spec = format!(
        r#"[[group]]
id = "late"
size = 1
instance = {{ provisioner = "process", properties = {{ env = {{ ONCE = "{}" }} }} }}
flavor = {{ name = "vanilla", properties = {{ init = ['mkdir "$ONCE" || exit 0', "sleep 1000"] }} }}
heal = {{ boot_grace = "8s" }}
"#,
        once.display()
    );
    let node = fleet.any_node();
    fleet
        .run_with_input(&["apply", "--yes", "-f", "-", "--node", &node], &spec)
        .ok();
    // Whoever has looked into it need not wait for the next try.
    fleet.wait_for("the group waits", |status| {
        let group = status.groups.iter().find(|group| group.id == "late");
        let waits =
            group.is_some_and(|group| group.holds.iter().any(|hold| hold.rule == "backoff"));
        if waits {
            Ok(())
        } else {
            Err(format!("{group:?}"))
        }
    });
    fleet.ask_any(&["group", "resume", "late"]).ok();
    let after = fleet.wait_for("another one joined in its place", |status| {
        match status.machines_of("late").as_slice() {
            [machine] if machine.status == "alive" => status.whole().map(|()| status.clone()),
            _ => Err(format!("{:#?}", status.groups)),
        }
    });
    assert!(fs::exists(&once).expect("readable"));
    let ordered = fleet.events_of("replacing");
    assert_eq!(ordered.len(), 1, "{ordered:#?}");
    let detail = ordered[0]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("never joined"), "{detail}");
    let agents = fleet.agents();
    assert_eq!(
        agents.len(),
        after.machines.len(),
        "the stray was destroyed: {agents:#?}"
    );
}
