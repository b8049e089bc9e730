//! Safeguards broken on purpose, in whole histories: with each of them left out, some seed breaks an invariant, and with all
//! in place none does.

use super::{fault, scenario};
use crate::fleet::testing::{cattle, pets};
use crate::fleet::{BudgetPolicy, GroupSpec, HealMode, LeaseTerms, Rule};
use crate::simulate::{Fault, FaultKind, Safeguard, Scenario, simulate};

/// Seeds that are tried until one shows it.
const SEEDS: u64 = 40;

/// A safeguard, the histories that need it, and the invariant that is broken without it.
type Cell = (Safeguard, fn(u64) -> Scenario, &'static str);

const CELLS: [Cell; 11] = [
    (
        Safeguard::Rule(Rule::Evidence),
        one_that_loses_nearly_all,
        "the rules and the state agree",
    ),
    (
        Safeguard::Rule(Rule::Cordoned),
        killed_while_cordoned,
        "the rules and the state agree",
    ),
    (
        Safeguard::Rule(Rule::Mode),
        killed_while_only_observed,
        "the rules and the state agree",
    ),
    (
        Safeguard::Rule(Rule::Backoff),
        never_coming_up,
        "the rules and the state agree",
    ),
    (
        Safeguard::Rule(Rule::Quorum),
        half_of_it_silent,
        "the rules and the state agree",
    ),
    (
        Safeguard::Rule(Rule::Budget),
        many_killed,
        "the rules and the state agree",
    ),
    (
        Safeguard::Permit,
        cut_off_while_it_works,
        "a minority never acts",
    ),
    (
        Safeguard::SecondLook,
        back_before_it_is_fenced,
        "slow is not dead",
    ),
    (
        Safeguard::Proof,
        silent_pets,
        "two copies of a pet never run",
    ),
    (
        Safeguard::OperationId,
        lying_provider,
        "one failure, one action",
    ),
    (
        Safeguard::Lease,
        silent_under_a_lease,
        "two copies of a pet never run",
    ),
];

#[test]
fn without_any_of_the_safeguards_some_history_breaks_an_invariant() {
    println!("left out                     caught by, at seed");
    for (safeguard, history, invariant) in CELLS {
        let caught = (0..SEEDS).find(|seed| {
            let whole = history(*seed);
            let report = simulate(&whole).expect("it can be simulated");
            assert_eq!(report.violations, [], "{safeguard:?}, seed {seed}");
            let broken = Scenario {
                left_out: Some(safeguard),
                ..whole
            };
            let report = simulate(&broken).expect("it can be simulated");
            let mut broken = report.violations.iter();
            broken.any(|violation| violation.invariant == invariant)
        });
        println!("{:<28} {invariant}, {caught:?}", format!("{safeguard:?}"));
        assert!(
            caught.is_some(),
            "nothing shows in {SEEDS} seeds that {safeguard:?} is missing"
        );
    }
}

fn history(seed: u64, mut spec: GroupSpec, faults: Vec<Fault>) -> Scenario {
    spec.instance.provisioner = "cloud".into();
    scenario(seed, vec![spec], 15, faults)
}

fn one_that_loses_nearly_all(seed: u64) -> Scenario {
    let mut loss = fault(FaultKind::Loss(0.97), "any:1@1m");
    loss.lasts = Some(super::secs(120));
    history(seed, cattle("web", 9), vec![loss])
}

fn killed_while_cordoned(seed: u64) -> Scenario {
    let cordon = fault(FaultKind::Cordon, "web-2@30s+10m");
    let kill = fault(FaultKind::Kill, "web-2@1m");
    history(seed, cattle("web", 5), vec![cordon, kill])
}

fn killed_while_only_observed(seed: u64) -> Scenario {
    let mut spec = cattle("web", 5);
    spec.heal.mode = HealMode::Observe;
    history(seed, spec, vec![fault(FaultKind::Kill, "any:1@1m")])
}

/// One is killed, and none that is made in its place comes up.
fn never_coming_up(seed: u64) -> Scenario {
    let mut spec = cattle("web", 5);
    spec.heal.boot_grace_ms = 60_000;
    let mut scenario = history(seed, spec, vec![fault(FaultKind::Kill, "any:1@1m")]);
    scenario.cloud.duds = 1.0;
    scenario
}

/// A pet stands still for longer than anybody waits, and goes on while its provider refuses to end it.
fn back_before_it_is_fenced(seed: u64) -> Scenario {
    let faults = vec![
        fault(FaultKind::Pause, "any:1@1m+40s"),
        fault(FaultKind::ProviderErrors(1.0), "all@1m+50s"),
    ];
    history(seed, pets("db", &["db-1", "db-2", "db-3"]), faults)
}

fn half_of_it_silent(seed: u64) -> Scenario {
    let silence = fault(FaultKind::Silence, "55%@1m");
    history(seed, cattle("web", 9), vec![silence])
}

fn many_killed(seed: u64) -> Scenario {
    let mut spec = cattle("web", 12);
    spec.heal.budget = BudgetPolicy {
        at_once: Some(1),
        per_hour: Some(10),
    };
    history(seed, spec, vec![fault(FaultKind::Kill, "any:2@1m")])
}

/// A machine is killed, and a moment later most others can't be heard.
fn cut_off_while_it_works(seed: u64) -> Scenario {
    let later = 2000 + seed * 100;
    let mut partition = fault(FaultKind::Partition, "60%@1m+2m");
    partition.at += std::time::Duration::from_millis(later);
    let kill = fault(FaultKind::Kill, "web-2@1m");
    let mut scenario = history(seed, pets_or_cattle(seed), vec![kill, partition]);
    scenario.cloud.latency = super::secs(2);
    scenario.cloud.list_lag = super::secs(0);
    scenario
}

fn pets_or_cattle(seed: u64) -> GroupSpec {
    if seed.is_multiple_of(2) {
        cattle("web", 9)
    } else {
        pets("web", &["web-1", "web-2", "web-3", "web-4", "web-5"])
    }
}

fn silent_pets(seed: u64) -> Scenario {
    let silence = fault(FaultKind::Silence, "any:1@1m");
    history(seed, pets("db", &["db-1", "db-2", "db-3"]), vec![silence])
}

/// A pet falls silent, and nothing can prove it off.
fn silent_under_a_lease(seed: u64) -> Scenario {
    let mut scenario = silent_pets(seed);
    scenario.cloud.blind = true;
    scenario.specs[0].heal.lease = Some(LeaseTerms {
        lease_ms: 12_000,
        stop_ms: 3_000,
    });
    scenario
}

fn lying_provider(seed: u64) -> Scenario {
    let mut scenario = history(
        seed,
        cattle("web", 5),
        vec![fault(FaultKind::Kill, "any:1@1m")],
    );
    scenario.cloud.lies = 0.5;
    scenario
}
