use std::collections::BTreeSet;

use super::pausing::pause;
use crate::fleet::limits::{HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::fleet::testing::{cattle, group, pets};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::{DETECTION_MS, MOVING_MS, PROOF_STANDS_MS, RETURN_MS, STOOD_MS};

#[test]
fn without_the_coordinators_quorum_nothing_is_done() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.quorum_confirmed = false;
    let id = world.kill("web-1");
    world.settle();
    world.assert_held(
        id,
        Rule::Quorum,
        "1 of 3 coordinators answered; 2 are needed",
    );
}

#[test]
fn where_another_leader_may_act_it_does_not_count_how_many_stand_behind_this_one() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.rivalled = true;
    let id = world.kill("web-1");
    world.settle();
    world.assert_held(
        id,
        Rule::Quorum,
        "a machine has promised another leader, or speaks of a later log that may act",
    );
    world.rivalled = false;
    world.settle();
    let mut open = world.fleet.state.open_intents();
    assert!(open.next().is_some(), "there was nothing to it");
}

#[test]
fn a_minority_holds_and_heals_when_enough_return() {
    let mut world = World::new(&[cattle("web", 4)]);
    let silent = ["web-1", "web-2", "web-3"].map(|name| world.silence(name));
    world.pass(HOUR_MS);
    world.settle();
    world.assert_held(
        silent[0],
        Rule::Quorum,
        "2 of 5 machines answered; 3 are needed",
    );
    world.revive(silent[2]);
    world.pass(MOVING_MS);
    world.settle();
    assert!(world.replacing(silent[0]));
    assert_eq!(world.held(silent[1]).map(|held| held.0), Some(Rule::Budget));
    assert_eq!(
        world.concern(silent[2]),
        None,
        "what is well again is cleared"
    );
}

#[test]
fn proofs_count_only_once_they_have_stood_when_most_machines_vanish_at_once() {
    let mut world = World::new(&[cattle("web", 4)]);
    let gone = ["web-1", "web-2", "web-3"].map(|name| world.kill(name));
    world.pass(2 * SECOND_MS);
    world.settle();
    world.assert_held(gone[0], Rule::Quorum, "until then they may return");
    let until_ms = world
        .concern(gone[0])
        .and_then(|concern| concern.outcome.until_ms());
    assert_eq!(until_ms, Some(world.now_ms() + 58 * SECOND_MS));
    world.pass(PROOF_STANDS_MS - 3 * SECOND_MS);
    world.settle();
    world.assert_held(
        gone[0],
        Rule::Quorum,
        "2 of 5 machines answered; 3 are needed",
    );
    world.pass(SECOND_MS);
    world.settle();
    let replaced = gone.iter().filter(|id| world.replacing(**id)).count();
    assert_eq!(replaced, 1, "one at once is the budget");
    world.heal();
    assert_eq!(world.running("web").len(), 4);
}

#[test]
fn who_has_just_answered_is_not_proved_gone() {
    let mut world = World::new(&[cattle("web", 4)]);
    for name in ["web-1", "web-2", "web-3"] {
        world.silence(name);
    }
    // A provider that lies about machines that answer must not shrink the roster.
    for id in world.alive() {
        world.proven_gone.insert(id, 0);
    }
    world.pass(HOUR_MS);
    world.settle();
    let id = world.id("web-1");
    world.assert_held(id, Rule::Quorum, "2 of 5");
}

#[test]
fn who_has_only_begun_to_watch_settles_first() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.begin_anew();
    let id = world.kill("web-1");
    world.pass(DETECTION_MS - 1);
    world.settle();
    world.assert_held(id, Rule::Settled, "has only begun to watch");
    assert_eq!(world.look().next_look_ms, Some(world.now_ms() + 1));
    world.pass(1);
    world.settle();
    assert!(world.replacing(id));
}

#[test]
fn what_a_leader_watched_before_it_led_counts() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.kill("web-1");
    world.pass(1);
    world.leader_since_ms = world.now_ms();
    world.settle();
    assert!(world.replacing(id));

    // And one that slept while it led settles again.
    let mut world = World::new(&[cattle("web", 3)]);
    world.watching_since_ms = world.now_ms();
    let id = world.kill("web-1");
    world.settle();
    world.assert_held(id, Rule::Settled, "has only begun to watch");
}

