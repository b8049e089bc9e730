use crate::fleet::limits::{BACKOFF_MS_MIN, HOUR_MS, SECOND_MS};
use crate::fleet::testing::{cattle, group, instance, pets};
use crate::fleet::*;
use crate::heal::Stranger;
use crate::heal::testing::World;
use crate::heal::timing::MOVING_MS;

#[test]
fn nothing_is_decided_while_all_is_well() {
    let mut world = World::new(&[cattle("web", 3), pets("db", &["db-1", "db-2"])]);
    for _ in 0..10 {
        let plan = world.look();
        assert!(plan.into_commands().is_empty());
        world.pass(HOUR_MS);
    }
}

#[test]
fn a_machine_that_is_gone_is_replaced_at_once() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.kill("web-2");
    world.settle();
    assert!(world.replacing(id));
    world.heal();
    assert_eq!(world.running("web"), ["web-1", "web-3", "web-4"]);
    let decision = &world.fleet.decisions_on("web-2")[0].proposal;
    let rules: Vec<_> = decision.checks.iter().map(|check| check.rule).collect();
    assert_eq!(rules, Rule::ORDER);
    assert!(
        decision
            .checks
            .iter()
            .all(|check| !check.holds() && !check.margin.is_empty())
    );
    assert!(decision.evidence.len() >= 3, "{:?}", decision.evidence);
}

#[test]
fn a_pet_keeps_its_name_its_template_and_is_fenced() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2", "db-3"])]);
    let mut changed = pets("db", &["db-1", "db-2", "db-3"]);
    changed.flavor.properties.set("v", 2);
    world.fleet.declare(changed);
    let id = world.kill("db-1");
    world.settle();
    let intent = world.fleet.intent_of(id).clone();
    assert_eq!(intent.plan[0].step, Step::Fence);
    world.heal();
    assert_eq!(world.running("db"), ["db-1", "db-2", "db-3"]);
    let machine = world.fleet.state.machine_by_name("db-1").unwrap();
    assert_ne!(machine.id, id);
    assert_eq!(
        machine.revision,
        Some(SpecRevision(1)),
        "repair brings no new version"
    );
}

#[test]
fn machines_without_a_group_are_left_alone() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.kill("seed-1");
    world.pass(HOUR_MS);
    assert!(world.look().into_commands().is_empty());
}

#[test]
fn a_machine_that_never_joins_is_replaced_with_patience() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.kill("web-1");
    world.settle();
    world.carry_out();
    world.carry_out();
    let ghost = world.id("web-4");
    let join_by_ms = world.now_ms() + 60 * SECOND_MS;
    assert_eq!(world.look().next_look_ms, Some(join_by_ms));
    world.pass(60 * SECOND_MS);
    world.settle();
    world.assert_held(
        ghost,
        Rule::Backoff,
        "1 of the last operations failed; the next try waits",
    );
    world.pass(BACKOFF_MS_MIN);
    world.settle();
    assert!(world.replacing(ghost));
    world.heal();
    assert_eq!(world.running("web"), ["web-2", "web-3", "web-5"]);
}

#[test]
fn machines_that_keep_failing_to_join_suspend_the_group() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.kill("web-1");
    for _ in 0..3 {
        world.settle();
        world.carry_out();
        world.carry_out();
        world.pass(4 * 60 * SECOND_MS);
        world.settle();
    }
    let held = world.fleet.held(&group("web"));
    assert!(
        !held.is_empty() && held.iter().all(|rule| *rule == Rule::Backoff),
        "{held:?}"
    );
    assert_eq!(world.fleet.state.open_intents().count(), 0);
    world.pass(HOUR_MS);
    world.heal();
    assert_eq!(world.running("web").len(), 3);
}

#[test]
fn a_machine_that_dies_while_it_is_awaited_is_not_waited_for() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.kill("web-1");
    world.settle();
    world.carry_out();
    world.carry_out();
    let new = world.id("web-4");
    world.pass(SECOND_MS);
    world.say(new, ProviderWord::Stopped);
    world.settle();
    assert!(matches!(world.fleet.phase(new), Some(Phase::Lost { .. })));
}

#[test]
fn a_machine_that_left_for_good_is_cleared_away_and_its_slot_refilled_without_budget() {
    for spec in [cattle("web", 3), pets("web", &["web-1", "web-2", "web-3"])] {
        let mut spec = spec;
        spec.heal.budget.per_hour = Some(1);
        let mut world = World::new(&[spec]);
        let id = world.id("web-1");
        world.leaving(id, Leaving::ForGood);
        world.see(id, MemberStatus::Left);
        world.say(id, ProviderWord::Stopped);
        world.heal();
        assert_eq!(world.running("web").len(), 3);
        assert_eq!(world.fleet.phase(id), None);
        let web = &world.fleet.state.groups[&group("web")];
        assert_eq!(
            web.bucket.tokens(1, world.now_ms()),
            1,
            "no budget was spent"
        );
        let decisions = world.fleet.decisions_on("web-1");
        assert!(
            decisions
                .iter()
                .any(|decision| { decision.proposal.cause.diagnosis() == Some(Diagnosis::Left) })
        );
    }
}

