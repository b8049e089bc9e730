//! What can't be simulated, or would not be what somebody meant by it, with what to write instead.

use std::time::Duration;

use humantime::format_duration;

use super::fault::{Fault, Target};
use super::scenario::{CloudModel, FAULTS_MAX, LENGTH_MAX, MACHINES_MAX, Scenario};
use crate::fleet::{Allocation, GroupSpec};

/// A call that takes longer is given up each time, so nothing would ever be made.
const LATENCY_MAX: Duration = Duration::from_secs(60);

/// The slowest boots and lists. Hardware takes some ten minutes, the lists of clouds are a minute behind.
const SLOW_MAX: Duration = Duration::from_secs(24 * 3600);

/// Checks a scenario of so many machines.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(scenario: &Scenario, machines: usize) -> Result<(), String> {
    if machines == 0 {
        return Err("these specs have no machines; give a group a size or members".to_owned());
    }
    if machines > MACHINES_MAX {
        return Err(format!(
            "{machines} machines are more than the {MACHINES_MAX} that can be simulated"
        ));
    }
    if scenario.length > LENGTH_MAX {
        return Err("the longest simulation is a week".to_owned());
    }
    if scenario.faults.len() > FAULTS_MAX {
        return Err(format!(
            "{} faults are more than the {FAULTS_MAX} that can be simulated",
            scenario.faults.len()
        ));
    }
    for fault in &scenario.faults {
        let problem = unknown(scenario, machines, &fault.target);
        if let Some(problem) = problem.or_else(|| untimely(scenario, fault)) {
            return Err(format!("{}: {problem}", fault.kind));
        }
    }
    model(&scenario.cloud)
}

fn model(cloud: &CloudModel) -> Result<(), String> {
    if cloud.per_minute == Some(0) {
        return Err("a provider that makes 0 instances a minute makes none at all; leave the limit out, or take away the provider with --provider-down".to_owned());
    }
    let times = [
        ("call", cloud.latency, LATENCY_MAX),
        ("boot", cloud.boot, SLOW_MAX),
        ("list's lag", cloud.list_lag, SLOW_MAX),
    ];
    for (what, time, longest) in times {
        if time > longest {
            return Err(format!(
                "a provider's {what} of {} is too long; {} is the longest that can be simulated",
                format_duration(time),
                format_duration(longest)
            ));
        }
    }
    Ok(())
}

/// What is wrong with when a fault comes, or how long it lasts.
fn untimely(scenario: &Scenario, fault: &Fault) -> Option<String> {
    if fault.at >= scenario.length {
        return Some(format!(
            "{} after the beginning it is over, since {} are simulated; let it come earlier, or simulate for longer",
            format_duration(fault.at),
            format_duration(scenario.length)
        ));
    }
    let lasts = fault.lasts?;
    if fault.kind.is_for_good() {
        return Some(format!(
            "that does not end, so not after {} either; leave that out, or take silence or crash, after which machines start again",
            format_duration(lasts)
        ));
    }
    (lasts == Duration::ZERO).then(|| "it ends as it begins; let it last longer".to_owned())
}

/// What is wrong with a target that nobody can ever fit.
fn unknown(scenario: &Scenario, machines: usize, target: &Target) -> Option<String> {
    match target {
        Target::Zone(zone) => {
            let zones = || scenario.specs.iter().flat_map(|spec| &spec.placement.zones);
            let known: Vec<&str> = zones().map(String::as_str).collect();
            let missing = !known.contains(&zone.as_str());
            missing.then(|| match known.is_empty() {
                true => format!("there is no zone `{zone}`: the specs place machines in none; write placement.zones"),
                false => format!("there is no zone `{zone}`; there are {}", known.join(", ")),
            })
        }
        Target::Any(count) => {
            let many = usize::try_from(*count).is_ok_and(|count| count > machines);
            many.then(|| format!("there are {machines} machines and not {count}; give any:{machines} or less, or write all"))
        }
        Target::Share(share) if *share == 0.0 => {
            Some("0% of the machines are none; give a larger share".to_owned())
        }
        Target::Group(group) => {
            let missing = scenario.specs.iter().all(|spec| spec.id.as_str() != group);
            missing.then(|| format!("there is no group `{group}` in the specs"))
        }
        Target::Name(name) => {
            let ours = |spec: &GroupSpec| match &spec.allocation {
                Allocation::Pets { members } => {
                    members.keys().any(|member| member.as_str() == name)
                }
                Allocation::Cattle { .. } => name
                    .strip_prefix(spec.id.as_str())
                    .and_then(|rest| rest.strip_prefix('-'))
                    .is_some_and(|number| number.parse::<u64>().is_ok()),
            };
            let missing = !scenario.specs.iter().any(ours);
            missing.then(|| {
                format!("no machine of these specs can be called `{name}`; write zone:NAME, group:NAME or a name like web-3")
            })
        }
        _ => None,
    }
}
