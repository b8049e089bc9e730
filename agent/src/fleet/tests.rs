//! What commands do to the fleet state, kind by kind.

mod admission;
mod adopting;
mod groups;
mod healing;
mod leases;
mod ledgers;
mod quarantine;
mod records;
mod recovery;
mod reimaging;

use super::testing::{Fleet, START_MS, cattle, found, pets};
use super::*;

#[test]
fn nothing_happens_before_the_fleet_is_founded_and_it_is_founded_once() {
    let mut fleet = Fleet::new();
    let founded = fleet.state.clone();
    assert_eq!(
        fleet.refused(Command::Found(Box::new(found()))),
        Refusal::AlreadyFounded
    );
    assert_eq!(founded.machines.len(), 1);
    assert_eq!(
        founded.seat_of(fleet.leader),
        founded.seats.keys().next().copied()
    );

    fleet.state = FleetState::default();
    let command = Command::TakeSeat {
        machine: fleet.leader,
    };
    assert_eq!(fleet.refused(command), Refusal::NotFounded);
    assert_eq!(fleet.state, FleetState::default());
}

#[test]
fn rubbish_is_refused_and_changes_nothing() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let before = fleet.state.clone();
    for rubbish in [&[][..], &[0], &[1], &[2, 0, 0], &[1; 64], &[255; 3000]] {
        let reply = fleet.state.apply_bytes(rubbish);
        assert!(
            matches!(reply, Reply::Refused(Refusal::Unreadable(_))),
            "{reply:?}"
        );
    }
    assert_eq!(fleet.state, before);
}

#[test]
fn a_clock_that_jumps_back_does_not_take_the_state_along() {
    let mut fleet = Fleet::new();
    fleet.pass(10_000);
    fleet.declare(cattle("web", 1));
    fleet.now_ms = 5;
    fleet.declare(cattle("app", 1));
    assert_eq!(fleet.state.clock_ms, START_MS + 10_000);
    assert_eq!(fleet.state.events.back().unwrap().at_ms, START_MS + 10_000);
}

#[test]
fn a_snapshot_is_the_state() {
    let fleet = Fleet::with(&[cattle("web", 3), pets("db", &["db-1", "db-2"])]);
    let bytes = fleet.state.to_snapshot();
    assert_eq!(FleetState::from_snapshot(&bytes).as_ref(), Ok(&fleet.state));
    assert!(matches!(
        FleetState::from_snapshot(&bytes[..bytes.len() - 1]),
        Err(DecodeError::Damaged { .. })
    ));
    let mut newer = bytes;
    newer[0] = 9;
    assert!(matches!(
        FleetState::from_snapshot(&newer),
        Err(DecodeError::Version { .. })
    ));
}
