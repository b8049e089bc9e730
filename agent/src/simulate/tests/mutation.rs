//! Safeguards broken on purpose, in whole histories: with each of them left out, some seed breaks an invariant, and with all
//! in place none does.

use super::{fault, scenario};
use crate::fleet::testing::cattle;
use crate::fleet::{BudgetPolicy, GroupSpec, Rule};
use crate::simulate::{Fault, FaultKind, Safeguard, Scenario, simulate};

/// Seeds that are tried until one shows it.
const SEEDS: u64 = 4;

/// A safeguard, the histories that need it, and the invariant that is broken without it.
type Cell = (Safeguard, fn(u64) -> Scenario, &'static str);

const CELLS: [Cell; 3] = [
    (
        Safeguard::Rule(Rule::Evidence),
        one_that_loses_nearly_all,
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
