//! Matters of fact that are to be put on record: who left, who returned, who never came, and what was found.
//!
//! These take nothing away, so they pass no gates; whether they can be committed is for the coordinators' quorum.

use std::collections::BTreeSet;

use muster_flavors::Part;

use super::board::Board;
use super::decide::Plan;
use super::diagnose::is_back;
use super::recovery::recovered;
use super::timing::JOIN_AFTER_CHANGE_MS;
use super::trial::trials;
use crate::fleet::limits::PROPOSALS_MAX;
use crate::fleet::{
    Command, Diagnosis, FleetState, Instance, Intent, Machine, Phase, Progress, ProviderWord, Step,
    StepRecord, StepResult, span,
};

/// Facts, and when to look again.
pub(super) fn facts(state: &FleetState, board: &Board<'_>) -> Plan {
    let mut plan = Plan::default();
    for machine in state.machines.values() {
        plan.facts.extend(goodbye_or_return(board, machine));
    }
    for (demand, _) in state
        .demands
        .iter()
        .filter(|(_, demand)| demand.waits() && demand.until_ms <= board.now_ms)
    {
        plan.facts.push(Command::Expire { demand: *demand });
    }
    for intent in state.open_intents() {
        let Some(record) = intent.current() else {
            continue;
        };
        let ended = match record.step {
            Step::AwaitJoin => not_coming(state, board, intent, record),
            Step::AwaitWell => recovered(state, board, intent, record),
            _ => continue,
        };
        match ended {
            Ok(report) => plan.facts.push(report),
            Err(at_ms) => {
                plan.next_look_ms = Some(plan.next_look_ms.map_or(at_ms, |look| look.min(at_ms)));
            }
        }
    }
    let (over, next_ms) = trials(state, board);
    plan.facts.extend(over);
    plan.next_look_ms = [plan.next_look_ms, next_ms].into_iter().flatten().min();
    plan.facts.extend(formed(state, board));
    adopt(state, board, &mut plan);
    plan.facts.truncate(PROPOSALS_MAX);
    plan
}

/// Groups whose machines' workloads have formed an ensemble, and of which that is not on record yet.
fn formed(state: &FleetState, board: &Board<'_>) -> Vec<Command> {
    let new = state
        .groups
        .iter()
        .filter(|(_, group)| group.ensemble_ms.is_none() && !group.destroying);
    let votes = |machine: &Machine| board.part(machine.id).is_some_and(Part::votes);
    let formed = new.filter(|(id, _)| state.group_machines(id).any(votes));
    formed
        .map(|(id, _)| Command::EnsembleFormed { group: id.clone() })
        .collect()
}

fn goodbye_or_return(board: &Board<'_>, machine: &Machine) -> Option<Command> {
    let finding = board.findings.get(&machine.id)?;
    let seen = board.situation.machines.get(&machine.id)?;
    match machine.phase {
        Phase::Joined if finding.diagnosis == Diagnosis::Left && machine.intent.is_none() => {
            Some(Command::MachineLeft {
                machine: machine.id,
                life: seen.member?.generation,
            })
        }
        Phase::Left { .. } if is_back(machine, seen) => Some(Command::MachineReturned {
            machine: machine.id,
        }),
        _ => None,
    }
}

/// The report that a machine won't come; or when to look again.
fn not_coming(
    state: &FleetState,
    board: &Board<'_>,
    intent: &Intent,
    record: &StepRecord,
) -> Result<Command, u64> {
    let deadline_ms = state.deadline_ms(intent, record);
    // While nobody led, nobody could let it in.
    let led_ms = board
        .situation
        .leader_since_ms
        .saturating_add(JOIN_AFTER_CHANGE_MS);
    let at_ms = deadline_ms.max(led_ms);
    let result = if let Some(error) = vanished(state, board, intent, record) {
        StepResult::Vanished {
            error: error.into(),
        }
    } else if board.now_ms >= at_ms {
        let waited = span(
            board
                .now_ms
                .saturating_sub(record.started_ms.unwrap_or_default()),
        );
        StepResult::GiveUp {
            error: format!("it was made {waited} ago and did not join").into(),
        }
    } else {
        return Err(at_ms);
    };
    let (op, attempt) = (intent.op.clone(), record.attempts);
    Ok(Command::Progress(Progress {
        op,
        step: Step::AwaitJoin,
        attempt,
        result,
    }))
}

/// How its provider proves that a machine is gone before it joined.
fn vanished(
    state: &FleetState,
    board: &Board<'_>,
    intent: &Intent,
    record: &StepRecord,
) -> Option<String> {
    let machine = state.machines.get(&intent.action.makes()?)?;
    let instance = machine.instance.as_ref()?;
    let provider = board
        .situation
        .machines
        .get(&machine.id)?
        .provider
        .as_ref()?;
    // A word from before it was made says nothing; and a list may lag.
    let made_ms = record.started_ms?;
    let lag_ms = match provider.word {
        ProviderWord::Stopped => 0,
        ProviderWord::Unknown => provider.list_lag_ms,
        ProviderWord::Running | ProviderWord::CannotSay { .. } => return None,
    };
    let asked_after_ms = provider.at_ms.checked_sub(made_ms)?;
    (asked_after_ms > lag_ms)
        .then(|| format!("its provider says of {}: {}", instance.id, provider.word))
}

/// An instance with the tag of an intent that is about to make one *is* the one that it made: somebody called the
/// provisioner and could not say so any more. Of several the first by its ID is taken.
fn adopt(state: &FleetState, board: &Board<'_>, plan: &mut Plan) {
    let mut strangers: Vec<_> = board.situation.strangers.iter().collect();
    strangers.sort_by(|one, two| one.id.cmp(&two.id));
    let mut adopted = BTreeSet::new();
    for stranger in strangers {
        let waiting = stranger
            .op
            .as_ref()
            .and_then(|op| state.intent(op))
            .and_then(|intent| Some((intent, intent.current()?)))
            .filter(|(intent, record)| {
                record.step == Step::Provision && !adopted.contains(&&intent.op)
            });
        let Some((intent, record)) = waiting else {
            continue;
        };
        adopted.insert(&intent.op);
        let instance = Instance {
            provisioner: stranger.provisioner.clone(),
            id: stranger.id.clone(),
            properties: stranger.properties.clone(),
        };
        plan.facts.push(Command::Progress(Progress {
            op: intent.op.clone(),
            step: Step::Provision,
            attempt: record.attempts,
            result: StepResult::Provisioned(instance),
        }));
    }
}
