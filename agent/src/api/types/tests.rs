use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::identity::{ClusterId, MachineId};
use serde_json::json;

use super::*;

mod samples;

fn machine(name: &str, status: MachineState) -> MachineRow {
    MachineRow {
        name: name.into(),
        machine_id: MachineId::new(7).expect("not zero"),
        group: Some("web".into()),
        member: Some("1".into()),
        instance: Some(InstanceRow {
            id: "i-1".into(),
            provisioner: "process".into(),
            properties: serde_json::Map::from_iter([("pid".into(), json!(4711))]),
        }),
        address: Some("127.1.2.3:7946".parse().expect("an address")),
        api: Some("/run/muster.sock".into()),
        status,
        diagnosis: None,
        health: Some(HealthLevel::Ok),
        not_healable: None,
        unaccounted_ms: None,
        coordinator: true,
        cordoned: None,
        drained_ms: None,
        labels: BTreeMap::new(),
        since_ms: 1,
        as_of_ms: 2,
    }
}

fn status() -> Status {
    Status {
        cluster: ClusterInfo {
            id: ClusterId::new(1).expect("not zero"),
            name: "dev".into(),
        },
        as_of: AsOf::new("web-1", 1_000, 1_250),
        orphans: vec![],
        quarantine: vec![],
        orders: vec![],
        leader: Some("web-1".into()),
        coordinators: vec!["web-1".into()],
        quorum: true,
        members: MemberCounts {
            alive: 1,
            ..MemberCounts::default()
        },
        holds: vec![],
        groups: vec![GroupStatus {
            id: "web".into(),
            kind: GroupKind::Cattle,
            desired: 1,
            running: 1,
            state: GroupState::Converged,
            holds: vec![],
            failed: None,
            heal_mode: HealMode::Auto,
            revision: 1,
        }],
        machines: vec![machine("web-1", MachineState::Alive)],
    }
}

#[test]
fn status_has_the_keys_that_scripts_rely_on() {
    let shown = serde_json::to_value(status()).expect("plain data");
    for key in [
        "/cluster/id",
        "/cluster/name",
        "/answered_by",
        "/leader",
        "/coordinators/0",
        "/quorum",
        "/members/alive",
        "/members/suspect",
        "/members/down",
        "/members/left",
        "/groups/0/id",
        "/groups/0/kind",
        "/groups/0/desired",
        "/groups/0/running",
        "/groups/0/state",
        "/groups/0/holds",
        "/machines/0/name",
        "/machines/0/machine_id",
        "/machines/0/group",
        "/machines/0/member",
        "/machines/0/instance/id",
        "/machines/0/instance/provisioner",
        "/machines/0/instance/properties/pid",
        "/machines/0/address",
        "/machines/0/api",
        "/machines/0/status",
        "/machines/0/diagnosis",
        "/machines/0/health",
        "/machines/0/as_of_ms",
    ] {
        assert!(shown.pointer(key).is_some(), "{key} is missing in {shown}");
    }
    assert_eq!(shown["groups"][0]["kind"], "cattle");
    assert_eq!(shown["machines"][0]["status"], "alive");
    assert_eq!(shown["age_ms"], 250);
}

