use muster_mesh::identity::MachineId;

use super::super::limits::{HOUR_MS, MINUTE_MS, RUNG_ATTEMPTS_MAX};
use super::super::testing::{Fleet, cattle, group, instance, pets};
use super::super::*;

/// A machine that is to be reimaged: it, its successor, and the operation.
fn begun(fleet: &mut Fleet, name: &str) -> (MachineId, MachineId, OperationId) {
    let old = fleet.id(name);
    let proposal = fleet.reimage(old, Diagnosis::AgentDown);
    let new = fleet.act(proposal);
    (old, new, fleet.intent_of(new).op.clone())
}

fn its_instance(fleet: &Fleet, id: MachineId) -> Instance {
    fleet.state.machines[&id].instance.clone().unwrap()
}

#[test]
fn another_machine_comes_of_it_on_the_same_instance_and_in_the_same_place() {
    for spec in [cattle("web", 2), pets("web", &["web-1", "web-2"])] {
        let mut fleet = Fleet::with(&[spec]);
        let (old, new, op) = begun(&mut fleet, "web-1");
        let was = fleet.state.machines[&old].clone();
        assert_eq!(fleet.phase(old), Some(Phase::Retiring));
        assert!(!was.condemned, "it may turn out that it can't be done");
        let held = its_instance(&fleet, old);
        fleet.report(new, StepResult::Provisioned(held.clone()));
        assert!(!fleet.state.machines.contains_key(&old));
        assert!(
            fleet.state.revoked.contains_key(&old),
            "it is refused from now on"
        );
        let machine = &fleet.state.machines[&new];
        assert_eq!(machine.instance, Some(held));
        assert_eq!(machine.name, was.name);
        assert_eq!(
            machine.place.as_ref().map(|place| &place.member),
            was.place.as_ref().map(|place| &place.member)
        );
        assert_ne!(machine.order, was.order);
        fleet.join(new);
        assert!(matches!(
            fleet.state.intents[&op].state,
            IntentState::Done { .. }
        ));
        let last = fleet.state.machines[&new].treatments.last.back().copied();
        assert_eq!(
            last.map(|last| (last.rung, last.helped)),
            Some((Rung::Reimage, true))
        );
        assert_eq!(fleet.state.existing(&group("web")), 2);
    }
}

#[test]
fn the_new_machine_may_come_before_anybody_could_say_that_it_was_made() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let (old, new, op) = begun(&mut fleet, "web-1");
    let held = its_instance(&fleet, old);
    fleet.join(new);
    assert!(!fleet.state.machines.contains_key(&old));
    assert_eq!(its_instance(&fleet, new), held);
    assert!(matches!(
        fleet.state.intents[&op].state,
        IntentState::Done { .. }
    ));
    // Whoever led before says so now.
    let late = fleet.apply(Command::Progress(Progress {
        op,
        step: Step::Reimage,
        attempt: 0,
        result: StepResult::Provisioned(held),
    }));
    assert!(matches!(late, Reply::Refused(_)), "{late:?}");
}

#[test]
fn one_that_can_not_be_done_leaves_the_machine_as_it_was_and_is_remembered() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let (old, new, op) = begun(&mut fleet, "web-1");
    for _ in 0..RUNG_ATTEMPTS_MAX {
        let (error, retry_ms) = ("no answer".into(), 0);
        fleet.report(new, StepResult::Error { error, retry_ms });
    }
    assert!(matches!(
        fleet.state.intents[&op].state,
        IntentState::Failed { .. }
    ));
    assert!(!fleet.state.machines.contains_key(&new));
    assert_eq!(fleet.phase(old), Some(Phase::Joined));
    let machine = &fleet.state.machines[&old];
    assert_eq!((machine.intent.as_ref(), machine.condemned), (None, false));
    assert!(
        machine
            .treatments
            .spent(Rung::Reimage, fleet.now_ms)
            .is_some()
    );
    let failures = &fleet.state.groups[&group("web")].failures;
    assert!(failures.is_empty(), "the next rung follows without a wait");
    let again = fleet.reimage(old, Diagnosis::AgentDown);
    let refused = fleet.refused(Command::Decide(vec![again]));
    assert!(
        matches!(
            refused,
            Refusal::Held {
                rule: Rule::Ladder,
                ..
            }
        ),
        "{refused}"
    );
    fleet.pass(HOUR_MS);
    let later = fleet.reimage(old, Diagnosis::AgentDown);
    fleet.act(later);
}

