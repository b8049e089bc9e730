use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{Part, Role};

const ONE: Allocation = Allocation::Cattle { size: 1 };

fn properties(value: Value) -> Properties {
    Properties::from_value(value).expect("an object")
}

fn combo(value: Value) -> Arc<dyn Flavor> {
    build(&properties(value), &ONE).expect("valid")
}

fn fields(value: Value) -> Vec<String> {
    let problems = build(&properties(value), &ONE).expect_err("it is wrong");
    problems.into_iter().map(|problem| problem.field).collect()
}

#[test]
fn prepares_with_each_of_them_in_order_as_infrakit_does() {
    let flavor = combo(json!({ "Flavors": [
        { "Plugin": "flavor-vanilla", "Properties": { "Init": ["echo a"], "Tags": { "tier": "web" } } },
        { "flavor": "vanilla", "properties": { "init": ["echo b"], "tags": { "site": "x" } } },
    ]}));
    let place = Place {
        group: "g",
        member: "g-1",
        allocation: &ONE,
        peers: &[],
    };
    let spec = MachineSpec::new("g-1", Properties::new());
    let prepared = flavor.prepare(spec, &place).expect("prepared");
    assert_eq!(prepared.init, "echo a\necho b");
    assert_eq!(prepared.tags.get("tier"), Some("web"));
    assert_eq!(prepared.tags.get("site"), Some("x"));
}

#[tokio::test]
async fn is_as_well_as_the_worst_of_them() {
    let check = |command: &str| {
        json!({ "flavor": "vanilla", "properties": {
            "health": { "command": command, "interval": "20s", "timeout": "10s", "failures": 2 }
        }})
    };
    let silent = json!({ "flavor": "vanilla" });
    let flavor = combo(json!({ "flavors": [silent, check("exit 0"), check("echo no; exit 3")] }));
    let health = flavor.healthy(&Workload::default()).await;
    assert_eq!(health.status, HealthStatus::Critical);
    assert!(health.reason.contains("no"), "{health:?}");
    let plan = flavor.health_plan().expect("there are checks");
    assert_eq!((plan.timeout.as_secs(), plan.failures), (10, 2));
    let flavor = combo(json!({ "flavors": [check("exit 0"), silent] }));
    assert_eq!(
        flavor.healthy(&Workload::default()).await.status,
        HealthStatus::Ok
    );
    assert!(
        combo(json!({ "flavors": [silent] }))
            .health_plan()
            .is_none()
    );
}

#[test]
fn a_part_is_told_also_beside_a_worse_verdict() {
    let part = Part::new(Role::Leader);
    let told = worst(vec![
        Health::warning("w"),
        Health::ok("").playing(part),
        Health::unknown("u"),
    ]);
    assert_eq!(
        (told.status, told.part),
        (HealthStatus::Warning, Some(part))
    );
    assert_eq!(worst(Vec::new()).status, HealthStatus::Unknown);
}

#[tokio::test]
async fn stops_all_of_them_in_reverse_and_says_what_failed() {
    let scratch = tempfile::tempdir().expect("made");
    let stop = |word: &str, code: u8| {
        let command = format!("echo {word} >> said; exit {code}");
        json!({ "flavor": "vanilla", "properties": { "stop": { "command": command } } })
    };
    let flavor = combo(json!({ "flavors": [stop("first", 0), stop("second", 4)] }));
    let workload = Workload {
        directory: Some(scratch.path().to_owned()),
        ..Workload::default()
    };
    let stopped = flavor
        .stop(&workload, Deadline::after(Duration::from_secs(10)))
        .await;
    assert!(
        stopped
            .expect_err("one failed")
            .to_string()
            .contains("exit code 4")
    );
    let said = std::fs::read_to_string(scratch.path().join("said")).expect("written");
    assert_eq!(said, "second\nfirst\n");
}

#[test]
fn needs_what_the_most_demanding_of_them_needs() {
    let some = json!({ "flavor": "vanilla", "properties": { "quorum": "majority" } });
    let flavor = combo(json!({ "flavors": [{ "flavor": "vanilla" }, some] }));
    assert_eq!(flavor.may_be_missing(5), 2);
}

#[test]
fn problems_name_the_flavor_that_has_them() {
    assert_eq!(fields(json!({})), ["flavors"]);
    assert_eq!(fields(json!({ "flavors": [] })), ["flavors"]);
    let wrong = json!({ "Flavors": [
        { "flavor": "vanilla", "properties": { "colour": 1 } },
        { "flavor": "nonsense" },
        { "properties": {} },
        { "flavor": "vanilla", "properties": 5 },
    ]});
    assert_eq!(
        fields(wrong),
        [
            "Flavors[0].properties.colour",
            "Flavors[1].flavor",
            "Flavors[2].flavor",
            "Flavors[3].properties"
        ]
    );
    let start = json!({ "flavor": "vanilla", "properties": { "start": "sleep 9" } });
    assert_eq!(fields(json!({ "flavors": [start, start] })), ["flavors"]);
}