#[test]
fn a_pets_slot_is_refilled_only_once_the_old_machine_is_off() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    let id = world.id("db-1");
    world.leaving(id, Leaving::ForGood);
    world.see(id, MemberStatus::Left);
    world.say(id, ProviderWord::Running);
    world.settle();
    let steps: Vec<_> = world
        .fleet
        .intent_of(id)
        .plan
        .iter()
        .map(|record| record.step)
        .collect();
    assert_eq!(steps, [Step::Drain, Step::Fence, Step::Destroy]);
    assert_eq!(
        world.fleet.state.open_intents().count(),
        1,
        "no successor yet"
    );
}

#[test]
fn a_machine_that_left_and_returns_is_welcome() {
    let mut world = World::new(&[cattle("web", 3)]);
    let seed = world.id("seed-1");
    world.leaving(seed, Leaving::ForGood);
    world.see(seed, MemberStatus::Left);
    world.settle();
    assert!(matches!(world.fleet.phase(seed), Some(Phase::Left { .. })));
    world.pass(SECOND_MS);
    world.restart(seed);
    world.settle();
    assert_eq!(world.fleet.phase(seed), Some(Phase::Joined));
}

#[test]
fn a_reboot_is_not_a_failure() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.id("web-1");
    let until_ms = world.now_ms() + 90_000;
    world.leaving(id, Leaving::Rebooting { until_ms });
    world.see(id, MemberStatus::Left);
    world.say(id, ProviderWord::Stopped);
    world.pass(89_999);
    assert!(world.look().into_commands().is_empty());
    world.pass(1);
    world.settle();
    assert!(world.replacing(id));
}

#[test]
fn what_a_dead_leader_had_made_is_adopted_once() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.kill("web-1");
    world.settle();
    world.carry_out();
    let new = world.id("web-4");
    let op = world.fleet.intent_of(new).op.clone();
    let stranger = |id: &str, op: Option<OperationId>| Stranger {
        provisioner: "process".into(),
        id: instance(id).id,
        properties: Properties::new(),
        op,
        may_run: true,
    };
    world.strangers = vec![
        stranger("p-b", Some(op.clone())),
        stranger("p-a", Some(op)),
        stranger("p-c", None),
    ];
    assert_eq!(world.look().facts.len(), 1, "one of the three");
    world.settle();
    let made = world.fleet.state.machines[&new].instance.clone().unwrap();
    assert_eq!(made.id.as_str(), "p-a");
    assert_eq!(
        world.fleet.intent_of(new).current().unwrap().step,
        Step::AwaitJoin
    );
}

#[test]
fn healing_goes_on_under_the_next_leader_where_it_stopped() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.kill("web-1");
    world.settle();
    let op = world.fleet.intent_of(id).op.clone();
    world.fleet.term = 2;
    world.fleet.leader = world.id("web-2");
    world.begin_anew();
    world.settle();
    let open: Vec<_> = world
        .fleet
        .state
        .open_intents()
        .map(|intent| intent.op.clone())
        .collect();
    assert_eq!(open, [op]);
    world.heal();
    assert_eq!(world.running("web"), ["web-2", "web-3", "web-4"]);
}

#[test]
fn what_is_well_again_is_cleared() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.silence("web-1");
    world.settle();
    assert!(world.held(id).is_some());
    world.see(id, MemberStatus::Suspect);
    world.settle();
    assert!(world.held(id).is_some(), "suspicion is no recovery");
    world.revive(id);
    world.settle();
    assert_eq!(world.concern(id), None);
    let last = world.fleet.state.decisions.back().unwrap();
    assert_eq!(last.proposal.outcome, Outcome::Clear);
}

#[test]
fn all_machines_of_a_large_group_are_healed_one_budget_after_the_other() {
    let mut world = World::new(&[cattle("web", 60)]);
    for number in 1..=20 {
        world.kill(&format!("web-{number}"));
    }
    world.pass(MOVING_MS);
    world.settle();
    assert_eq!(world.fleet.state.open_intents().count(), 1, "the canary");
    for _ in 0..3 {
        world.carry_out();
    }
    world.settle();
    assert_eq!(world.fleet.state.open_intents().count(), 3, "5 % at once");
    world.heal();
    let web = &world.fleet.state.groups[&group("web")];
    assert_eq!(web.bucket.tokens(web.per_hour(), world.now_ms()), 0);
    assert_eq!(world.running("web").len(), 60);
    assert_eq!(
        world.alive().len(),
        60 + 1 - 8,
        "20 % in an hour, so 8 wait"
    );
    for _ in 0..8 {
        world.pass(HOUR_MS / 12);
        world.heal();
    }
    assert_eq!(world.alive().len(), 60 + 1);
}
