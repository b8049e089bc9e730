//! Everything else that can be read.

use std::sync::Arc;

use super::scene::Scene;
use crate::answers::events::{self, merge};
use crate::answers::snapshot::at;
use crate::answers::{
    LocalEvent, access, coordinators, decisions, group, health, machine, members,
};
use crate::api::types::{EventsRequest, MachineState};
use crate::fleet::testing::{START_MS, cattle};
use crate::fleet::{Command, Diagnosis, MemberStatus, SecretHash, TokenId};
use crate::health::Level;

#[test]
fn a_group_in_full() {
    let scene = Scene::new();
    let detail = scene.look(|snapshot| group::group(snapshot, "web").unwrap());
    assert_eq!(detail.spec, cattle("web", 3));
    assert_eq!(detail.machines.len(), 3);
    assert_eq!(detail.revisions.len(), 1);
    assert_eq!(detail.revisions[0].machines, 3);
    assert_eq!((detail.budget.at_once, detail.budget.in_repair), (1, 0));
    assert_eq!(
        (detail.budget.available, detail.budget.capacity),
        (10.0, 10.0)
    );
    assert_eq!(detail.paused, None);
    let error = scene.look(|snapshot| group::group(snapshot, "wbe\n").unwrap_err());
    assert_eq!(error.message, "there is no group `wbe`");
}

#[test]
fn a_machine_in_full_by_name_and_by_id() {
    let mut scene = Scene::new();
    let old = scene.fleet.id("db-1");
    let new = scene
        .fleet
        .act(scene.fleet.replace(old, Diagnosis::Unreachable));
    let show = |text: &str| scene.look(|snapshot| machine::machine(snapshot, text));
    let by_id = show(&old.to_string()).unwrap();
    assert_eq!(by_id.machine.machine_id, old);
    assert_eq!(by_id.member.unwrap().generation, 7);
    assert_eq!(by_id.intents[0].action, "replace");
    assert_eq!(by_id.intents[0].machine, "db-1");
    assert_eq!(by_id.intents[0].step, "fence");
    assert_eq!(by_id.decisions[0].diagnosis, "unreachable");
    let action = by_id.decisions[0].outcome.action.as_deref();
    assert_eq!(
        action,
        Some(format!("replace db-1 ({old} by {new})").as_str())
    );
    assert_eq!(
        show("db-1").unwrap().machine.machine_id,
        new,
        "a name means the one to come"
    );
    assert!(show("db-9").unwrap_err().remedy.is_some());
}

#[test]
fn members_and_health_are_what_this_machine_sees() {
    let mut scene = Scene::new();
    scene.see("web-3", MemberStatus::Suspect);
    let id = scene.fleet.id("web-2");
    let seen = scene.world.members.get_mut(&id).unwrap();
    let said = Arc::make_mut(seen.said.as_mut().unwrap());
    said.health = Level::Critical;
    said.reasons = vec!["disk of the data directory 97 % used (critical from 95 %)".into()];
    let members = scene.look(members::members);
    assert_eq!(members.items.len(), 6);
    assert_eq!(members.items[5].name.as_deref(), Some("web-3"));
    assert_eq!(members.items[5].status, MachineState::Suspect);
    assert!(members.items[2].coordinator);
    let health = scene.look(health::health);
    let sick = health.items.iter().find(|row| row.name == "web-2").unwrap();
    assert_eq!(serde_json::to_value(sick.health).unwrap(), "critical");
    assert_eq!(sick.reasons.len(), 1);
}

#[test]
fn coordinators_say_who_leads_and_who_lags() {
    let scene = Scene::new();
    let rows = scene.look(coordinators::coordinators).items;
    let short: Vec<_> = rows
        .iter()
        .map(|row| (row.seat, row.name.as_str(), row.role.as_str(), row.lag))
        .collect();
    assert_eq!(
        short,
        [
            (1, "seed-1", "leader", Some(4)),
            (2, "web-1", "voter", Some(3)),
            (4, "db-1", "voter", Some(1)),
            (5, "web-3", "learner", Some(0)),
        ]
    );
}

