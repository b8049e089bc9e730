//! Machines that were made have to prove that they work before they count as a success.

use muster_mesh::identity::MachineId;

use crate::fleet::limits::{
    FAILED_ORDERS_MAX, INTENTS_ENDED_MAX, MINUTE_MS, SECOND_MS, TRIAL_MS_MAX,
};
use crate::fleet::testing::{cattle, group};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::{DETECTION_MS, TOLD_MS};

/// What the check below takes to find that a workload fails.
const CHECK_MS: u64 = 21 * SECOND_MS;

const TRIAL_MS: u64 = CHECK_MS + TOLD_MS;

/// The boot grace of machines made by `process`.
const BOOT_MS: u64 = MINUTE_MS;

const LOST: [&str; 4] = ["web-2", "web-3", "web-4", "web-5"];

/// A group whose machines are checked, and whose budget would let all of them be replaced at once.
fn checked(size: u32) -> GroupSpec {
    let mut spec = cattle("web", size);
    let properties = serde_json::json!({
        "health": { "command": "svc status", "interval": "5s", "timeout": "1s", "failures": 4 },
    });
    spec.flavor.properties = serde_json::from_value(properties).unwrap();
    spec.heal.budget = BudgetPolicy {
        at_once: Some(size),
        per_hour: Some(100),
    };
    spec
}

/// Four machines are lost at one moment; the one that is replaced first, as the canary, has joined.
fn canary_joined() -> (World, Intent) {
    let mut world = World::new(&[checked(12)]);
    for name in LOST {
        world.kill(name);
    }
    world.pass(DETECTION_MS);
    world.settle();
    let canary = joins(&mut world);
    (world, canary)
}

/// The one machine that is being made joins.
fn joins(world: &mut World) -> Intent {
    let open: Vec<_> = world.fleet.state.open_intents().cloned().collect();
    assert_eq!(open.len(), 1, "{open:#?}");
    for _ in 0..3 {
        world.carry_out();
    }
    world.settle();
    world.fleet.state.intents[&open[0].op].clone()
}

fn open(world: &World) -> usize {
    world.fleet.state.open_intents().count()
}

fn failures(world: &World) -> usize {
    world.fleet.state.groups[&group("web")].failures.len()
}

fn works(world: &World, intent: &Intent) -> Option<bool> {
    world.fleet.state.intents[&intent.op].works
}

/// The workload of the machine that an intent made fails.
fn fails(world: &mut World, intent: &Intent) {
    let new = intent.action.makes().unwrap();
    let name = world.fleet.state.machines[&new].name.to_string();
    world.ail(&name);
}

#[test]
fn a_canary_counts_as_well_once_its_check_has_had_the_time_to_fail() {
    let (mut world, canary) = canary_joined();
    assert_eq!(canary.trial_ms, TRIAL_MS);
    assert!(!world.fleet.state.is_at_rest());
    let waiting = LOST.map(|name| world.fleet.state.machine_by_name(name).map(|m| m.id));
    let waiting: Vec<_> = waiting.into_iter().flatten().collect();
    assert_eq!(waiting.len(), 3);
    world.pass(TRIAL_MS - 1);
    world.settle();
    assert_eq!(open(&world), 0, "it is on trial");
    world.assert_held(waiting[0], Rule::Correlation, "has to prove to be well");
    assert_eq!(world.look().next_look_ms, Some(world.now_ms() + 1));
    world.pass(1);
    world.settle();
    assert_eq!(works(&world, &canary), Some(true));
    assert_eq!(open(&world), 3, "the others follow");
    world.heal();
    world.pass(TRIAL_MS);
    world.settle();
    assert!(world.fleet.state.is_at_rest());
}

#[test]
fn a_canary_that_was_treated_waits_for_its_check_too() {
    let mut world = World::new(&[checked(12)]);
    let ids = LOST.map(|name| world.agent_down(name));
    world.pass(MINUTE_MS);
    world.settle();
    assert_eq!(open(&world), 1);
    let canary = ids
        .into_iter()
        .find(|id| world.fleet.state.machines[id].intent.is_some());
    world.carry_out();
    world.restart(canary.unwrap());
    world.settle();
    world.pass(CHECK_MS - 1);
    world.settle();
    assert_eq!(
        open(&world),
        1,
        "its treatment is not over, and the others wait"
    );
    world.pass(1);
    world.settle();
    assert_eq!(open(&world), 3);
}

