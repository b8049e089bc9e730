use muster_provisioners::{Attachment, Tags};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::HealthStatus;

fn allocation(size: usize) -> Allocation {
    Allocation::Cattle { size }
}

fn properties(value: Value) -> Properties {
    Properties::from_value(value).expect("an object")
}

fn flavor(value: Value) -> Arc<dyn Flavor> {
    build(&properties(value), &allocation(1)).expect("valid")
}

fn problems(value: Value, size: usize) -> Vec<Problem> {
    VanillaConfig::read(&properties(value), &allocation(size))
        .err()
        .unwrap_or_default()
}

fn fields(problems: &[Problem]) -> Vec<&str> {
    problems
        .iter()
        .map(|problem| problem.field.as_str())
        .collect()
}

fn prepare(flavor: &dyn Flavor, spec: MachineSpec) -> MachineSpec {
    let allocation = Allocation::Pets {
        members: vec!["n1".into()],
    };
    let place = Place {
        group: "db",
        member: "n1",
        allocation: &allocation,
        peers: &[],
    };
    flavor.prepare(spec, &place).expect("prepared")
}

#[test]
fn prepares_as_infrakit_does() {
    // The exchange recorded with InfraKit's own vanilla flavor.
    let flavor = flavor(json!({
        "Init": ["echo a", "echo b"],
        "Tags": { "tier": "web" },
        "Attachments": [{ "ID": "vol1", "Type": "ebs" }]
    }));
    let mut spec = MachineSpec::new("n1", properties(json!({ "Note": "x" })));
    spec.tags = Tags::new().with("infrakit.group", "cattle");
    let prepared = prepare(&*flavor, spec.clone());
    assert_eq!(prepared.init, "echo a\necho b");
    assert_eq!(prepared.tags, spec.tags.clone().with("tier", "web"));
    assert_eq!(prepared.attachments, [Attachment::new("vol1", "ebs")]);
    assert_eq!(prepared.properties, spec.properties);

    spec.init = "echo first".into();
    assert_eq!(prepare(&*flavor, spec).init, "echo first\necho a\necho b");
}

#[test]
fn attachments_become_the_members_own_and_are_not_doubled() {
    let flavor = flavor(json!({ "attachments": [{ "id": "{group}-{member}" }] }));
    let spec = prepare(&*flavor, MachineSpec::new("db-n1", Properties::new()));
    assert_eq!(spec.attachments, [Attachment::new("db-n1", "")]);
    assert_eq!(prepare(&*flavor, spec).attachments.len(), 1);
}

#[test]
fn one_disk_for_several_members_is_refused() {
    let fixed = json!({ "Attachments": [{ "ID": "vol1", "Type": "ebs" }] });
    assert_eq!(problems(fixed.clone(), 1), []);
    assert_eq!(fields(&problems(fixed, 2)), ["Attachments[0].ID"]);
    let same = json!({ "Attachments": [{ "ID": "{group}-1" }] });
    assert_eq!(fields(&problems(same, 2)), ["Attachments[0].ID"]);
    let own = json!({ "Attachments": [{ "ID": "{member}" }] });
    assert_eq!(problems(own, 2), []);
}

#[test]
fn a_script_too_long_together_is_refused() {
    let half = "x".repeat(MachineSpec::INIT_MAX_BYTES / 2);
    let flavor = flavor(json!({ "init": [half.clone()] }));
    let allocation = allocation(1);
    let place = Place {
        group: "g",
        member: "m",
        allocation: &allocation,
        peers: &[],
    };
    let mut spec = MachineSpec::new("m", Properties::new());
    spec.init = half;
    assert!(flavor.prepare(spec, &place).is_err());
}

#[test]
fn all_problems_are_found_at_once() {
    let found = problems(
        json!({
            "Init": "echo",
            "Tags": { "muster.group": "x", "ok": [] },
            "Attachments": [{ "Type": "ebs" }, { "ID": "a" }, { "ID": "a" }, { "ID": 5 }],
            "Health": {
                "Command": [], "Interval": "1s", "Timeout": "2s", "Failures": 0, "Successes": 9999,
                "warning_exits": [0, 300], "retries": 1
            },
            "drain": { "timeout": 5 },
            "stop": { "command": "x", "timeout": "10" },
            "extra": true
        }),
        1,
    );
    let mut paths = fields(&found);
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "Attachments[0].id",
            "Attachments[2].ID",
            "Attachments[3].ID",
            "Health.Command",
            "Health.Failures",
            "Health.Successes",
            "Health.Timeout",
            "Health.retries",
            "Health.warning_exits",
            "Health.warning_exits",
            "Init",
            "Tags.muster.group",
            "Tags.ok",
            "drain.command",
            "drain.timeout",
            "extra",
            "stop.timeout",
        ]
    );
}

#[test]
fn durations_have_defaults_that_fit_each_other() {
    let plan = |value| {
        flavor(json!({ "health": value }))
            .health_plan()
            .expect("a check")
    };
    let default = plan(json!({ "command": "true" }));
    assert_eq!((default.interval, default.timeout), (INTERVAL, TIMEOUT));
    assert_eq!((default.failures, default.successes), (3, 1));
    let quick = plan(json!({ "command": "true", "interval": "2s" }));
    assert_eq!(quick.timeout, Duration::from_secs(2));
    let slow = plan(json!({ "command": "true", "interval": "1m30s", "timeout": "1m" }));
    assert_eq!((slow.interval.as_secs(), slow.timeout.as_secs()), (90, 60));
    assert_eq!(flavor(json!({})).health_plan(), None);
}

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);