#[test]
fn settling_again_is_no_news_about_a_machine_that_is_held_anyway() {
    let mut world = World::new(&[cattle("web", 4)]);
    world.kill("web-1");
    world.pass(MOVING_MS);
    let second = world.kill("web-2");
    world.pass(MOVING_MS);
    world.settle();
    world.assert_held(second, Rule::Budget, "1 of 1 at once");
    let decisions = world.fleet.state.decisions.len();
    world.begin_anew();
    world.settle();
    assert_eq!(world.fleet.state.decisions.len(), decisions);
}

#[test]
fn several_failures_at_one_moment_are_watched_for_a_moment() {
    let mut world = World::new(&[cattle("web", 7)]);
    let id = world.kill("web-1");
    world.kill("web-2");
    world.settle();
    world.assert_held(id, Rule::Settled, "2 machines fell silent");
    world.pass(MOVING_MS);
    world.settle();
    assert!(world.replacing(id));
}

#[test]
fn after_a_change_of_leadership_a_crowd_that_is_missing_may_return() {
    let mut world = World::new(&[cattle("web", 9)]);
    world.begin_anew();
    let missing = ["web-1", "web-2", "web-3", "web-4"].map(|name| world.kill(name));
    world.pass(DETECTION_MS);
    world.settle();
    world.assert_held(missing[0], Rule::Settled, "4 of 10 machines are missing");
    for id in &missing[1..] {
        world.revive(*id);
    }
    world.pass(MOVING_MS);
    world.settle();
    assert!(world.replacing(missing[0]));

    for id in &missing[1..] {
        world.see(*id, MemberStatus::Down);
        world.say(*id, ProviderWord::Stopped);
    }
    world.pass(RETURN_MS);
    world.settle();
    assert_eq!(
        world.held(missing[1]).map(|held| held.0),
        Some(Rule::Budget)
    );
}

#[test]
fn the_old_leader_is_no_crowd_where_the_others_were_there_all_the_time() {
    // Of five machines two are missing: a machine, and who led before.
    let missing = |stood_ms: u64| {
        let mut world = World::new(&[cattle("web", 4)]);
        let present: Vec<_> = world.alive().into_iter().collect();
        for id in present {
            world.see(id, MemberStatus::Alive);
        }
        world.pass(stood_ms);
        world.leader_since_ms = world.now_ms();
        let ids = ["web-1", "web-2"].map(|name| world.kill(name));
        world.pass(DETECTION_MS);
        world.settle();
        (world, ids)
    };
    let (world, ids) = missing(STOOD_MS);
    assert!(
        ids.iter().any(|id| world.replacing(*id)),
        "{:?}",
        world.held(ids[0])
    );
    let (world, ids) = missing(STOOD_MS - 1);
    world.assert_held(ids[0], Rule::Settled, "2 of 5 machines are missing");
}

#[test]
fn mere_silence_is_waited_out() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.silence("web-1");
    world.pass(3 * SECOND_MS);
    world.settle();
    world.assert_held(
        id,
        Rule::Grace,
        "it has been silent, and that is waited out for 5 s",
    );
    world.pass(2 * SECOND_MS);
    world.settle();
    assert!(world.replacing(id));
}

#[test]
fn a_silence_that_takes_several_at_a_time_is_given_longer() {
    let mut world = World::new(&[cattle("web", 40)]);
    let first = world.silence("web-1");
    world.pass(4 * SECOND_MS);
    world.silence("web-2");
    let last = world.silence("web-3");
    world.pass(7 * SECOND_MS);
    world.settle();
    world.assert_held(
        first,
        Rule::Grace,
        "it has been silent, and that is waited out for 12 s",
    );
    world.pass(SECOND_MS);
    world.settle();
    assert!(world.replacing(first));
    world.assert_held(last, Rule::Correlation, "one event");

    // Two may fall silent together by chance, and one long before is another matter.
    let mut world = World::new(&[cattle("web", 40)]);
    world.silence("web-1");
    world.pass(11 * SECOND_MS);
    let two = ["web-2", "web-3"].map(|name| world.silence(name));
    world.pass(5 * SECOND_MS);
    world.settle();
    assert!(
        two.iter()
            .any(|id| world.held(*id).is_none_or(|held| held.0 != Rule::Grace))
    );
}

#[test]
fn what_a_supervisor_may_restart_is_left_to_it_first() {
    let mut world = World::new(&[cattle("web", 5)]);
    let id = world.agent_down("web-1");
    world.pass(29 * SECOND_MS);
    world.settle();
    world.assert_held(
        id,
        Rule::Grace,
        "its agent has been down, and that is waited out for 30 s",
    );
    world.pass(SECOND_MS);
    world.settle();
    assert!(world.held(id).is_none());
}

