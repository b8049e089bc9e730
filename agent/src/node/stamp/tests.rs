//! What a leader stamps, by the hour and with clocks that jump.

use super::*;
use crate::fleet::limits::{HOUR_MS, SECOND_MS};
use crate::fleet::testing::{cattle, pets};
use crate::fleet::{Command, MemberStatus, PauseScope, Rule};
use crate::heal::testing::World;
use crate::heal::{self, Plan};

const NOW_MS: u64 = 1_700_000_000_000;
const HOURS: i64 = 2 * HOUR_MS as i64;

/// When the machines of these tests booted by the right time.
const BOOTED_MS: i64 = NOW_MS as i64 - 1_000_000;

/// What has passed since the boot, so much after [`NOW_MS`].
fn after(passed_ms: u64) -> Duration {
    Duration::from_millis(1_000_000 + passed_ms)
}

/// The clock of a leader that knows the right time.
fn right_stamp() -> Stamp {
    let mut stamp = Stamp::default();
    stamp.measured(BOOTED_MS);
    stamp
}

#[test]
fn the_median_of_all_clocks_counts_and_in_doubt_the_earlier_one() {
    let booted = |peers: &[i64]| {
        let peers = peers.iter().map(|ahead_ms| BOOTED_MS - ahead_ms);
        BOOTED_MS - right_boot_ms(BOOTED_MS, peers)
    };
    assert_eq!(booted(&[]), 0, "alone");
    assert_eq!(booted(&[HOURS, HOURS]), HOURS, "two against this one");
    assert_eq!(booted(&[-HOURS, -HOURS]), -HOURS);
    assert_eq!(booted(&[HOURS, 3, -2, 5]), 0, "one peer is wrong");
    assert_eq!(booted(&[HOURS]), HOURS, "the other of two is earlier");
    assert_eq!(booted(&[-HOURS]), 0, "of two this one is earlier");
    assert_eq!(booted(&[5_000; 2]), 0, "a little is left as it is");
    assert_eq!(booted(&[5_001; 2]), 5_001);
    assert_eq!(booted(&[-5_001; 2]), -5_001);
}

#[test]
fn time_goes_on_from_the_states_until_it_is_known_and_starts_with_the_wall_clock_where_there_is_no_fleet()
 {
    let mut stamp = Stamp::default();
    let wall_ms = NOW_MS + HOUR_MS;
    assert_eq!(stamp.now_ms(after(0), NOW_MS, 0), NOW_MS);
    // Nobody led for an hour, and nobody says what time it is now.
    let state_ms = NOW_MS - HOUR_MS;
    assert_eq!(stamp.now_ms(after(0), wall_ms, state_ms), state_ms);
    let later_ms = state_ms + 9_000;
    assert_eq!(stamp.now_ms(after(9_000), wall_ms, state_ms), later_ms);
    stamp.measured(BOOTED_MS);
    assert_eq!(
        stamp.now_ms(after(9_001), wall_ms, later_ms),
        NOW_MS + 9_001
    );
    stamp.begin();
    assert!(stamp.knows(), "what was measured holds in the next reign");
    assert_eq!(
        stamp.now_ms(after(9_002), wall_ms, state_ms),
        NOW_MS + 9_002
    );
}

#[test]
fn a_wall_clock_that_is_set_changes_nothing() {
    let mut stamp = right_stamp();
    for (passed_ms, wall_ms) in [(0, NOW_MS), (60_000, NOW_MS + HOUR_MS), (61_000, 5)] {
        assert_eq!(
            stamp.now_ms(after(passed_ms), wall_ms, NOW_MS),
            NOW_MS + passed_ms
        );
        assert_eq!(
            stamp.right_ms(after(passed_ms), wall_ms),
            NOW_MS + passed_ms
        );
    }
}

#[test]
fn what_is_measured_later_is_followed_slowly_and_the_state_never_goes_back() {
    let mut stamp = right_stamp();
    assert_eq!(stamp.now_ms(after(0), NOW_MS, NOW_MS), NOW_MS);
    stamp.measured(BOOTED_MS + HOURS);
    let later = stamp.now_ms(after(60_000), NOW_MS, NOW_MS);
    assert_eq!(later, NOW_MS + 63 * SECOND_MS);
    stamp.measured(BOOTED_MS);
    let slower = stamp.now_ms(after(62_000), NOW_MS, later);
    assert_eq!(slower, later + SECOND_MS);
    let right = stamp.now_ms(after(70_000), NOW_MS, slower);
    assert_eq!(right, NOW_MS + 70 * SECOND_MS);
    // An earlier leader put the state ahead.
    let ahead_ms = NOW_MS + HOUR_MS;
    let stamped = stamp.now_ms(after(80_000), NOW_MS, ahead_ms);
    assert_eq!(stamped, ahead_ms);
    let next = stamp.now_ms(after(90_000), NOW_MS, stamped);
    assert_eq!(next, ahead_ms + 5 * SECOND_MS);
}

