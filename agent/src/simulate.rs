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
mod check;
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

pub use account::{GroupEnd, Holds, Line, Report, Spending, Times, Wait};
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
    check::check(scenario, machines).map_err(SimulateError)?;
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
