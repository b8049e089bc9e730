use std::collections::BTreeMap;

use muster_mesh::identity::{ClusterId, MachineId};
use serde_json::json;

use super::super::output::{Output, Paint};
use super::*;
use crate::api::types::{
    BudgetRow, Change, CheckRow, CheckVerdict, ClusterInfo, DecisionRow, EventRow, EvidenceRow,
    Explanation, FieldChange, GroupKind, GroupPlan, GroupStatus, HealMode, HealthRow, InstanceRow,
    IntentRow, Listed, MachineDetail, MachineRow, MemberCounts, MemberRow, Outcome, OutcomeKind,
    Plan, Refusal, Status, TokenRow,
};

const NOW_MS: u64 = 1_700_000_000_000;

fn out() -> Output {
    Output {
        json: false,
        paint: Paint::default(),
        now_ms: NOW_MS,
    }
}

fn as_of() -> AsOf {
    AsOf::new("web-1", NOW_MS - 250, NOW_MS)
}

fn machine(name: &str, state: MachineState, diagnosis: &str) -> MachineRow {
    MachineRow {
        name: name.into(),
        machine_id: MachineId::new(0xabc).expect("not zero"),
        group: Some("web".into()),
        member: Some("2".into()),
        instance: Some(InstanceRow {
            id: "p-1".into(),
            provisioner: "process".into(),
            properties: serde_json::Map::from_iter([("pid".into(), json!(4711))]),
        }),
        address: "127.1.2.3:6880".parse().ok(),
        api: Some("/tmp/api.sock".into()),
        status: state,
        diagnosis: Some(diagnosis.into()),
        health: Some(HealthLevel::Ok),
        not_healable: None,
        unaccounted_ms: None,
        coordinator: name == "web-1",
        cordoned: None,
        drained_ms: None,
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        since_ms: NOW_MS - 5_000,
        as_of_ms: NOW_MS - 1_000,
    }
}

fn group_row() -> GroupStatus {
    GroupStatus {
        id: "web".into(),
        kind: GroupKind::Cattle,
        desired: 3,
        running: 2,
        state: GroupState::Holding,
        holds: vec![Hold {
            rule: "budget".into(),
            detail: "1 of 1 repairs is under way".into(),
        }],
        failed: None,
        heal_mode: HealMode::Auto,
        revision: 4,
    }
}

fn decision_row() -> DecisionRow {
    DecisionRow {
        id: 17,
        at: time::rfc3339(NOW_MS),
        at_ms: NOW_MS - 12_000,
        leader: "web-1".into(),
        term: 3,
        group: Some("web".into()),
        machine: Some("web-2".into()),
        diagnosis: "gone".into(),
        evidence: vec![EvidenceRow {
            source: "process".into(),
            detail: "process 4711 has exited".into(),
            at_ms: Some(NOW_MS - 13_000),
        }],
        checks: vec![
            CheckRow {
                rule: "paused".into(),
                verdict: CheckVerdict::Pass,
                margin: "nobody paused it".into(),
                otherwise: "another look would have turned it".into(),
            },
            CheckRow {
                rule: "quorum".into(),
                verdict: CheckVerdict::Hold,
                margin: "2 of 5; 3 are needed".into(),
                otherwise: "another look would have turned it".into(),
            },
        ],
        outcome: Outcome {
            kind: OutcomeKind::Hold,
            action: None,
            op: None,
            rule: Some("quorum".into()),
            detail: "2 of 5 machines answered; 3 are needed".into(),
        },
    }
}

fn event_row() -> EventRow {
    EventRow {
        seq: 9,
        at: time::rfc3339(NOW_MS),
        at_ms: NOW_MS,
        kind: "joined".into(),
        machine: Some("web-4".into()),
        group: Some("web".into()),
        decision: Some(17),
        detail: "it replaces web-2".into(),
    }
}

