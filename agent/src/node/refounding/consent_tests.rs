//! The rules one by one.

use super::*;
use crate::node::refounding::ballots::{RosterMark, Stand};

pub(super) const MARK: RosterMark = RosterMark([0; 16]);

pub(super) fn machine(number: u64) -> MachineId {
    MachineId::new(number).expect("above zero")
}

pub(super) fn ballot(generation: u64, leader: u64) -> Ballot {
    Ballot {
        generation,
        term: 0,
        leader: machine(leader),
    }
}

fn situation() -> Situation {
    Situation {
        ours: LogGeneration(1),
        before: None,
        busy_with: None,
        is_elector: true,
        belongs: true,
        orphaned: true,
        given_up: false,
    }
}

#[test]
fn a_later_log_is_promised_to_who_asks_for_itself_and_counts() {
    let asked = ballot(2, 3);
    let objects = |situation: Situation, ballot| objection(&situation, machine(3), ballot);
    assert_eq!(objects(situation(), asked), None);
    let for_itself = Some(Objection::NotForItself);
    assert_eq!(objects(situation(), ballot(2, 4)), for_itself);
    assert_eq!(
        objects(situation(), Ballot { term: 1, ..asked }),
        for_itself
    );
    assert_eq!(
        objects(situation(), ballot(1, 3)),
        Some(Objection::NotLater)
    );
    let unaccounted = Situation {
        is_elector: false,
        ..situation()
    };
    assert_eq!(objects(unaccounted, asked), Some(Objection::Stranger));
    let ordered = ballot(1_000_007, 3);
    assert_eq!(
        objects(unaccounted, ordered),
        None,
        "a person vouches for it"
    );
    let busy_with = |number| Situation {
        busy_with: Some(machine(number)),
        ..situation()
    };
    let busy = Some(Objection::Busy(machine(4)));
    assert_eq!(objects(busy_with(4), asked), busy);
    assert_eq!(objects(busy_with(3), asked), None, "the second round");
}

#[test]
fn who_has_promised_a_later_log_promises_on_when_the_coordinators_return() {
    let objects = |before, ballot| {
        let back = Situation {
            before,
            orphaned: false,
            ..situation()
        };
        objection(&back, machine(3), ballot)
    };
    let asked = ballot(2, 3);
    assert_eq!(objects(None, asked), Some(Objection::NotLost));
    let of_the_old_leader = Some(ballot(1, 1));
    assert_eq!(objects(of_the_old_leader, asked), Some(Objection::NotLost));
    assert_eq!(objects(Some(asked), asked), None, "the second round");
    let came_to_nothing = Some(ballot(2, 4));
    assert_eq!(objects(came_to_nothing, ballot(3, 3)), None);
}

#[test]
fn coordinators_that_are_there_and_have_let_go_hold_nobody() {
    let stand = |given_up| Stand {
        generation: LogGeneration(1),
        at: None,
        promised: None,
        orphaned: false,
        roster: MARK,
        has_key: true,
        recovered: None,
        given_up,
    };
    let there = [1, 2].map(machine);
    let let_go = |stands| have_let_go(LogGeneration(1), (&there, 3), &stands);
    let say = |first, second| {
        let stands = [(there[0], stand(first)), (there[1], stand(second))];
        let_go(Stands::from(stands))
    };
    assert!(!say(false, false));
    assert!(say(true, true));
    assert!(say(true, false), "one of three decides nothing");
    assert!(!let_go(Stands::new()), "no answer");
}
