use muster_mesh::identity::MachineId;

use crate::fleet::limits::{HOUR_MS, MINUTE_MS, RUNG_ATTEMPTS_MAX, SECOND_MS};
use crate::fleet::testing::{cattle, group, pets};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::DETECTION_MS;

const GRACE_MS: u64 = 30 * SECOND_MS;

/// What is being done to a machine in its place.
fn rung(world: &World, id: MachineId) -> Option<Rung> {
    let op = world.fleet.state.machines.get(&id)?.intent.as_ref()?;
    world.fleet.state.intents[op].action.rung()
}

/// It is done, and does not help until its time is up.
fn in_vain(world: &mut World, ms: u64) {
    world.carry_out();
    world.settle();
    world.pass(ms);
    world.settle();
}

fn restartable(size: u32) -> GroupSpec {
    let mut spec = cattle("web", size);
    let properties = serde_json::json!({ "restart": { "command": "svc restart" } });
    spec.flavor.properties = serde_json::from_value(properties).unwrap();
    spec
}

/// What the check below takes to find that a workload fails.
const CHECK_MS: u64 = 21 * SECOND_MS;

/// A group whose workloads can be restarted, and are checked.
fn checked() -> GroupSpec {
    let mut spec = restartable(3);
    let properties = serde_json::json!({
        "restart": { "command": "svc restart" },
        "health": { "command": "svc status", "interval": "5s", "timeout": "1s", "failures": 4 },
    });
    spec.flavor.properties = serde_json::from_value(properties).unwrap();
    spec
}

#[test]
fn an_agent_that_is_down_is_left_to_its_supervisor_and_then_rebooted() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.agent_down("web-2");
    world.pass(DETECTION_MS);
    world.settle();
    world.assert_held(id, Rule::Grace, "its agent has been down, and that");
    world.pass(GRACE_MS);
    world.settle();
    assert_eq!(rung(&world, id), Some(Rung::Reboot));
    assert_eq!(world.fleet.phase(id), Some(Phase::Joined));
    world.carry_out();
    world.revive(id);
    world.settle();
    assert_eq!(world.fleet.state.open_intents().count(), 0);
    let last = world.fleet.state.machines[&id].treatments.last[0];
    assert_eq!((last.rung, last.helped), (Rung::Reboot, true));
    assert!(world.concern(id).is_none(), "and that is over");
}

#[test]
fn what_did_not_help_is_followed_by_the_next_rung_and_at_last_by_a_replacement() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.agent_down("web-2");
    world.pass(GRACE_MS);
    world.settle();
    assert_eq!(rung(&world, id), Some(Rung::Reboot));
    in_vain(&mut world, MINUTE_MS - SECOND_MS);
    assert_eq!(
        rung(&world, id),
        Some(Rung::Reboot),
        "it still has a second"
    );
    world.pass(SECOND_MS);
    world.settle();
    assert_eq!(
        rung(&world, id),
        Some(Rung::PowerCycle),
        "without any wait between"
    );
    in_vain(&mut world, MINUTE_MS);
    assert!(world.replacing(id));
    let decision = world.fleet.state.decisions.back().unwrap();
    let ladder = decision
        .proposal
        .checks
        .iter()
        .find(|check| check.rule == Rule::Ladder);
    let margin = ladder.unwrap().margin.to_string();
    assert!(margin.contains("`reboot` did not help"), "{margin}");
    assert!(margin.contains("`power-cycle` did not help"), "{margin}");
    let group = &world.fleet.state.groups[&group("web")];
    assert_eq!(
        group.bucket.tokens(10, world.now_ms()),
        7,
        "each rung is paid for"
    );
    assert!(group.failures.is_empty(), "no order has failed");
}

/// The provisioner of a machine has hardware, or not, and can write it anew, or not.
fn provides(world: &mut World, id: MachineId, is_hardware: bool, can_reimage: bool) {
    let seen = world.seen.get_mut(&id).unwrap();
    let provider = seen.provider.as_mut().unwrap();
    (provider.is_hardware, provider.can_reimage) = (is_hardware, can_reimage);
}

/// What is done about a machine that is silent for long enough.
fn about_silence(world: &mut World, name: &str, is_hardware: bool) -> (MachineId, Option<Rung>) {
    let id = world.silence(name);
    provides(world, id, is_hardware, true);
    world.pass(GRACE_MS);
    world.settle();
    (id, rung(world, id))
}