#[test]
fn silence_soon_after_a_boot_or_a_change_is_put_down_to_that() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.kill("web-1");
    world.heal();
    let young = world.silence("web-4");
    world.pass(40 * SECOND_MS);
    world.settle();
    world.assert_held(
        young,
        Rule::Grace,
        "it joined, and that is waited out for 60 s",
    );
    world.pass(20 * SECOND_MS);
    world.settle();
    assert!(world.replacing(young));

    let mut world = World::new(&[cattle("web", 4)]);
    let mut changed = cattle("web", 4);
    changed.flavor.properties.set("v", 2);
    world.fleet.declare(changed);
    let silent = world.silence("web-1");
    world.pass(31 * SECOND_MS);
    world.settle();
    world.assert_held(silent, Rule::Grace, "the group was changed");
    let gone = world.kill("web-2");
    world.pass(MOVING_MS);
    world.settle();
    assert!(
        world.replacing(gone),
        "what is proved gone waits for nothing"
    );
}

#[test]
fn slow_and_partitioned_machines_are_never_touched() {
    for silent in [0, 1] {
        let mut world = World::new(&[cattle("web", 3)]);
        let id = world.id("web-1");
        world.see(id, MemberStatus::Down);
        world.say(id, ProviderWord::Running);
        world.witnesses(id, Answer::Answered);
        for report in world
            .seen
            .get_mut(&id)
            .unwrap()
            .witnesses
            .iter_mut()
            .take(silent)
        {
            report.answer = Answer::Silent;
        }
        world.pass(HOUR_MS);
        world.settle();
        assert_eq!(world.held(id).map(|held| held.0), Some(Rule::Evidence));
        assert_eq!(world.fleet.state.open_intents().count(), 0);
    }
}

#[test]
fn an_hours_budget_is_spent_and_comes_back() {
    let mut spec = cattle("web", 9);
    spec.heal.budget.per_hour = Some(2);
    let mut world = World::new(&[spec]);
    for name in ["web-1", "web-2"] {
        world.kill(name);
        world.pass(MOVING_MS);
        world.heal();
    }
    let id = world.kill("web-3");
    world.pass(MOVING_MS);
    world.settle();
    world.assert_held(id, Rule::Budget, "this hour's 2 replacements are spent");
    let look = world
        .look()
        .next_look_ms
        .expect("when the next token comes");
    world.pass(look - world.now_ms() - 1);
    world.settle();
    assert!(!world.replacing(id));
    world.pass(1);
    world.settle();
    assert!(world.replacing(id));
}

#[test]
fn observing_says_what_would_be_done_and_does_nothing() {
    let mut spec = cattle("web", 3);
    spec.heal.mode = HealMode::Observe;
    let mut world = World::new(&[spec]);
    let id = world.kill("web-1");
    world.pass(HOUR_MS);
    world.settle();
    let outcome = &world.concern(id).expect("on record").outcome;
    assert_eq!(
        *outcome,
        Outcome::Observe {
            would: Would::Replace
        }
    );
    assert_eq!(world.fleet.state.open_intents().count(), 0);
    // What another rule would have said is worth more.
    world.quorum_confirmed = false;
    world.settle();
    world.assert_held(id, Rule::Quorum, "coordinators");
}

#[test]
fn the_last_good_machine_is_kept_while_others_are_not_well() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"]), cattle("other", 3)]);
    let sick = world.id("db-2");
    world.see(sick, MemberStatus::Down);
    world.say(sick, ProviderWord::Running);
    world.witnesses(sick, Answer::Refused);
    world.pass(HOUR_MS);
    let mut watched = pets("db", &["db-2"]);
    watched.heal.mode = HealMode::Observe;
    world.fleet.declare(watched);
    world.settle();
    assert_eq!(world.fleet.phase(world.id("db-1")), Some(Phase::Joined));
    let concern = &world.fleet.state.concerns[&Subject::Group(group("db"))];
    let Outcome::Hold { rule, detail, .. } = &concern.outcome else {
        panic!("{concern:?}")
    };
    assert_eq!(
        (*rule, &**detail),
        (
            Rule::LastGoodReplica,
            "the other machine of its group is not well"
        )
    );
    world.revive(sick);
    world.heal();
    assert_eq!(world.running("db"), ["db-2"]);
}

