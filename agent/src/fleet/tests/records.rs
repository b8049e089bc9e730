use muster_mesh::identity::Generation;

use crate::fleet::limits::{DECISIONS_MAX, EVENTS_MAX, INTENTS_ENDED_MAX};
use crate::fleet::testing::{Fleet, addr, cattle, group};
use crate::fleet::*;

#[test]
fn a_hold_is_put_on_record_once_and_cleared_once() {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    let machine = fleet.id("web-1");
    let hold = fleet.hold(machine, Diagnosis::Unreachable, Rule::Quorum);
    fleet.ok(Command::Decide(vec![hold.clone()]));
    let length = fleet.state.to_snapshot().len();
    assert!(matches!(
        fleet.refused(Command::Decide(vec![hold.clone()])),
        Refusal::Unchanged(_)
    ));
    assert_eq!(fleet.state.to_snapshot().len(), length);
    let other = fleet.hold(machine, Diagnosis::Unreachable, Rule::Budget);
    fleet.ok(Command::Decide(vec![other]));
    assert_eq!(fleet.held(&group("web")), [Rule::Budget]);

    let clear = Proposal {
        cause: fleet.diagnosed(Diagnosis::Healthy),
        checks: Vec::new(),
        outcome: Outcome::Clear,
        ..hold
    };
    fleet.ok(Command::Decide(vec![clear.clone()]));
    assert!(fleet.state.concerns.is_empty());
    assert!(matches!(
        fleet.refused(Command::Decide(vec![clear])),
        Refusal::Stale(_)
    ));
}

#[test]
fn a_batch_is_taken_decision_by_decision() {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    let (one, two) = (fleet.id("web-1"), fleet.id("web-2"));
    let hold = fleet.hold(one, Diagnosis::Slow, Rule::Evidence);
    let batch = vec![
        hold.clone(),
        hold,
        fleet.hold(two, Diagnosis::Slow, Rule::Evidence),
    ];
    let Reply::Decided(results) = fleet.ok(Command::Decide(batch)) else {
        panic!("refused")
    };
    assert_eq!(
        results.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, false, true]
    );
}

#[test]
fn everything_that_is_remembered_is_bounded() {
    let mut fleet = Fleet::with(&[cattle("web", 1)]);
    let machine = fleet.id("web-1");
    let standing = fleet.hold(machine, Diagnosis::Unreachable, Rule::Budget);
    fleet.ok(Command::Decide(vec![standing]));
    let kept = fleet.state.concern(machine).unwrap().decision;
    let seed = fleet.id("seed-1");
    for round in 0..EVENTS_MAX + 10 {
        let rule = if round % 2 == 0 {
            Rule::Evidence
        } else {
            Rule::Settled
        };
        let hold = fleet.hold(seed, Diagnosis::Slow, rule);
        fleet.ok(Command::Decide(vec![hold]));
    }
    assert_eq!(fleet.state.events.len(), EVENTS_MAX);
    assert_eq!(fleet.state.decisions.len(), DECISIONS_MAX);
    assert!(
        fleet.state.decision(kept).is_some(),
        "what still stands is kept"
    );

    for _ in 0..INTENTS_ENDED_MAX + 10 {
        let old = fleet.state.group_machines(&group("web")).next().unwrap().id;
        fleet.ok(Command::Forget { machine: old });
        fleet.fill(&group("web"));
    }
    assert_eq!(fleet.state.intents.len(), INTENTS_ENDED_MAX);
}

#[test]
fn what_was_decided_of_a_machine_outlives_it() {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    let old = fleet.id("web-2");
    let new = fleet.act(fleet.replace(old, Diagnosis::Gone));
    fleet.done(new);
    assert_eq!(fleet.phase(old), None);
    let decisions = fleet.decisions_on("web-2");
    assert_eq!(
        decisions[0].proposal.cause.diagnosis(),
        Some(Diagnosis::Gone)
    );
    let id = decisions[0].id;
    let mut ordered = fleet
        .state
        .intents
        .values()
        .filter(|intent| intent.decision == id);
    assert!(ordered.next().is_some());
    let caused = fleet
        .state
        .events
        .iter()
        .filter(|event| event.decision == Some(id));
    let kinds: Vec<_> = caused.map(|event| event.kind).collect();
    assert!(kinds.contains(&EventKind::Replacing) && kinds.contains(&EventKind::Destroyed));
}

#[test]
fn machines_leave_return_move_and_are_forgotten() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let machine = fleet.id("web-1");
    let life = Generation(1);
    fleet.ok(Command::MachineLeft { machine, life });
    assert_eq!(fleet.state.existing(&group("web")), 1);
    assert_eq!(fleet.state.electors().count(), 2);
    assert!(matches!(
        fleet.refused(Command::MachineLeft { machine, life }),
        Refusal::WrongPhase { .. }
    ));
    fleet.ok(Command::MachineReturned { machine });
    assert_eq!(fleet.state.existing(&group("web")), 2);
    fleet.ok(Command::RecordAddress {
        machine,
        addr: addr(77),
    });
    assert_eq!(fleet.state.machines[&machine].addr, Some(addr(77)));

    let new = fleet.act(fleet.replace(machine, Diagnosis::Gone));
    assert!(matches!(
        fleet.refused(Command::Forget { machine }),
        Refusal::MachineBusy { .. }
    ));
    fleet.done(new);
    assert!(matches!(
        fleet.refused(Command::Forget { machine }),
        Refusal::NoMachine(_)
    ));
}

#[test]
fn what_somebody_still_gets_an_answer_from_is_not_forgotten() {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    let machine = fleet.id("web-1");
    let forget = Command::Forget { machine };
    let slow = fleet.hold(machine, Diagnosis::Partitioned, Rule::Evidence);
    fleet.ok(Command::Decide(vec![slow]));
    let refusal = fleet.refused(forget.clone());
    assert!(
        matches!(&refusal, Refusal::Held { rule: Rule::Evidence, detail } if detail.contains("muster revoke web-1")),
        "{refusal:?}"
    );
    let silent = fleet.hold(machine, Diagnosis::Unreachable, Rule::Budget);
    fleet.ok(Command::Decide(vec![silent]));
    fleet.clone().ok(forget.clone());
    let slow = fleet.hold(machine, Diagnosis::Slow, Rule::Evidence);
    fleet.ok(Command::Decide(vec![slow]));
    fleet.refused(forget.clone());
    fleet.ok(Command::RevokeMachine { machine });
    fleet.ok(forget);
    assert!(!fleet.state.machines.contains_key(&machine));
}