#[test]
fn one_that_never_comes_up_is_lost_and_that_is_remembered() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let (old, new, _) = begun(&mut fleet, "web-1");
    let held = its_instance(&fleet, old);
    fleet.report(new, StepResult::Provisioned(held));
    fleet.pass(MINUTE_MS);
    let error = "it did not join".into();
    fleet.report(new, StepResult::GiveUp { error });
    assert!(matches!(fleet.phase(new), Some(Phase::Lost { .. })));
    let treatments = &fleet.state.machines[&new].treatments;
    assert!(treatments.spent(Rung::Reimage, fleet.now_ms).is_some());
    fleet.act(fleet.replace(new, Diagnosis::NeverJoined));
}

#[test]
fn it_stays_on_its_instance_and_keeps_its_place() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let old = fleet.id("web-1");
    let refused = |fleet: &mut Fleet, proposal| fleet.refused(Command::Decide(vec![proposal]));
    let wrong = fleet.reimage(old, Diagnosis::Slow);
    assert!(matches!(
        refused(&mut fleet, wrong),
        Refusal::WrongPhase { .. }
    ));
    let other = fleet.id("web-2");
    let mut elsewhere = fleet.reimage(old, Diagnosis::AgentDown);
    elsewhere.subject = Subject::Machine(other);
    assert!(matches!(
        refused(&mut fleet, elsewhere),
        Refusal::Invalid(_)
    ));
    let (_, new, _) = begun(&mut fleet, "web-1");
    let reply = fleet.report(new, StepResult::Provisioned(instance("another")));
    assert!(
        matches!(reply, Reply::Refused(Refusal::Invalid(_))),
        "{reply:?}"
    );
    let reply = fleet.report(new, StepResult::Done);
    assert!(
        matches!(reply, Reply::Refused(Refusal::Invalid(_))),
        "{reply:?}"
    );
    assert_eq!(fleet.phase(old), Some(Phase::Retiring));
}

#[test]
fn one_whose_instance_nobody_knows_is_not_reimaged() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let old = fleet.id("web-1");
    fleet.state.machines.get_mut(&old).unwrap().instance = None;
    let proposal = fleet.reimage(old, Diagnosis::AgentDown);
    let refused = fleet.refused(Command::Decide(vec![proposal]));
    assert!(refused.to_string().contains("what it runs on"), "{refused}");
}

#[test]
fn one_that_has_begun_is_given_its_time_whatever_becomes_of_each_call() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let (old, new, op) = begun(&mut fleet, "web-1");
    let unknown = || StepResult::Unknown {
        error: "no answer in time".into(),
        retry_ms: 0,
    };
    fleet.report(new, StepResult::Begun);
    for _ in 0..29 {
        fleet.pass(MINUTE_MS);
        assert_eq!(fleet.report(new, unknown()), Reply::Done);
    }
    assert!(fleet.state.intents[&op].is_open());
    // Another call that did nothing does not undo the first.
    let error = "busy".into();
    fleet.report(new, StepResult::Error { error, retry_ms: 0 });
    let record = fleet.state.intents[&op].current().unwrap();
    assert_eq!(record.begun.map(|begun| begun.attempt), Some(0));
    fleet.pass(MINUTE_MS);
    fleet.report(new, unknown());
    assert!(!fleet.state.intents[&op].is_open(), "30 min are over");
    assert_eq!(fleet.phase(old), Some(Phase::Joined));
}

#[test]
fn what_ends_no_machine_is_not_put_on_record_as_begun() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let old = fleet.id("web-1");
    fleet.act(fleet.treat(old, Rung::Reboot, Diagnosis::AgentDown));
    let reply = fleet.report(old, StepResult::Begun);
    assert!(
        matches!(reply, Reply::Refused(Refusal::Invalid(_))),
        "{reply:?}"
    );
}