#[test]
fn replacements_whose_workload_fails_cost_one_attempt_at_a_time_until_the_group_has_failed() {
    let (mut world, mut canary) = canary_joined();
    for attempt in 1..=FAILED_ORDERS_MAX {
        fails(&mut world, &canary);
        world.pass(BOOT_MS - 1);
        world.settle();
        assert_eq!(open(&world), 0, "it may still begin to work");
        assert_eq!(failures(&world), attempt - 1);
        world.pass(1);
        world.settle();
        assert_eq!(works(&world, &canary), Some(false));
        assert_eq!(failures(&world), attempt);
        assert_eq!(open(&world), 0, "after a failure the group waits");
        let events = world.fleet.state.events.iter();
        let in_vain = |event: &&Event| {
            event.kind == EventKind::Failed && event.detail.contains("was in vain: its workload")
        };
        assert_eq!(events.filter(in_vain).count(), attempt);
        world.pass(4 * MINUTE_MS);
        world.settle();
        if attempt < FAILED_ORDERS_MAX {
            canary = joins(&mut world);
        }
    }
    assert_eq!(open(&world), 0);
    let state = &world.fleet.state;
    assert!(
        state.groups[&group("web")]
            .suspended(world.now_ms())
            .is_some()
    );
    let alerts = state.events.iter();
    let alerts = alerts.filter(|event| event.kind == EventKind::GroupFailed);
    assert_eq!(alerts.count(), 1);
    world.pass(10 * MINUTE_MS);
    world.settle();
    let new = canary.action.makes().unwrap();
    world.assert_held(new, Rule::Backoff, "nothing more is tried");
}

#[test]
fn a_replacement_that_works_at_last_ends_the_waiting() {
    let (mut world, canary) = canary_joined();
    fails(&mut world, &canary);
    world.pass(BOOT_MS);
    world.settle();
    assert_eq!(failures(&world), 1);
    world.pass(MINUTE_MS);
    world.settle();
    let second = joins(&mut world);
    assert_eq!(failures(&world), 1, "to join is no success");
    world.pass(TRIAL_MS);
    world.settle();
    assert_eq!(works(&world, &second), Some(true));
    assert_eq!(failures(&world), 0);
    assert!(open(&world) > 1, "the others follow");
}

#[test]
fn a_slow_start_is_no_failure() {
    let (mut world, canary) = canary_joined();
    fails(&mut world, &canary);
    world.pass(BOOT_MS - SECOND_MS);
    world.settle();
    world.revive(canary.action.makes().unwrap());
    world.settle();
    assert_eq!(works(&world, &canary), Some(true));
    assert_eq!(failures(&world), 0);
}

#[test]
fn a_machine_that_nothing_checks_is_on_no_trial() {
    let mut world = World::new(&[cattle("web", 3)]);
    world.kill("web-2");
    world.pass(DETECTION_MS);
    world.settle();
    let intent = joins(&mut world);
    assert_eq!((intent.trial_ms, intent.works), (0, Some(true)));
    assert!(world.fleet.state.is_at_rest());
}

#[test]
fn new_machines_of_a_group_that_grows_fail_no_order() {
    let mut world = World::new(&[checked(3)]);
    let size = 4;
    let group = group("web");
    world.fleet.ok(Command::ScaleGroup { group, size });
    world.settle();
    let op = world.fleet.state.open_intents().next().unwrap().op.clone();
    world.heal();
    let intent = world.fleet.state.intents[&op].clone();
    fails(&mut world, &intent);
    world.pass(BOOT_MS);
    world.settle();
    assert_eq!(works(&world, &intent), Some(false));
    assert_eq!(failures(&world), 0);
}

#[test]
fn a_trials_end_is_taken_once_and_not_before_its_time() {
    let (mut world, canary) = canary_joined();
    let over = |op: &OperationId, works| Command::TrialOver {
        op: op.clone(),
        works,
        detail: "it was looked at".into(),
    };
    world.pass(TRIAL_MS - SECOND_MS);
    for works in [true, false] {
        let refusal = world.fleet.refused(over(&canary.op, works)).to_string();
        assert!(refusal.contains("is on trial for another"), "{refusal}");
    }
    world.pass(SECOND_MS);
    let early = world.fleet.refused(over(&canary.op, false)).to_string();
    assert!(early.contains("is on trial for another"), "{early}");
    world.fleet.ok(over(&canary.op, true));
    let again = world.fleet.refused(over(&canary.op, true));
    assert!(matches!(again, Refusal::Stale(_)), "{again}");
}

