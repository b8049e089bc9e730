//! How fast healing decides: the targets that only many trials can show, in virtual time, from fixed seeds.
//!
//! `cargo bench --profile fast -p muster --bench healing`; with a number behind `--` that many seeds of each. The figures are
//! of virtual time, so they are the same on any machine. `docs/performance.md` has them.

use std::time::Duration;

use muster::fleet::{
    Allocation, BudgetPolicy, FlavorSpec, GroupId, GroupSpec, HealPolicy, InstanceSpec, Labels,
    LeaseTerms, MachineName, PetSpec, Placement, Properties,
};
use muster::simulate::{
    CloudModel, Fault, FaultKind, Report, Scenario, Target, Times, Wait, simulate,
};

/// Seeds of each figure, unless told otherwise. A fleet of a thousand gets a tenth of them, with ten times the victims.
const SEEDS: u64 = 200;

/// The same in all fleets of a thousand: victims one after the other, so far apart that none waits for another.
const APART: Duration = Duration::from_secs(180);

/// When the first thing goes wrong.
const FIRST: Duration = Duration::from_secs(60);

fn main() {
    let mut given = std::env::args().filter_map(|argument| argument.parse().ok());
    let seeds = given.next_back().unwrap_or(SEEDS).max(10);
    println!(
        "{:<58} {:>6} {:>7} {:>7} {:>7} {:>7}  target",
        "", "count", "p50", "p90", "p99", "most"
    );
    for machines in [10, 100, 1000] {
        for loss in [0.0, 0.05] {
            power_cuts(machines, loss, seeds);
        }
    }
    for loss in [0.0, 0.05] {
        let of = |seed| leader_cut(seed, loss);
        let what = format!(
            "power cut of the leader, 10 machines, {} % loss: order",
            loss * 100.0
        );
        row(&what, (0..seeds).flat_map(of).collect(), Some(8.0));
    }
    let alone = (0..seeds).flat_map(|seed| pet_start(seed, false));
    row(
        "pet without proof, freezes: its successor starts",
        alone.collect(),
        Some(20.0),
    );
    let both = (0..seeds).flat_map(|seed| pet_start(seed, true));
    row(
        "the same, with the leader at that moment",
        both.collect(),
        Some(20.0),
    );
    storms(seeds);
}

/// One line of the table; times in milliseconds, the target in seconds at p99.
fn row(what: &str, times: Vec<u64>, target: Option<f64>) {
    let times = Times::of(times);
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let verdict = target.map_or(String::new(), |target| {
        let met = seconds(times.p99_ms) <= target;
        format!("p99 <= {target} s, {}", if met { "met" } else { "MISSED" })
    });
    println!(
        "{what:<58} {:>6} {:>7.1} {:>7.1} {:>7.1} {:>7.1}  {verdict}",
        times.count,
        seconds(times.p50_ms),
        seconds(times.p90_ms),
        seconds(times.p99_ms),
        seconds(times.max_ms),
    );
}

fn run(scenario: &Scenario) -> Report {
    let report = simulate(scenario).unwrap_or_else(|error| panic!("{error}"));
    let seed = scenario.seed;
    assert!(report.is_sound(), "seed {seed}: {:?}", report.violations);
    report
}

fn orders(report: &Report) -> Vec<u64> {
    let waits = report.waits.iter();
    // Who never got an order counts as the longest wait.
    let end = |wait: &Wait| wait.to_order_ms.unwrap_or(report.length_ms);
    waits.map(end).collect()
}

fn silence(target: Target, at: Duration) -> Fault {
    Fault {
        kind: FaultKind::Silence,
        target,
        at,
        lasts: None,
    }
}

/// Machines that do not lead lose their power, one after the other, while their provider goes on saying that they run.
fn power_cuts(machines: u32, loss: f64, seeds: u64) {
    let victims = (machines / 100).max(1);
    let mut times = Vec::new();
    for seed in 0..seeds / u64::from(victims) {
        let cut = |number: u32| {
            // The first one leads.
            let place = 2 + (u64::from(number) * 7 + seed) % u64::from(machines - 1);
            silence(Target::Name(format!("web-{place}")), FIRST + APART * number)
        };
        let scenario = Scenario {
            length: FIRST + APART * victims,
            loss,
            faults: (0..victims).map(cut).collect(),
            ..Scenario::new(seed, vec![cattle(machines)])
        };
        times.extend(orders(&run(&scenario)));
    }
    let what = format!(
        "power cut, {machines} machines, {} % loss: order",
        loss * 100.0
    );
    row(&what, times, Some(8.0));
}

