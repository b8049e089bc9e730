//! How long it takes from a power cut until a replacement is ordered: one machine at a time falls silent while its
//! provider says that it runs, in fleets of different sizes, without and with loss, over many seeds.
//!
//! ```text
//! cargo run --profile fast -p muster --example order_after_power_cut [SEEDS]
//! ```
//!
//! In each seed nine machines are lost, eleven minutes apart: none of them is an event with another, and none has joined less
//! than a boot grace before. Everything is the shipped code in virtual time; see `docs/simulating.md`.

use std::time::Duration;

use muster::fleet::{
    Allocation, FlavorSpec, GroupId, GroupSpec, HealPolicy, InstanceSpec, Labels, Placement,
    Properties,
};
use muster::simulate::{Fault, FaultKind, Report, Scenario, Target, Times, simulate};

const SIZES: [u32; 3] = [10, 100, 1000];
const LOSSES: [f64; 3] = [0.0, 0.02, 0.05];
const CUTS: u32 = 9;
const APART: Duration = Duration::from_secs(11 * 60);

fn main() {
    let seeds = std::env::args().nth(1).map_or(100, |seeds| {
        seeds.parse().expect("the argument is a number of seeds")
    });
    println!("machines  loss   who      cuts     p50     p90     p99     max");
    for size in SIZES {
        for loss in LOSSES {
            // A seed of a thousand machines costs as much as many of ten.
            let seeds = (seeds * 10 / u64::from(size)).max(4);
            let reports: Vec<Report> = (1..=seeds).map(|seed| run(seed, size, loss)).collect();
            for leads in [false, true] {
                let times = reports.iter().flat_map(|report| orders(report, leads));
                row(size, loss, leads, &Times::of(times.collect()));
            }
        }
    }
}

fn run(seed: u64, size: u32, loss: f64) -> Report {
    let cut = |number: u32| Fault {
        kind: FaultKind::Silence,
        target: Target::Any(1),
        // At no particular time of the probes.
        at: APART * number + Duration::from_millis(60_000 + 137 * u64::from(number)),
        lasts: None,
    };
    let scenario = Scenario {
        length: APART * CUTS + Duration::from_secs(60),
        loss,
        faults: (0..CUTS).map(cut).collect(),
        ..Scenario::new(seed, vec![group(size)])
    };
    let report = simulate(&scenario).expect("such a fleet can be");
    assert!(report.is_sound(), "seed {seed}: {:?}", report.violations);
    report
}

fn group(size: u32) -> GroupSpec {
    GroupSpec {
        id: GroupId::new("web").expect("a name"),
        allocation: Allocation::Cattle { size },
        instance: InstanceSpec {
            provisioner: "cloud".to_owned(),
            properties: Properties::new(),
        },
        flavor: FlavorSpec {
            name: "vanilla".to_owned(),
            properties: Properties::new(),
        },
        labels: Labels::new(),
        placement: Placement::default(),
        heal: HealPolicy::defaults("cloud"),
    }
}

/// From each cut to its order, in milliseconds, of machines that led or that did not.
fn orders(report: &Report, leads: bool) -> Vec<u64> {
    let lines = || report.timeline.iter();
    let led = |at_ms: u64| lines().any(|line| line.kind == "leader" && line.at_ms == at_ms);
    let cuts = lines().filter(|line| line.kind == "fault" && led(line.at_ms) == leads);
    let order = |cut: &muster::simulate::Line| {
        let acts = lines().filter(|line| line.kind == "act" && line.at_ms >= cut.at_ms);
        let ours = acts.filter(|line| line.names.iter().any(|name| cut.names.contains(name)));
        ours.map(|line| line.at_ms - cut.at_ms).next()
    };
    // What is never ordered would be a long time indeed.
    cuts.map(|cut| order(cut).unwrap_or(u64::MAX)).collect()
}

fn row(size: u32, loss: f64, leads: bool, times: &Times) {
    let who = if leads { "leader" } else { "others" };
    let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1000.0);
    println!(
        "{size:>8}  {:>3.0}%   {who:<7} {:>5} {:>7} {:>7} {:>7} {:>7}",
        loss * 100.0,
        times.count,
        seconds(times.p50_ms),
        seconds(times.p90_ms),
        seconds(times.p99_ms),
        seconds(times.max_ms),
    );
}
