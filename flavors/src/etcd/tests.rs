use serde_json::{Value, json};

use super::*;

fn pets() -> Allocation {
    Allocation::Pets {
        members: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
    }
}

fn fields(value: Value) -> Vec<String> {
    let properties = Properties::from_value(value).expect("an object");
    let problems = build(&properties, &pets()).err().unwrap_or_default();
    problems.into_iter().map(|problem| problem.field).collect()
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    assert_eq!(fields(json!({})), [""; 0]);
    assert_eq!(fields(json!({ "client_port": 2380 })), ["peer_port"]);
    assert_eq!(
        fields(json!({ "client_port": 0, "peer_port": 70000 })),
        ["client_port", "peer_port"]
    );
    assert_eq!(
        fields(json!({ "arguments": ["--name=x", "--quota-backend-bytes=1"] })),
        ["arguments[0]"]
    );
    assert_eq!(
        fields(json!({ "data_dir": "", "program": "x/" })),
        ["data_dir", "program"]
    );
    assert_eq!(
        fields(json!({ "health": { "interval": "1s", "timeout": "2s" } })),
        ["health.timeout"]
    );
    assert_eq!(fields(json!({ "colour": 1 })), ["colour"]);
}

#[test]
fn is_looked_at_every_five_seconds_where_nothing_else_is_said() {
    let plan = |value: Value| {
        let properties = Properties::from_value(value).expect("an object");
        let flavor = build(&properties, &pets()).expect("valid");
        let plan = flavor.health_plan().expect("it is looked at");
        (plan.interval.as_millis(), plan.timeout.as_millis())
    };
    assert_eq!(plan(json!({})), (5000, 2000));
    assert_eq!(
        plan(json!({ "health": { "interval": "1s" } })),
        (1000, 1000)
    );
    assert_eq!(plan(json!({ "health": { "timeout": "7s" } })), (7000, 7000));
}

#[test]
fn a_majority_may_not_be_missing() {
    let flavor = build(&Properties::new(), &pets()).expect("valid");
    assert_eq!(
        [1, 2, 3, 5].map(|members| flavor.may_be_missing(members)),
        [0, 0, 1, 2]
    );
    assert!(flavor.is_ensemble() && flavor.is_kept() && flavor.can_start());
    assert!(flavor.strikes(false) && !flavor.strikes(true));
}

#[test]
fn a_member_is_struck_off_by_its_name_or_by_where_it_is_while_it_has_none() {
    let config = Config::read(&Properties::new(), &pets()).expect("valid");
    let listed = |name: &str, host: &str| api::Member {
        id: 1,
        name: name.to_owned(),
        peer_urls: vec![format!("http://{host}:2380")],
        is_learner: false,
    };
    assert!(config.is_listed_as(&listed("z", "elsewhere"), "z"));
    assert!(config.is_listed_as(&listed("", "z"), "z"), "it never began");
    assert!(config.is_listed_as(&listed("", "a"), "a"));
    assert!(!config.is_listed_as(&listed("", "a"), "z"));
    assert!(
        !config.is_listed_as(&listed("b", "z"), "z"),
        "b moved there"
    );
}
