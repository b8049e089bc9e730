//! Machines that something was done to in their place: are they well now, or was it in vain?

use muster_mesh::identity::MachineId;

use super::board::Board;
use super::timing::JOIN_AFTER_CHANGE_MS;
use super::trial;
use crate::fleet::{
    Command, Diagnosis, Evidence, FleetState, Intent, Progress, Step, StepRecord, StepResult, span,
};

/// The report of how a treatment ended; or when to look again.
pub(super) fn recovered(
    state: &FleetState,
    board: &Board<'_>,
    intent: &Intent,
    record: &StepRecord,
) -> Result<Command, u64> {
    let since_ms = record.started_ms.unwrap_or(intent.opened_ms);
    // While nobody led, nobody could see it.
    let led_ms = board.situation.leader_since_ms;
    let trial_ms = trial_ms(state, intent);
    let at_ms = state
        .deadline_ms(intent, record)
        .max(led_ms.saturating_add(JOIN_AFTER_CHANGE_MS))
        .max(since_ms.saturating_add(trial_ms));
    let machine = intent.action.treats().ok_or(at_ms)?;
    let well_ms = well_since_ms(state, board, intent, machine);
    let proved_ms = well_ms.map(|well_ms| well_ms.max(since_ms).saturating_add(trial_ms));
    let result = if let Some(proved_ms) = proved_ms {
        if board.now_ms < proved_ms {
            return Err(proved_ms);
        }
        StepResult::Done
    } else if let Some(error) = is_gone(board, machine, since_ms) {
        StepResult::Vanished {
            error: error.into(),
        }
    } else if board.now_ms >= at_ms {
        let waited = span(board.now_ms.saturating_sub(since_ms));
        StepResult::GiveUp {
            error: format!("it was not well {waited} after that").into(),
        }
    } else {
        return Err(at_ms);
    };
    Ok(Command::Progress(Progress {
        op: intent.op.clone(),
        step: Step::AwaitWell,
        attempt: record.attempts,
        result,
    }))
}

/// Since when a machine that was treated has been well and its workload has worked, in milliseconds since 1970; `None` if
/// that is not so.
fn well_since_ms(
    state: &FleetState,
    board: &Board<'_>,
    intent: &Intent,
    machine: MachineId,
) -> Option<u64> {
    let finding = board.findings.get(&machine)?;
    let is_well = board.does_its_work(machine) && has_restarted(state, board, intent, machine);
    let seen = board.situation.machines.get(&machine);
    let works_ms = seen.and_then(|seen| seen.works_since_ms);
    is_well.then_some(finding.since_ms.max(works_ms.unwrap_or(0)))
}

/// Whether a machine that a person asked to have rebooted lives anew: it may have been well before, and answer for a
/// while yet.
fn has_restarted(
    state: &FleetState,
    board: &Board<'_>,
    intent: &Intent,
    machine: MachineId,
) -> bool {
    let reboots = intent.action.stops().is_some() && intent.asked.is_some();
    let before = state.decision(intent.decision).filter(|_| reboots);
    let before = before.and_then(|decision| {
        decision
            .proposal
            .evidence
            .iter()
            .find_map(|seen| match seen {
                Evidence::Member(member) => Some(member.generation),
                _ => None,
            })
    });
    let seen = board.situation.machines.get(&machine);
    let now = seen
        .and_then(|seen| seen.member)
        .map(|seen| seen.generation);
    before.is_none() || now > before
}

/// For how long a machine has to be well before that counts, in milliseconds. A workload that fails counts as well until its
/// check has failed often enough, so it is given as long as that takes. A reboot by hand is only to be carried out.
fn trial_ms(state: &FleetState, intent: &Intent) -> u64 {
    if intent.asked.is_some() && intent.action.stops().is_some() {
        0
    } else {
        check_ms(state, intent)
    }
}

fn check_ms(state: &FleetState, intent: &Intent) -> u64 {
    let needed = intent.action.treats().and_then(|id| {
        let machine = state.machines.get(&id)?;
        let group = state.groups.get(&intent.group)?;
        Some(trial::check_ms(group, state.template(machine)?))
    });
    needed.unwrap_or(0)
}

/// How its provider proves that it has gone since.
fn is_gone(board: &Board<'_>, machine: MachineId, since_ms: u64) -> Option<String> {
    let finding = board.findings.get(&machine)?;
    let gone = finding.diagnosis == Diagnosis::Gone && finding.since_ms >= since_ms;
    gone.then(|| finding.summary.to_string())
}
