//! Machines that come back, or turn out to be slow, before the step that would end them.

use muster_mesh::identity::MachineId;

use crate::fleet::limits::{MINUTE_MS, SECOND_MS};
use crate::fleet::testing::{cattle, group, name, pets};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::HELD_MS_MAX;
use crate::heal::{Spared, spared};

fn of(world: &World, id: MachineId) -> Option<Spared> {
    let op = &world.fleet.intent_of(id).op;
    spared(&world.fleet.state, &world.situation()).remove(op)
}

#[track_caller]
fn assert_held(world: &World, id: MachineId, words: &str) {
    match of(world, id) {
        Some(Spared::Held(check)) => {
            assert_eq!(check.rule, Rule::Evidence);
            assert!(check.margin.contains(words), "{}", check.margin);
        }
        other => panic!("{other:?}"),
    }
}

/// Two pets, of which `db-1` is being replaced because it fell silent, and could not be fenced so far.
fn silent() -> (World, MachineId) {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    let id = world.silence("db-1");
    world.pass(30 * SECOND_MS);
    world.settle();
    assert!(world.replacing(id));
    let failed = StepResult::Error {
        error: "its provider does not answer".into(),
        retry_ms: MINUTE_MS,
    };
    assert_eq!(world.fleet.report(id, failed), Reply::Done);
    assert_eq!(of(&world, id), None, "nobody gets an answer");
    world.pass(MINUTE_MS);
    (world, id)
}

fn give_up(world: &mut World, id: MachineId) {
    let Some(Spared::GivenUp(why)) = of(world, id) else {
        panic!("{:?}", of(world, id));
    };
    assert_eq!(
        world.fleet.report(id, StepResult::Spared { why }),
        Reply::Done
    );
}

#[test]
fn a_pet_that_is_back_before_it_is_fenced_is_kept() {
    let (mut world, id) = silent();
    world.revive(id);
    give_up(&mut world, id);
    let machine = &world.fleet.state.machines[&id];
    assert_eq!(machine.phase, Phase::Joined);
    assert!(!machine.condemned && machine.intent.is_none());
    let db = &world.fleet.state.groups[&group("db")];
    assert!(db.failures.is_empty(), "no operation failed");
    assert_eq!(world.running("db"), ["db-1", "db-2"]);
    assert_eq!(world.fleet.state.existing(&group("db")), 2);
    world.settle();
    assert!(world.concern(id).is_none(), "it is well");
    assert!(world.fleet.state.open_intents().next().is_none());
}

#[test]
fn a_pet_whose_destruction_may_have_begun_is_not_touched_while_it_answers() {
    let (mut world, id) = silent();
    assert_eq!(world.fleet.report(id, StepResult::Begun), Reply::Done);
    world.revive(id);
    assert_held(&world, id, "it is waited whether it goes");
    world.say(id, ProviderWord::Stopped);
    world.seen.get_mut(&id).unwrap().member = None;
    assert_eq!(of(&world, id), None, "it went");
}

#[test]
fn a_pet_that_was_spared_says_nothing_against_its_disk() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    let id = world.id("db-1");
    for _ in 0..3 {
        world.silence("db-1");
        world.pass(30 * SECOND_MS);
        world.settle();
        assert!(world.replacing(id), "{:?}", world.concern(id));
        world.revive(id);
        give_up(&mut world, id);
        world.settle();
    }
    assert!(world.fleet.state.groups[&group("db")].replaced.is_empty());
}

#[test]
fn a_pet_that_somebody_gets_an_answer_from_is_not_fenced() {
    let (mut world, id) = silent();
    world.seen.get_mut(&id).unwrap().witnesses.clear();
    assert_held(&world, id, "not known yet");
    world.witnesses(id, Answer::Answered);
    assert_held(&world, id, "slow is not dead");
    world.say(id, ProviderWord::Stopped);
    world.seen.get_mut(&id).unwrap().witnesses.clear();
    assert_eq!(of(&world, id), None, "its provider proves it off");
}

#[test]
fn a_workload_that_works_again_is_kept_and_one_that_still_fails_is_not() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    let id = world.ail("db-1");
    world.pass(20 * SECOND_MS);
    world.settle();
    // Its flavor has no restart, and the reboot is in vain.
    world.carry_out();
    world.restart(id);
    world.ail("db-1");
    world.pass(MINUTE_MS * 30);
    world.ail("db-1");
    world.pass(20 * SECOND_MS);
    world.settle();
    assert!(world.replacing(id), "{:?}", world.concern(id));
    assert_eq!(of(&world, id), None, "it fails as before");
    world.seen.get_mut(&id).unwrap().record = None;
    give_up(&mut world, id);
    assert_eq!(world.running("db"), ["db-1", "db-2"]);
}

#[test]
fn one_of_cattle_is_refused_by_everyone_and_goes() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.silence("web-2");
    world.pass(30 * SECOND_MS);
    world.settle();
    assert!(world.replacing(id) && world.fleet.state.machines[&id].condemned);
    world.witnesses(id, Answer::Answered);
    assert_eq!(of(&world, id), None);
    let why = "it is back".into();
    let reply = world.fleet.report(id, StepResult::Spared { why });
    assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
}

/// A machine whose agent is down, and which is to be rebooted for that; the first try has failed.
fn to_be_rebooted() -> (World, MachineId) {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.agent_down("web-2");
    world.pass(MINUTE_MS);
    world.settle();
    let intent = world.fleet.intent_of(id);
    assert_eq!(intent.action.rung(), Some(Rung::Reboot));
    fails(&mut world, id);
    (world, id)
}

