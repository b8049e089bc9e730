//! Leases on record: who is bound by which, and what may be done once one is over.

use super::super::testing::{Fleet, group, pets};
use super::super::*;

const TERMS: LeaseTerms = LeaseTerms {
    lease_ms: 10_000,
    stop_ms: 3_000,
};

fn bind(machine: muster_mesh::identity::MachineId, terms: Option<LeaseTerms>) -> Command {
    Command::BindLease { machine, terms }
}

fn fleet() -> Fleet {
    let mut spec = pets("db", &["db-1", "db-2"]);
    spec.heal.lease = Some(TERMS);
    Fleet::with(&[spec])
}

#[test]
fn a_promise_is_of_pets_only_grows_longer_and_ends_only_while_nothing_counts_on_it() {
    let mut fleet = fleet();
    let (pet, cattle) = (fleet.id("db-1"), fleet.leader);
    assert!(matches!(
        fleet.refused(bind(cattle, Some(TERMS))),
        Refusal::WrongPhase { .. }
    ));
    fleet.ok(bind(pet, Some(TERMS)));
    fleet.refused(bind(pet, Some(TERMS)));
    let shorter = LeaseTerms {
        lease_ms: 8_000,
        stop_ms: 4_000,
    };
    fleet.ok(bind(pet, Some(shorter)));
    assert_eq!(
        fleet.state.machines[&pet].lease,
        Some(TERMS.or_longer(shorter))
    );
    for (lease_ms, stop_ms) in [(20_000, 999), (20_000, 17_001)] {
        let senseless = LeaseTerms { lease_ms, stop_ms };
        assert!(matches!(
            fleet.refused(bind(pet, Some(senseless))),
            Refusal::Invalid(_)
        ));
    }
    fleet.act(fleet.replace(pet, Diagnosis::Gone));
    assert!(matches!(
        fleet.refused(bind(pet, None)),
        Refusal::WrongPhase { .. } | Refusal::MachineBusy { .. }
    ));
    let other = fleet.id("db-2");
    fleet.ok(bind(other, Some(TERMS)));
    fleet.ok(bind(other, None));
    assert_eq!(fleet.state.machines[&other].lease, None);
}

#[test]
fn only_who_promised_is_fenced_by_its_lease_and_its_instance_is_left() {
    let mut fleet = fleet();
    let (bound, free) = (fleet.id("db-1"), fleet.id("db-2"));
    fleet.ok(bind(bound, Some(TERMS)));
    let successor = fleet.act(fleet.replace(bound, Diagnosis::Unreachable));
    assert!(fleet.state.is_being_fenced(&fleet.state.machines[&bound]));
    // Leaving it as it is is for what nobody could prove off.
    assert!(matches!(
        fleet.report(successor, StepResult::Kept),
        Reply::Refused(_)
    ));
    assert_eq!(fleet.report(successor, StepResult::LeaseOver), Reply::Done);
    assert!(fleet.state.machines[&bound].condemned);
    let op = fleet.intent_of(successor).op.clone();
    assert_eq!(fleet.state.intents[&op].fenced, Some(Fenced::LeaseOver));
    assert_eq!(fleet.report(successor, StepResult::Kept), Reply::Done);
    assert!(!fleet.state.machines.contains_key(&bound));
    assert!(fleet.state.revoked.contains_key(&bound));
    fleet.made(successor);
    fleet.join(successor);
    assert_eq!(fleet.phase(successor), Some(Phase::Joined));

    let next = fleet.act(fleet.replace(free, Diagnosis::Gone));
    assert!(matches!(
        fleet.report(next, StepResult::LeaseOver),
        Reply::Refused(_)
    ));
    fleet.done(next);
    let op = fleet.intent_of(next).op.clone();
    assert_eq!(fleet.state.intents[&op].fenced, Some(Fenced::Off));
}

#[test]
fn a_pet_that_is_drained_keeps_its_lease_until_that_is_done() {
    let mut fleet = fleet();
    let pet = fleet.id("db-1");
    fleet.ok(bind(pet, Some(TERMS)));
    fleet.ok(Command::DestroyGroup { group: group("db") });
    fleet.act(fleet.retire(pet, Cause::Destroyed));
    assert!(!fleet.state.is_being_fenced(&fleet.state.machines[&pet]));
    fleet.done(pet);
    assert!(fleet.state.is_being_fenced(&fleet.state.machines[&pet]));
}

#[test]
fn whether_a_pet_could_be_fenced_is_said_once() {
    let mut fleet = fleet();
    let pet = fleet.id("db-1");
    let say = |why: Option<&str>| Command::RecordFencing(vec![(pet, why.map(Text::from))]);
    fleet.ok(say(Some("nobody can prove it off")));
    fleet.refused(say(Some("nobody can prove it off")));
    fleet.ok(say(Some("its provisioner does not answer")));
    fleet.ok(say(None));
    let kinds = |kind| {
        fleet
            .state
            .events
            .iter()
            .filter(|event| event.kind == kind)
            .count()
    };
    assert_eq!(kinds(EventKind::NotHealable), 1);
    assert_eq!(kinds(EventKind::Healable), 1);
}
