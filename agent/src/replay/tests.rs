//! Decisions that are made again.

use super::*;
use crate::fleet::HealMode;
use crate::fleet::testing::cattle;
use crate::heal::testing::World;

/// A machine is silent for 4 s, and grace holds.
fn held() -> Recorded {
    let mut world = World::new(&[cattle("web", 5)]);
    world.silence("web-2");
    world.pass(4_000);
    let situation = world.situation();
    let plan = decide(&world.fleet.state, &situation);
    let bytes = record(&world.fleet.state, &situation, &plan).expect("something was decided");
    Recorded::decode(&bytes).expect("our own")
}

fn change(text: &str) -> Change {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_same_rules_decide_the_same_bytes() {
    let recorded = held();
    let again = recorded.again();
    assert!(again.same && again.differences.is_empty(), "{again:?}");
    let proposals = recorded.proposals();
    assert!(
        matches!(proposals[0].outcome, Outcome::Hold { .. }),
        "{proposals:?}"
    );
    assert_eq!(recorded.name(&proposals[0].subject), "web-2");
}

#[test]
fn other_rules_decide_otherwise_and_the_difference_is_told() {
    let recorded = held();
    let again = recorded.with(&[change("grace=3s")]);
    assert!(!again.same);
    assert_eq!(again.differences.len(), 1, "{again:?}");
    assert!(matches!(
        again.differences[0].was,
        Some(Outcome::Hold { .. })
    ));
    assert!(
        matches!(again.differences[0].is, Some(Outcome::Act { .. })),
        "{again:?}"
    );
    let watched = recorded.with(&[change("grace=3s"), change("web.mode=observe")]);
    assert!(
        matches!(watched.differences[0].is, Some(Outcome::Observe { .. })),
        "{watched:?}"
    );
    // Another group's rule changes nothing.
    assert!(recorded.with(&[change("db.grace=3s")]).same);
    assert_eq!(recorded.state.groups["web"].spec.heal.mode, HealMode::Auto);
}

#[test]
fn where_nothing_is_decided_nothing_is_recorded() {
    let world = World::new(&[cattle("web", 3)]);
    let situation = world.situation();
    let plan = decide(&world.fleet.state, &situation);
    assert_eq!(record(&world.fleet.state, &situation, &plan), None);
}

#[test]
fn changes_that_make_no_sense_are_refused_with_what_does() {
    for text in [
        "budget",
        "budget=many",
        "grace=soon",
        "mode=on",
        "colour=red",
        "Web.mode=auto",
    ] {
        let error = text.parse::<Change>().expect_err(text);
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn damaged_records_are_refused() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.kill("web-2");
    let situation = world.situation();
    let plan = decide(&world.fleet.state, &situation);
    let bytes = record(&world.fleet.state, &situation, &plan).expect("something was decided");
    for length in (0..bytes.len()).step_by(97) {
        assert!(Recorded::decode(&bytes[..length]).is_err());
    }
    assert!(Recorded::decode(&[&bytes[..], &[0]].concat()).is_err());
    for at in (0..bytes.len()).step_by(31) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        if let Ok(recorded) = Recorded::decode(&damaged) {
            let _ = recorded.again();
        }
    }
}
