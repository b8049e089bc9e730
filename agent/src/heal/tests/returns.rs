//! Machines that come back, or turn out to be slow, before the step that would end them.

use muster_mesh::identity::MachineId;

use crate::fleet::limits::{MINUTE_MS, SECOND_MS};
use crate::fleet::testing::{cattle, group, pets};
use crate::fleet::*;
use crate::heal::testing::World;
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
    let Some(Spared::Back(why)) = of(world, id) else {
        panic!("it is back");
    };
    assert_eq!(
        world.fleet.report(id, StepResult::Back { why }),
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
    let reply = world.fleet.report(id, StepResult::Back { why });
    assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
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