async fn look(health: Value) -> Health {
    let workload = Workload {
        machine: "m".into(),
        group: "g".into(),
        member: "db-1".into(),
        ..Workload::default()
    };
    flavor(json!({ "health": health })).healthy(&workload).await
}

#[tokio::test]
async fn exit_codes_become_verdicts() {
    use HealthStatus::{Critical, Ok, Unknown, Warning};
    for (command, status, reason) in [
        (json!("echo fine $MUSTER_MEMBER"), Ok, "fine db-1"),
        (json!(["echo", "fine"]), Ok, "fine"),
        (json!("echo full; exit 2"), Warning, "exit code 2: full"),
        (
            json!("echo broken >&2; exit 1"),
            Critical,
            "exit code 1: broken",
        ),
        (json!("kill -11 $$"), Critical, "killed by signal 11"),
    ] {
        let health = look(json!({ "command": command, "warning_exits": [2] })).await;
        assert_eq!((health.status, health.reason.as_str()), (status, reason));
    }
    for command in [json!("no-such-program-at-all"), json!(["/no/such/program"])] {
        let health = look(json!({ "command": command })).await;
        assert_eq!(health.status, Unknown, "{health:?}");
    }
}

#[tokio::test]
async fn a_check_that_hangs_is_critical() {
    let health = look(json!({ "command": "sleep 100", "timeout": "200ms" })).await;
    assert_eq!(health.status, HealthStatus::Critical);
    assert_eq!(health.reason, "no answer within 200ms");
}

#[tokio::test]
async fn a_workload_is_restarted_by_its_command_and_only_where_there_is_one() {
    let workload = Workload::default();
    assert!(!flavor(json!({})).can_restart());
    let flavor = flavor(json!({ "restart": { "command": "echo no; exit 3" } }));
    assert!(flavor.can_restart());
    let deadline = Deadline::after(Duration::from_secs(20));
    let error = flavor
        .restart(&workload, deadline)
        .await
        .expect_err("fails");
    assert_eq!(error.to_string(), "restarting failed: exit code 3: no");
}

#[test]
fn the_quorum_is_none_or_more_than_half() {
    let missing =
        |quorum: &str, members| flavor(json!({ "quorum": quorum })).may_be_missing(members);
    assert_eq!(flavor(json!({})).may_be_missing(5), 5);
    assert_eq!(missing("none", 3), 3);
    let majority: Vec<_> = (1..=6)
        .map(|members| missing("majority", members))
        .collect();
    assert_eq!(majority, [0, 0, 1, 1, 2, 2]);
}

#[tokio::test]
async fn drain_and_stop_run_their_commands() {
    let deadline = || Deadline::after(Duration::from_secs(20));
    let workload = Workload::default();
    let none = flavor(json!({}));
    assert_eq!(none.drain(&workload, deadline()).await, Ok(()));
    assert_eq!(none.stop(&workload, deadline()).await, Ok(()));

    let directory = tempfile::tempdir().expect("a directory");
    let mark = directory.path().join("stopped");
    let both = flavor(json!({
        "drain": { "command": "echo no; exit 4" },
        "stop": { "command": ["touch", mark.to_str().expect("UTF-8")] }
    }));
    let error = both.drain(&workload, deadline()).await.expect_err("fails");
    assert_eq!(error.to_string(), "draining failed: exit code 4: no");
    assert_eq!(both.stop(&workload, deadline()).await, Ok(()));
    assert!(mark.exists());

    let hanging = flavor(json!({ "stop": { "command": "sleep 100", "timeout": "100ms" } }));
    let error = hanging
        .stop(&workload, deadline())
        .await
        .expect_err("hangs");
    assert_eq!(error.to_string(), "stopping took longer than 100ms");
    let long = flavor(json!({ "stop": { "command": "sleep 100" } }));
    let soon = Deadline::after(Duration::from_millis(100));
    assert!(matches!(
        long.stop(&workload, soon).await,
        Err(FlavorError::Timeout { .. })
    ));
}

#[test]
fn vanilla_knows_no_quorum() {
    assert_eq!(flavor(json!({})).may_be_missing(3), 3);
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        Just("10s".to_owned()),
        Just("{member}".to_owned())
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "Init",
        "tags",
        "attachments",
        "id",
        "Type",
        "health",
        "Command",
        "timeout",
        "interval",
        "failures",
        "stop",
        "warning_exits",
        "other",
    ]);
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_or_refused(value in any_json(), size in 0usize..4) {
        let Ok(properties) = Properties::from_value(value) else { return Ok(()) };
        match VanillaConfig::read(&properties, &allocation(size)) {
            Ok(config) => {
                if let Some(check) = config.health {
                    prop_assert!(check.plan.timeout <= check.plan.interval);
                    prop_assert!(check.plan.failures >= 1);
                }
            }
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(!problem.reason.is_empty() && !problem.remedy.is_empty());
                }
            }
        }
    }

    #[test]
    fn preparing_keeps_every_line(existing in "[a-z\n]{0,20}", lines in prop::collection::vec("[a-z ]{0,9}", 0..6)) {
        let flavor = flavor(json!({ "init": lines }));
        let mut spec = MachineSpec::new("m", Properties::new());
        spec.init = existing.clone();
        let prepared = prepare(&*flavor, spec).init;
        let expected: Vec<_> =
            Some(existing).filter(|text| !text.is_empty()).into_iter().chain(lines).collect();
        prop_assert_eq!(prepared, expected.join("\n"));
    }
}