fn fails(world: &mut World, id: MachineId) {
    let error = StepResult::Error {
        error: "its provider does not answer".into(),
        retry_ms: MINUTE_MS,
    };
    assert_eq!(world.fleet.report(id, error), Reply::Done);
    assert_eq!(of(world, id), None, "nobody gets an answer");
    world.pass(MINUTE_MS);
}

#[test]
fn a_machine_that_is_back_before_it_is_rebooted_is_left_alone() {
    let (mut world, id) = to_be_rebooted();
    world.revive(id);
    give_up(&mut world, id);
    world.settle();
    let machine = &world.fleet.state.machines[&id];
    assert!(machine.intent.is_none() && world.concern(id).is_none());
    let tried = machine.treatments.spent(Rung::Reboot, world.now_ms());
    assert_eq!(tried, None, "it was not rebooted");
}

#[test]
fn a_machine_that_answers_somebody_or_is_paused_is_not_rebooted_for_now() {
    let (mut world, id) = to_be_rebooted();
    world.seen.get_mut(&id).unwrap().witnesses.clear();
    world.witnesses(id, Answer::Answered);
    assert_held(&world, id, "slow is not dead");
    world.seen.get_mut(&id).unwrap().witnesses.clear();
    world.witnesses(id, Answer::Refused);
    assert_eq!(of(&world, id), None);
    world.fleet.ok(Command::Pause {
        scope: PauseScope::Machine(name("web-2")),
        name: None,
        reason: "looking at it".into(),
        until_ms: None,
    });
    match of(&world, id) {
        Some(Spared::Held(check)) => {
            assert_eq!(check.rule, Rule::Paused);
            assert!(check.margin.contains("looking at it"), "{}", check.margin);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_person_asks_for_is_done_to_a_machine_that_is_well() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-2");
    world.fleet.ok(Command::Ask(Box::new(Ask {
        machine: id,
        what: Would::Treat(Rung::Reboot),
        reason: "a new kernel".into(),
        until_ms: world.now_ms() + MINUTE_MS,
        forced: [].into(),
    })));
    world.settle();
    assert_eq!(world.fleet.intent_of(id).action.rung(), Some(Rung::Reboot));
    assert_eq!(of(&world, id), None);
}

#[test]
fn a_machine_that_is_back_is_not_reimaged_unless_that_may_have_begun() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.agent_down("web-2");
    world.pass(MINUTE_MS);
    let reimage = world.fleet.reimage(id, Diagnosis::AgentDown);
    world.fleet.act(reimage);
    fails(&mut world, id);
    let mut begun = world.clone();
    world.revive(id);
    give_up(&mut world, id);
    assert_eq!(world.running("web"), ["web-1", "web-2", "web-3"]);
    assert_eq!(begun.fleet.report(id, StepResult::Begun), Reply::Done);
    begun.revive(id);
    assert_eq!(of(&begun, id), None, "another machine may come of it");
    let why = "it is back".into();
    let reply = begun.fleet.report(id, StepResult::Spared { why });
    assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
    // That call did nothing, as its provider says.
    let refused = StepResult::Error {
        error: "busy".into(),
        retry_ms: 0,
    };
    begun.fleet.report(id, refused);
    give_up(&mut begun, id);
}

/// Puts on record that a step is held, if that is so.
fn record_hold(world: &mut World, id: MachineId) {
    let Some(Spared::Held(Check { rule, margin, .. })) = of(world, id) else {
        panic!("it is held");
    };
    let held = StepResult::Held {
        rule,
        detail: margin,
    };
    assert_eq!(world.fleet.report(id, held), Reply::Done);
}

#[test]
fn what_is_held_for_long_is_given_up_and_makes_room_for_others() {
    let mut world = World::new(&[cattle("web", 3)]);
    let web = group("web");
    world.fleet.ok(Command::ScaleGroup {
        group: web.clone(),
        size: 2,
    });
    world.settle();
    let id = world.fleet.state.open_intents().next().unwrap();
    let id = id.action.finds().unwrap();
    world.fleet.done(id);
    let name = world.fleet.state.machines[&id].name.to_string();
    world.silence(&name);
    world.seen.get_mut(&id).unwrap().witnesses.clear();
    world.witnesses(id, Answer::Answered);
    record_hold(&mut world, id);
    world.pass(HELD_MS_MAX - 1);
    assert_held(&world, id, "slow is not dead");
    assert_eq!(world.fleet.state.removals(&web), 1);
    world.pass(1);
    give_up(&mut world, id);
    assert_eq!(world.fleet.state.removals(&web), 0);
    assert!(world.fleet.state.groups[&web].failures.is_empty());
    let last = world.fleet.state.events.back().unwrap();
    assert_eq!(last.kind, EventKind::Failed);
    let said = "`evidence` has held it for 10 min";
    assert!(last.detail.contains(said), "{}", last.detail);
}

#[test]
fn a_pet_that_could_not_be_fenced_in_a_rehearsal_is_held_by_fence() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    let id = world.id("db-1");
    let why = "`cloud` refuses our credentials; and it runs without a lease";
    let record = |why: Option<&str>| Command::RecordFencing(vec![(id, why.map(Text::from))]);
    world.fleet.ok(record(Some(why)));
    world.silence("db-1");
    world.pass(30 * SECOND_MS);
    world.settle();
    world.assert_held(id, Rule::Fence, "refuses our credentials");
    let mut gone = world.clone();
    gone.kill("db-1");
    gone.settle();
    assert!(gone.replacing(id), "its provider proves it off");
    let mut leased = world.clone();
    let terms = LeaseTerms {
        lease_ms: 12_000,
        stop_ms: 3_000,
    };
    leased.fleet.ok(Command::BindLease {
        machine: id,
        terms: Some(terms),
    });
    leased.settle();
    assert!(leased.replacing(id), "its lease will be over");
    world.fleet.ok(record(None));
    world.settle();
    assert!(world.replacing(id));
}
