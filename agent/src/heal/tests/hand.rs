//! Orders by hand, and cordons.

use muster_mesh::identity::MachineId;

use crate::fleet::limits::{MINUTE_MS, SECOND_MS};
use crate::fleet::testing::{cattle, group, pets};
use crate::fleet::*;
use crate::heal::testing::World;

pub(super) const STANDS_MS: u64 = 10 * MINUTE_MS;

pub(super) fn demand(world: &World, id: MachineId, what: Would, forced: &[Rule]) -> Command {
    Command::Ask(Box::new(Ask {
        machine: id,
        what,
        reason: "new kernel".into(),
        until_ms: world.now_ms() + STANDS_MS,
        forced: forced.iter().copied().collect(),
    }))
}

#[track_caller]
pub(super) fn ask(world: &mut World, id: MachineId, what: Would, forced: &[Rule]) -> DemandId {
    let Reply::Asked(demand) = world.fleet.ok(demand(world, id, what, forced)) else {
        panic!("no number");
    };
    world.settle();
    demand
}

fn action(world: &World, id: MachineId) -> Option<Action> {
    let op = world.fleet.state.machines.get(&id)?.intent.as_ref()?;
    Some(world.fleet.state.intents[op].action)
}

pub(super) fn end(world: &World, id: DemandId) -> DemandEnd {
    match &world.fleet.state.demands[&id].state {
        DemandState::Ended { end, .. } => end.clone(),
        state => panic!("{state:?}"),
    }
}

pub(super) fn checked(world: &World, rule: Rule) -> Check {
    let decision = world.fleet.state.decisions.back().unwrap();
    let mut checks = decision.proposal.checks.iter();
    checks.find(|check| check.rule == rule).unwrap().clone()
}

#[test]
fn a_machine_that_is_well_is_rebooted_and_that_ends_with_its_next_life() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-2");
    let demand = ask(&mut world, id, Would::Treat(Rung::Reboot), &[]);
    assert!(matches!(
        action(&world, id),
        Some(Action::Treat {
            rung: Rung::Reboot,
            ..
        })
    ));
    assert!(
        checked(&world, Rule::Ladder)
            .margin
            .contains("a person asks")
    );
    world.carry_out();
    world.settle();
    assert!(
        action(&world, id).is_some(),
        "it answers, but in the life of before"
    );
    world.restart(id);
    world.settle();
    assert_eq!(end(&world, demand), DemandEnd::Done);
    assert!(world.concern(id).is_none());
    let machine = &world.fleet.state.machines[&id];
    assert!(machine.treatments.last.is_empty(), "nothing was cured");
}

#[test]
fn what_a_rule_holds_stands_with_its_margin_until_it_lets_go() {
    let mut world = World::new(&[cattle("web", 3)]);
    let (one, two) = (world.id("web-1"), world.id("web-2"));
    ask(&mut world, one, Would::Treat(Rung::Reboot), &[]);
    let second = ask(&mut world, two, Would::Treat(Rung::Reboot), &[]);
    world.assert_held(two, Rule::Budget, "1 of 1 at once are under way");
    assert!(world.fleet.state.demands[&second].waits());
    world.carry_out();
    world.restart(one);
    world.settle();
    assert!(action(&world, two).is_some());
}

#[test]
fn how_a_machine_is_stays_known_while_an_order_about_it_waits() {
    let mut world = World::new(&[cattle("web", 3)]);
    let (one, two) = (world.id("web-1"), world.id("web-2"));
    ask(&mut world, one, Would::Treat(Rung::Reboot), &[]);
    ask(&mut world, two, Would::Replace, &[]);
    let found = |world: &World| world.concern(two).expect("it waits").cause.found();
    assert_eq!(found(&world), None, "nothing is the matter with it");
    world.kill("web-2");
    world.settle();
    assert_eq!(found(&world), Some(Diagnosis::Gone));
    world.revive(two);
    world.settle();
    assert_eq!(found(&world), None);
}

