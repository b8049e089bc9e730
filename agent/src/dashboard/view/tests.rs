use std::collections::BTreeMap;

use muster_mesh::identity::{ClusterId, MachineId};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::api::types::{
    AsOf, ClusterInfo, GroupKind, GroupState, HealMode, HealthLevel, Hold, MemberCounts, Outcome,
    OutcomeKind,
};

const NOW_MS: u64 = 1_700_000_000_000;

fn machine(name: &str, status: MachineState, diagnosis: &str) -> MachineRow {
    MachineRow {
        name: name.into(),
        machine_id: MachineId::new(1).expect("not zero"),
        group: name.split_once('-').map(|(group, _)| group.to_owned()),
        member: None,
        instance: None,
        address: "127.1.2.3:6880".parse().ok(),
        api: None,
        status,
        diagnosis: Some(diagnosis.into()),
        health: Some(HealthLevel::Ok),
        not_healable: None,
        unaccounted_ms: None,
        coordinator: name == "web-1" || name == "db-1",
        cordoned: None,
        drained_ms: None,
        labels: BTreeMap::new(),
        since_ms: NOW_MS - 42_000,
        as_of_ms: NOW_MS,
    }
}

fn group(id: &str, kind: GroupKind, running: u32, desired: u32) -> GroupStatus {
    let state = if running == desired {
        GroupState::Converged
    } else {
        GroupState::Holding
    };
    let holds = if running == desired {
        vec![]
    } else {
        vec![Hold {
            rule: "quorum".into(),
            detail: "2 of 5 machines answered; 3 are needed".into(),
        }]
    };
    GroupStatus {
        id: id.into(),
        kind,
        desired,
        running,
        state,
        holds,
        failed: None,
        heal_mode: HealMode::Auto,
        revision: 1,
    }
}

fn event(seq: u64) -> EventRow {
    EventRow {
        seq,
        at: String::new(),
        at_ms: NOW_MS,
        kind: "joined".into(),
        machine: Some("web-4".into()),
        group: None,
        decision: None,
        detail: format!("event number {seq}"),
    }
}

fn snapshot() -> Snapshot {
    let machines = vec![
        machine("db-1", MachineState::Alive, "healthy"),
        machine("db-2", MachineState::Alive, "healthy"),
        machine("web-1", MachineState::Alive, "healthy"),
        machine("web-2", MachineState::Down, "gone"),
        machine("web-3", MachineState::Suspect, "suspected"),
    ];
    let mut snapshot = Snapshot {
        status: Some(Status {
            cluster: ClusterInfo {
                id: ClusterId::new(1).expect("not zero"),
                name: "dev".into(),
            },
            as_of: AsOf {
                answered_by: "db-2".into(),
                as_of_ms: NOW_MS,
                age_ms: 240,
                stale: false,
            },
            orphans: vec![],
            quarantine: vec![],
            orders: vec![],
            leader: Some("web-1".into()),
            coordinators: vec!["web-1".into(), "db-1".into()],
            quorum: false,
            members: MemberCounts {
                alive: 3,
                suspect: 1,
                down: 1,
                left: 0,
            },
            holds: vec![],
            groups: vec![
                group("db", GroupKind::Pets, 2, 2),
                group("web", GroupKind::Cattle, 1, 3),
            ],
            machines,
        }),
        decisions: vec![DecisionRow {
            id: 17,
            at: String::new(),
            at_ms: NOW_MS - 3_000,
            leader: "web-1".into(),
            term: 2,
            group: Some("web".into()),
            machine: Some("web-2".into()),
            diagnosis: "gone".into(),
            evidence: vec![],
            checks: vec![],
            outcome: Outcome {
                kind: OutcomeKind::Act,
                action: Some("replace web-2 by web-4".into()),
                op: None,
                rule: None,
                detail: String::new(),
            },
        }],
        note: "muster status --node /tmp/x".into(),
        leave: "q or Ctrl-C stops the fleet".into(),
        ..Snapshot::default()
    };
    for seq in 1..=30 {
        snapshot.push_event(event(seq));
    }
    snapshot
}

fn screen(snapshot: &Snapshot, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
    terminal
        .draw(|frame| render(frame, snapshot, NOW_MS))
        .expect("in memory");
    let buffer = terminal.backend().buffer();
    (0..height)
        .map(|y| {
            (0..width)
                .map(|x| buffer[(x, y)].symbol())
                .collect::<String>()
                .trim_end()
                .to_owned()
        })
        .collect()
}