#[test]
fn how_often_it_is_asked_makes_time_neither_faster_nor_slower() {
    for (off_ms, expected_ms) in [(HOURS, 63_000), (-HOURS, 30_000)] {
        let mut stamp = right_stamp();
        stamp.now_ms(after(0), NOW_MS, NOW_MS);
        stamp.measured(BOOTED_MS + off_ms);
        let mut now_ms = 0;
        for passed_ms in 1..=60_000 {
            now_ms = stamp.now_ms(after(passed_ms), NOW_MS, NOW_MS);
        }
        assert_eq!(now_ms - NOW_MS, expected_ms, "{off_ms}");
    }
}

/// The clock of a leader whose wall clock shows `wall_ms`, when two peers' are right.
fn put_right(world: &World, wall_ms: u64) -> Stamp {
    let booted = |now_ms: u64| now_ms as i64 - 1_000_000;
    let peers = [booted(world.now_ms()); 2];
    let mut stamp = Stamp::default();
    stamp.measured(right_boot_ms(booted(wall_ms), peers));
    stamp
}

/// What a leader decides whose clock is ahead by so much, by its stamp.
fn decided(world: &World, ahead_ms: i64) -> Plan {
    let wall_ms = world.now_ms().saturating_add_signed(ahead_ms);
    let mut stamp = put_right(world, wall_ms);
    let situation = world.situation();
    let by_the_wall = situation.dated_by(wall_ms);
    let now_ms = stamp.now_ms(after(0), wall_ms, world.fleet.state.clock_ms);
    heal::decide(&world.fleet.state, &by_the_wall.dated_by(now_ms))
}

#[test]
fn a_leader_whose_clock_is_hours_off_ends_no_pause_and_skips_no_grace() {
    let mut world = World::new(&[cattle("web", 3), pets("db", &["db-1"])]);
    let until_ms = Some(world.now_ms() + HOUR_MS);
    world.fleet.ok(Command::Pause {
        scope: PauseScope::Fleet,
        name: None,
        reason: "works".into(),
        until_ms,
    });
    let id = world.silence("web-1");
    world.pass(SECOND_MS);
    for ahead_ms in [HOURS, -HOURS, 0] {
        let plan = decided(&world, ahead_ms);
        assert_eq!(plan, decided(&world, 0), "{ahead_ms}");
        let acts = plan.proposals.iter().any(|one| one.order.is_some());
        assert!(!acts, "{plan:#?}");
    }
    world.settle();
    assert_eq!(world.held(id).map(|held| held.0), Some(Rule::Paused));
    world.fleet.ok(Command::Resume {
        scope: PauseScope::Fleet,
    });
    world.see(id, MemberStatus::Down);
    for ahead_ms in [HOURS, -HOURS, 0] {
        let acts = decided(&world, ahead_ms).proposals;
        let acts = acts.iter().any(|one| one.order.is_some());
        assert!(!acts, "it has been silent for a moment only");
    }
}

#[test]
fn a_budget_is_not_refilled_by_a_leader_whose_clock_is_hours_ahead() {
    let mut world = World::new(&[cattle("web", 9)]);
    for name in ["web-1", "web-2", "web-3"] {
        world.kill(name);
        world.pass(10 * SECOND_MS);
        world.heal();
    }
    let left = |world: &World, now_ms: u64| {
        let group = world.fleet.state.groups.values().next().expect("one group");
        group.bucket.tokens(group.per_hour(), now_ms)
    };
    let wall_ms = world.now_ms() + 2 * HOUR_MS;
    let mut stamp = put_right(&world, wall_ms);
    let at_ms = stamp.now_ms(after(0), wall_ms, world.fleet.state.clock_ms);
    let (right, wrong) = (left(&world, world.now_ms()), left(&world, wall_ms));
    assert_eq!(left(&world, at_ms), right);
    assert!(wrong > right, "otherwise nothing was put to the test");
}
