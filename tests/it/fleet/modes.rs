//! Modes `observe` and `approve`: what would be done is said, and done only when a person agrees.

use muster_tests::fleet::{Options, PATIENCE};
use muster_tests::{Fleet, MachineRow, Status, until};
use serde_json::Value;

const GROUPS: &str = r#"
[[group]]
id = "web"
size = 3

[group.heal]
mode = "observe"

[[group]]
id = "db"
members = ["db-1", "db-2"]

[group.heal]
mode = "approve"
"#;

#[test]
fn observing_only_says_and_approving_waits_for_a_person() {
    let fleet = Fleet::start_with(Options {
        spec: Some(GROUPS.to_owned()),
        ..Options::default()
    });
    let before = fleet.wait_whole();

    // Observed: said, and nothing done.
    let observed = follower_of(&before, "web");
    fleet.kill(&observed);
    let decision = wait_decided(&fleet, &observed.name, "observe");
    assert_eq!(
        decision["outcome"]["action"],
        format!("replace {}", observed.name)
    );
    let mode = fleet.wait_for("the group says so", |status| {
        let holds = &status.group("web").holds;
        let mode = holds.iter().find(|hold| hold.rule == "mode").cloned();
        mode.ok_or_else(|| format!("{holds:#?}"))
    });
    assert!(mode.detail.contains("`observe`"), "{mode:?}");
    let decision = decision["id"].to_string();
    fleet.ask_any(&["approve", &decision]).exits(1);
    // A person mends it; what was said is then known to have been right.
    fleet.run_dev(&["start", &observed.name]).ok();
    let mended = fleet.wait_whole();
    assert_eq!(mended.identities(), before.identities());

    // Approved: nothing is done until somebody says so.
    let waiting = follower_of(&mended, "db");
    fleet.kill(&waiting);
    let decision = wait_decided(&fleet, &waiting.name, "await_approval");
    assert_eq!(fleet.status().identities(), before.identities());
    assert!(fleet.events_of("replacing").is_empty());
    let approve = ["approve", &decision["id"].to_string()];
    fleet.ask_any(&approve).ok();
    let healed = super::wait_replaced(&fleet, &waiting);
    assert_eq!(healed.machine(&waiting.name).group.as_deref(), Some("db"));
    assert_eq!(fleet.events_of("replacing").len(), 1);
    assert_eq!(fleet.events_of("approved").len(), 1);
    fleet.ask_any(&approve).exits(1).says("does not wait");

    for machine in &healed.machines {
        let report = || fleet.ask(machine.api(), &["report", "--json"]).ok().json();
        let marks = until("every machine reports the same", PATIENCE, || {
            let report = report();
            let cases = report["cases"].as_array().expect("a list").clone();
            let healed = &report["fleet"]["time_to_heal"]["count"];
            if cases.len() == 2 && *healed == 1 {
                Ok(cases)
            } else {
                Err(format!("{report:#}"))
            }
        });
        for (case, decided) in marks.iter().zip(["observed", "acted"]) {
            assert_eq!(case["decided"], decided, "{case:#}");
            assert_eq!(case["mark"], "right", "{case:#}");
        }
        assert_eq!(report()["fleet"]["precision"], 1.0);
    }
}

/// A machine of a group that doesn't lead.
#[track_caller]
fn follower_of(status: &Status, group: &str) -> MachineRow {
    let leads = |machine: &MachineRow| status.leader.as_deref() == Some(&machine.name);
    let members = status.machines_of(group);
    let mut followers = members.into_iter().filter(|machine| !leads(machine));
    followers.next().expect("at most one leads").clone()
}

/// Waits until the latest decision about a machine has this outcome.
#[track_caller]
fn wait_decided(fleet: &Fleet, machine: &str, kind: &str) -> Value {
    until(&format!("{kind} about {machine}"), PATIENCE, || {
        let words = ["decisions", "--machine", machine, "--json"];
        let answer = fleet.ask_any(&words).ok().json();
        let latest = answer["items"].get(0).cloned().unwrap_or_default();
        if latest["outcome"]["kind"] == kind {
            Ok(latest)
        } else {
            Err(format!("{latest:#}"))
        }
    })
}
