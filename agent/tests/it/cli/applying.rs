//! `muster apply`: plan, question, application.

use muster::api::types::{AsOf, Change, GroupKind, GroupPlan, Plan, Refusal};
use muster::api::{ApiError, Request, Response};

use super::node::Node;

const SPEC: &str = "[[group]]\nid = \"web\"\nsize = 5\n";

fn plan(applied: bool) -> Plan {
    Plan {
        as_of: AsOf::default(),
        applied,
        groups: vec![GroupPlan {
            id: "web".into(),
            kind: GroupKind::Cattle,
            change: Change::Scale,
            revision: Some(4),
            desired_before: 3,
            desired_after: 5,
            members_added: vec![],
            members_removed: vec![],
            fields: vec![],
            warnings: vec![],
            refused: None,
        }],
    }
}

fn answers() -> [Result<Response, ApiError>; 2] {
    [
        Ok(Response::Plan(plan(false))),
        Ok(Response::Plan(plan(true))),
    ]
}

fn node_with_spec() -> Node {
    let node = Node::answering(answers());
    std::fs::write(node.directory().join("web.toml"), SPEC).expect("writable");
    node
}

/// Whether each apply was a dry run.
fn dry_runs(node: &Node) -> Vec<bool> {
    let applies = node.asked().into_iter().map(|request| match request {
        Request::Apply(apply) => apply.dry_run,
        other => panic!("asked {other:?}"),
    });
    applies.collect()
}

#[test]
fn a_yes_applies_what_was_planned_and_only_that() {
    let node = node_with_spec();
    let ended = node
        .run_with_input(&["apply", "-f", "web.toml"], "y\n")
        .with(0);
    assert!(
        ended.stderr.contains("3 → 5 machines"),
        "the plan comes before the question: {ended:#?}"
    );
    assert!(ended.stderr.contains("Apply this? [y/N]"), "{ended:#?}");
    assert!(ended.stdout.contains("applied to web"), "{ended:#?}");
    assert_eq!(dry_runs(&node), [true, false]);
    let Some(Request::Apply(apply)) = node.asked().pop() else {
        panic!("no apply")
    };
    assert_eq!(
        apply.expected.get("web"),
        Some(&Some(4)),
        "a change in between is noticed"
    );
    assert_eq!(apply.specs[0].desired(), 5);
}

#[test]
fn anything_else_changes_nothing() {
    for input in ["n\n", "maybe\n"] {
        let node = node_with_spec();
        let ended = node
            .run_with_input(&["apply", "-f", "web.toml"], input)
            .with(1);
        assert!(ended.stderr.contains("nothing was changed"), "{ended:#?}");
        assert_eq!(dry_runs(&node), [true]);
    }
}

#[test]
fn yes_does_not_ask_and_dry_run_only_shows() {
    let node = node_with_spec();
    let ended = node
        .run(&["apply", "-f", "web.toml", "--yes", "--json"])
        .with(0);
    assert_eq!(ended.json()["applied"], true);
    assert_eq!(dry_runs(&node), [true, false]);
    let node = node_with_spec();
    let ended = node.run(&["apply", "-f", "web.toml", "--dry-run"]).with(0);
    assert!(ended.stdout.contains("3 → 5 machines"), "{ended:#?}");
    assert_eq!(dry_runs(&node), [true]);
}

#[test]
fn standard_input_holds_the_spec_or_the_answer() {
    let node = Node::answering(answers());
    node.run_with_input(&["apply", "-f", "-"], SPEC).with(2);
    assert_eq!(node.asked(), []);
    node.run_with_input(&["apply", "-f", "-", "--yes"], SPEC)
        .with(0);
    assert_eq!(dry_runs(&node), [true, false]);
}

#[test]
fn a_refusal_is_a_failure_with_the_safe_way() {
    let mut refused = plan(false);
    refused.groups[0].refused = Some(Refusal {
        reason: "it is pets".into(),
        remedy: "use another ID".into(),
    });
    let node = Node::answering([Ok(Response::Plan(refused))]);
    let ended = node
        .run_with_input(&["apply", "-f", "-", "--yes"], SPEC)
        .with(1);
    assert!(
        ended.stdout.contains("it is pets") && ended.stdout.contains("use another ID"),
        "{ended:#?}"
    );
    assert_eq!(dry_runs(&node), [true], "nothing was applied");
}

#[test]
fn a_wrong_spec_is_bad_configuration_and_nobody_is_asked() {
    let node = Node::answering([]);
    let wrong = "[[group]]\nid = \"web\"\nszie = 5\n";
    std::fs::write(node.directory().join("web.toml"), wrong).expect("writable");
    let ended = node.run(&["apply", "-f", "web.toml", "--yes"]).with(64);
    for words in [
        "web.toml:3:1",
        "group.web.szie",
        "did you mean `size`?",
        "3 | szie = 5",
    ] {
        assert!(ended.stderr.contains(words), "{words}: {ended:#?}");
    }
    let json = node
        .run(&["apply", "-f", "web.toml", "--yes", "--json"])
        .with(64);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).expect("JSON");
    assert_eq!(error["error"]["problems"][1]["line"], 3, "{error}");
    assert_eq!(node.asked(), []);
}

#[test]
fn scaling_sends_one_order() {
    let node = Node::answering([Ok(Response::Plan(plan(true)))]);
    node.run(&["group", "scale", "web", "5"]).with(0);
    let asked = node.asked();
    assert!(
        matches!(&asked[..], [Request::Scale(scale)] if scale.size == 5 && !scale.dry_run),
        "{asked:?}"
    );
}

#[test]
fn scaling_to_nothing_asks_first() {
    let node = Node::answering([Ok(Response::Plan(plan(true)))]);
    let ended = node.run(&["group", "scale", "web", "0"]).with(2);
    assert!(ended.stderr.contains("--yes"), "{ended:#?}");
    assert!(node.asked().is_empty());
    node.run(&["group", "scale", "web", "0", "--yes"]).with(0);
    let asked = node.asked();
    assert!(
        matches!(&asked[..], [Request::Scale(scale)] if scale.size == 0),
        "{asked:?}"
    );
}

#[test]
fn where_nobody_answers_the_question_nothing_is_applied_and_the_usage_is_wrong() {
    let node = node_with_spec();
    let ended = node.run(&["apply", "-f", "web.toml"]).with(2);
    assert!(ended.stderr.contains("nobody sits here"), "{ended:#?}");
    assert_eq!(dry_runs(&node), [true]);
}

#[test]
fn what_the_fleet_finds_wrong_is_told_with_its_line() {
    let mut error = ApiError::invalid("db-1 would have the name of another");
    error.problems.push(muster::api::types::Problem {
        field: "group.web.members".into(),
        message: "db-1 would have the name of another".into(),
        remedy: None,
    });
    let node = Node::answering([Err(error)]);
    std::fs::write(node.directory().join("web.toml"), SPEC).expect("writable");
    let ended = node.run(&["apply", "-f", "web.toml", "--yes"]).with(1);
    assert!(
        ended.stderr.contains("web.toml:2: group.web.members: db-1"),
        "{ended:#?}"
    );
}