fn leader_cut(seed: u64, loss: f64) -> Vec<u64> {
    let scenario = Scenario {
        length: FIRST + APART,
        loss,
        faults: vec![silence(Target::Leader, FIRST)],
        ..Scenario::new(seed, vec![cattle(10)])
    };
    orders(&run(&scenario))
}

/// From the moment at which the machine of a leased pet stands still, never to go on, until its successor has started. A
/// machine takes a second to boot here: what is measured is how long nobody may.
fn pet_start(seed: u64, with_leader: bool) -> Option<u64> {
    let mut pets = pets(4);
    pets.heal.lease = Some(LeaseTerms {
        lease_ms: 12_000,
        stop_ms: 3_000,
    });
    let pet = silence(Target::Name("db-2".to_owned()), FIRST);
    let leader = silence(Target::Leader, FIRST);
    let scenario = Scenario {
        length: FIRST + APART,
        cloud: CloudModel {
            boot: Duration::from_secs(1),
            latency: Duration::from_millis(100),
            blind: true,
            ..CloudModel::default()
        },
        faults: [pet]
            .into_iter()
            .chain(with_leader.then_some(leader))
            .collect(),
        ..Scenario::new(seed, vec![cattle(5), pets])
    };
    let report = run(&scenario);
    let of_pets = |wait: &&Wait| wait.group.as_deref() == Some("db");
    let wait = report.waits.iter().find(of_pets)?;
    Some(wait.to_heal_ms.unwrap_or(report.length_ms))
}

/// Whoever leads is killed every 200 ms for half a minute while machines are gone that have to be replaced.
fn storms(seeds: u64) {
    let (storm_ms, at_once, per_hour) = (60_000..90_000, 3, 10);
    let (mut resumed, mut most_at_once, mut most) = (Vec::new(), 0, 0);
    for seed in 0..seeds {
        let mut spec = cattle(30);
        spec.heal.budget = BudgetPolicy {
            at_once: Some(at_once),
            per_hour: Some(per_hour),
        };
        let crash = |at_ms| Fault {
            kind: FaultKind::Crash,
            target: Target::Leader,
            at: Duration::from_millis(at_ms),
            lasts: Some(Duration::from_secs(1)),
        };
        let lost = Fault {
            kind: FaultKind::Kill,
            ..silence(Target::Any(6), Duration::from_secs(65))
        };
        let scenario = Scenario {
            length: Duration::from_secs(1800),
            faults: storm_ms
                .clone()
                .step_by(200)
                .map(crash)
                .chain([lost])
                .collect(),
            ..Scenario::new(seed, vec![spec])
        };
        let report = run(&scenario);
        let mut acts = report.timeline.iter().filter(|line| line.kind == "act");
        let first_ms = acts.next().map_or(report.length_ms, |line| line.at_ms);
        resumed.push(first_ms.saturating_sub(storm_ms.end));
        let spent = &report.spending["web"];
        most_at_once = most_at_once.max(spent.at_once_most);
        most = most.max(spent.replacements);
    }
    row(
        "leader killed every 200 ms for 30 s: acts again after",
        resumed,
        Some(15.0),
    );
    println!(
        "  the most at one time {most_at_once} of {at_once}, within the half hour {most} of {per_hour}"
    );
    let kept = most_at_once <= at_once as usize && most <= u64::from(per_hour);
    assert!(kept, "more was spent than the budget");
}

fn cattle(size: u32) -> GroupSpec {
    group("web", Allocation::Cattle { size })
}

fn pets(count: u32) -> GroupSpec {
    let names = (1..=count).map(|number| MachineName::new(format!("db-{number}")));
    let members = names.map(|name| (name.expect("a name"), PetSpec::default()));
    group(
        "db",
        Allocation::Pets {
            members: members.collect(),
        },
    )
}

fn group(id: &str, allocation: Allocation) -> GroupSpec {
    let named = |name: &str| (name.to_owned(), Properties::new());
    let ((provisioner, properties), (flavor, of_flavor)) = (named("cloud"), named("vanilla"));
    GroupSpec {
        id: GroupId::new(id).expect("a name"),
        allocation,
        heal: HealPolicy::defaults(&provisioner),
        instance: InstanceSpec {
            provisioner,
            properties,
        },
        flavor: FlavorSpec {
            name: flavor,
            properties: of_flavor,
        },
        labels: Labels::new(),
        placement: Placement::default(),
    }
}