#[test]
fn tokens_are_shown_without_secrets() {
    let mut scene = Scene::new();
    scene.fleet.ok(Command::CreateToken {
        id: TokenId(0xbeef),
        secret: SecretHash([9; 32]),
        note: "rack 7".into(),
        group: None,
        expires_ms: scene.fleet.now_ms + 1_000,
        uses: 2,
    });
    let tokens = scene.look(access::tokens);
    assert_eq!(tokens.items[0].id, "000000000000beef");
    assert_eq!(
        (tokens.items[0].uses_left, tokens.items[0].state.as_str()),
        (2, "valid")
    );
    assert!(!serde_json::to_string(&tokens).unwrap().contains("secret"));
    scene.fleet.pass(1_000);
    assert_eq!(scene.look(access::tokens).items[0].state, "expired");
}

#[test]
fn events_of_the_log_and_of_this_machine_make_one_list() {
    let scene = Scene::new();
    let last = scene.fleet.state.events.back().unwrap().clone();
    let local = [
        LocalEvent {
            number: 1,
            at_ms: START_MS - 5,
            kind: "member_up",
            machine: Some(scene.fleet.id("web-1")),
            detail: "is up".into(),
        },
        LocalEvent {
            number: 2,
            at_ms: last.at_ms + 1,
            kind: "member_down",
            machine: Some(scene.fleet.id("web-1")),
            detail: "its port refused".into(),
        },
    ];
    let rows = scene.look(|snapshot| merge(snapshot, snapshot.state.events.iter(), &local));
    assert_eq!(rows.len(), scene.fleet.state.events.len() + 2);
    assert_eq!(rows[0].kind, "member_up");
    assert!(rows.is_sorted_by_key(|row| (row.at_ms, row.seq)));
    let down = rows.last().unwrap();
    assert_eq!(down.seq, last.number);
    assert_eq!(
        (down.machine.as_deref(), down.group.as_deref()),
        (Some("web-1"), Some("web"))
    );
    let shown = serde_json::to_value(down).unwrap();
    for key in ["at", "kind", "machine", "group", "decision", "detail"] {
        assert!(shown.get(key).is_some(), "{key}");
    }

    let ask = |request: EventsRequest| {
        scene
            .look(|snapshot| events::events(snapshot, &local, &request))
            .items
    };
    let limited = ask(EventsRequest {
        limit: Some(3),
        ..EventsRequest::default()
    });
    assert_eq!(limited, rows[rows.len() - 3..]);
    let after = ask(EventsRequest {
        after: Some(last.number - 1),
        ..EventsRequest::default()
    });
    assert_eq!(after.len(), 2);
    let since = ask(EventsRequest {
        since_ms: Some(u64::MAX),
        ..EventsRequest::default()
    });
    assert_eq!(since, []);
}

#[test]
fn times_are_rfc_3339_however_wrong_a_clock_is() {
    assert_eq!(at(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
    assert!(at(u64::MAX).starts_with("9999"));
}

#[test]
fn decisions_can_be_asked_for_by_machine_and_group() {
    let mut scene = Scene::new();
    scene.fleet.act(
        scene
            .fleet
            .replace(scene.fleet.id("web-2"), Diagnosis::Gone),
    );
    let ask = |machine: Option<&str>, group: Option<&str>| {
        scene.look(|snapshot| decisions::decisions(snapshot, machine, group, None))
    };
    let of = |machine| ask(Some(machine), None).unwrap().items;
    assert_eq!(of("web-2").len(), 2, "its making and its end");
    assert_eq!(of("web-2")[0].diagnosis, "gone");
    assert_eq!(
        of("web-4")[0].machine.as_deref(),
        Some("web-2"),
        "the one that made it"
    );
    assert_eq!(of("seed-1"), []);
    assert!(ask(Some("web-9"), None).is_err());
    assert_eq!(ask(None, Some("db")).unwrap().items.len(), 2);
    assert!(ask(None, Some("nope")).is_err());
}