#[test]
fn status_shows_who_leads_what_runs_and_what_holds() {
    let shown = status(
        &Status {
            cluster: ClusterInfo {
                id: ClusterId::new(1).expect("not zero"),
                name: "dev".into(),
            },
            as_of: as_of(),
            orphans: vec![],
            quarantine: vec![],
            orders: vec![],
            leader: Some("web-1".into()),
            coordinators: vec!["web-1".into(), "db-1".into()],
            quorum: true,
            members: MemberCounts {
                alive: 2,
                suspect: 0,
                down: 1,
                left: 0,
            },
            holds: vec![],
            groups: vec![group_row()],
            machines: vec![
                machine("web-1", MachineState::Alive, "healthy"),
                machine("web-2", MachineState::Down, "gone"),
            ],
        },
        &out(),
    );
    let expected = "\
cluster       dev 0000000000000001
leader        web-1
coordinators  web-1, db-1
quorum        yes
members       2 alive, 1 down

GROUP  KIND    RUNNING  STATE    HEALS  REVISION  HOLDS
web    cattle  2/3      holding  auto   4         budget

MACHINE  GROUP  STATUS  FOR  DIAGNOSIS  HEALTH  ADDRESS         SEEN
web-1    web    alive   5s   healthy    ok      127.1.2.3:6880  1s
web-2    web    down    5s   gone       ok      127.1.2.3:6880  1s

web holds, budget: 1 of 1 repairs is under way
answered by web-1, 250 ms old";
    assert_eq!(shown, expected);
}

#[test]
fn an_explanation_shows_evidence_rules_and_margin() {
    let shown = explanation(
        &Explanation {
            answer: as_of(),
            subject: "web-2".into(),
            summary: "web-2 is gone and waits for a quorum".into(),
            machine: None,
            decisions: vec![decision_row()],
            events: vec![event_row()],
        },
        &out(),
    );
    for line in [
        "web-2 is gone and waits for a quorum",
        "DECISION 17 on web-2",
        "by         web-1, leader in term 3",
        "outcome    held by quorum: 2 of 5 machines answered; 3 are needed",
        "process        1s   process 4711 has exited",
        "paused  pass  nobody paused it",
        "quorum  HOLD  2 of 5; 3 are needed",
        "it replaces web-2 (decision 17)",
    ] {
        assert!(shown.contains(line), "{line:?} in:\n{shown}");
    }
}

#[test]
fn a_plan_reads_like_a_diff() {
    let group = |id: &str, change, before, after| GroupPlan {
        id: id.into(),
        kind: GroupKind::Cattle,
        change,
        revision: Some(4),
        desired_before: before,
        desired_after: after,
        members_added: vec![],
        members_removed: vec![],
        fields: vec![],
        warnings: vec![],
        refused: None,
    };
    let create = GroupPlan {
        revision: None,
        ..group("new", Change::Create, 0, 2)
    };
    let mut update = group("web", Change::Update, 3, 1);
    update.fields = vec![
        FieldChange {
            field: "labels.tier".into(),
            before: json!("a"),
            after: json!("b"),
        },
        FieldChange {
            field: "heal.mode".into(),
            before: json!(null),
            after: json!("observe"),
        },
    ];
    update.warnings = vec!["2 machines are taken away".into()];
    let mut refused = group("db", Change::Update, 2, 2);
    refused.refused = Some(Refusal {
        reason: "it is pets".into(),
        remedy: "use another ID".into(),
    });
    let all = Plan {
        as_of: as_of(),
        applied: false,
        groups: vec![create, update, refused],
    };
    let expected = "\
+ group new (cattle) is new
    + 2 machines
~ group web (cattle) gets a new spec, revision 5
    ~ 3 → 1 machines
    ~ labels.tier = \"a\" → \"b\"
    + heal.mode = \"observe\"
    ! 2 machines are taken away
✗ group db can't be changed so: it is pets
    instead: use another ID
";
    assert_eq!(plan(&all, &out()), expected);
    let same = Plan {
        groups: vec![group("web", Change::Unchanged, 3, 3)],
        ..all
    };
    assert_eq!(
        plan(&same, &out()),
        "nothing to change: the group is as the spec says\n"
    );
}

