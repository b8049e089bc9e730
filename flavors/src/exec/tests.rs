use serde_json::{Value, json};

use super::*;
use crate::{HealthStatus, Part, Role};

const TWO: Allocation = Allocation::Cattle { size: 2 };

fn properties(value: Value) -> Properties {
    Properties::from_value(value).expect("an object")
}

fn exec(value: Value) -> Arc<dyn Flavor> {
    build(&properties(value), &TWO).expect("valid")
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// A flavor whose executable is a line for the shell.
fn script(line: &str, does: &[&str]) -> Arc<dyn Flavor> {
    exec(json!({ "command": line, "does": does, "timeout": "10s" }))
}

async fn health(line: &str) -> Health {
    script(line, &["health"])
        .healthy(&Workload::default())
        .await
}

#[tokio::test]
async fn is_told_everything_and_answers_with_a_part() {
    let scratch = tempfile::tempdir().expect("made");
    let line = r#"cat > told; echo '{"status":"warning","reason":"r","role":"leader","voters":3,"serving":2}'"#;
    let flavor = exec(json!({ "command": line, "quorum": "ensemble", "properties": { "a": [1] } }));
    let workload = Workload {
        machine: "db-1".to_owned(),
        directory: Some(scratch.path().to_owned()),
        ..Workload::default()
    };
    let health = flavor.healthy(&workload).await;
    let part = Part::new(Role::Leader).counting(3, 2);
    assert_eq!(health, Health::warning("r").playing(part));
    assert!(flavor.is_ensemble());
    let told = std::fs::read_to_string(scratch.path().join("told")).expect("written");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["version"], 1);
    assert_eq!(told["method"], "health");
    assert_eq!(told["properties"], json!({ "a": [1] }));
    assert_eq!(told["allocation"], json!({ "cattle": { "size": 2 } }));
    assert_eq!(told["workload"]["machine"], "db-1");
}

#[tokio::test]
async fn an_answer_that_is_none_says_nothing_of_the_workload() {
    for (line, why) in [
        ("echo nonsense", "not as documented"),
        ("echo '{}'", "no `status`"),
        (
            r#"echo '{"status":"ok","role":"chief"}'"#,
            "`chief` is no role",
        ),
        (r#"echo '{"error":"no idea"}'"#, "no idea"),
        ("echo oh >&2; exit 4", "exit code 4: oh"),
        ("kill -9 $$", "signal 9"),
        ("head -c 16384 /dev/zero", "16384 bytes or more"),
        (r"printf '\377'", "no UTF-8"),
    ] {
        let health = health(line).await;
        assert_eq!(health.status, HealthStatus::Unknown, "{line}: {health:?}");
        assert!(health.reason.contains(why), "{line}: {health:?}");
    }
}

#[tokio::test]
async fn one_that_reads_nothing_and_hangs_is_ended_and_critical() {
    let flavor = exec(json!({
        "command": ["sleep", "60"], "health": { "interval": "1s", "timeout": "100ms" }
    }));
    let peer = crate::PeerMember {
        // More than a pipe holds.
        member: "m".repeat(200_000),
        machine: String::new(),
        address: None,
        part: None,
    };
    let workload = Workload {
        peers: vec![peer],
        ..Workload::default()
    };
    let health = flavor.healthy(&workload).await;
    assert_eq!(health.status, HealthStatus::Critical);
}

#[tokio::test]
async fn does_only_what_it_says_it_does() {
    let flavor = script("exit 3", &["drain"]);
    let workload = Workload::default();
    assert!(flavor.can_drain() && !flavor.can_stop() && !flavor.can_restart());
    assert!(flavor.health_plan().is_none() && !flavor.can_start() && !flavor.strikes(false));
    flavor
        .stop(&workload, deadline())
        .await
        .expect("nothing is done");
    let drained = flavor.drain(&workload, deadline()).await;
    assert!(
        drained
            .expect_err("it fails")
            .to_string()
            .contains("exit code 3")
    );
}

#[tokio::test]
async fn names_the_command_that_starts_the_workload() {
    let start = async |line: &str| {
        let flavor = script(line, &["start"]);
        flavor.start(&Workload::default(), deadline()).await
    };
    let words = start(r#"echo '{"command":["db","--id","7"]}'"#).await;
    let words = words.expect("a command");
    assert_eq!(
        words,
        CommandLine::Program(vec!["db".into(), "--id".into(), "7".into()])
    );
    for line in [
        "echo '{}'",
        r#"echo '{"command":[]}'"#,
        r#"echo '{"command":" "}'"#,
    ] {
        assert!(start(line).await.is_err(), "{line}");
    }
}

#[tokio::test]
async fn who_is_struck_off_is_told() {
    let line = r#"grep -q '"member":"n2"}$' || exit 1; echo '{}'"#;
    let flavor = script(line, &["strike"]);
    assert!(flavor.strikes(false));
    let struck = flavor.strike(&Workload::default(), "n2", deadline()).await;
    struck.expect("it was told");
}

#[test]
fn the_first_boot_runs_it_with_its_question_quoted() {
    let flavor = exec(json!({
        "command": ["cat", "-"], "does": ["prepare"], "properties": { "motto": "it's $HOME" }
    }));
    let place = Place {
        group: "g",
        member: "g-1",
        allocation: &TWO,
        peers: &[],
    };
    let mut spec = MachineSpec::new("g-1", Properties::new());
    spec.init = "set -e".to_owned();
    let prepared = flavor.prepare(spec, &place).expect("prepared");
    assert!(
        prepared.init.starts_with("set -e\nprintf "),
        "{}",
        prepared.init
    );
    let ran = std::process::Command::new("sh")
        .arg("-c")
        .arg(&prepared.init)
        .output();
    let told: Value = serde_json::from_slice(&ran.expect("ran").stdout).expect("JSON");
    assert_eq!(told["method"], "prepare");
    assert_eq!(told["properties"]["motto"], "it's $HOME");
    assert_eq!(told["workload"]["member"], "g-1");
}

#[test]
fn problems_are_all_told() {
    let fields = |value: Value| -> Vec<String> {
        let problems = build(&properties(value), &TWO).expect_err("it is wrong");
        problems.into_iter().map(|problem| problem.field).collect()
    };
    assert_eq!(fields(json!({})), ["command"]);
    let wrong = json!({
        "command": "x", "does": ["fly"], "quorum": "few", "properties": 4, "timeout": "never",
        "colour": 1
    });
    assert_eq!(
        fields(wrong),
        ["does[0]", "timeout", "quorum", "properties", "colour"]
    );
    let silent = json!({ "command": "x", "does": ["stop"], "quorum": "ensemble" });
    assert_eq!(fields(silent), ["quorum"]);
    assert_eq!(
        exec(json!({ "command": "x", "quorum": "majority" })).may_be_missing(5),
        2
    );
}