#[test]
fn requests_are_tagged_by_op_and_refuse_unknown_keys() {
    let text = |request: &Request| serde_json::to_value(request).expect("plain data");
    assert_eq!(text(&Request::Status), json!({"op": "status"}));
    assert_eq!(
        text(&Request::Machine {
            name: "web-1".into()
        }),
        json!({"op": "machine", "name": "web-1"})
    );
    let follow: Request = serde_json::from_value(json!({"op": "events", "follow": true}))
        .expect("absent keys have defaults");
    assert!(follow.is_stream());
    for wrong in [
        json!({"op": "machine"}),
        json!({"op": "nonsense"}),
        json!({"op": "machine", "name": "a", "nmae": "b"}),
        json!({"op": "scale", "id": "web", "size": -1}),
        json!({"name": "web-1"}),
        json!([]),
    ] {
        assert!(
            serde_json::from_value::<Request>(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn every_request_comes_back_as_it_was() {
    let requests = samples::requests();
    for request in &requests {
        let text = serde_json::to_string(request).expect("plain data");
        let back = serde_json::from_str::<Request>(&text);
        assert_eq!(
            back.unwrap_or_else(|error| panic!("{error}: {text}")),
            *request
        );
    }
    let kinds: BTreeSet<_> = requests.iter().map(|request| tag(request, "op")).collect();
    assert_eq!(kinds.len(), requests.len(), "one of each");
}

#[test]
fn every_answer_comes_back_as_it_was_on_one_line() {
    let answers = samples::answers();
    let errors = [ApiError::not_found("nothing").remedy("look")].map(Reply::Error);
    for reply in answers.iter().cloned().map(Reply::Ok).chain(errors) {
        let text = serde_json::to_string(&reply).expect("plain data");
        assert!(!text.contains('\n'), "one line: {text}");
        let back = serde_json::from_str::<Reply>(&text);
        assert_eq!(
            back.unwrap_or_else(|error| panic!("{error}: {text}")),
            reply
        );
    }
    let kinds: BTreeSet<_> = answers.iter().map(|answer| tag(answer, "answer")).collect();
    assert_eq!(kinds.len(), answers.len(), "one of each");
}

fn tag(value: &impl serde::Serialize, key: &str) -> String {
    let value = serde_json::to_value(value).expect("plain data");
    value[key].as_str().expect("it is tagged").to_owned()
}

#[test]
fn a_kind_of_error_from_the_future_is_still_an_error() {
    let error: ApiError =
        serde_json::from_value(json!({"kind": "too_sunny", "message": "wait for the evening"}))
            .expect("unknown kinds are kept");
    assert_eq!(error.kind, ErrorKind::Unknown);
    assert_eq!(error.exit_code(), ExitCode::Failed);
}

#[test]
fn complaints_name_all_that_is_wrong() {
    assert_eq!(status().complaints(), Vec::<String>::new());
    let mut stray = status();
    stray.orphans.push(OrphanRow {
        id: "p-stray".into(),
        provisioner: "process".into(),
        group: Some("web".into()),
        op: None,
        since_ms: 1,
    });
    let expected = ["instance p-stray of process is an orphan: no machine runs on it"];
    assert_eq!(stray.complaints(), expected);
    assert_eq!(status().complaints(), Vec::<String>::new());
    let mut sick = status();
    sick.quorum = false;
    sick.groups[0].running = 0;
    sick.machines[0].status = MachineState::Suspect;
    sick.machines.push(MachineRow {
        health: Some(HealthLevel::Critical),
        ..machine("web-2", MachineState::Alive)
    });
    let complaints = sick.complaints();
    assert_eq!(complaints.len(), 4, "{complaints:?}");
    assert!(complaints[3].contains("web-2"), "{complaints:?}");
}

/// The blocks of JSON in the README.
fn readme_json() -> Vec<serde_json::Value> {
    let readme = include_str!("../../../../README.md");
    let blocks = readme.split("```json\n").skip(1);
    let texts = blocks.filter_map(|rest| rest.split("```").next());
    let read = |text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    texts.map(read).collect()
}

/// All keys of a document, with the way to them; of a list those of its first element.
fn keys(value: &serde_json::Value, way: &str, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                let way = format!("{way}/{key}");
                // What a provisioner says of an instance is its own.
                if !way.ends_with("/properties") && !way.ends_with("/labels") {
                    keys(value, &way, found);
                }
                found.insert(way);
            }
        }
        serde_json::Value::Array(items) => {
            items.iter().take(1).for_each(|item| keys(item, way, found));
        }
        _ => {}
    }
}

#[test]
fn the_readme_shows_json_as_it_is() {
    let blocks = readme_json();
    let [shown_status, shown_event] = blocks.as_slice() else {
        panic!("{} blocks", blocks.len());
    };
    let real: Status = serde_json::from_value(shown_status.clone()).expect("a status");
    let real = serde_json::to_value(real).expect("plain data");
    let event: EventRow = serde_json::from_value(shown_event.clone()).expect("an event");
    let event = serde_json::to_value(event).expect("plain data");
    for (shown, real) in [(shown_status, &real), (shown_event, &event)] {
        let (mut of_shown, mut of_real) = (BTreeSet::new(), BTreeSet::new());
        keys(shown, "", &mut of_shown);
        keys(real, "", &mut of_real);
        let unknown: Vec<_> = of_shown.difference(&of_real).collect();
        assert!(unknown.is_empty(), "{unknown:?} in the README only");
    }
}
