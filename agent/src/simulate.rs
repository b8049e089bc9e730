//! # A whole fleet in virtual time, with faults, from a seed
//!
//! [`simulate`] runs the shipped membership of every machine, the shipped fleet state machine and the shipped
//! diagnosis and decisions against a modelled cloud, and watches every invariant that can be seen from outside. It is
//! single-threaded and a pure function of its [`Scenario`]: the same scenario gives the same [`Report`], on any machine.
//!
//! What is modelled, and not the real thing: consensus (one log, and whoever hears a majority of the coordinators can
//! lead), provider and boot, witnesses (they answer at once), joining (a machine is let in when it is up). See
//! `docs/simulating.md`.

mod account;
mod cloud;
mod course;
mod fault;
mod faults_file;
pub(crate) mod invariants;
mod mesh;
mod random;
mod random_scenario;
mod run;
mod scenario;

#[cfg(test)]
mod tests;

pub use account::{GroupEnd, Holds, Line, Report, Spending, Times};
pub use course::{Acted, Befell, Course, Diagnosed};
pub use fault::{Complaint, Fault, FaultKind, Moment, Occasion, ParseFaultError, Percent, Target};
pub use faults_file::{FaultsProblem, read_faults};
pub use invariants::Violation;
pub use random_scenario::random_scenario;
pub use scenario::{CloudModel, FAULTS_MAX, LENGTH_MAX, MACHINES_MAX, Safeguard, Scenario};

use muster_mesh::identity::MachineId;

use crate::fleet::{FleetState, GroupSpec};

/// A scenario that can't be simulated, with what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SimulateError(String);

/// Simulates a scenario.
///
/// # Errors
/// When there can be no such fleet, or the scenario is beyond a limit.
pub fn simulate(scenario: &Scenario) -> Result<Report, SimulateError> {
    let machines: usize = scenario.specs.iter().map(GroupSpec::desired).sum();
    check(scenario, machines)?;
    let run = run::Run::begin(scenario).map_err(SimulateError)?;
    Ok(run.finish(machines))
}

/// A fleet of these groups as it is when all its machines have joined, with who leads it and when that is.
///
/// # Errors
/// When there can be no such fleet.
pub(crate) fn filled_fleet(
    specs: &[GroupSpec],
) -> Result<(FleetState, MachineId, u64), SimulateError> {
    let scenario = Scenario::new(1, specs.to_vec());
    run::Run::filled(&scenario).map_err(SimulateError)
}

fn check(scenario: &Scenario, machines: usize) -> Result<(), SimulateError> {
    let wrong = |what: String| Err(SimulateError(what));
    if machines == 0 {
        return wrong("these specs have no machines; give a group a size or members".to_owned());
    }
    if machines > MACHINES_MAX {
        return wrong(format!(
            "{machines} machines are more than the {MACHINES_MAX} that can be simulated"
        ));
    }
    if scenario.length > LENGTH_MAX {
        return wrong("the longest simulation is a week".to_owned());
    }
    if scenario.faults.len() > FAULTS_MAX {
        return wrong(format!(
            "{} faults are more than the {FAULTS_MAX} that can be simulated",
            scenario.faults.len()
        ));
    }
    for fault in &scenario.faults {
        if let Some(problem) = unknown(scenario, &fault.target) {
            return wrong(format!("{}: {problem}", fault.kind));
        }
    }
    Ok(())
}

/// What is wrong with a target that nobody can ever fit.
fn unknown(scenario: &Scenario, target: &Target) -> Option<String> {
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
        Target::Group(group) => {
            let missing = scenario.specs.iter().all(|spec| spec.id.as_str() != group);
            missing.then(|| format!("there is no group `{group}` in the specs"))
        }
        Target::Name(name) => {
            let ours = |spec: &GroupSpec| match &spec.allocation {
                crate::fleet::Allocation::Pets { members } => {
                    members.keys().any(|member| member.as_str() == name)
                }
                crate::fleet::Allocation::Cattle { .. } => name
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
