//! Simulated histories.

mod corpus;
mod mutation;
mod standstill;

use std::time::Duration;

use super::*;
use crate::fleet::testing::{cattle, pets};
use crate::fleet::{BudgetPolicy, HealMode, LeaseTerms, Rule, Would};

const MINUTE: u64 = 60;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn fault(kind: FaultKind, occasion: &str) -> Fault {
    occasion.parse::<Occasion>().expect("an occasion").of(kind)
}

fn scenario(seed: u64, specs: Vec<GroupSpec>, minutes: u64, faults: Vec<Fault>) -> Scenario {
    Scenario {
        length: secs(minutes * MINUTE),
        faults,
        ..Scenario::new(seed, specs)
    }
}

#[track_caller]
fn sound(scenario: &Scenario) -> Report {
    let report = simulate(scenario).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        report.violations,
        [],
        "seed {}: {:#?}",
        scenario.seed,
        report.timeline
    );
    report
}

#[test]
fn a_killed_machine_is_replaced_and_the_time_is_told() {
    let fault = fault(FaultKind::Kill, "web-2@1m");
    let report = sound(&scenario(1, vec![cattle("web", 3)], 10, vec![fault]));
    assert_eq!((report.lost, report.healed), (1, 1));
    assert!(report.time_to_order.max_ms < 12_000, "{report:#?}");
    assert!(report.time_to_heal.max_ms < 80_000, "{report:#?}");
    assert_eq!(report.groups[0].running, 3);
    assert_eq!(report.spending["web"].replacements, 1);
}

#[test]
fn a_silent_machine_is_replaced_as_soon_as_its_silence_is_sure() {
    let mut spec = cattle("web", 5);
    spec.instance.provisioner = "cloud".into();
    let report = sound(&scenario(
        1,
        vec![spec],
        10,
        vec![fault(FaultKind::Silence, "web-3@1m")],
    ));
    assert_eq!((report.lost, report.healed), (1, 1));
    let ordered = report.time_to_order.p50_ms;
    assert!((5000..8000).contains(&ordered), "{ordered}");
}

#[test]
fn slow_and_cut_off_machines_come_back_and_nothing_is_destroyed() {
    let faults = vec![
        fault(FaultKind::Pause, "web-1@1m+20s"),
        fault(FaultKind::Partition, "web-2@3m+20s"),
    ];
    let report = sound(&scenario(3, vec![cattle("web", 5)], 10, faults));
    assert_eq!(report.time_to_order.count, 0, "{:#?}", report.timeline);
    assert_eq!(report.groups[0].running, 5);
}

#[test]
fn a_minority_holds_and_says_so() {
    let kills = ["leader@1m", "any:2@1m"].map(|occasion| fault(FaultKind::Silence, occasion));
    let report = sound(&scenario(5, vec![cattle("web", 4)], 20, kills.to_vec()));
    assert_eq!(report.time_to_order.count, 0, "{:#?}", report.timeline);
}

#[test]
fn a_lost_zone_is_healed_within_its_budget() {
    let mut spec = cattle("web", 30);
    spec.placement.zones = ["a", "b", "c"].map(str::to_owned).into();
    spec.heal.budget = BudgetPolicy {
        at_once: Some(5),
        per_hour: Some(20),
    };
    let report = sound(&scenario(
        7,
        vec![spec],
        30,
        vec![fault(FaultKind::Kill, "zone:a@5m")],
    ));
    assert_eq!(report.lost, 10);
    assert_eq!(report.healed, 10, "{:#?}", report.timeline);
    assert_eq!(report.spending["web"].at_once_most, 5);
    assert_eq!(report.wrong_deaths, 0);
}

#[test]
fn a_pet_is_never_run_twice_though_the_provider_lies() {
    for seed in 0..5 {
        let faults = vec![
            fault(FaultKind::Silence, "db-1@1m"),
            fault(FaultKind::ProviderDown, "all@2m+3m"),
            fault(FaultKind::Pause, "db-2@6m+2m"),
        ];
        let mut scenario = scenario(
            seed,
            vec![pets("db", &["db-1", "db-2", "db-3"])],
            40,
            faults,
        );
        scenario.cloud.lies = 0.3;
        scenario.cloud.errors = 0.2;
        sound(&scenario);
    }
}

/// Pets under leases, made by a provider that can neither prove one off nor end it.
fn leased(seed: u64, faults: Vec<Fault>) -> Scenario {
    let mut spec = pets(
        "db",
        &["db-1", "db-2", "db-3", "db-4", "db-5", "db-6", "db-7"],
    );
    spec.heal.lease = Some(LeaseTerms {
        lease_ms: 12_000,
        stop_ms: 3_000,
    });
    let mut scenario = scenario(seed, vec![spec], 40, faults);
    scenario.cloud.blind = true;
    scenario
}

