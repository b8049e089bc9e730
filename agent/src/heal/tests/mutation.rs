//! Each rule broken on purpose: a world in which it is the one that holds, and what happens without it. So none of them is
//! there for show, and none can be lost without a test that says so.

use crate::fleet::limits::{HOUR_MS, MINUTE_MS};
use crate::fleet::testing::{cattle, pets};
use crate::fleet::*;
use crate::heal::decide_without;
use crate::heal::testing::World;
use crate::heal::timing::MOVING_MS;

/// What comes of it when a rule is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// It is done.
    Done,
    /// It is proposed, and the state machine refuses it.
    Refused,
    /// Nothing is done, and nobody says why.
    Silence,
}

/// A rule with a world in which it holds, and what it holds about.
type Cell = (Rule, fn() -> (World, Subject), Harm);

const CELLS: [Cell; 14] = [
    (Rule::Evidence, slow, Harm::Refused),
    (Rule::Ladder, nobodys, Harm::Silence),
    (Rule::Paused, paused, Harm::Refused),
    (Rule::Cordoned, cordoned, Harm::Refused),
    (Rule::Mode, observed, Harm::Refused),
    (Rule::Quorum, cut_off, Harm::Refused),
    (Rule::Settled, just_elected, Harm::Done),
    (Rule::Grace, just_silent, Harm::Done),
    (Rule::Backoff, failed_before, Harm::Refused),
    (Rule::Budget, two_at_once, Harm::Refused),
    (Rule::Correlation, event, Harm::Done),
    (Rule::WorkloadQuorum, without_quorum, Harm::Done),
    (Rule::LastGoodReplica, last_good, Harm::Done),
    (Rule::Fence, unprovable, Harm::Done),
];

#[test]
fn every_rule_is_the_one_that_holds_somewhere() {
    println!("rule               without it");
    let mut found = Vec::new();
    for (rule, world, _) in CELLS {
        let (world, subject) = world();
        let harm = harm_without(&world, &subject, rule);
        println!("{:<18} {harm:?}", rule.to_string());
        found.push((rule, harm));
    }
    let expected = CELLS.map(|(rule, _, harm)| (rule, harm));
    assert_eq!(found, expected);
    assert_eq!(
        expected.map(|(rule, _)| rule),
        Rule::ORDER,
        "each rule has a cell"
    );
}

fn harm_without(world: &World, subject: &Subject, rule: Rule) -> Harm {
    let state = &world.fleet.state;
    let with = decide_without(state, &world.situation(), None);
    let on_record = state.concerns.get(subject).map(|concern| &concern.outcome);
    let proposed = with
        .proposals
        .iter()
        .find(|proposal| proposal.subject == *subject);
    let outcome = proposed.map(|proposal| &proposal.outcome).or(on_record);
    let holds = match outcome {
        Some(Outcome::Hold { rule: held, .. }) => *held == rule,
        Some(Outcome::Observe { .. }) => rule == Rule::Mode,
        _ => false,
    };
    assert!(holds, "{rule} does not hold: {outcome:?}");
    let without = decide_without(state, &world.situation(), Some(rule));
    let acts = |proposal: &&Proposal| matches!(proposal.outcome, Outcome::Act { .. });
    let before = with.proposals.iter().filter(acts).count();
    if without.proposals.iter().filter(acts).count() > before {
        Harm::Done
    } else if without.refused.len() > with.refused.len() {
        Harm::Refused
    } else {
        let told = without
            .proposals
            .iter()
            .any(|proposal| proposal.subject == *subject);
        assert!(!told, "{rule}: {:?}", without.proposals);
        Harm::Silence
    }
}

// === the worlds ===

pub(super) fn slow() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 5)]);
    let id = world.id("web-1");
    world.see(id, MemberStatus::Down);
    world.say(id, ProviderWord::Running);
    world.witnesses(id, Answer::Answered);
    world.pass(HOUR_MS);
    (world, Subject::Machine(id))
}