/// The treatments of a machine, with whether they helped.
fn treatments(world: &World, id: MachineId) -> Vec<(Rung, bool)> {
    let last = &world.fleet.state.machines[&id].treatments.last;
    let told = last.iter().map(|one| (one.rung, one.helped));
    told.collect()
}

#[test]
fn a_reboot_after_which_the_workload_fails_was_no_cure_and_the_next_rung_follows_at_once() {
    let mut world = World::new(&[checked(3)]);
    let id = world.ail("web-2");
    world.pass(30 * SECOND_MS);
    world.settle();
    world.carry_out();
    world.restart(id);
    world.settle();
    assert_eq!(open(&world), 1, "its check has yet to fail");
    assert!(world.concern(id).is_some(), "and nothing is cleared before");
    // It fails once more a moment before the reboot's time is up.
    world.pass(BOOT_MS - SECOND_MS);
    world
        .seen
        .get_mut(&id)
        .unwrap()
        .member
        .as_mut()
        .unwrap()
        .since_ms = world.now_ms();
    world.settle();
    assert_eq!(treatments(&world, id), [], "it has been well for a moment");
    world.ail("web-2");
    world.pass(SECOND_MS);
    world.settle();
    assert_eq!(treatments(&world, id), [(Rung::Reboot, false)]);
    assert!(world.replacing(id), "{:?}", world.concern(id));
}

#[test]
fn a_reimage_after_which_the_workload_fails_was_no_cure() {
    for works in [true, false] {
        let mut world = World::new(&[checked(3)]);
        let old = world.agent_down("web-2");
        let mut reimage = world.fleet.reimage(old, Diagnosis::AgentDown);
        reimage.order.as_mut().unwrap().trial_ms = TRIAL_MS;
        let new = world.fleet.act(reimage);
        let op = world.fleet.intent_of(new).op.clone();
        world.carry_out();
        world.carry_out();
        if !works {
            world.ail("web-2");
        }
        world.pass(BOOT_MS);
        world.settle();
        assert_eq!(world.fleet.state.intents[&op].works, Some(works));
        assert_eq!(treatments(&world, new), [(Rung::Reimage, works)]);
        assert_eq!(failures(&world), 0, "the next rung follows without a wait");
    }
}

#[test]
fn a_workload_that_is_stopped_for_want_of_a_lease_proves_nothing() {
    let (mut world, canary) = canary_joined();
    let new = canary.action.makes().unwrap();
    let name = world.fleet.state.machines[&new].name.to_string();
    world.ail(&name);
    let record = world.seen.get_mut(&new).unwrap().record.as_mut().unwrap();
    record.workload = Some(Workload::Unleased);
    world.pass(BOOT_MS);
    world.settle();
    assert_eq!(works(&world, &canary), None, "nothing has looked at it");
    world.revive(new);
    world.settle();
    assert_eq!(works(&world, &canary), Some(true));
}

#[test]
fn a_trial_outlasts_any_number_of_other_intents() {
    let (mut world, canary) = canary_joined();
    let other = cattle("other", 0);
    world.fleet.declare(other.clone());
    for _ in 0..INTENTS_ENDED_MAX {
        world.fleet.declare(cattle("other", 1));
        world.fleet.fill(&other.id);
        let there = world.fleet.state.group_machines(&other.id).next();
        let id = there.unwrap().id;
        world.fleet.declare(other.clone());
        let (desired, existing) = (0, 1);
        let surplus = Cause::TooMany { desired, existing };
        let retire = world.fleet.retire(id, surplus);
        world.fleet.act(retire);
        world.fleet.done(id);
        world.fleet.done(id);
    }
    let ended = world.fleet.state.intents.len();
    assert!(ended <= INTENTS_ENDED_MAX + 4, "{ended}");
    assert_eq!(works(&world, &canary), None, "it is remembered");
    world.pass(TRIAL_MS);
    world.settle();
    assert_eq!(works(&world, &canary), Some(true));
}

#[test]
fn no_order_has_a_trial_without_end() {
    let mut world = World::new(&[checked(3)]);
    let id = world.kill("web-2");
    let mut replace = world.fleet.replace(id, Diagnosis::Gone);
    replace.order.as_mut().unwrap().trial_ms = TRIAL_MS_MAX + 1;
    let refusal = world.fleet.refused(Command::Decide(vec![replace]));
    assert!(refusal.to_string().contains("trial"), "{refusal}");
}
