//! Random scenarios: small fleets to which much happens, reproducible from a seed.

mod more;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::fault::{Fault, FaultKind, Target};
use super::random::Random;
use super::scenario::{CloudModel, Scenario};
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{
    Allocation, BudgetPolicy, FlavorSpec, GroupId, GroupSpec, HealPolicy, InstanceSpec, Labels,
    MachineName, PetSpec, Placement, Properties,
};

/// Faults come within so many seconds.
const TROUBLE_S: u64 = 600;
/// After that nothing goes wrong any more, and the fleet has so many seconds to come to rest.
const REST_S: u64 = 2400;

/// The scenario that a seed stands for: one or two groups of up to eight machines, one or three zones, up to eight faults
/// within ten minutes, and time to come to rest; and often leases, clocks that are off, and people who want something.
pub fn random_scenario(seed: u64) -> Scenario {
    let mut scenario = plain_scenario(seed);
    more::add(
        &mut scenario,
        &mut Random::new(seed ^ 0x0c10_cc0c_10cc_0c10),
    );
    within_reach(&mut scenario);
    scenario
}

/// No fault is to befall more machines than there are.
fn within_reach(scenario: &mut Scenario) {
    let machines = scenario.specs.iter().map(GroupSpec::desired).sum::<usize>();
    let most = u32::try_from(machines).unwrap_or(u32::MAX);
    for fault in &mut scenario.faults {
        if let Target::Any(count) = &mut fault.target {
            *count = (*count).min(most);
        }
    }
}

/// The same without what [`more`] adds: what seeds stood for before there was that.
pub(super) fn plain_scenario(seed: u64) -> Scenario {
    let mut random = Random::new(seed ^ 0x5eed_5eed_5eed_5eed);
    let zones: &[&str] = if random.chance(0.5) {
        &[]
    } else {
        &["a", "b", "c"]
    };
    let size = random.between(1, 8);
    let mut specs = vec![group(
        &mut random,
        "web",
        zones,
        Allocation::Cattle { size: number(size) },
    )];
    if random.chance(0.5) {
        let names = (1..=random.between(1, 3))
            .filter_map(|number| MachineName::new(format!("db-{number}")).ok());
        let members: BTreeMap<_, _> = names.map(|name| (name, PetSpec::default())).collect();
        specs.push(group(
            &mut random,
            "db",
            zones,
            Allocation::Pets { members },
        ));
    }
    let count = random.between(1, 8);
    let faults = (0..count).map(|_| fault(&mut random, zones)).collect();
    let troubled = random.chance(0.3);
    let mut some = |most: f64| {
        let share = random.share() * most;
        if troubled { share } else { 0.0 }
    };
    let cloud = CloudModel {
        errors: some(0.2),
        lies: some(0.2),
        duds: some(0.1),
        boot: Duration::from_secs(random.between(2, 30)),
        list_lag: Duration::from_secs(random.between(0, 60)),
        ..CloudModel::default()
    };
    let loss = if random.chance(0.2) {
        random.share() * 0.1
    } else {
        0.0
    };
    // Drawn last, so that what was drawn before it is what it was.
    let cloud = CloudModel {
        hardware: random.chance(0.25),
        ..cloud
    };
    let mut scenario = Scenario {
        length: Duration::from_secs(TROUBLE_S + REST_S),
        loss,
        cloud,
        faults,
        ..Scenario::new(seed, specs)
    };
    within_reach(&mut scenario);
    scenario
}

fn number(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn group(random: &mut Random, id: &str, zones: &[&str], allocation: Allocation) -> GroupSpec {
    let provisioner = if random.chance(0.5) {
        "process"
    } else {
        "cloud"
    };
    let mut heal = HealPolicy::defaults(provisioner);
    heal.boot_grace_ms = random.between(60, 240) * SECOND_MS;
    if random.chance(0.3) {
        heal.budget = BudgetPolicy {
            at_once: Some(number(random.between(1, 3))),
            per_hour: Some(number(random.between(1, 20))),
        };
    }
    GroupSpec {
        id: GroupId::new(id).expect("a name"),
        allocation,
        instance: InstanceSpec {
            provisioner: provisioner.to_owned(),
            properties: Properties::new(),
        },
        flavor: FlavorSpec {
            name: "vanilla".to_owned(),
            properties: Properties::new(),
        },
        labels: Labels::new(),
        placement: Placement {
            zones: zones
                .iter()
                .map(|zone| (*zone).to_owned())
                .collect::<BTreeSet<_>>(),
        },
        heal,
    }
}

fn fault(random: &mut Random, zones: &[&str]) -> Fault {
    let kind = match random.between(0, 25) {
        0..=3 => FaultKind::Kill,
        4..=6 => FaultKind::Silence,
        7..=8 => FaultKind::Crash,
        9..=11 => FaultKind::Pause,
        12..=13 => FaultKind::Partition,
        14 => FaultKind::Deaf,
        15 => FaultKind::Mute,
        16 => FaultKind::Leave,
        17 => FaultKind::Loss(random.share()),
        18 => FaultKind::DiskFull,
        19 => FaultKind::Torn,
        20 => FaultKind::Workload,
        21 => FaultKind::HealthCheck,
        22 => FaultKind::ProviderDown,
        23 => FaultKind::ProviderSlow(Duration::from_secs(random.between(1, 90))),
        24 => FaultKind::ProviderLate,
        _ => FaultKind::ProviderErrors(random.share()),
    };
    let target = match random.between(0, 9) {
        _ if kind.is_the_providers() => Target::Nobody,
        0 => Target::Leader,
        1 => Target::Coordinators,
        // Half of the fleet, a whole group, everybody: what many have in common.
        5 => Target::Share(0.5),
        6 if kind == FaultKind::HealthCheck => Target::Group("web".to_owned()),
        7 if random.chance(0.3) => Target::All,
        2 => Target::Share(random.share()),
        3 if !zones.is_empty() => Target::Zone((*random.pick(zones).unwrap_or(&"a")).to_owned()),
        4 => Target::Any(2),
        _ => Target::Any(1),
    };
    // Mostly short; sometimes as long as anybody waits for.
    let lasts = if kind.is_the_providers() && random.chance(0.2) {
        Duration::from_secs(3600)
    } else {
        Duration::from_millis(random.between(1, 9).pow(3) * random.between(500, 1000))
    };
    let lost = matches!(kind, FaultKind::Kill | FaultKind::Leave)
        || kind == FaultKind::Silence && random.chance(0.5);
    Fault {
        kind,
        target,
        at: Duration::from_millis(random.between(0, TROUBLE_S * 1000)),
        lasts: (!lost).then_some(lasts),
    }
}