#[test]
fn what_is_stopped_for_want_of_a_lease_is_no_good_replica() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2", "db-3"])]);
    let unleased = ["db-2", "db-3"].map(|name| world.ail(name));
    for id in unleased {
        let record = world.seen.get_mut(&id).unwrap().record.as_mut().unwrap();
        record.health = Health::Ok;
        record.workload = Some(Workload::Unleased);
    }
    world.fleet.declare(pets("db", &["db-2", "db-3"]));
    world.settle();
    assert_eq!(world.fleet.phase(world.id("db-1")), Some(Phase::Joined));
    let concern = &world.fleet.state.concerns[&Subject::Group(group("db"))];
    let Outcome::Hold { rule, detail, .. } = &concern.outcome else {
        panic!("{concern:?}")
    };
    assert_eq!(
        (*rule, &**detail),
        (Rule::LastGoodReplica, "none of the 2 others is well")
    );
    for id in unleased {
        world.revive(id);
    }
    world.heal();
    assert_eq!(world.running("db"), ["db-2", "db-3"]);
}

#[test]
fn a_holds_words_are_renewed_ever_more_rarely_and_without_an_event() {
    let mut world = World::new(&[cattle("web", 4)]);
    let id = world.id("web-1");
    world.fleet.ok(Command::Cordon {
        machine: id,
        reason: "moving racks".into(),
    });
    world.kill("web-1");
    let mut recorded = BTreeSet::new();
    let end_ms = world.now_ms() + HOUR_MS;
    while world.now_ms() < end_ms {
        world.settle();
        recorded.extend(world.concern(id).map(|concern| concern.recorded_ms));
        world.pass(5 * SECOND_MS);
    }
    assert!((4..=12).contains(&recorded.len()), "{recorded:?}");
    let events = world.fleet.state.events.iter();
    let held = events.filter(|event| event.kind == EventKind::Held && event.machine == Some(id));
    assert_eq!(held.count(), 1);
}

#[test]
fn what_a_hold_waited_for_being_over_its_next_reason_is_news_at_once() {
    let mut world = World::new(&[cattle("web", 8)]);
    world.begin_anew();
    let lost = ["web-1", "web-2", "web-3", "web-4"].map(|name| world.kill(name));
    world.pass(SECOND_MS);
    world.settle();
    world.assert_held(lost[0], Rule::Settled, "has only begun to watch");
    world.pass(DETECTION_MS - SECOND_MS);
    world.settle();
    world.assert_held(lost[0], Rule::Settled, "4 of 9 machines are missing");
    let until_ms = world
        .concern(lost[0])
        .and_then(|concern| concern.outcome.until_ms());
    assert_eq!(until_ms, Some(world.leader_since_ms + RETURN_MS));
}

#[test]
fn a_pause_that_is_over_is_not_what_holds_while_a_new_leader_settles() {
    let mut world = World::new(&[cattle("web", 4)]);
    pause(&mut world, PauseScope::Fleet);
    let id = world.kill("web-1");
    world.pass(MOVING_MS);
    world.settle();
    world.assert_held(id, Rule::Paused, "the fleet is paused until resumed");
    world.begin_anew();
    world.settle();
    world.assert_held(id, Rule::Paused, "the fleet is paused until resumed");
    world.fleet.ok(Command::Resume {
        scope: PauseScope::Fleet,
    });
    world.settle();
    world.assert_held(id, Rule::Settled, "has only begun to watch");
}

#[test]
fn a_reboot_is_no_recovery() {
    let mut world = World::new(&[cattle("web", 3)]);
    pause(&mut world, PauseScope::Fleet);
    let id = world.silence("web-1");
    world.pass(MINUTE_MS);
    world.settle();
    assert!(world.held(id).is_some());
    let until_ms = world.now_ms() + MINUTE_MS;
    world.leaving(id, Leaving::Rebooting { until_ms });
    world.settle();
    assert!(world.held(id).is_some(), "it is not well yet");
    world.revive(id);
    world.settle();
    assert_eq!(world.held(id), None);
}

#[test]
fn a_rule_whose_time_is_over_gives_way_to_settling() {
    let mut world = World::new(&[cattle("web", 12)]);
    let id = world.silence("web-2");
    world.settle();
    world.assert_held(id, Rule::Grace, "5 s");
    world.pass(4 * SECOND_MS + 900);
    for name in ["web-3", "web-4"] {
        world.silence(name);
    }
    world.pass(SECOND_MS / 5);
    world.settle();
    world.assert_held(id, Rule::Settled, "within the last second");
}