#[test]
fn silent_hardware_has_its_power_cycled_then_is_reimaged_and_replaced_at_last() {
    for spec in [cattle("web", 3), pets("web", &["web-1", "web-2", "web-3"])] {
        let mut world = World::new(&[spec]);
        let (id, first) = about_silence(&mut world, "web-2", true);
        assert_eq!(first, Some(Rung::PowerCycle));
        in_vain(&mut world, MINUTE_MS);
        assert_eq!(rung(&world, id), Some(Rung::Reimage));
        assert_eq!(world.fleet.phase(id), Some(Phase::Retiring));
        world.carry_out();
        let new = world.id("web-2");
        assert_ne!(new, id, "another machine in the same place");
        assert!(!world.fleet.state.machines.contains_key(&id));
        world.say(new, ProviderWord::Running);
        world.pass(MINUTE_MS);
        world.settle();
        assert!(world.replacing(new), "{:?}", world.concern(new));
    }
}

#[test]
fn what_is_silent_is_replaced_at_once_where_another_one_is_cheaply_had() {
    for spec in [cattle("web", 3), pets("web", &["web-1", "web-2", "web-3"])] {
        let mut world = World::new(std::slice::from_ref(&spec));
        let (id, first) = about_silence(&mut world, "web-2", false);
        assert!(first.is_none() && world.replacing(id));

        // Whoever wants it otherwise says so, in either direction.
        let mut gentle = spec.clone();
        gentle.heal.unreachable = Some(Unreachable::PowerCycle);
        let mut world = World::new(&[gentle]);
        let (_, first) = about_silence(&mut world, "web-2", false);
        assert_eq!(first, Some(Rung::PowerCycle));
        let mut hasty = spec;
        hasty.heal.unreachable = Some(Unreachable::Replace);
        let mut world = World::new(&[hasty]);
        let (id, first) = about_silence(&mut world, "web-2", true);
        assert!(first.is_none() && world.replacing(id));
    }
}

#[test]
fn hardware_is_replaced_at_once_where_its_controller_does_not_say_that_it_runs() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.silence("web-2");
    let why = "it does not answer".into();
    world.say(id, ProviderWord::CannotSay { why });
    provides(&mut world, id, true, true);
    world.pass(GRACE_MS);
    world.settle();
    assert!(world.replacing(id), "{:?}", world.concern(id));

    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.kill("web-2");
    provides(&mut world, id, true, true);
    world.pass(GRACE_MS);
    world.settle();
    assert!(world.replacing(id), "it is proved gone");
}

#[test]
fn reimaging_is_the_last_rung_before_replacing_for_what_answers_too() {
    let mut world = World::new(&[restartable(3)]);
    let id = world.ail("web-2");
    provides(&mut world, id, false, true);
    use Rung::{Reboot, Reimage, RestartWorkload};
    let mut tried = Vec::new();
    world.pass(GRACE_MS);
    world.settle();
    while let Some(next) = rung(&world, id) {
        tried.push(next);
        if next == Reimage {
            break;
        }
        in_vain(&mut world, MINUTE_MS);
    }
    assert_eq!(tried, [RestartWorkload, Reboot, Reimage]);
    world.carry_out();
    world.carry_out();
    world.settle();
    let new = world.id("web-2");
    assert_eq!(world.fleet.phase(new), Some(Phase::Joined));
    let last = world.fleet.state.machines[&new].treatments.last.back();
    assert_eq!(
        last.map(|last| (last.rung, last.helped)),
        Some((Reimage, true))
    );

    // It is the same hardware: what failed on it is remembered, and twice is enough.
    let failed = world.fleet.state.machines[&new].treatments.clone();
    assert!(failed.spent(Reboot, world.now_ms()).is_some());
    world.ail("web-2");
    provides(&mut world, new, false, true);
    world.pass(2 * GRACE_MS);
    world.settle();
    assert_eq!(rung(&world, new), Some(Reimage));
    world.carry_out();
    world.carry_out();
    world.settle();
    let third = world.ail("web-2");
    provides(&mut world, third, false, true);
    world.pass(2 * GRACE_MS);
    world.settle();
    assert!(world.replacing(third), "{:?}", world.concern(third));
}

#[test]
fn a_rung_that_can_not_be_carried_out_is_given_up_soon() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.agent_down("web-2");
    world.pass(GRACE_MS);
    world.settle();
    for attempt in 0..RUNG_ATTEMPTS_MAX {
        let result = StepResult::Error {
            error: "no answer".into(),
            retry_ms: 1000,
        };
        let op = world.fleet.intent_of(id).op.clone();
        let step = Step::Reboot;
        world.fleet.ok(Command::Progress(Progress {
            op,
            step,
            attempt,
            result,
        }));
    }
    world.settle();
    assert_eq!(rung(&world, id), Some(Rung::PowerCycle));
}

