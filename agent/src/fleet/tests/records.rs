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
    let view = fleet
        .state
        .group_view(&group("web"), fleet.now_ms, |_| true)
        .unwrap();
    assert_eq!(view.state, GroupState::Holding);
    assert_eq!(
        view.holds.iter().map(|hold| hold.rule).collect::<Vec<_>>(),
        [Rule::Budget]
    );

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
    let standing = fleet.hold(machine, Diagnosis::Slow, Rule::Evidence);
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
fn a_machine_is_explained_after_it_is_gone() {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    let old = fleet.id("web-2");
    let new = fleet.act(fleet.replace(old, Diagnosis::Gone));
    fleet.done(new);
    let explanation = fleet.state.explain_machine("web-2");
    assert_eq!(explanation.machine, None);
    let causes: Vec<_> = explanation
        .decisions
        .iter()
        .map(|d| d.proposal.cause.diagnosis())
        .collect();
    assert_eq!(causes, [Some(Diagnosis::Gone), None]);
    let kinds: Vec<_> = explanation.events.iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&EventKind::Replacing) && kinds.contains(&EventKind::Destroyed));

    let of_new = fleet.state.explain_machine("web-4");
    assert_eq!(of_new.decisions.len(), 1, "the decision that ordered it");
    let id = of_new.decisions[0].id;
    let decision = fleet.state.explain_decision(id).unwrap();
    assert_eq!(decision.intents.len(), 1);
    assert!(
        decision
            .events
            .iter()
            .any(|event| event.kind == EventKind::Destroyed)
    );
}

#[test]
fn machines_leave_return_move_and_are_forgotten() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let machine = fleet.id("web-1");
    fleet.ok(Command::MachineLeft { machine });
    assert_eq!(fleet.state.existing(&group("web")), 1);
    assert_eq!(fleet.state.electors().count(), 2);
    assert!(matches!(
        fleet.refused(Command::MachineLeft { machine }),
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
