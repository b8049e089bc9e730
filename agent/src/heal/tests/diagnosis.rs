use crate::fleet::testing::cattle;
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::{PROVIDER_WORD_MS, REPORT_MS, WORKLOAD_STANDS_MS};

fn world() -> World {
    World::new(&[cattle("web", 4)])
}

#[track_caller]
fn assert_diagnosed(world: &World, name: &str, diagnosis: Diagnosis) {
    let finding = world.look().findings[&world.id(name)].clone();
    assert_eq!(finding.diagnosis, diagnosis, "{}", finding.summary);
}

#[test]
fn a_machine_that_answers_is_healthy_whatever_its_provider_says() {
    let mut world = world();
    let id = world.id("web-1");
    world.say(id, ProviderWord::Stopped);
    assert_diagnosed(&world, "web-1", Diagnosis::Healthy);
}

#[test]
fn a_suspect_is_waited_for_unless_it_is_proved_gone() {
    let mut world = world();
    let id = world.id("web-1");
    world.see(id, MemberStatus::Suspect);
    world.say(id, ProviderWord::Running);
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
    world.say(id, ProviderWord::Stopped);
    assert_diagnosed(&world, "web-1", Diagnosis::Gone);
}

#[test]
fn a_providers_word_from_before_the_silence_proves_nothing() {
    let mut world = world();
    let id = world.id("web-1");
    world.say(id, ProviderWord::Stopped);
    world.fleet.pass(1);
    world.see(id, MemberStatus::Down);
    world.witnesses(id, Answer::Silent);
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
    world.fleet.pass(PROVIDER_WORD_MS);
    assert_diagnosed(&world, "web-1", Diagnosis::Unreachable);
}

#[test]
fn slow_is_not_dead_whatever_its_provider_says() {
    let mut world = world();
    let id = world.silence("web-1");
    let by = world.id("web-2");
    world.witness(id, by, Answer::Answered);
    assert_diagnosed(&world, "web-1", Diagnosis::Partitioned);
    world.say(id, ProviderWord::Stopped);
    assert_diagnosed(&world, "web-1", Diagnosis::Partitioned);
    world.seen.get_mut(&id).unwrap().witnesses.clear();
    world.witnesses(id, Answer::Answered);
    assert_diagnosed(&world, "web-1", Diagnosis::Slow);
}

#[test]
fn the_last_report_of_a_witness_counts_and_not_for_ever() {
    let mut world = world();
    let id = world.id("web-1");
    world.see(id, MemberStatus::Down);
    world.witnesses(id, Answer::Answered);
    world.fleet.pass(1);
    world.witnesses(id, Answer::Silent);
    assert_diagnosed(&world, "web-1", Diagnosis::Unreachable);
    world.fleet.pass(REPORT_MS);
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
}

#[test]
fn one_witness_is_not_enough_where_there_are_more() {
    let mut world = world();
    let (id, by) = (world.id("web-1"), world.id("web-2"));
    world.see(id, MemberStatus::Down);
    world.say(
        id,
        ProviderWord::CannotSay {
            why: "no answer".into(),
        },
    );
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
    world.witness(id, by, Answer::Silent);
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
    world.witness(id, id, Answer::Silent);
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
    world.witness(id, world.fleet.leader, Answer::Silent);
    assert_diagnosed(&world, "web-1", Diagnosis::Unreachable);
}

#[test]
fn a_host_that_refuses_is_up() {
    let mut world = world();
    let id = world.id("web-1");
    world.see(id, MemberStatus::Down);
    world.say(id, ProviderWord::Running);
    world.witnesses(id, Answer::Refused);
    assert_diagnosed(&world, "web-1", Diagnosis::AgentDown);
    world.say(id, ProviderWord::Unknown);
    assert_diagnosed(&world, "web-1", Diagnosis::Gone);
}