#[test]
fn a_pet_under_a_lease_is_replaced_without_a_proof_and_never_run_twice() {
    for seed in 0..5 {
        let pause = ["1s", "10s", "1m", "4m", "10m"][seed as usize];
        let faults = vec![
            fault(FaultKind::Silence, "db-1@1m"),
            fault(FaultKind::Pause, &format!("db-2@5m+{pause}")),
            fault(FaultKind::Kill, "leader@16m"),
            fault(FaultKind::Partition, "any:2@20m+3m"),
        ];
        let report = sound(&leased(seed, faults));
        assert!(report.healed >= 2, "seed {seed}: {report:#?}");
        assert_eq!(report.groups[0].running, 7, "seed {seed}");
    }
}

#[test]
fn a_pet_without_a_lease_is_not_replaced_where_nothing_can_be_proved() {
    let mut scenario = leased(1, vec![fault(FaultKind::Silence, "db-1@1m")]);
    scenario.specs[0].heal.lease = None;
    let report = simulate(&scenario).expect("it can be simulated");
    assert_eq!(report.healed, 0, "{report:#?}");
}

/// Hardware is mended in its place, as far as that helps: nothing is replaced whose power cycle does.
#[test]
fn silent_hardware_is_power_cycled_and_is_the_same_machine_again() {
    for seed in 0..3 {
        let faults = vec![
            fault(FaultKind::Silence, "web-3@1m"),
            fault(FaultKind::Silence, "db-2@20m"),
        ];
        let groups = vec![cattle("web", 5), pets("db", &["db-1", "db-2", "db-3"])];
        let mut scenario = scenario(seed, groups, 40, faults);
        scenario.cloud.hardware = true;
        let report = sound(&scenario);
        let acts = report.timeline.iter().filter(|line| line.kind == "act");
        let acts: Vec<_> = acts.map(|line| line.what.as_str()).collect();
        assert_eq!(acts, ["power-cycle: unreachable"; 2], "seed {seed}");
        assert!(
            report
                .groups
                .iter()
                .all(|group| group.running == group.desired)
        );
    }
}

#[test]
fn an_observed_group_is_only_watched() {
    let mut spec = cattle("web", 3);
    spec.heal.mode = HealMode::Observe;
    let report = sound(&scenario(
        1,
        vec![spec],
        10,
        vec![fault(FaultKind::Kill, "web-2@1m")],
    ));
    assert_eq!(report.healed, 0);
    assert!(
        report
            .timeline
            .iter()
            .any(|line| line.what.contains("only observed"))
    );
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let of = |seed| simulate(&random_scenario(seed)).expect("it can be simulated");
    assert_eq!(of(11), of(11));
    assert_ne!(of(11).trace, of(12).trace);
}

#[test]
fn targets_that_nobody_fits_are_refused() {
    let refused = |occasion: &str| {
        let faults = vec![fault(FaultKind::Kill, occasion)];
        simulate(&scenario(1, vec![cattle("web", 3)], 1, faults))
            .expect_err("nobody fits")
            .to_string()
    };
    assert!(refused("zone:a@1m").contains("placement.zones"));
    assert!(refused("group:db@1m").contains("no group `db`"));
    assert!(refused("wbe-1@1m").contains("`wbe-1`"));
    assert!(simulate(&scenario(1, vec![cattle("web", 0)], 1, Vec::new())).is_err());
    assert!(simulate(&scenario(1, vec![cattle("web", 9000)], 1, Vec::new())).is_err());
}

/// What was meant otherwise than it would be simulated, is refused with what to write.
#[test]
fn what_nobody_can_mean_is_refused() {
    let refused = |kind, occasion: &str| {
        let faults = vec![fault(kind, occasion)];
        let scenario = scenario(1, vec![cattle("web", 3)], 60, faults);
        simulate(&scenario).expect_err("nonsense").to_string()
    };
    assert!(refused(FaultKind::Kill, "web-1@2h").contains("simulate for longer"));
    assert!(refused(FaultKind::Kill, "web-1@10m+5m").contains("take silence or crash"));
    assert!(refused(FaultKind::Leave, "web-1@10m+5m").contains("does not end"));
    assert!(refused(FaultKind::Pause, "web-1@10m+0s").contains("let it last longer"));
    assert!(refused(FaultKind::Pause, "any:4@10m").contains("give any:3 or less"));
    assert!(refused(FaultKind::Pause, "0%@10m").contains("larger share"));
    let provider = |change: fn(&mut CloudModel)| {
        let mut scenario = scenario(1, vec![cattle("web", 3)], 60, Vec::new());
        change(&mut scenario.cloud);
        simulate(&scenario).expect_err("nonsense").to_string()
    };
    assert!(provider(|cloud| cloud.per_minute = Some(0)).contains("leave the limit out"));
    assert!(provider(|cloud| cloud.latency = secs(7200)).contains("1m is the longest"));
    assert!(provider(|cloud| cloud.boot = secs(90_000)).contains("1day is the longest"));
}

/// A bad check is pushed to a whole group, also to the machines that are made while it has it: one is tried after the other,
/// and the group is not made anew.
#[test]
fn a_bad_check_is_that_of_new_machines_too() {
    let faults = vec![
        fault(FaultKind::HealthCheck, "group:web@1m+50m"),
        fault(FaultKind::Kill, "any:2@5m"),
    ];
    let report = sound(&scenario(1, vec![cattle("web", 7)], 60, faults));
    let befell = report
        .course
        .befell
        .iter()
        .filter(|befell| befell.fault == 0);
    assert!(befell.count() > 1, "{:#?}", report.course);
    assert_eq!(report.wrong_deaths, 0);
}

