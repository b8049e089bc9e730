//! Questions, their answers for people and for scripts, and how the command ends.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use muster::api::types::{
    AsOf, ClusterInfo, Done, GroupKind, GroupState, GroupStatus, HealMode, Listed, LogFilter,
    MemberCounts, Status,
};
use muster::api::{ApiError, Request, Response};
use muster_mesh::identity::ClusterId;

use super::node::{Node, event, muster, run};

pub(super) fn status(running: u32) -> Response {
    Response::Status(Box::new(Status {
        cluster: ClusterInfo {
            id: ClusterId::new(1).expect("not zero"),
            name: "dev".into(),
        },
        as_of: AsOf::new("web-1", 1_000, 1_250),
        orphans: vec![],
        quarantine: Vec::new(),
        orders: vec![],
        leader: Some("web-1".into()),
        coordinators: vec!["web-1".into()],
        quorum: true,
        members: MemberCounts {
            alive: running,
            ..MemberCounts::default()
        },
        holds: vec![],
        groups: vec![GroupStatus {
            id: "web".into(),
            kind: GroupKind::Cattle,
            desired: 3,
            running,
            state: GroupState::Converged,
            holds: vec![],
            failed: None,
            heal_mode: HealMode::Auto,
            revision: 1,
        }],
        machines: vec![],
    }))
}

#[test]
fn status_is_for_people_and_for_scripts() {
    let node = Node::answering([Ok(status(3)), Ok(status(3))]);
    let people = node.run(&["status"]).with(0);
    assert!(
        people.stdout.contains("3/3") && people.stdout.contains("web-1"),
        "{people:#?}"
    );
    assert!(
        !people.stdout.contains('\x1b'),
        "no colours into a pipe: {people:#?}"
    );
    let scripts = node.run(&["status", "--json"]).with(0).json();
    assert_eq!(scripts["groups"][0]["running"], 3);
    assert_eq!(scripts["answered_by"], "web-1");
    assert_eq!(node.asked(), [Request::Status, Request::Status]);
}

#[test]
fn check_tells_by_its_exit_code() {
    let node = Node::answering([Ok(status(3)), Ok(status(2)), Ok(status(2))]);
    node.run(&["status", "--check"]).with(0);
    let sick = node.run(&["status", "--check"]).with(4);
    assert!(sick.stderr.contains("2 of 3 machines running"), "{sick:#?}");
    let scripts = node.run(&["status", "--check", "--json"]).with(4);
    assert_eq!(scripts.json()["groups"][0]["running"], 2);
}

#[test]
fn colours_come_when_asked_for() {
    let node = Node::answering([Ok(status(3)), Ok(status(3))]);
    let coloured = node.run(&["status", "--color", "always"]).with(0);
    assert!(coloured.stdout.contains("\x1b["), "{coloured:#?}");
    let mut command = muster(&["status", "--color", "auto", "--node"]);
    command.arg(node.socket()).env("NO_COLOR", "1");
    assert!(!run(command, "").with(0).stdout.contains('\x1b'));
}

#[test]
fn errors_say_what_to_do() {
    let missing = || Err(ApiError::not_found("no machine `x`").remedy("see `muster members`"));
    let node = Node::answering([missing(), missing()]);
    let people = node.run(&["machine", "x"]).with(1);
    assert_eq!(
        people.stderr,
        "error: no machine `x`\nhint: see `muster members`\n"
    );
    assert_eq!(people.stdout, "");
    let scripts = node.run(&["machine", "x", "--json"]).with(1);
    let error: serde_json::Value = serde_json::from_str(&scripts.stderr).expect("JSON");
    assert_eq!(error["error"]["kind"], "not_found");
}

#[test]
fn nobody_there_is_an_exit_code_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = muster(&["status", "--node", "nobody.sock"]);
    command.current_dir(directory.path());
    let ended = run(command, "").with(3);
    assert!(
        ended.stderr.contains("muster dev"),
        "it says what to do: {ended:#?}"
    );
    let mut command = muster(&["status"]);
    command.current_dir(directory.path());
    let ended = run(command, "");
    // On a computer with an agent of its own that one answers, or is not for us.
    assert!(matches!(ended.code, Some(0 | 3)), "{ended:#?}");
}

#[test]
fn an_answer_of_another_kind_is_no_crash() {
    let done = Response::Done(Done { detail: "?".into() });
    let node = Node::answering([Ok(done)]);
    let ended = node.run(&["status"]).with(1);
    assert!(ended.stderr.contains("same version"), "{ended:#?}");
}

#[test]
fn events_are_lines() {
    let listed = |items| {
        Ok(Response::Events(Listed {
            as_of: AsOf::default(),
            items,
        }))
    };
    let node = Node::answering([listed(vec![event(1), event(2)]), listed(vec![event(1)])]);
    let scripts = node.run(&["events", "--json"]).with(0);
    let lines: Vec<serde_json::Value> = scripts
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    for key in ["at", "kind", "machine", "group", "decision", "detail"] {
        assert!(lines[0].get(key).is_some(), "{key}: {}", lines[0]);
    }
    let people = node.run(&["events"]).with(0);
    assert!(people.stdout.starts_with("22:13:20  web-4"), "{people:#?}");
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let node = Node::answering([]);
    let mut command = muster(&["events", "-f", "--node"]);
    let mut child = command
        .arg(node.socket())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let first = lines.next().expect("a line").expect("readable");
    assert!(first.contains("event 0"), "{first}");
    // The script sends without end, so only the closed pipe can end this.
    drop(lines);
    let ended = child.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn orders_say_that_they_are_done() {
    let done = || {
        Ok(Response::Done(Done {
            detail: "web is paused".into(),
        }))
    };
    let node = Node::answering([done(), done()]);
    let words = [
        "group", "pause", "web", "--reason", "upgrade", "--for", "1h",
    ];
    assert_eq!(node.run(&words).with(0).stdout, "web is paused\n");
    let expected = Request::Pause {
        zone: None,
        machine: None,
        name: None,
        id: Some("web".into()),
        reason: Some("upgrade".into()),
        for_ms: Some(3_600_000),
    };
    assert_eq!(node.asked(), [expected]);
    // Where nobody can be asked, nobody has said yes.
    let refused = node.run(&["group", "destroy", "web"]).with(2);
    assert!(refused.stderr.contains("--yes"), "{refused:#?}");
    assert_eq!(node.asked().len(), 1);
    node.run(&["group", "destroy", "web", "--yes"]).with(0);
    assert_eq!(node.asked()[1], Request::GroupDestroy { id: "web".into() });
}

#[test]
fn the_level_of_logs_is_shown_and_changed() {
    let answer = |previous: Option<&str>| {
        let filter = "debug".to_owned();
        Ok(Response::LogLevel(LogFilter {
            filter,
            previous: previous.map(str::to_owned),
        }))
    };
    let node = Node::answering([answer(None), answer(Some("info"))]);
    assert_eq!(node.run(&["log-level"]).with(0).stdout, "debug\n");
    assert_eq!(
        node.run(&["log-level", "debug"]).with(0).stdout,
        "debug (was info)\n"
    );
}

#[test]
fn a_node_that_does_not_answer_is_given_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("deaf.sock");
    let _deaf = std::os::unix::net::UnixListener::bind(&socket).expect("free");
    let mut command = muster(&["status", "--timeout", "200ms", "--node"]);
    command.arg(&socket);
    let ended = run(command, "").with(1);
    assert!(
        ended.stderr.contains("no answer within 200ms"),
        "{ended:#?}"
    );
}
