//! Machines that were made and joined, and whose work is checked: do they work? Joining alone is no success, or a bad image
//! would get one machine after the other.

use std::time::Duration;

use super::board::Board;
use super::ladder;
use super::timing::{TOLD_MS, TRIAL_MS_MAX};
use crate::fleet::{Command, Diagnosis, FleetState, Group, Intent, Machine, Template};

/// How long a workload's check takes to find that it does not work, in milliseconds; zero where there is no check.
pub(super) fn check_ms(group: &Group, template: &Template) -> u64 {
    let plan = ladder::flavor(group, template).and_then(|flavor| flavor.health_plan());
    let needed = plan.map_or(Duration::ZERO, |plan| {
        plan.interval
            .saturating_mul(plan.failures)
            .saturating_add(plan.timeout)
    });
    u64::try_from(needed.as_millis()).map_or(TRIAL_MS_MAX, |ms| ms.min(TRIAL_MS_MAX))
}

/// For how long a new machine is on trial, in milliseconds: as long as its check takes to fail, and the leader to hear of it.
pub(super) fn trial_ms(group: &Group, template: &Template) -> u64 {
    match check_ms(group, template) {
        0 => 0,
        ms => ms.saturating_add(TOLD_MS),
    }
}

/// How the trials that are over ended, and when to look again for the others, in milliseconds since 1970.
pub(super) fn trials(state: &FleetState, board: &Board<'_>) -> (Vec<Command>, Option<u64>) {
    let (mut over, mut next_ms) = (Vec::new(), None);
    for (intent, machine) in state.trials() {
        match verdict(state, board, intent, machine) {
            Some(Ok(command)) => over.push(command),
            Some(Err(at_ms)) => next_ms = Some(next_ms.map_or(at_ms, |next: u64| next.min(at_ms))),
            None => {}
        }
    }
    (over, next_ms)
}

/// How a trial ended, or when it can end by time alone. `None` while that is for other news to say: the machine is suspected,
/// or something else than its work is the matter with it.
fn verdict(
    state: &FleetState,
    board: &Board<'_>,
    intent: &Intent,
    machine: &Machine,
) -> Option<Result<Command, u64>> {
    let finding = board.findings.get(&machine.id)?;
    let works = match finding.diagnosis {
        Diagnosis::Healthy if board.does_its_work(machine.id) => true,
        Diagnosis::WorkloadFailed => false,
        _ => return None,
    };
    let over_ms = state.trial_over_ms(intent, works)?;
    if board.now_ms < over_ms {
        return Some(Err(over_ms));
    }
    Some(Ok(Command::TrialOver {
        op: intent.op.clone(),
        works,
        detail: finding.summary.clone(),
    }))
}
