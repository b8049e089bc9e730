//! Draining: the cordon that comes with it, what it is when there is nothing to hand over, and machines that are taken away
//! undrained.

use muster_mesh::identity::MachineId;

use super::hand::{STANDS_MS, ask, checked, demand, end};
use crate::fleet::limits::{
    DRAIN_ATTEMPTS_MAX, HOUR_MS, RUNG_ATTEMPTS_MAX, SECOND_MS, STEP_ATTEMPTS_MAX,
};
use crate::fleet::testing::{cattle, group, pets};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::{Spared, spared};

fn failed() -> StepResult {
    StepResult::Error {
        error: "it did not hand over".into(),
        retry_ms: 0,
    }
}

fn cordon(world: &mut World, machine: MachineId) {
    let reason = "memory under test".into();
    world.fleet.ok(Command::Cordon { machine, reason });
}

fn is_cordoned(world: &World, machine: MachineId) -> bool {
    world.fleet.state.cordons.contains_key(&machine)
}

/// A drain of `web-2` that comes to nothing, each in its way.
fn come_to_nothing(world: &mut World, id: MachineId, how: DemandEnd) {
    world.quorum_confirmed = matches!(how, DemandEnd::Failed { .. });
    let drain = ask(world, id, Would::Drain, &[]);
    match how {
        DemandEnd::Withdrawn => {
            world.fleet.ok(Command::Withdraw { demand: drain });
        }
        DemandEnd::Expired => {
            world.fleet.pass(STANDS_MS);
            world.settle();
        }
        _ => {
            for _ in 0..DRAIN_ATTEMPTS_MAX {
                assert_eq!(world.fleet.report(id, failed()), Reply::Done);
            }
        }
    }
    let ended = end(world, drain);
    assert_eq!(
        std::mem::discriminant(&ended),
        std::mem::discriminant(&how),
        "{ended:?}"
    );
}

fn ways() -> [DemandEnd; 3] {
    let error = "".into();
    [
        DemandEnd::Withdrawn,
        DemandEnd::Expired,
        DemandEnd::Failed { error },
    ]
}

#[test]
fn the_cordon_of_a_drain_goes_with_it_unless_it_is_done() {
    for how in ways() {
        let mut world = World::new(&[cattle("web", 3)]);
        let id = world.id("web-2");
        come_to_nothing(&mut world, id, how.clone());
        assert!(!is_cordoned(&world, id), "{how:?}");
        let events = &world.fleet.state.events;
        let uncordoned = |event: &&Event| event.kind == EventKind::Uncordoned;
        assert_eq!(events.iter().filter(uncordoned).count(), 1, "{how:?}");
    }
}

#[test]
fn a_cordon_by_hand_stays_whatever_becomes_of_a_drain() {
    for how in ways() {
        let mut world = World::new(&[cattle("web", 3)]);
        let id = world.id("web-2");
        cordon(&mut world, id);
        come_to_nothing(&mut world, id, how);
        assert!(is_cordoned(&world, id), "set before the drain");
    }
    let mut world = World::new(&[cattle("web", 3)]);
    world.quorum_confirmed = false;
    let id = world.id("web-2");
    let drain = ask(&mut world, id, Would::Drain, &[]);
    cordon(&mut world, id);
    world.fleet.ok(Command::Withdraw { demand: drain });
    assert!(is_cordoned(&world, id), "set while the drain stood");
}

#[test]
fn a_machine_that_hands_over_its_duties_is_not_given_any() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-2");
    ask(&mut world, id, Would::Drain, &[]);
    let uncordon = Command::Uncordon { machine: id };
    let refusal = world.fleet.refused(uncordon.clone());
    assert!(
        matches!(refusal, Refusal::MachineBusy { .. }),
        "{refusal:?}"
    );
    world.heal();
    world.fleet.ok(uncordon);
}