#[test]
fn what_is_not_let_pass_in_time_expires_and_leaves_nothing_behind() {
    let mut world = World::new(&[cattle("web", 3)]);
    let (one, two) = (world.id("web-1"), world.id("web-2"));
    ask(&mut world, one, Would::Treat(Rung::Reboot), &[]);
    let demand = ask(&mut world, two, Would::Drain, &[]);
    world.assert_held(two, Rule::Budget, "under way");
    world.fleet.pass(STANDS_MS);
    world.fleet.refused(Command::Expire {
        demand: DemandId(99),
    });
    world.settle();
    assert_eq!(end(&world, demand), DemandEnd::Expired);
    assert!(world.concern(two).is_none());
    assert!(world.fleet.state.cordons.is_empty());
}

#[test]
fn a_rule_is_forced_by_its_name_and_that_is_on_record() {
    let mut world = World::new(&[cattle("web", 3)]);
    let (one, two) = (world.id("web-1"), world.id("web-2"));
    ask(&mut world, one, Would::Treat(Rung::Reboot), &[]);
    ask(&mut world, two, Would::Treat(Rung::Reboot), &[Rule::Budget]);
    assert!(action(&world, two).is_some());
    let check = checked(&world, Rule::Budget);
    assert_eq!(check.verdict, Verdict::Forced);
    assert!(check.margin.contains("1 of 1 at once"), "{}", check.margin);
}

#[test]
fn what_protects_from_two_copies_and_minorities_can_not_be_forced() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    let id = world.id("db-1");
    for rule in [Rule::Quorum, Rule::Fence, Rule::Evidence, Rule::Ladder] {
        let command = demand(&world, id, Would::Replace, &[rule]);
        let refusal = world.fleet.refused(command).to_string();
        assert!(refusal.contains("can't be forced"), "{refusal}");
    }
    let evidence = demand(&world, id, Would::Treat(Rung::Reboot), &[Rule::Evidence]);
    world.fleet.ok(evidence);
}

#[test]
fn a_pet_that_is_well_is_drained_fenced_and_made_anew_in_its_place() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    let id = world.id("db-1");
    let demand = ask(&mut world, id, Would::Replace, &[]);
    let steps: Vec<_> = world
        .fleet
        .intent_of(id)
        .plan
        .iter()
        .map(|r| r.step)
        .collect();
    assert_eq!(
        steps,
        [
            Step::Drain,
            Step::Fence,
            Step::Destroy,
            Step::Provision,
            Step::AwaitJoin
        ]
    );
    assert!(!world.fleet.state.machines[&id].condemned);
    world.heal();
    assert_eq!(end(&world, demand), DemandEnd::Done);
    assert_ne!(world.id("db-1"), id);
    assert_eq!(world.running("db"), ["db-1", "db-2"]);
    let db = &world.fleet.state.groups[&group("db")];
    assert!(db.replaced.is_empty(), "its disk did nothing wrong");
}

#[test]
fn one_of_cattle_is_refused_once_it_is_drained() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-2");
    ask(&mut world, id, Would::Replace, &[]);
    assert!(
        !world.fleet.state.machines[&id].condemned,
        "it is to be asked yet"
    );
    world.fleet.done(id);
    assert!(world.fleet.state.machines[&id].condemned);
    world.heal();
    assert_eq!(world.running("web"), ["web-1", "web-3", "web-4"]);
}

#[test]
fn slow_is_not_dead_for_people_either() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-2");
    world.see(id, MemberStatus::Down);
    world.say(id, ProviderWord::Running);
    world.witnesses(id, Answer::Answered);
    ask(&mut world, id, Would::Replace, &[]);
    world.assert_held(id, Rule::Evidence, "slow is not dead");
}

#[test]
fn what_its_provisioner_can_not_do_is_said() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-2");
    ask(&mut world, id, Would::Treat(Rung::RestartWorkload), &[]);
    world.assert_held(id, Rule::Ladder, "its flavor has no `restart-workload`");
}

