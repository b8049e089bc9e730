//! What happened: what all agree on, and what this machine saw for itself.

use super::desk::LocalEvent;
use super::snapshot::{Snapshot, at};
use crate::api::Request;
use crate::api::types::{EventRow, EventsRequest, Listed};
use crate::fleet::Event;

/// Past events, oldest first.
pub(super) fn events(
    snapshot: &Snapshot<'_>,
    local: &[LocalEvent],
    request: &EventsRequest,
) -> Listed<EventRow> {
    Listed {
        as_of: snapshot.as_of(),
        items: past(snapshot, local, request),
    }
}

/// The rows that a request for past events asks for.
pub(super) fn past(
    snapshot: &Snapshot<'_>,
    local: &[LocalEvent],
    request: &EventsRequest,
) -> Vec<EventRow> {
    let mut rows = merge(snapshot, snapshot.state.events.iter(), local);
    rows.retain(|row| {
        request.after.is_none_or(|after| row.seq > after)
            && request
                .since_ms
                .is_none_or(|since_ms| row.at_ms >= since_ms)
    });
    let limit = request.limit.unwrap_or(Request::EVENTS_MAX);
    let limit = limit.min(Request::EVENTS_MAX) as usize;
    let surplus = rows.len().saturating_sub(limit);
    rows.drain(..surplus);
    rows
}

/// Events of the log and of this machine in one row, by time. The log's own order is kept.
///
/// A local event has no place in the log's order, so it gets the number of the log's event before it. Whoever asks
/// for events after a number gets all of the log's, and the local ones from the log's next one on.
pub(super) fn merge<'a>(
    snapshot: &Snapshot<'_>,
    log: impl Iterator<Item = &'a Event>,
    local: &[LocalEvent],
) -> Vec<EventRow> {
    let mut log = log.peekable();
    let oldest = log.peek().map(|event| event.number);
    let mut last = oldest
        .unwrap_or(snapshot.state.next_event)
        .saturating_sub(1);
    let mut rows = Vec::new();
    for event in local {
        while let Some(earlier) = log.next_if(|earlier| earlier.at_ms <= event.at_ms) {
            last = earlier.number;
            rows.push(log_row(snapshot, earlier));
        }
        rows.push(local_row(snapshot, event, last));
    }
    rows.extend(log.map(|event| log_row(snapshot, event)));
    rows
}

/// An event of the log.
pub(super) fn log_row(snapshot: &Snapshot<'_>, event: &Event) -> EventRow {
    let name = event.name.as_ref().map(ToString::to_string);
    EventRow {
        seq: event.number,
        at: at(event.at_ms),
        at_ms: event.at_ms,
        kind: event.kind.to_string(),
        machine: name.or_else(|| event.machine.map(|id| snapshot.name_of(id))),
        group: event.group.as_ref().map(ToString::to_string),
        decision: event.decision.map(|decision| decision.0),
        detail: event.detail.to_string(),
    }
}

/// Something that this machine saw for itself, at its place `seq`.
fn local_row(snapshot: &Snapshot<'_>, event: &LocalEvent, seq: u64) -> EventRow {
    let machine = event
        .machine
        .and_then(|id| snapshot.state.machines.get(&id));
    EventRow {
        seq,
        at: at(event.at_ms),
        at_ms: event.at_ms,
        kind: event.kind.to_owned(),
        machine: event.machine.map(|id| snapshot.name_of(id)),
        group: machine.and_then(|machine| Some(machine.group()?.to_string())),
        decision: None,
        detail: event.detail.clone(),
    }
}
