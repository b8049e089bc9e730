//! Events as they happen.

use tokio::sync::mpsc;

use super::desk::Desk;
use super::events::{merge, past};
use super::snapshot::{Snapshot, at};
use crate::api::types::{EventRow, EventsRequest};
use crate::api::{ApiError, ErrorKind};

/// How far a listener has got.
#[derive(Debug)]
struct Cursor {
    /// The number of the log's next event.
    log: u64,
    /// The number of the last local event.
    local: u64,
}

/// Sends past events that `request` asks for, then new ones as they happen, until the listener is gone.
///
/// The listener sets the pace. The events of the log wait for it in the state itself, so that a slow one costs
/// nothing; when it is so slow that some were forgotten, it is told how many.
pub(super) async fn follow(
    desk: &impl Desk,
    request: &EventsRequest,
    events: mpsc::Sender<EventRow>,
) -> Result<(), ApiError> {
    // Subscribed before the first look, so that nothing falls between.
    let mut changes = desk.changes();
    let local = desk.local_events(0);
    let last_local = local.last().map_or(0, |event| event.number);
    let (mut rows, mut cursor) = desk.snapshot(|snapshot| {
        let cursor = Cursor {
            log: snapshot.state.next_event,
            local: last_local,
        };
        (past(snapshot, &local, request), cursor)
    });
    loop {
        for row in rows {
            if events.send(row).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            () = events.closed() => return Ok(()),
            changed = changes.changed() => if changed.is_err() {
                return Err(stopping());
            },
        }
        let local = desk.local_events(cursor.local);
        rows = desk.snapshot(|snapshot| {
            let new = since(snapshot, &cursor, &local);
            cursor.log = cursor.log.max(snapshot.state.next_event);
            cursor.local = local.last().map_or(cursor.local, |event| event.number);
            new
        });
    }
}

/// What happened since a listener was last told.
fn since(
    snapshot: &Snapshot<'_>,
    cursor: &Cursor,
    local: &[super::desk::LocalEvent],
) -> Vec<EventRow> {
    let kept = &snapshot.state.events;
    let new = kept.iter().filter(|event| event.number >= cursor.log);
    let mut rows = Vec::new();
    if let Some(oldest) = kept.front()
        && oldest.number > cursor.log
    {
        rows.push(skipped(
            oldest.number - cursor.log,
            oldest.number - 1,
            oldest.at_ms,
        ));
    }
    rows.extend(merge(snapshot, new, local));
    rows
}

fn skipped(count: u64, seq: u64, at_ms: u64) -> EventRow {
    EventRow {
        seq,
        at: at(at_ms),
        at_ms,
        kind: "skipped".to_owned(),
        machine: None,
        group: None,
        decision: None,
        detail: format!("{count} events were forgotten before this listener took them"),
    }
}

fn stopping() -> ApiError {
    ApiError::new(ErrorKind::Unavailable, "the agent is stopping")
        .remedy("follow the events on another machine, or start the agent again")
}