#[test]
fn a_failed_workload_is_restarted_then_its_machine_rebooted_then_replaced() {
    let mut world = World::new(&[restartable(3)]);
    let id = world.ail("web-2");
    world.pass(GRACE_MS);
    world.settle();
    assert_eq!(rung(&world, id), Some(Rung::RestartWorkload));
    in_vain(&mut world, MINUTE_MS);
    assert_eq!(rung(&world, id), Some(Rung::Reboot));
    in_vain(&mut world, MINUTE_MS);
    assert!(world.replacing(id));
}

#[test]
fn a_flavor_that_can_not_restart_and_a_provisioner_that_can_not_reboot_are_passed_over() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.ail("web-2");
    world.pass(GRACE_MS);
    let provider = world.seen.get_mut(&id).unwrap().provider.as_mut().unwrap();
    (provider.can_reboot, provider.can_power_cycle) = (false, false);
    world.settle();
    assert!(world.replacing(id));

    let mut world = World::new(&[cattle("web", 3)]);
    let down = world.agent_down("web-3");
    let provider = world
        .seen
        .get_mut(&down)
        .unwrap()
        .provider
        .as_mut()
        .unwrap();
    provider.can_reboot = false;
    world.pass(GRACE_MS);
    world.settle();
    assert_eq!(rung(&world, down), Some(Rung::PowerCycle));
}

#[test]
fn a_machine_whose_workload_was_mended_is_on_trial_for_as_long_as_its_check_takes_to_fail() {
    let mut world = World::new(&[checked()]);
    let id = world.ail("web-1");
    world.pass(GRACE_MS);
    world.settle();
    world.carry_out();
    world.revive(id);
    world.pass(CHECK_MS - 1);
    world.settle();
    assert_eq!(rung(&world, id), Some(Rung::RestartWorkload));
    world.pass(1);
    world.settle();
    assert_eq!(rung(&world, id), None);
    assert!(world.fleet.state.machines[&id].treatments.last[0].helped);
}

#[test]
fn a_workload_that_was_mended_is_well_since_it_works() {
    let mut world = World::new(&[checked()]);
    let id = world.ail("web-1");
    world.pass(GRACE_MS);
    world.settle();
    world.carry_out();
    // Its machine has lived all the time, and the leader has just heard that the workload works.
    world.pass(20 * SECOND_MS);
    let now_ms = world.now_ms();
    let seen = world.seen.get_mut(&id).unwrap();
    (seen.record, seen.works_since_ms) = (None, Some(now_ms));
    world.pass(CHECK_MS - 1);
    world.settle();
    assert_eq!(rung(&world, id), Some(Rung::RestartWorkload));
    world.pass(1);
    world.settle();
    assert_eq!(rung(&world, id), None);
}

#[test]
fn what_helps_again_and_again_is_no_cure() {
    let mut world = World::new(&[restartable(3)]);
    let mut tried = Vec::new();
    for _ in 0..4 {
        let id = world.ail("web-1");
        world.pass(GRACE_MS);
        world.settle();
        tried.push(rung(&world, id).unwrap());
        world.carry_out();
        world.revive(id);
        world.settle();
    }
    use Rung::{Reboot, RestartWorkload};
    assert_eq!(tried, [RestartWorkload, RestartWorkload, Reboot, Reboot]);
    let id = world.ail("web-1");
    world.pass(GRACE_MS);
    world.settle();
    assert!(world.replacing(id));
}

#[test]
fn an_hour_later_a_rung_may_be_tried_again() {
    let mut world = World::new(&[cattle("web", 3)]);
    for _ in 0..3 {
        let id = world.agent_down("web-1");
        world.pass(GRACE_MS);
        world.settle();
        assert_eq!(rung(&world, id), Some(Rung::Reboot));
        world.carry_out();
        world.revive(id);
        world.settle();
        world.pass(HOUR_MS);
    }
}

#[test]
fn workloads_that_all_fail_are_treated_one_at_a_time_and_none_is_replaced() {
    // That is what a bad health check looks like.
    let mut world = World::new(&[cattle("web", 3)]);
    let ids = ["web-1", "web-2", "web-3"].map(|name| world.ail(name));
    world.pass(GRACE_MS);
    for _ in 0..12 {
        world.settle();
        let treated = ids.iter().filter(|id| rung(&world, **id).is_some()).count();
        assert!(treated <= 1, "one at once");
        assert!(ids.iter().all(|id| !world.replacing(*id)));
        world.carry_out();
        world.settle();
        world.pass(MINUTE_MS);
    }
    for id in ids {
        assert_eq!(world.fleet.state.machines[&id].treatments.count, 1);
        world.assert_held(id, Rule::LastGoodReplica, "none of the 2 others is well");
    }
}