#[test]
fn what_has_begun_anew_is_not_drained_any_more() {
    for helps in [true, false] {
        let mut world = World::new(&[cattle("web", 3)]);
        let id = world.id("web-2");
        ask(&mut world, id, Would::Drain, &[]);
        world.heal();
        assert!(world.fleet.state.is_drained(id));
        ask(&mut world, id, Would::Treat(Rung::Reboot), &[]);
        world.carry_out();
        if helps {
            world.restart(id);
        } else {
            world.silence("web-2");
            world.pass(
                world.fleet.state.groups[&group("web")]
                    .spec
                    .heal
                    .boot_grace_ms,
            );
        }
        world.settle();
        assert!(world.fleet.state.machines[&id].intent.is_none());
        assert!(!world.fleet.state.is_drained(id), "{helps}");
        assert!(is_cordoned(&world, id), "it stays with people");
    }
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-2");
    ask(&mut world, id, Would::Drain, &[]);
    world.heal();
    ask(&mut world, id, Would::Treat(Rung::Reboot), &[]);
    for _ in 0..RUNG_ATTEMPTS_MAX {
        assert_eq!(world.fleet.report(id, failed()), Reply::Done);
    }
    assert!(world.fleet.state.is_drained(id), "it was not rebooted");
}

#[test]
fn that_there_is_nothing_to_drain_is_said() {
    let mut spec = cattle("web", 3);
    let properties = serde_json::json!({ "drain": { "command": "true" } });
    let mut world = World::new(&[spec.clone()]);
    let id = world.id("web-2");
    ask(&mut world, id, Would::Drain, &[]);
    let said = checked(&world, Rule::Ladder).margin;
    assert!(said.contains("nothing to drain"), "{said}");
    let nothing = StepResult::Undrained(Undrained::Nothing);
    assert_eq!(world.fleet.report(id, nothing), Reply::Done);
    assert!(world.fleet.state.is_drained(id));
    let last = world.fleet.state.events.iter().rev();
    let drained = last
        .filter(|event| event.kind == EventKind::Drained)
        .map(|event| event.detail.to_string());
    assert!(drained.clone().any(|detail| detail.contains("nothing")));

    spec.flavor.properties = serde_json::from_value(properties).expect("properties");
    let mut world = World::new(&[spec]);
    let id = world.id("web-2");
    ask(&mut world, id, Would::Drain, &[]);
    let said = checked(&world, Rule::Ladder).margin;
    assert!(!said.contains("nothing to drain"), "{said}");
}

#[test]
fn only_what_takes_part_can_be_drained_by_hand() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-2");
    let drain = ask(&mut world, id, Would::Drain, &[]);
    for _ in 0..DRAIN_ATTEMPTS_MAX {
        let absent = StepResult::Undrained(Undrained::Absent);
        assert_eq!(world.fleet.report(id, absent), Reply::Done);
        world.fleet.pass(10 * SECOND_MS);
    }
    assert!(matches!(end(&world, drain), DemandEnd::Failed { .. }));
    assert!(!world.fleet.state.is_drained(id));
}

/// A machine that is to be replaced by hand and was not drained, each in its way, with what is then to be done to it.
fn undrained_by(spec: GroupSpec, name: &str, absent: bool) -> (World, MachineId) {
    let mut world = World::new(&[spec]);
    let id = world.id(name);
    ask(&mut world, id, Would::Replace, &[]);
    let results = if absent {
        vec![StepResult::Undrained(Undrained::Absent)]
    } else {
        vec![failed(); DRAIN_ATTEMPTS_MAX as usize]
    };
    for result in results {
        assert_eq!(world.fleet.report(id, result), Reply::Done);
    }
    (world, id)
}

fn held(world: &World, id: MachineId) -> Option<String> {
    let op = &world.fleet.intent_of(id).op;
    match spared(&world.fleet.state, &world.situation()).get(op)? {
        Spared::Held(check) => {
            assert_eq!((check.rule, check.holds()), (Rule::Evidence, true));
            Some(check.margin.to_string())
        }
        Spared::GivenUp(why) => panic!("a person asked for it: {why}"),
    }
}

