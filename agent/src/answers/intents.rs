//! What is being done.

use muster_mesh::identity::MachineId;

use super::census::would_words;
use super::snapshot::Snapshot;
use crate::api::types::IntentRow;
use crate::fleet::{Action, Intent, IntentState, Rung, StepRecord, Would, count};

/// The row of one intent.
pub(super) fn intent_row(snapshot: &Snapshot<'_>, intent: &Intent) -> IntentRow {
    let record = at_step(intent);
    let (step, error) = match &intent.state {
        IntentState::Open => (record.map_or("done", |record| record.step.word()), None),
        IntentState::Done { .. } => ("done", None),
        IntentState::Failed { error, .. } => ("failed", Some(error.to_string())),
    };
    let last_error = record.and_then(|record| Some(record.last_error.as_ref()?.to_string()));
    IntentRow {
        op: intent.op.to_string(),
        action: intent.action.word().to_owned(),
        machine: snapshot.name_of(object(intent.action)),
        group: Some(intent.group.to_string()),
        step: step.to_owned(),
        attempts: record.map_or(0, |record| record.attempts),
        last_error: error.or(last_error),
        next_attempt_ms: next_attempt(intent),
        decision: Some(intent.decision.0),
    }
}

/// The step that an intent is at, or failed at.
fn at_step(intent: &Intent) -> Option<&StepRecord> {
    match &intent.state {
        IntentState::Failed { step, .. } => intent.plan.iter().find(|record| record.step == *step),
        _ => intent.current(),
    }
}

/// Nobody tries to await: that ends by itself.
fn next_attempt(intent: &Intent) -> Option<u64> {
    intent
        .current()
        .filter(|record| !record.step.is_waited_for() && record.next_attempt_ms > 0)
        .map(|record| record.next_attempt_ms)
}

/// The machine that the action's verb is about: replace *web-2*, provision *web-4*.
fn object(action: Action) -> MachineId {
    match action {
        Action::Provision { machine }
        | Action::Retire { machine }
        | Action::Treat { machine, .. }
        | Action::Drain { machine, .. } => machine,
        Action::Replace { old, .. } | Action::Reimage { old, .. } => old,
    }
}

/// Whether an action makes, treats or takes away a machine.
pub(super) fn concerns(action: Action, machine: MachineId) -> bool {
    action.makes() == Some(machine) || action.finds() == Some(machine)
}

/// An action with names, such as `replace web-2 by web-4`.
pub(super) fn action_words(snapshot: &Snapshot<'_>, action: Action) -> String {
    match action {
        Action::Provision { machine } => format!("provision {}", snapshot.name_of(machine)),
        Action::Retire { machine } => format!("retire {}", snapshot.name_of(machine)),
        Action::Treat { machine, rung, .. } => {
            would_words(Would::Treat(rung), &snapshot.name_of(machine))
        }
        Action::Reimage { old, .. } => {
            would_words(Would::Treat(Rung::Reimage), &snapshot.name_of(old))
        }
        Action::Drain { machine, .. } => would_words(Would::Drain, &snapshot.name_of(machine)),
        Action::Replace { old, new } => {
            let (old_name, new_name) = (snapshot.name_of(old), snapshot.name_of(new));
            if old_name == new_name {
                // Pets keep their names, so the IDs tell them apart.
                format!("replace {old_name} ({old} by {new})")
            } else {
                format!("replace {old_name} by {new_name}")
            }
        }
    }
}

/// How far an intent is, as part of a sentence.
pub(super) fn progress_words(intent: &Intent) -> String {
    match &intent.state {
        IntentState::Done { .. } => "that is done".to_owned(),
        IntentState::Failed { step, error, .. } => {
            format!("that failed at step `{}`: {error}", step.word())
        }
        IntentState::Open => match intent.current() {
            None => "that is about to end".to_owned(),
            Some(record) => {
                let mut words = format!("now at step `{}`", record.step.word());
                if record.attempts > 0 {
                    let failures = count(record.attempts as usize, "time");
                    words.push_str(&format!(", which has failed {failures}"));
                }
                if let Some(error) = &record.last_error {
                    words.push_str(&format!(" (last: {error})"));
                }
                if let Some(held) = &record.held {
                    words.push_str(&format!(", held by `{}`: {}", held.rule, held.detail));
                }
                words
            }
        },
    }
}
