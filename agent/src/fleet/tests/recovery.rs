//! The log was founded anew by an operator's order: who was not there is unaccounted for.

use std::collections::BTreeSet;

use muster_mesh::consensus::Seat;
use muster_mesh::identity::MachineId;

use super::super::testing::{Fleet, cattle, pets};
use super::super::*;

const LOG: u64 = 1_000_000;

fn order(founder: MachineId, present: &BTreeSet<MachineId>) -> Recovery {
    Recovery {
        by: "alice".into(),
        present: present.clone(),
        proof: Recovered {
            generation: LOG,
            machine: founder,
            signature: vec![1; 70],
        },
    }
}

fn refound(founder: MachineId, recovery: Recovery) -> Command {
    Command::Refound {
        generation: LOG,
        seat: Seat(9),
        machine: founder,
        recovery: Some(Box::new(recovery)),
    }
}

#[test]
fn who_was_not_there_stays_counts_for_nothing_and_counts_again_once_it_is_back() {
    let mut fleet = Fleet::with(&[cattle("web", 4)]);
    let (founder, web) = (fleet.leader, fleet.id("web-1"));
    let present = BTreeSet::from([founder, web]);
    fleet.ok(refound(founder, order(founder, &present)));
    let electors = |fleet: &Fleet| {
        fleet
            .state
            .electors()
            .map(|one| one.id)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(electors(&fleet), present);
    assert_eq!(fleet.state.machines.len(), 5, "all stay on the roster");
    assert_eq!(
        fleet.state.seats.values().copied().collect::<Vec<_>>(),
        [founder]
    );
    let kinds = |fleet: &Fleet, kind| {
        fleet
            .state
            .events
            .iter()
            .filter(|event| event.kind == kind)
            .count()
    };
    assert_eq!(kinds(&fleet, EventKind::Unaccounted), 3);
    let back = fleet.id("web-2");
    fleet.ok(Command::Account { machine: back });
    assert!(electors(&fleet).contains(&back));
    assert_eq!(kinds(&fleet, EventKind::Accounted), 1);
    fleet.refused(Command::Account { machine: back });
    fleet.refused(Command::Account { machine: web });
}

#[test]
fn an_order_that_is_about_another_log_or_without_its_founder_changes_nothing() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let (founder, web) = (fleet.leader, fleet.id("web-1"));
    let all = BTreeSet::from([founder, web]);
    let mut other = order(founder, &all);
    other.proof.generation += 1;
    fleet.refused(refound(founder, other));
    fleet.refused(refound(founder, order(web, &all)));
    fleet.refused(refound(founder, order(founder, &BTreeSet::from([web]))));
    let mut long = order(founder, &all);
    long.proof.signature = vec![1; 73];
    fleet.refused(refound(founder, long));
    assert_eq!(fleet.state.recovered, None);
}

#[test]
fn the_end_of_an_unaccounted_machines_lease_fences_nothing() {
    let terms = LeaseTerms {
        lease_ms: 10_000,
        stop_ms: 3_000,
    };
    let mut spec = pets("db", &["db-1", "db-2"]);
    spec.heal.lease = Some(terms);
    let mut fleet = Fleet::with(&[spec]);
    let (founder, pet) = (fleet.leader, fleet.id("db-1"));
    fleet.ok(Command::BindLease {
        machine: pet,
        terms: Some(terms),
    });
    let successor = fleet.act(fleet.replace(pet, Diagnosis::Unreachable));
    let present = BTreeSet::from([founder, fleet.id("db-2")]);
    fleet.ok(refound(founder, order(founder, &present)));
    let over = fleet.report(successor, StepResult::LeaseOver);
    assert!(matches!(over, Reply::Refused(_)), "{over:?}");
    fleet.ok(Command::Account { machine: pet });
    assert_eq!(fleet.report(successor, StepResult::LeaseOver), Reply::Done);
}