#[test]
fn a_new_instance_may_be_missing_from_its_providers_list() {
    let mut world = world();
    let id = world.id("web-1");
    world.see(id, MemberStatus::Down);
    world.witnesses(id, Answer::Silent);
    world.say(id, ProviderWord::Unknown);
    // It was made long after it was ordered, and nobody knows when but that it is on record since then.
    let machine = world.fleet.state.machines.get_mut(&id).unwrap();
    let made_ms = machine.ordered_ms + 50_000;
    (machine.made_ms, machine.joined_ms) = (Some(made_ms), Some(made_ms + 10_000));
    let age_ms = world.now_ms() - made_ms;
    let lag = |world: &mut World, list_lag_ms| {
        world
            .seen
            .get_mut(&id)
            .unwrap()
            .provider
            .as_mut()
            .unwrap()
            .list_lag_ms = list_lag_ms;
    };
    lag(&mut world, age_ms + 1);
    assert_diagnosed(&world, "web-1", Diagnosis::Unreachable);
    lag(&mut world, age_ms);
    assert_diagnosed(&world, "web-1", Diagnosis::Gone);
}

#[test]
fn a_machine_that_was_made_before_that_went_on_record_is_listed_by_when_it_joined() {
    let mut world = world();
    let id = world.id("web-1");
    world.see(id, MemberStatus::Down);
    world.witnesses(id, Answer::Silent);
    world.say(id, ProviderWord::Unknown);
    let now_ms = world.now_ms();
    let joined = |world: &mut World, joined_ms| {
        let machine = world.fleet.state.machines.get_mut(&id).unwrap();
        (machine.made_ms, machine.joined_ms) = (None, Some(joined_ms));
        let provider = world.seen.get_mut(&id).unwrap().provider.as_mut();
        provider.unwrap().list_lag_ms = 60_000;
    };
    joined(&mut world, now_ms - 59_999);
    assert_diagnosed(&world, "web-1", Diagnosis::Unreachable);
    joined(&mut world, now_ms - 60_000);
    assert_diagnosed(&world, "web-1", Diagnosis::Gone);
}

#[test]
fn a_list_from_before_a_machine_was_made_proves_nothing() {
    let mut world = world();
    let id = world.id("web-1");
    world.see(id, MemberStatus::Down);
    world.say(id, ProviderWord::Unknown);
    let now_ms = world.now_ms();
    let machine = world.fleet.state.machines.get_mut(&id).unwrap();
    (machine.made_ms, machine.joined_ms) = (Some(now_ms + 1), Some(now_ms + 1));
    assert!(!world.look().findings[&id].proved_off);
}

#[test]
fn one_that_somebody_reaches_is_not_gone_even_if_nobody_has_heard_of_it_yet() {
    let mut world = world();
    let (id, by) = (world.id("web-1"), world.id("web-2"));
    world.seen.remove(&id);
    let joined_ms = world.now_ms();
    let machine = world.fleet.state.machines.get_mut(&id).unwrap();
    machine.joined_ms = Some(joined_ms);
    world.pass(200);
    world.say(id, ProviderWord::Unknown);
    assert_diagnosed(&world, "web-1", Diagnosis::Gone);
    for word in [ProviderWord::Unknown, ProviderWord::Stopped] {
        world.seen.get_mut(&id).unwrap().witnesses.clear();
        world.witness(id, by, Answer::Answered);
        world.fleet.pass(200);
        world.say(id, word);
        assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
        assert!(!world.look().findings[&id].proved_off);
    }
    world.fleet.pass(1);
    world.witness(id, by, Answer::Silent);
    assert_diagnosed(&world, "web-1", Diagnosis::Gone);
}

#[test]
fn one_that_answers_is_not_proved_off_by_anybodys_word() {
    let mut world = world();
    let id = world.id("web-1");
    world.say(id, ProviderWord::Stopped);
    assert!(!world.look().findings[&id].proved_off);
    world.see(id, MemberStatus::Down);
    assert!(world.look().findings[&id].proved_off);
}

#[test]
fn what_a_machine_announced_comes_first() {
    let mut world = world();
    let id = world.id("web-1");
    let until_ms = world.now_ms() + 90_000;
    world.leaving(id, Leaving::Rebooting { until_ms });
    assert_diagnosed(&world, "web-1", Diagnosis::Healthy);
    world.see(id, MemberStatus::Left);
    world.say(id, ProviderWord::Stopped);
    assert_diagnosed(&world, "web-1", Diagnosis::Rebooting);
    world.pass(90_000);
    assert_diagnosed(&world, "web-1", Diagnosis::Gone);

    let id = world.id("web-2");
    world.leaving(id, Leaving::ForGood);
    world.see(id, MemberStatus::Down);
    world.say(id, ProviderWord::Stopped);
    assert_diagnosed(&world, "web-2", Diagnosis::Left);
}