#[test]
fn a_machine_shows_all_that_is_known() {
    let row = machine("web-2", MachineState::Alive, "healthy");
    let shown = super::machine(
        &MachineDetail {
            answer: as_of(),
            member: Some(MemberRow {
                name: Some("web-2".into()),
                machine_id: row.machine_id,
                address: row.address.expect("set"),
                status: row.status,
                since_ms: NOW_MS,
                generation: 77,
                version: Some("0.1.0".into()),
                coordinator: false,
                rtt_ms: Some(0.42),
                labels: BTreeMap::new(),
                as_of_ms: NOW_MS,
            }),
            health: Some(HealthRow {
                name: "web-2".into(),
                machine_id: row.machine_id,
                health: Some(HealthLevel::Warning),
                reasons: vec!["the disk is 91 % full".into()],
                readings: BTreeMap::from([("disk_used_percent".into(), 91.0)]),
                workload: None,
                as_of_ms: NOW_MS,
            }),
            machine: row,
            revision: Some(4),
            ordered_ms: Some(NOW_MS - 60_000),
            joined_ms: None,
            intents: vec![IntentRow {
                op: "op-1".into(),
                action: "replace".into(),
                machine: "web-2".into(),
                group: Some("web".into()),
                step: "provision".into(),
                attempts: 2,
                last_error: Some("no capacity".into()),
                next_attempt_ms: Some(NOW_MS + 4_000),
                decision: Some(17),
            }],
            quarantine: vec![],
            decisions: vec![decision_row()],
            events: vec![event_row()],
        },
        &out(),
    );
    for line in [
        "status      alive for 5s",
        "instance    p-1 of process",
        "            pid 4711",
        "ask it      --node /tmp/api.sock",
        "labels      zone=a",
        "round trip  0.4 ms",
        "the disk is 91 % full",
        "replace  web-2    provision  2      in 4s  no capacity",
        "17        12s  web    web-2    gone       held by quorum",
    ] {
        assert!(shown.contains(line), "{line:?} in:\n{shown}");
    }
}

#[test]
fn lists_say_when_they_are_empty() {
    fn none<T>() -> Listed<T> {
        Listed {
            as_of: as_of(),
            items: vec![],
        }
    }
    for shown in [
        groups(&none(), &out()),
        members(&none(), &out()),
        health(&none(), &out()),
        coordinators(&none(), &out()),
        decisions(&none(), &out()),
        tokens(&none(), &out()),
        operators(&none(), &out()),
    ] {
        let (text, age) = shown
            .trim_end()
            .split_once('\n')
            .unwrap_or_else(|| panic!("{shown:?}"));
        assert!(
            !text.is_empty() && age.starts_with("answered by web-1"),
            "{shown}"
        );
    }
}

#[test]
fn tokens_show_when_they_end() {
    let token = |state: &str, expires_ms| TokenRow {
        id: "00ab".into(),
        created_ms: NOW_MS,
        expires_ms,
        uses_left: 3,
        used: 1,
        group: None,
        note: "\x1b]0;evil\x07".into(),
        state: state.into(),
    };
    let items = vec![token("valid", NOW_MS + 3_600_000), token("expired", NOW_MS)];
    let shown = tokens(
        &Listed {
            as_of: as_of(),
            items,
        },
        &out(),
    );
    assert!(shown.contains("valid    in 60m"), "{shown}");
    assert!(shown.contains("expired  over"), "{shown}");
    assert!(!shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn a_group_shows_its_spec_in_full() {
    let text = "[[group]]\nid = 'web'\nsize = 3\nlabels = { tier = 'front' }";
    let source = crate::spec::Source {
        name: "a.toml".into(),
        text: text.into(),
    };
    let specs = crate::spec::parse(&[source], &crate::spec::Registries::builtin());
    let shown = group(
        &crate::api::types::GroupDetail {
            answer: as_of(),
            group: group_row(),
            spec: specs.unwrap_or_else(|error| panic!("{error}")).remove(0),
            revisions: vec![crate::api::types::RevisionUse {
                revision: 4,
                machines: 2,
            }],
            budget: BudgetRow {
                at_once: 1,
                in_repair: 1,
                available: 8.5,
                capacity: 10.0,
                per_hour: 10.0,
            },
            paused: Some("upgrade".into()),
            intents: vec![],
            machines: vec![machine("web-1", MachineState::Alive, "healthy")],
            orphans: vec![],
            without_lease: vec![],
            leader: Some("web-1".into()),
        },
        &out(),
    );
    for line in [
        "repairs   1 of 1 at once; 8.5 of 10 left, 10 more an hour",
        "machines  2 on revision 4",
        "paused    upgrade",
        "size = 3",
        "tier = \"front\"",
    ] {
        assert!(shown.contains(line), "{line:?} in:\n{shown}");
    }
}
