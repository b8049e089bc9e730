//! Machines that say goodbye, come back, or are told to go.

use crate::fleet::limits::HOUR_MS;
use crate::fleet::testing::{Fleet, cattle, group, pets};
use crate::fleet::*;
use crate::heal::testing::World;

fn in_mode(mut spec: GroupSpec, mode: HealMode) -> GroupSpec {
    spec.heal.mode = mode;
    spec
}

fn intents(world: &World) -> usize {
    world.fleet.state.open_intents().count()
}

#[test]
fn a_machine_that_was_back_before_its_goodbye_was_on_record_stays() {
    for spec in [cattle("web", 3), pets("web", &["web-1", "web-2", "web-3"])] {
        let mut world = World::new(&[spec]);
        let id = world.leave("web-1");
        let goodbye = world.look().facts;
        // It is back at once; only then is its goodbye committed.
        world.restart(id);
        world.pass(5_000);
        goodbye
            .into_iter()
            .for_each(|fact| assert_eq!(world.fleet.ok(fact), Reply::Done));
        assert!(matches!(world.fleet.phase(id), Some(Phase::Left { .. })));
        let plan = world.look();
        assert!(plan.proposals.is_empty(), "{:#?}", plan.proposals);
        world.settle();
        assert_eq!(world.fleet.phase(id), Some(Phase::Joined));
        assert_eq!(intents(&world), 0);
    }
}

#[test]
fn the_life_that_said_goodbye_is_not_back_by_being_heard_once_more() {
    let mut world = World::new(&[in_mode(cattle("web", 3), HealMode::Observe)]);
    let id = world.leave("web-1");
    world.settle();
    world.pass(5_000);
    world.see(id, MemberStatus::Alive);
    world.settle();
    assert!(matches!(world.fleet.phase(id), Some(Phase::Left { .. })));
    world.assert_held(id, Rule::Evidence, "answers all the same");
}

#[test]
fn only_in_mode_auto_the_slot_of_a_machine_that_left_is_filled_without_a_word() {
    let gone: [fn(&mut World); 2] = [
        |world| {
            world.leave("web-1");
        },
        |world| {
            let machine = world.id("web-1");
            world.fleet.ok(Command::RevokeMachine { machine });
            world.see(machine, MemberStatus::Down);
        },
    ];
    for leave in gone {
        for mode in [HealMode::Observe, HealMode::Approve] {
            let mut world = World::new(&[in_mode(cattle("web", 3), mode)]);
            leave(&mut world);
            world.settle();
            assert_eq!(intents(&world), 0, "{mode}");
            let id = world.id("web-1");
            let decision = world.concern(id).unwrap().decision;
            if mode == HealMode::Approve {
                world.fleet.ok(Command::Approve { decision });
                world.heal();
                assert_eq!(world.running("web").len(), 3);
            } else {
                world.fleet.ok(Command::Forget { machine: id });
                world.seen.remove(&id);
                world.heal();
                assert_eq!(world.running("web").len(), 3, "forgetting is a word");
            }
        }
    }
}

#[test]
fn the_state_fills_no_slot_of_a_machine_that_left_but_in_mode_auto() {
    let mut fleet = Fleet::with(&[in_mode(cattle("web", 2), HealMode::Observe)]);
    let machine = fleet.id("web-1");
    fleet.ok(Command::RevokeMachine { machine });
    let proposal = fleet.provision(&group("web"));
    assert!(matches!(
        fleet.refused(Command::Decide(vec![proposal])),
        Refusal::Held {
            rule: Rule::Mode,
            ..
        }
    ));
}

#[test]
fn scaling_in_does_not_take_a_machine_that_only_some_reach() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.silence("web-3");
    world.witnesses(id, Answer::Answered);
    world.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 2,
    });
    world.heal();
    assert_eq!(world.running("web"), ["web-1", "web-3"]);
    world.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 0,
    });
    world.heal();
    assert_eq!(world.running("web"), ["web-3"], "and the others go");
    let concern = world.fleet.state.concerns.values();
    let held = concern.map(|concern| concern.outcome.clone());
    assert!(
        held.clone().any(|outcome| matches!(
            outcome,
            Outcome::Hold {
                rule: Rule::Evidence,
                ..
            }
        )),
        "{:?}",
        held.collect::<Vec<_>>()
    );
}

#[test]
fn a_state_whose_clock_is_ahead_delays_no_proof() {
    let mut world = World::new(&[cattle("web", 3)]);
    // A leader whose clock was an hour ahead gave a new machine up.
    let id = world.kill("web-1");
    world.settle();
    world.carry_out();
    world.carry_out();
    let new = world.fleet.state.open_intents().next().unwrap();
    let new = new.action.makes().unwrap();
    world.fleet.pass(HOUR_MS);
    world.fleet.report(
        new,
        StepResult::GiveUp {
            error: "it did not join".into(),
        },
    );
    world.fleet.now_ms -= HOUR_MS;
    assert!(
        matches!(world.fleet.phase(new), Some(Phase::Lost { .. })),
        "{id}"
    );
    world.fleet.ok(Command::Resume {
        scope: PauseScope::Group(group("web")),
    });
    world.say(new, ProviderWord::Stopped);
    world.pass(1_000);
    assert!(world.look().findings[&new].proved_off);
}

#[test]
fn a_pets_fence_is_no_hold_before_its_provisioner_was_asked() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    world.fleet.declare(pets("db", &["db-1"]));
    let id = world.id("db-2");
    world.seen.get_mut(&id).unwrap().provider = None;
    let plan = world.look();
    assert!(plan.proposals.is_empty(), "{:#?}", plan.proposals);
    world.say(id, ProviderWord::Running);
    world.heal();
    assert_eq!(world.running("db"), ["db-1"]);
}
