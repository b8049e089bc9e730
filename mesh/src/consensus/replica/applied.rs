//! A state machine with its position: the one place where entries are applied.

use super::recent::Recent;
use crate::consensus::image::Image;
use crate::consensus::raft::{Entry, EntryPayload, LogId, StoredMembership};
use crate::consensus::seat::{At, LogGeneration};
use crate::consensus::{RestoreError, StateMachine};

/// The state after the entry at `last`, and what goes with it.
#[derive(Debug)]
pub(crate) struct Applied<S> {
    machine: S,
    generation: LogGeneration,
    last: Option<LogId>,
    membership: StoredMembership,
    recent: Recent,
}

impl<S: StateMachine> Applied<S> {
    /// The state before the first entry.
    pub(crate) fn empty(generation: LogGeneration) -> Self {
        Self {
            machine: S::default(),
            generation,
            last: None,
            membership: StoredMembership::default(),
            recent: Recent::default(),
        }
    }

    pub(crate) fn from_image(image: &Image) -> Result<Self, RestoreError> {
        let mut machine = S::default();
        // Before the first entry there is nothing to restore, and a machine need not know how to read nothing.
        if image.at.is_some() {
            machine.restore(&image.state)?;
        }
        Ok(Self {
            machine,
            generation: image.generation,
            last: image.at,
            membership: image.membership.clone(),
            recent: Recent::default(),
        })
    }

    pub(crate) fn image(&self) -> Image {
        Image {
            generation: self.generation,
            at: self.last,
            membership: self.membership.clone(),
            state: self.machine.snapshot().into(),
        }
    }

    /// Applies the next committed entry. The caller has made sure that it is the next.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Vec<u8> {
        let reply = match &entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Normal(command) => self.machine.apply(entry.log_id.index, &command.0),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Vec::new()
            }
        };
        self.last = Some(entry.log_id);
        self.recent.push(entry);
        reply
    }

    pub(crate) fn machine(&self) -> &S {
        &self.machine
    }

    pub(crate) fn generation(&self) -> LogGeneration {
        self.generation
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        self.last
    }

    pub(crate) fn at(&self) -> Option<At> {
        self.last.map(At::from)
    }

    pub(crate) fn membership(&self) -> &StoredMembership {
        &self.membership
    }

    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }
}