#[test]
fn a_machine_that_nobody_made_is_for_a_person_to_mend() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.agent_down("web-2");
    let machine = world.fleet.state.machines.get_mut(&id).unwrap();
    (machine.instance, machine.order) = (None, None);
    world.pass(GRACE_MS);
    world.settle();
    world.assert_held(id, Rule::Ladder, "for a person to mend");
}

#[test]
fn a_treatment_is_observed_approved_paused_and_held_like_a_replacement() {
    let mut world = World::new(&[cattle("web", 4)]);
    let id = world.agent_down("web-2");
    world.pass(GRACE_MS);
    let mode = |world: &mut World, mode| {
        let group = group("web");
        world.fleet.ok(Command::SetHealMode { group, mode });
        world.settle();
        world.concern(id).map(|concern| concern.outcome.clone())
    };
    let would = Would::Treat(Rung::Reboot);
    let observed = mode(&mut world, HealMode::Observe);
    assert_eq!(observed, Some(Outcome::Observe { would }));
    let waits = mode(&mut world, HealMode::Approve);
    assert_eq!(waits, Some(Outcome::AwaitApproval { would }));
    let decision = world.concern(id).unwrap().decision;
    world.fleet.ok(Command::Approve { decision });
    world.settle();
    assert_eq!(rung(&world, id), Some(Rung::Reboot));
    in_vain(&mut world, MINUTE_MS);
    let next = Would::Treat(Rung::PowerCycle);
    let outcome = world.concern(id).map(|concern| concern.outcome.clone());
    assert_eq!(
        outcome,
        Some(Outcome::AwaitApproval { would: next }),
        "one approval is for one rung"
    );
}

#[test]
fn a_machine_that_is_gone_while_it_is_treated_is_not_waited_for() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.agent_down("web-2");
    world.pass(GRACE_MS);
    world.settle();
    world.carry_out();
    world.settle();
    world.pass(SECOND_MS);
    world.kill("web-2");
    world.settle();
    assert!(world.replacing(id));
}

#[test]
fn a_pet_that_dies_again_and_again_with_the_same_disk_is_left_as_it_is() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    for _ in 0..2 {
        world.kill("db-1");
        world.pass(DETECTION_MS);
        world.heal();
        world.pass(5 * MINUTE_MS);
    }
    let id = world.kill("db-1");
    world.pass(DETECTION_MS);
    world.settle();
    world.assert_held(id, Rule::Backoff, "the disk is suspected");
    let other = world.kill("db-2");
    world.pass(MINUTE_MS);
    world.settle();
    assert!(world.replacing(other), "another pet has another disk");
    world.heal();
    let scope = PauseScope::Group(group("db"));
    world.fleet.ok(Command::Resume { scope });
    world.settle();
    assert!(world.replacing(id), "a person has had a look at it");
}

#[test]
fn what_a_machine_complained_of_before_it_fell_silent_is_remembered() {
    let mut world = World::new(&[cattle("web", 3)]);
    let id = world.silence("web-1");
    let record = RecordEvidence {
        health: Health::Critical,
        reasons: vec!["the disk is 99 % full".into()],
        workload: None,
        part: None,
        leaving: None,
        version: None,
        as_of_ms: world.now_ms(),
    };
    world.seen.get_mut(&id).unwrap().record = Some(record);
    let finding = &world.look().findings[&id];
    assert!(
        finding
            .summary
            .ends_with("its last words: the disk is 99 % full")
    );
}

#[test]
fn what_runs_under_a_lease_is_restarted_by_its_guard_without_a_command_for_that() {
    for leased in [true, false] {
        let mut spec = pets("db", &["db-1", "db-2"]);
        let properties = serde_json::json!({
            "start": "exec db",
            "stop": { "command": "db stop" },
        });
        spec.flavor.properties = serde_json::from_value(properties).unwrap();
        let mut world = World::new(&[spec]);
        let id = world.id("db-1");
        let terms = LeaseTerms {
            lease_ms: 12_000,
            stop_ms: 3_000,
        };
        if leased {
            world.fleet.ok(Command::BindLease {
                machine: id,
                terms: Some(terms),
            });
        }
        world.ail("db-1");
        world.pass(GRACE_MS);
        world.settle();
        let first = if leased {
            Rung::RestartWorkload
        } else {
            Rung::Reboot
        };
        assert_eq!(rung(&world, id), Some(first));
    }
}
