//! What a dead machine said of itself in its last minutes is read from those that outlived it.

use std::fs;

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, Options, until};
use serde_json::Value;

use super::{follower, leader, wait_replaced};

const GROUPS: &str = r#"
[[group]]
id = "web"
size = 4

[group.flavor.properties]
health = { command = "test ! -e trouble", interval = "1s" }

[[group]]
id = "db"
members = ["db-1"]
"#;

#[test]
fn a_dead_and_replaced_machine_is_heard_from_its_survivors_although_one_of_them_is_dead_too() {
    let fleet = Fleet::start_with(Options {
        spec: Some(GROUPS.to_owned()),
        ..Options::default()
    });
    let before = fleet.wait_whole();
    let victim = follower(&before);
    wait_heard(&fleet, leader(&before).api(), &victim.name, |row| {
        !says_sick(row)
    });
    let workplace = victim.dir().join("state").join("work");
    fs::write(workplace.join("trouble"), "").expect("the directory is ours");
    wait_heard(&fleet, leader(&before).api(), &victim.name, says_sick);
    fleet.kill(&victim);
    wait_replaced(&fleet, &victim);

    // One of those that heard it is dead, and known to be or not: the others are enough.
    let other = follower(&fleet.wait_whole());
    fleet.kill(&other);
    let asked = leader(&before);
    let said = last_words(&fleet, asked.api(), &victim.name);
    assert_eq!(said["machine_id"], victim.machine_id.as_str());
    assert!(said["ended_ms"].is_u64(), "{said:#}");
    let words = said["words"].as_array().expect("a list");
    let last = words.last().expect("at least one");
    assert!(says_sick(last) && holders(last) >= 3, "{said:#}");
    assert!(
        last["readings"]["memory_used_percent"].is_number(),
        "{last:#}"
    );
    let times: Vec<_> = words.iter().map(|row| row["at_ms"].as_u64()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(!words.iter().all(says_sick), "how it was before: {said:#}");
    fleet
        .ask(asked.api(), &["machine", &victim.name, "--last-words"])
        .ok()
        .says("HELD BY")
        .says("gone since");
    fleet
        .ask(asked.api(), &["machine", "nobody", "--last-words"])
        .exits(1);
}

/// Waits until three machines hold such a report.
#[track_caller]
fn wait_heard(fleet: &Fleet, node: &str, name: &str, such: impl Fn(&Value) -> bool) {
    until("others heard how it is", PATIENCE, || {
        let said = last_words(fleet, node, name);
        let words = said["words"].as_array().expect("a list");
        let heard = words.iter().any(|row| such(row) && holders(row) >= 3);
        if heard {
            Ok(())
        } else {
            Err(format!("{said:#}"))
        }
    });
}

/// Whether a report speaks of the workload that fails.
fn says_sick(row: &Value) -> bool {
    row["health"] != "ok" && row["reasons"].to_string().contains("health command")
}

/// By how many machines a report is held.
fn holders(row: &Value) -> usize {
    row["held_by"].as_array().map_or(0, Vec::len)
}

/// What `muster machine NAME --last-words --json` says.
#[track_caller]
fn last_words(fleet: &Fleet, node: &str, name: &str) -> Value {
    fleet
        .ask(node, &["machine", name, "--last-words", "--json"])
        .ok()
        .json()
}
