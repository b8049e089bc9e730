//! What a leader stamps, by the hour and with clocks that jump.

use super::*;
use crate::fleet::limits::{HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::fleet::testing::{cattle, pets};
use crate::fleet::{Command, MemberStatus, PauseScope, Rule};
use crate::heal::testing::World;
use crate::heal::{self, Plan};

const NOW_MS: u64 = 1_700_000_000_000;
const HOURS: i64 = 2 * HOUR_MS as i64;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_median_of_all_clocks_counts_and_in_doubt_the_earlier_one() {
    assert_eq!(median_ahead([]), 0, "alone");
    assert_eq!(median_ahead([HOURS, HOURS]), HOURS, "two against this one");
    assert_eq!(median_ahead([-HOURS, -HOURS]), -HOURS);
    assert_eq!(median_ahead([HOURS, 3, -2, 5]), 3, "one peer is wrong");
    assert_eq!(
        median_ahead([HOURS]),
        HOURS,
        "one of two, and the other is earlier"
    );
    assert_eq!(median_ahead([-HOURS]), 0, "one of two, and this is earlier");
}

#[test]
fn a_clock_that_is_far_off_is_put_right_and_one_that_is_a_little_is_left() {
    for (ahead_ms, right) in [
        (HOURS, true),
        (-HOURS, true),
        (10_000, false),
        (-10_000, false),
    ] {
        let mut stamp = Stamp::default();
        stamp.begin(Some(ahead_ms));
        let wall_ms = NOW_MS.saturating_add_signed(ahead_ms);
        let expected = if right { NOW_MS } else { wall_ms };
        assert_eq!(
            stamp.now_ms(seconds(1), wall_ms, NOW_MS - 1_000_000),
            expected
        );
        assert_eq!(stamp.right_ms(wall_ms), expected);
    }
}

#[test]
fn time_stands_still_until_it_is_known_and_starts_with_the_wall_clock_where_there_is_no_fleet() {
    let mut stamp = Stamp::default();
    assert_eq!(stamp.now_ms(seconds(1), NOW_MS + HOUR_MS, NOW_MS), NOW_MS);
    assert_eq!(stamp.now_ms(seconds(1), NOW_MS, 0), NOW_MS);
    stamp.measured(HOURS);
    let wall_ms = NOW_MS.saturating_add_signed(HOURS);
    assert_eq!(stamp.now_ms(seconds(2), wall_ms, NOW_MS - 5), NOW_MS);
    stamp.begin(None);
    assert_eq!(stamp.now_ms(seconds(3), wall_ms, NOW_MS), NOW_MS);
}

#[test]
fn a_wall_clock_that_is_set_is_followed_slowly_and_the_state_never_goes_back() {
    let mut stamp = Stamp::default();
    stamp.begin(Some(0));
    assert_eq!(stamp.now_ms(seconds(0), NOW_MS, NOW_MS), NOW_MS);
    // Set two hours ahead, and nobody has measured it yet.
    let set_ms = NOW_MS + 2 * HOUR_MS;
    let later = stamp.now_ms(seconds(60), set_ms + MINUTE_MS, NOW_MS);
    assert_eq!(later, NOW_MS + 63 * SECOND_MS);
    // It was measured: time goes at half its speed until it is right again.
    stamp.measured(HOURS);
    let after = stamp.now_ms(seconds(62), set_ms + 62 * SECOND_MS, later);
    assert_eq!(after, later + SECOND_MS);
    assert_eq!(
        stamp.now_ms(seconds(70), set_ms + 70 * SECOND_MS, after),
        NOW_MS + 70 * SECOND_MS
    );
    // An earlier leader put the state ahead.
    let ahead_ms = NOW_MS + HOUR_MS;
    let stamped = stamp.now_ms(seconds(80), set_ms + 80 * SECOND_MS, ahead_ms);
    assert_eq!(stamped, ahead_ms);
    let next = stamp.now_ms(seconds(90), set_ms + 90 * SECOND_MS, stamped);
    assert_eq!(next, ahead_ms + 5 * SECOND_MS);
}

/// What a leader decides whose clock is ahead by so much, by its stamp.
fn decided(world: &World, ahead_ms: i64) -> Plan {
    let wall_ms = world.now_ms().saturating_add_signed(ahead_ms);
    let mut stamp = Stamp::default();
    stamp.begin(Some(median_ahead([ahead_ms, ahead_ms])));
    let situation = world.situation();
    let by_the_wall = situation.dated_by(wall_ms);
    let now_ms = stamp.now_ms(seconds(1), wall_ms, world.fleet.state.clock_ms);
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
    let mut stamp = Stamp::default();
    stamp.begin(Some(HOURS));
    let wall_ms = world.now_ms() + 2 * HOUR_MS;
    let at_ms = stamp.now_ms(seconds(1), wall_ms, world.fleet.state.clock_ms);
    let (right, wrong) = (left(&world, world.now_ms()), left(&world, wall_ms));
    assert_eq!(left(&world, at_ms), right);
    assert!(wrong > right, "otherwise nothing was put to the test");
}
