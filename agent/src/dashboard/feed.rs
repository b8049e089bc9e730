//! What the view is fed with: one machine after the other, whichever answers.

use std::time::Duration;

use async_trait::async_trait;
use muster_mesh::clock::unix_ms;
use tokio::time::{Instant, sleep_until};

use super::view::Snapshot;
use crate::api::client::{Client, Events};
use crate::api::types::{ApiError, EventRow, EventsRequest, Request, Response};

/// How often the view is brought up to date while nothing happens.
const REFRESH: Duration = Duration::from_secs(1);

/// How soon after an event: a few at once cost one look.
const REFRESH_AFTER_EVENT: Duration = Duration::from_millis(150);

/// How soon the next machine is tried after one was lost.
const RETRY: Duration = Duration::from_millis(500);

/// A machine that needs longer for a read from its own memory is as good as gone for a live view.
const PATIENCE: Duration = Duration::from_secs(2);

/// So many past events are asked for at first.
const PAST_EVENTS: u32 = 50;

/// So many decisions are asked for.
const DECISIONS: u32 = 20;

/// Whom to ask: called at first, and whenever the last one is lost.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// A client of a machine that is likely to answer.
    ///
    /// # Errors
    /// When there is none.
    async fn connect(&self) -> Result<Client, ApiError>;
}

/// What has changed in the snapshot.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// This happened. Every event comes once and in order, whoever tells it.
    Event(EventRow),
    /// The status is new.
    Status,
    /// Nobody answers at the moment.
    Lost(ApiError),
}

/// Keeps a snapshot of the fleet up to date.
pub struct Feed<'n> {
    nodes: &'n dyn Nodes,
    connection: Option<Connection>,
    past: Past,
    refresh_at: Instant,
    snapshot: Snapshot,
}

/// Which events are handed out first.
#[derive(Debug, Clone, Copy)]
enum Past {
    /// The last few.
    Recent,
    /// All that are remembered.
    All,
    /// Those after the last one that was handed out.
    After(u64),
}

struct Connection {
    client: Client,
    events: Events,
}

impl<'n> Feed<'n> {
    /// A feed that has asked nobody yet.
    pub fn new(nodes: &'n dyn Nodes) -> Self {
        Self {
            nodes,
            connection: None,
            past: Past::Recent,
            refresh_at: Instant::now(),
            snapshot: Snapshot::default(),
        }
    }

    /// Hands out only events after this one.
    pub fn skip_events_until(&mut self, seq: u64) {
        self.past = Past::After(seq);
    }

    /// Hands out all events that are remembered, not only the last ones.
    pub fn tell_all_events(&mut self) {
        self.past = Past::All;
    }

    /// What is known.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The same, to add what its owner knows.
    pub fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    /// Waits for the next change. Safe to cancel: what was cut off is done again.
    pub async fn next(&mut self) -> Update {
        if self.connection.is_none() {
            sleep_until(self.refresh_at).await;
            if let Err(error) = self.connect().await {
                return self.lost(error);
            }
            return Update::Status;
        }
        let Some(connection) = &mut self.connection else {
            unreachable!("looked at just now");
        };
        tokio::select! {
            biased;
            event = connection.events.next() => match event {
                Ok(Some(event)) => self.note(event),
                Ok(None) => self.lost(ApiError::internal("the machine ended its events")),
                Err(error) => self.lost(error),
            },
            () = sleep_until(self.refresh_at) => match self.refresh().await {
                Ok(()) => Update::Status,
                Err(error) => self.lost(error),
            },
        }
    }

    /// Finds a machine that answers, and asks it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect(&mut self) -> Result<(), ApiError> {
        let client = self.nodes.connect().await?.with_timeout(PATIENCE);
        let (after, limit) = match self.past {
            Past::Recent => (None, Some(PAST_EVENTS)),
            Past::All => (None, None),
            Past::After(seq) => (Some(seq), None),
        };
        let request = EventsRequest {
            follow: true,
            after,
            since_ms: None,
            limit,
        };
        let events = client.follow(request).await?;
        self.connection = Some(Connection { client, events });
        self.refresh().await
    }

    async fn refresh(&mut self) -> Result<(), ApiError> {
        let Some(Connection { client, .. }) = &self.connection else {
            return Ok(());
        };
        let mut stale = false;
        if let Response::Status(status) = client.call(&Request::Status).await? {
            if status.is_whole() {
                self.snapshot.whole_ms.get_or_insert_with(unix_ms);
            }
            stale = status.as_of.stale;
            self.snapshot.status = Some(*status);
        }
        let request = Request::Decisions {
            machine: None,
            group: None,
            limit: Some(DECISIONS),
        };
        if let Response::Decisions(decisions) = client.call(&request).await? {
            self.snapshot.decisions = decisions.items;
        }
        self.snapshot.trouble = None;
        self.refresh_at = Instant::now() + REFRESH;
        if stale {
            // Another machine may know more.
            self.connection = None;
        }
        Ok(())
    }

    fn note(&mut self, event: EventRow) -> Update {
        // What a machine saw for itself has a place in its own copy of the log, which may be behind.
        self.past = match self.past {
            Past::After(seq) => Past::After(seq.max(event.seq)),
            Past::Recent | Past::All => Past::After(event.seq),
        };
        self.refresh_at = self.refresh_at.min(Instant::now() + REFRESH_AFTER_EVENT);
        self.snapshot.push_event(event.clone());
        Update::Event(event)
    }

    fn lost(&mut self, error: ApiError) -> Update {
        self.connection = None;
        self.refresh_at = Instant::now() + RETRY;
        self.snapshot.trouble = Some(error.message.clone());
        Update::Lost(error)
    }
}

#[cfg(test)]
mod tests;
