//! Specs are read whole, refused with their lines, planned, and applied.

use std::fs;

use muster_tests::Fleet;

const TWO_BAD: &str = r#"[[group]]
id = "web"
sise = 3

[[group]]
id = "Cache"
size = -1
"#;

#[test]
fn a_bad_spec_is_refused_whole_with_line_field_and_remedy() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let path = fleet.scratch().join("bad.toml");
    fs::write(&path, TWO_BAD).expect("the directory is ours");
    let path = path.display().to_string();
    let answer = fleet.ask_any(&["apply", "--yes", "-f", &path]).exits(64);
    for said in ["bad.toml:3", "sise", "size", "bad.toml:6", "bad.toml:7"] {
        assert!(answer.stderr.contains(said), "{said} in {answer}");
    }
    let after = fleet.wait_whole();
    assert_eq!(after.groups, before.groups, "nothing of it was stored");
}

#[test]
fn what_would_lose_data_is_refused_with_the_safe_way() {
    let fleet = Fleet::start();
    let turned = "[[group]]\nid = \"web\"\nmembers = [\"web-a\"]\n";
    let node = fleet.any_node();
    let answer = fleet.run_with_input(&["apply", "--yes", "-f", "-", "--node", &node], turned);
    assert_eq!(answer.code, Some(1), "{answer}");
    let told = answer.stdout.contains("pets") && answer.stdout.contains("instead:");
    assert!(told, "{answer}");
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let more = "[[group]]\nid = \"web\"\nsize = 4\n\n[[group]]\nid = \"cache\"\nsize = 1\n";
    let node = fleet.any_node();
    let planned = fleet
        .run_with_input(&["apply", "--dry-run", "-f", "-", "--node", &node], more)
        .ok();
    assert!(
        planned.stdout.contains("web") && planned.stdout.contains("cache"),
        "{planned}"
    );
    assert_eq!(fleet.status().groups, before.groups);
    fleet
        .run_with_input(&["apply", "--yes", "-f", "-", "--node", &node], more)
        .ok();
    let after = fleet.wait_for("it is applied", |status| {
        let sizes = (
            status.machines_of("web").len(),
            status.machines_of("cache").len(),
        );
        if sizes != (4, 1) {
            return Err(format!("{sizes:?}: {:?}", status.groups));
        }
        status.whole().map(|()| status.clone())
    });
    assert_eq!(
        after.machines_of("db").len(),
        2,
        "groups that are not in the file are untouched"
    );
}

#[test]
fn json_is_as_good_as_toml() {
    let fleet = Fleet::start();
    let node = fleet.any_node();
    let spec = r#"{"group": [{"id": "web", "size": 2}]}"#;
    fleet
        .run_with_input(&["apply", "--yes", "-f", "-", "--node", &node], spec)
        .ok();
    fleet.wait_for("it is applied", |status| {
        match status.machines_of("web").len() {
            2 => status.whole(),
            other => Err(format!("{other} machines")),
        }
    });
}