pub(super) fn nobodys() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.agent_down("web-2");
    let machine = world
        .fleet
        .state
        .machines
        .get_mut(&id)
        .expect("it is there");
    (machine.instance, machine.order) = (None, None);
    world.pass(HOUR_MS);
    (world, Subject::Machine(id))
}

pub(super) fn paused() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 3)]);
    world.fleet.ok(Command::Pause {
        name: None,
        scope: PauseScope::Fleet,
        reason: "moving racks".into(),
        until_ms: None,
    });
    killed(world)
}

pub(super) fn cordoned() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 3)]);
    let machine = world.id("web-1");
    world.fleet.ok(Command::Cordon {
        machine,
        reason: "memory under test".into(),
    });
    killed(world)
}

pub(super) fn killed(mut world: World) -> (World, Subject) {
    let id = world.kill("web-1");
    world.pass(MOVING_MS);
    (world, Subject::Machine(id))
}

pub(super) fn observed() -> (World, Subject) {
    let mut spec = cattle("web", 3);
    spec.heal.mode = HealMode::Observe;
    killed(World::new(&[spec]))
}

pub(super) fn cut_off() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 3)]);
    world.quorum_confirmed = false;
    killed(world)
}

pub(super) fn just_elected() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 3)]);
    world.begin_anew();
    killed(world)
}

pub(super) fn just_silent() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.silence("web-1");
    world.pass(MOVING_MS);
    (world, Subject::Machine(id))
}

pub(super) fn failed_before() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 3)]);
    world.kill("web-1");
    world.settle();
    world.carry_out();
    world.carry_out();
    let ghost = world.id("web-4");
    world.pass(MINUTE_MS);
    world.settle();
    (world, Subject::Machine(ghost))
}

pub(super) fn two_at_once() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 5)]);
    world.kill("web-1");
    let id = world.kill("web-2");
    world.pass(MOVING_MS);
    world.settle();
    (world, Subject::Machine(id))
}

pub(super) fn event() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 60)]);
    let ids = ["web-1", "web-2", "web-3"].map(|name| world.kill(name));
    world.pass(MOVING_MS);
    world.settle();
    (world, Subject::Machine(ids[2]))
}

pub(super) fn without_quorum() -> (World, Subject) {
    let mut spec = pets("db", &["db-1", "db-2", "db-3", "db-4", "db-5"]);
    let properties = serde_json::json!({ "quorum": "majority" });
    spec.flavor.properties = serde_json::from_value(properties).expect("properties");
    spec.heal.budget.at_once = Some(5);
    let mut world = World::new(&[spec, cattle("web", 6)]);
    let dead = ["db-1", "db-2"].map(|name| world.silence(name));
    let down = world.agent_down("db-3");
    world.pass(20 * MINUTE_MS);
    dead.into_iter().for_each(|id| cannot_prove(&mut world, id));
    world.settle();
    (world, Subject::Machine(down))
}

fn cannot_prove(world: &mut World, id: muster_mesh::identity::MachineId) {
    let seen = world.seen.get_mut(&id).expect("it was seen");
    seen.provider
        .as_mut()
        .expect("it was asked about")
        .can_prove_off = false;
}

/// All workloads fail, and what is gentler has not helped.
pub(super) fn last_good() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 3)]);
    let ids = ["web-1", "web-2", "web-3"].map(|name| world.ail(name));
    world.pass(MINUTE_MS);
    for _ in 0..12 {
        world.settle();
        world.carry_out();
        world.settle();
        world.pass(MINUTE_MS);
    }
    (world, Subject::Machine(ids[0]))
}

pub(super) fn unprovable() -> (World, Subject) {
    let mut world = World::new(&[pets("db", &["db-1", "db-2", "db-3"])]);
    let id = world.silence("db-1");
    world.pass(HOUR_MS);
    cannot_prove(&mut world, id);
    (world, Subject::Machine(id))
}