#[test]
fn everything_is_on_a_small_terminal() {
    let screen = screen(&snapshot(), 80, 24);
    let expected = [
        "muster dev   leader web-1   coordinators web-1 db-1   quorum no",
        "3 alive   1 suspect   1 down   answered by db-2, 240 ms old",
        "GROUP           KIND    RUNNING   STATE         HEALS",
        "db              pets    2/2       converged     auto",
        "web             cattle  1/3       holding       auto",
        "  web holds, quorum: 2 of 5 machines answered; 3 are needed",
        "",
        "MACHINE          GROUP     STATUS       FOR   DIAGNOSIS     HEALTH   ROLE",
        "db-1             db        alive        42s   healthy       ok       coordinator",
        "db-2             db        alive        42s   healthy       ok",
        "web-1            web       alive        42s   healthy       ok       leader",
        "web-2            web       down         42s   gone          ok",
        "web-3            web       suspect      42s   suspected     ok",
        "",
        "DECISIONS",
        "  3s   17 web-2        gone          replace web-2 by web-4",
    ];
    assert_eq!(&screen[..expected.len()], expected, "{screen:#?}");
    assert!(screen[22].ends_with("event number 30"), "{screen:#?}");
    assert_eq!(
        screen[23],
        "q or Ctrl-C stops the fleet   muster status --node /tmp/x"
    );
}

#[test]
fn holds_are_told_in_full_and_only_once() {
    let mut snapshot = snapshot();
    let status = snapshot.status.as_mut().expect("set");
    let hold = Hold {
        rule: "quorum".into(),
        detail: "one of three coordinators answers ".repeat(4),
    };
    status.holds = vec![hold.clone()];
    status.groups[1].holds = vec![hold];
    let screen = screen(&snapshot, 80, 24);
    assert!(
        screen[3].starts_with("  the fleet holds, quorum: one of three"),
        "{screen:#?}"
    );
    assert!(screen[4].starts_with("    "), "it goes on: {screen:#?}");
    let told = screen.join(" ").matches("coordinators answers").count();
    assert_eq!(told, 4, "{screen:#?}");
}

#[test]
fn a_wide_terminal_shows_addresses() {
    let screen = screen(&snapshot(), 120, 40);
    assert!(
        screen.iter().any(|line| line.contains("ADDRESS")),
        "{screen:#?}"
    );
    assert!(
        screen.iter().any(|line| line.ends_with("127.1.2.3:6880")),
        "{screen:#?}"
    );
}

#[test]
fn of_many_machines_those_in_trouble_are_shown() {
    let mut snapshot = snapshot();
    let status = snapshot.status.as_mut().expect("set");
    status.machines = (0..500)
        .map(|index| machine(&format!("web-{index}"), MachineState::Alive, "healthy"))
        .collect();
    status.machines[400] = machine("web-400", MachineState::Down, "gone");
    let screen = screen(&snapshot, 80, 24);
    assert!(
        screen.iter().any(|line| line.starts_with("web-400")),
        "{screen:#?}"
    );
    assert!(
        screen
            .iter()
            .any(|line| line.starts_with("and 49") && line.ends_with("more")),
        "{screen:#?}"
    );
    assert!(screen.iter().any(|line| line == "DECISIONS"), "{screen:#?}");
}

#[test]
fn trouble_and_the_beginning_are_said() {
    let empty = screen(&Snapshot::default(), 80, 24);
    assert_eq!(empty[0], "muster  nobody has answered yet");
    assert_eq!(empty[23], "q quits");
    let lost = Snapshot {
        trouble: Some("the socket is gone".into()),
        ..snapshot()
    };
    assert!(screen(&lost, 80, 24)[1].starts_with("nobody answers: the socket is gone"));
}

#[test]
fn events_are_forgotten_in_time() {
    let mut snapshot = snapshot();
    for seq in 0..10_000 {
        snapshot.push_event(event(seq));
    }
    assert_eq!(snapshot.events.len(), EVENTS_KEPT_MAX);
}

proptest! {
    #[test]
    fn no_size_panics(width in 1..200u16, height in 1..80u16) {
        screen(&snapshot(), width, height);
    }
}
