//! All that is known of one machine.

use super::decisions::{decision_row, involves};
use super::events::log_row;
use super::health::health_row;
use super::intents::{concerns, intent_row};
use super::members::member_row;
use super::rows::machine_row;
use super::snapshot::{Snapshot, shorten};
use crate::api::ApiError;
use crate::api::types::MachineDetail;
use crate::fleet::{Event, Machine};

/// So many of the latest decisions about a machine are shown with it; `decisions` has the rest.
const DECISIONS_SHOWN: usize = 10;

/// So many of the latest events about a machine are shown with it; `events` has the rest.
const EVENTS_SHOWN: usize = 20;

/// All that is known of the machine of this name or ID.
pub(super) fn machine(snapshot: &Snapshot<'_>, text: &str) -> Result<MachineDetail, ApiError> {
    let machine = snapshot
        .find_machine(text)
        .ok_or_else(|| no_machine(text))?;
    let state = snapshot.state;
    let seen = snapshot.world.members.get(&machine.id);
    let mut intents: Vec<_> = state
        .intents
        .values()
        .filter(|intent| intent.is_open() && concerns(intent.action, machine.id))
        .collect();
    intents.sort_by_key(|intent| std::cmp::Reverse(intent.opened_ms));
    Ok(MachineDetail {
        answer: snapshot.as_of(),
        machine: machine_row(snapshot, machine),
        member: seen.map(|seen| member_row(snapshot, machine.id, seen)),
        health: seen.map(|seen| health_row(snapshot, machine.id, seen)),
        revision: machine.revision.map(|revision| revision.0),
        ordered_ms: Some(machine.ordered_ms),
        joined_ms: machine.joined_ms,
        intents: intents
            .into_iter()
            .map(|intent| intent_row(snapshot, intent))
            .collect(),
        quarantine: super::quarantine::rows(snapshot, |known| {
            let failed = known.failed.as_ref();
            failed.is_some_and(|failed| failed.machine == machine.name)
        }),
        decisions: state
            .decisions
            .iter()
            .rev()
            .filter(|decision| involves(decision, machine.id))
            .take(DECISIONS_SHOWN)
            .map(|decision| decision_row(snapshot, decision))
            .collect(),
        events: state
            .events
            .iter()
            .rev()
            .filter(|event| is_about(event, machine))
            .take(EVENTS_SHOWN)
            .map(|event| log_row(snapshot, event))
            .collect(),
    })
}

/// Whether an event is about a machine, or about an earlier one of the same name.
pub(super) fn is_about(event: &Event, machine: &Machine) -> bool {
    event.machine == Some(machine.id) || event.name.as_ref() == Some(&machine.name)
}

/// Nothing on the roster is called so.
pub(super) fn no_machine(text: &str) -> ApiError {
    ApiError::not_found(format!(
        "there is no machine `{}` on the roster",
        shorten(text)
    ))
    .remedy(
        "`muster status` shows the machines; `muster explain NAME` also knows those of the past",
    )
}