#[test]
fn nobody_reboots_for_ever() {
    let mut world = world();
    let id = world.id("web-1");
    world.leaving(id, Leaving::Rebooting { until_ms: u64::MAX });
    world.see(id, MemberStatus::Left);
    assert_diagnosed(&world, "web-1", Diagnosis::Rebooting);
    world.pass(crate::heal::timing::REBOOT_MS_MAX);
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
}

#[test]
fn a_goodbye_without_the_machines_own_word_is_silence() {
    let mut world = world();
    let id = world.id("web-1");
    world.see(id, MemberStatus::Left);
    world.say(id, ProviderWord::Running);
    world.witnesses(id, Answer::Silent);
    assert_diagnosed(&world, "web-1", Diagnosis::Unreachable);
}

#[test]
fn a_failed_workload_is_told_from_a_failed_machine() {
    let mut world = world();
    let id = world.id("web-1");
    world.leaving(id, Leaving::ForGood);
    let record = world.seen.get_mut(&id).unwrap().record.as_mut().unwrap();
    record.leaving = None;
    record.workload = Some(Workload::Failed {
        since_ms: 5,
        detail: "exit code 1".into(),
    });
    assert_diagnosed(&world, "web-1", Diagnosis::WorkloadFailed);
}

#[test]
fn a_machine_that_a_new_leader_never_heard_of_is_silent_since_it_leads() {
    let mut world = world();
    let id = world.id("web-1");
    world.seen.remove(&id);
    world.leader_since_ms = world.now_ms() - PROVIDER_WORD_MS;
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
    world.witnesses(id, Answer::Silent);
    let finding = world.look().findings[&id].clone();
    assert_eq!(
        (finding.diagnosis, finding.since_ms),
        (Diagnosis::Unreachable, world.leader_since_ms)
    );
}

#[test]
fn a_weaker_diagnosis_waits_for_the_providers_word_but_not_for_ever() {
    let mut world = world();
    let id = world.id("web-1");
    world.say(id, ProviderWord::Running);
    world.fleet.pass(1);
    world.see(id, MemberStatus::Down);
    world.witnesses(id, Answer::Refused);
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
    // Time passes without a word.
    world.fleet.pass(PROVIDER_WORD_MS - 1);
    world.witnesses(id, Answer::Refused);
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
    world.fleet.pass(1);
    assert_diagnosed(&world, "web-1", Diagnosis::AgentDown);
    world.say(id, ProviderWord::Stopped);
    assert_diagnosed(&world, "web-1", Diagnosis::Gone);
}

#[test]
fn word_of_a_machine_that_joined_a_moment_ago_is_waited_for() {
    let mut world = world();
    let id = world.id("web-1");
    world.seen.remove(&id);
    let joined_ms = world.now_ms();
    let machine = world.fleet.state.machines.get_mut(&id).unwrap();
    machine.joined_ms = Some(joined_ms);
    world.say(id, ProviderWord::Running);
    world.pass(200);
    world.witnesses(id, Answer::Refused);
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
    assert!(world.look().proposals.is_empty());
    world.pass(6000);
    world.witnesses(id, Answer::Refused);
    world.say(id, ProviderWord::Running);
    assert_diagnosed(&world, "web-1", Diagnosis::AgentDown);
}

#[test]
fn a_workload_that_failed_a_moment_ago_is_no_reason_to_decide_anything() {
    let mut world = world();
    let id = world.ail("web-1");
    let record = world.seen.get_mut(&id).unwrap().record.as_mut().unwrap();
    let Some(Workload::Failed { since_ms, .. }) = &mut record.workload else {
        panic!("it ails");
    };
    *since_ms += WORKLOAD_STANDS_MS;
    world.pass(WORKLOAD_STANDS_MS - 1);
    assert_diagnosed(&world, "web-1", Diagnosis::Suspected);
    assert!(world.look().proposals.is_empty());
    world.pass(1);
    assert_diagnosed(&world, "web-1", Diagnosis::WorkloadFailed);
    assert!(!world.look().proposals.is_empty());
}