/// The same seed is the same history on every computer. This changes with every change of what is simulated; that a change is
/// meant is seen by that nothing else has failed.
#[test]
fn a_known_seed_gives_the_trace_that_it_gave_on_another_machine() {
    let faults = vec![
        fault(FaultKind::Kill, "web-2@1m"),
        fault(FaultKind::Partition, "any:3@3m+20s"),
        fault(FaultKind::Silence, "leader@5m"),
    ];
    let scenario = Scenario {
        loss: 0.02,
        ..scenario(7, vec![cattle("web", 9)], 10, faults)
    };
    let trace = sound(&scenario).trace;
    assert_eq!(
        trace, PINNED,
        "where what is simulated was meant to change, write `{trace}`"
    );
}

/// See [`a_known_seed_gives_the_trace_that_it_gave_on_another_machine`].
const PINNED: &str = "6f593a646c8870c0";

/// Whoever leads is killed every 200 ms for half a minute, and starts again a second later, while machines are gone that have
/// to be replaced: nothing is spent twice, and soon after the storm healing goes on.
#[test]
fn after_a_storm_of_leaders_healing_goes_on_within_fifteen_seconds() {
    const FIRST_MS: u64 = 60_000;
    const LAST_MS: u64 = 90_000;
    for seed in 0..3 {
        let mut spec = cattle("web", 30);
        spec.instance.provisioner = "cloud".into();
        spec.heal.budget = BudgetPolicy {
            at_once: Some(3),
            per_hour: Some(10),
        };
        let mut faults = vec![fault(FaultKind::Kill, "any:6@65s")];
        faults.extend((FIRST_MS..LAST_MS).step_by(200).map(|at_ms| Fault {
            kind: FaultKind::Crash,
            target: Target::Leader,
            at: Duration::from_millis(at_ms),
            lasts: Some(secs(1)),
        }));
        let report = sound(&scenario(seed, vec![spec], 30, faults));
        assert!(
            report.leader_changes >= 3,
            "{} leaders",
            report.leader_changes
        );
        let spent = &report.spending["web"];
        assert!(
            spent.at_once_most <= 3 && spent.replacements <= 10,
            "{spent:?}"
        );
        let mut acts = report.timeline.iter().filter(|line| line.kind == "act");
        let first = acts.next().map(|line| line.at_ms);
        assert!(
            first.is_some_and(|at_ms| at_ms <= LAST_MS + 15_000),
            "seed {seed}: {:#?}",
            report.timeline
        );
        assert_eq!(report.groups[0].running, 30, "seed {seed}");
    }
}

/// An hour's budget is one replacement, and that is spent: a person who forces `budget` gets another one, for which what fails
/// later has to wait.
#[test]
fn what_is_forced_past_the_hours_budget_is_done_and_counts() {
    let run = |force| {
        let mut spec = cattle("web", 5);
        spec.heal.budget = BudgetPolicy {
            at_once: Some(1),
            per_hour: Some(1),
        };
        let what = Would::Replace;
        let faults = vec![
            fault(FaultKind::Order { what, force: None }, "web-1@1m"),
            fault(FaultKind::Order { what, force }, "web-2@10m"),
            fault(FaultKind::Kill, "web-3@40m"),
        ];
        let report = sound(&scenario(1, vec![spec], 68, faults));
        (report.spending["web"].replacements, report.healed)
    };
    assert_eq!(run(None), (2, 1));
    assert_eq!(run(Some(Rule::Budget)), (2, 0));
}

/// A few random histories, other ones each time; one that fails prints its seed, which belongs into `FAILED_ONCE`.
#[test]
fn random_histories_keep_every_invariant() {
    let given = std::env::var("MUSTER_SIMULATE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let first: u64 = given.unwrap_or_else(|| rand::random::<u64>() >> 20);
    println!("seeds {first} to {}", first + 11);
    for seed in first..first + 12 {
        sound(&random_scenario(seed));
    }
}

/// Seeds of random histories that broke an invariant once.
/// - 1080: a step was carried out by a leader that had lost the majority of the roster since it decided.
/// - 1347: nobody tried a machine of which the leader had never heard, so it was silent for ever and nobody said so.
/// - 4632: an order that forced `budget` when the hour's was spent was taken for one too many.
/// - 54883: two machines that came during a partition never met the others, because nobody told them of these.
/// - 68596, 90583: a pet had left, and that a rule kept it from being cleared away was said of it and not of its group.
const FAILED_ONCE: [u64; 6] = [1080, 1347, 4632, 54_883, 68_596, 90_583];

#[test]
fn histories_that_failed_once_fail_no_more() {
    for seed in FAILED_ONCE {
        sound(&random_scenario::plain_scenario(seed));
        sound(&random_scenario(seed));
    }
}