#[test]
fn what_was_not_drained_is_asked_about_once_more_before_it_is_taken_away() {
    for (spec, name) in [(cattle("web", 3), "web-2"), (pets("db", &["a", "b"]), "a")] {
        for absent in [true, false] {
            let (mut world, id) = undrained_by(spec.clone(), name, absent);
            let next = world
                .fleet
                .intent_of(id)
                .current()
                .map(|record| record.step);
            assert!(matches!(next, Some(Step::Fence | Step::Destroy)));
            assert!(!world.fleet.state.machines[&id].condemned);
            assert_eq!(held(&world, id), None, "it answers, and does not want to");
            world.see(id, MemberStatus::Down);
            let why = held(&world, id).expect("nobody has been asked");
            assert!(why.contains("not known yet"), "{why}");
            world.witnesses(id, Answer::Answered);
            let why = held(&world, id).expect("somebody gets an answer");
            assert!(why.contains("slow is not dead"), "{why}");
            world.silence(name);
            world.seen.get_mut(&id).expect("seen").witnesses.clear();
            world.witnesses(id, Answer::Silent);
            assert_eq!(held(&world, id), None, "nobody does");
            world.kill(name);
            assert_eq!(held(&world, id), None, "it is gone");
        }
    }
}

#[test]
fn what_was_drained_or_goes_with_its_group_is_not_asked_about_again() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-2");
    ask(&mut world, id, Would::Replace, &[]);
    world.fleet.done(id);
    world.see(id, MemberStatus::Down);
    world.witnesses(id, Answer::Answered);
    assert_eq!(held(&world, id), None, "everybody refuses it");

    let (mut world, id) = undrained_by(cattle("web", 3), "web-2", true);
    world.see(id, MemberStatus::Down);
    world.witnesses(id, Answer::Answered);
    assert!(held(&world, id).is_some());
    let group = group("web");
    world.fleet.ok(Command::DestroyGroup { group });
    assert_eq!(held(&world, id), None, "a person had it destroyed");
    let again = demand(&world, id, Would::Drain, &[]);
    world.fleet.refused(again);
}

#[test]
fn what_was_drained_and_could_not_be_taken_away_serves_nobody() {
    let mut world = World::new(&[pets("db", &["a", "b"])]);
    let (id, other) = (world.id("a"), world.id("b"));
    let order = ask(&mut world, id, Would::Replace, &[]);
    world.fleet.done(id);
    let early = world.fleet.refused(Command::Uncordon { machine: id });
    assert!(matches!(early, Refusal::NotCordoned(_)), "{early}");
    for _ in 0..STEP_ATTEMPTS_MAX {
        assert_eq!(world.fleet.report(id, failed()), Reply::Done);
    }
    assert!(matches!(end(&world, order), DemandEnd::Failed { .. }));
    assert_eq!(world.running("db"), ["a", "b"]);
    assert!(world.fleet.state.is_drained(id));
    // The other one is the last that serves.
    world.pass(HOUR_MS);
    ask(&mut world, other, Would::Replace, &[]);
    world.assert_held(other, Rule::LastGoodReplica, "not well");
    // A person says that it serves.
    world.fleet.ok(Command::Uncordon { machine: id });
    assert!(!world.fleet.state.is_drained(id));
    world.settle();
    assert!(world.replacing(other));
    let again = world.fleet.refused(Command::Uncordon { machine: id });
    assert!(matches!(again, Refusal::NotCordoned(_)), "{again}");
}

#[test]
fn what_had_nothing_to_hand_over_serves_on() {
    let mut world = World::new(&[pets("db", &["a", "b"])]);
    let id = world.id("a");
    ask(&mut world, id, Would::Replace, &[]);
    let nothing = StepResult::Undrained(Undrained::Nothing);
    assert_eq!(world.fleet.report(id, nothing), Reply::Done);
    for _ in 0..STEP_ATTEMPTS_MAX {
        assert_eq!(world.fleet.report(id, failed()), Reply::Done);
    }
    assert_eq!(world.running("db"), ["a", "b"]);
    assert!(!world.fleet.state.is_drained(id));
}
