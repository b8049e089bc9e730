//! Machines that something was done to in their place: are they well now, or was it in vain?

use muster_mesh::identity::MachineId;

use super::board::Board;
use super::timing::JOIN_AFTER_CHANGE_MS;
use super::trial;
use crate::fleet::{
    Action, Command, Diagnosis, Evidence, FleetState, Intent, Progress, Rung, Step, StepRecord,
    StepResult, span,
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
    let on_trial_ms = since_ms.saturating_add(trial_ms(state, intent));
    let at_ms = state
        .deadline_ms(intent, record)
        .max(led_ms.saturating_add(JOIN_AFTER_CHANGE_MS))
        .max(on_trial_ms);
    let machine = intent.action.treats().ok_or(at_ms)?;
    let well = is_well(state, board, intent, machine);
    let result = if well && board.now_ms >= on_trial_ms {
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
        return Err(if well { on_trial_ms } else { at_ms });
    };
    Ok(Command::Progress(Progress {
        op: intent.op.clone(),
        step: Step::AwaitWell,
        attempt: record.attempts,
        result,
    }))
}

fn is_well(state: &FleetState, board: &Board<'_>, intent: &Intent, machine: MachineId) -> bool {
    let finding = board.findings.get(&machine);
    finding.is_some_and(|finding| finding.diagnosis == Diagnosis::Healthy)
        && has_restarted(state, board, intent, machine)
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

/// For how long a machine has to be well before that counts, in milliseconds. A workload that failed counts as well until
/// its check has failed often enough, so it is given as long as that takes.
fn trial_ms(state: &FleetState, intent: &Intent) -> u64 {
    if is_tried(state, intent) {
        check_ms(state, intent)
    } else {
        0
    }
}

/// When a treatment that ended at this time counts as a cure to others, in milliseconds since 1970: once the workload's
/// check has had the time to fail.
pub(super) fn proved_ms(state: &FleetState, intent: &Intent, ended_ms: u64) -> u64 {
    let left_ms = if is_tried(state, intent) {
        0
    } else {
        check_ms(state, intent)
    };
    ended_ms.saturating_add(left_ms)
}

/// Whether a treatment ends only once the workload's check has had the time to fail.
fn is_tried(state: &FleetState, intent: &Intent) -> bool {
    let cause = state.decision(intent.decision);
    let cause = cause.and_then(|decision| decision.proposal.cause.diagnosis());
    let restarted = matches!(
        intent.action,
        Action::Treat {
            rung: Rung::RestartWorkload,
            ..
        }
    );
    cause == Some(Diagnosis::WorkloadFailed) || restarted
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