#[test]
fn a_failed_machine_is_healed_although_a_person_asked_for_what_can_not_be_done() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-2");
    let demand = ask(&mut world, id, Would::Treat(Rung::RestartWorkload), &[]);
    world.kill("web-2");
    world.pass(30 * SECOND_MS);
    world.settle();
    assert!(world.replacing(id));
    assert_eq!(end(&world, demand), DemandEnd::Overtaken);
    world.heal();
    assert_eq!(world.running("web"), ["web-1", "web-3", "web-4"]);
}

#[test]
fn modes_are_about_what_the_fleet_does_by_itself() {
    let mut spec = cattle("web", 3);
    spec.heal.mode = HealMode::Observe;
    let mut world = World::new(&[spec]);
    let id = world.id("web-2");
    ask(&mut world, id, Would::Replace, &[]);
    assert!(world.replacing(id));
}

#[test]
fn a_cordoned_machine_is_left_to_people_until_it_is_not_cordoned() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-2");
    world.fleet.ok(Command::Cordon {
        machine: id,
        reason: "memory under test".into(),
    });
    world.kill("web-2");
    world.pass(30 * SECOND_MS);
    world.settle();
    world.assert_held(id, Rule::Cordoned, "memory under test");
    world.fleet.ok(Command::Uncordon { machine: id });
    world.settle();
    assert!(world.replacing(id));
}

#[test]
fn scaling_in_takes_the_cordoned_first() {
    let mut world = World::new(&[cattle("web", 4)]);
    let id = world.id("web-1");
    let reason = "old".into();
    world.fleet.ok(Command::Cordon {
        machine: id,
        reason,
    });
    world.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 3,
    });
    world.heal();
    assert_eq!(world.running("web"), ["web-2", "web-3", "web-4"]);
    assert!(world.fleet.state.cordons.is_empty());
}

#[test]
fn a_drained_machine_stays_cordoned_and_serves_nobody() {
    let mut spec = cattle("web", 3);
    let properties = serde_json::json!({ "quorum": "majority" });
    spec.flavor.properties = serde_json::from_value(properties).unwrap();
    let mut world = World::new(&[spec]);
    let (one, two) = (world.id("web-1"), world.id("web-2"));
    let demand = ask(&mut world, one, Would::Drain, &[]);
    assert!(matches!(action(&world, one), Some(Action::Drain { .. })));
    world.heal();
    assert_eq!(end(&world, demand), DemandEnd::Done);
    assert!(world.fleet.state.is_drained(one));
    assert_eq!(world.fleet.phase(one), Some(Phase::Joined));
    ask(&mut world, two, Would::Drain, &[]);
    world.assert_held(
        two,
        Rule::WorkloadQuorum,
        "without it 1 of 3 members are well",
    );
}

#[test]
fn one_order_at_a_time_stands_about_a_machine_and_it_can_be_taken_back() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.quorum_confirmed = false;
    let id = world.id("web-2");
    let first = ask(&mut world, id, Would::Treat(Rung::Reboot), &[]);
    world.assert_held(id, Rule::Quorum, "coordinators answered");
    let again = demand(&world, id, Would::Replace, &[]);
    let refusal = world.fleet.refused(again.clone()).to_string();
    assert!(refusal.contains("muster cancel 1"), "{refusal}");
    world.fleet.ok(Command::Withdraw { demand: first });
    assert_eq!(end(&world, first), DemandEnd::Withdrawn);
    assert!(world.concern(id).is_none());
    world.fleet.ok(again);
}

#[test]
fn an_order_by_hand_waits_for_a_word_of_the_provisioner() {
    let mut world = World::new(&[cattle("web", 4)]);
    let id = world.id("web-1");
    world.seen.get_mut(&id).unwrap().provider = None;
    ask(&mut world, id, Would::Replace, &[]);
    assert_eq!(action(&world, id), None, "it is being asked");
    world.say(id, ProviderWord::Running);
    world.settle();
    assert!(action(&world, id).is_some());
}
