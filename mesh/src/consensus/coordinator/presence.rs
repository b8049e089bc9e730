//! When the leader was last heard, and whether it is thought to be dead.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::consensus::seat::Seat;

/// What one coordinator knows of its leader's presence.
#[derive(Debug, Default)]
pub(super) struct Presence {
    known: Mutex<Known>,
    /// Told when somebody is thought to be dead.
    doubted: Notify,
}

#[derive(Debug, Default)]
struct Known {
    heard: Option<(Seat, Instant)>,
    dead: Option<Seat>,
}

impl Presence {
    /// A leader spoke, and was accepted as such.
    pub(super) fn heard(&self, leader: Seat) {
        let mut known = self.lock();
        known.heard = Some((leader, Instant::now()));
        if known.dead == Some(leader) {
            known.dead = None;
        }
    }

    /// Somebody says that the one on `seat` is dead, or leaves. Of interest when it is the leader, and once: to be
    /// told again and again must not put the election off again and again.
    pub(super) fn doubt(&self, seat: Seat) {
        let mut known = self.lock();
        let leads = known.heard.is_some_and(|(leader, _)| leader == seat);
        if leads && known.dead != Some(seat) {
            known.dead = Some(seat);
            self.doubted.notify_one();
        }
    }

    /// Waits for the next doubt.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// When a leader was last heard. `None` before the first time.
    pub(super) fn last(&self) -> Option<Instant> {
        self.lock().heard.map(|(_, at)| at)
    }

    /// Whether the leader that was last heard is thought to be dead.
    pub(super) fn is_doubted(&self) -> bool {
        let known = self.lock();
        known
            .heard
            .is_some_and(|(leader, _)| known.dead == Some(leader))
    }

    /// Whether there is a leader: heard within `patience`, and not thought to be dead.
    pub(super) fn is_led(&self, patience: Duration) -> bool {
        let recent = self.last().is_some_and(|heard| heard.elapsed() < patience);
        recent && !self.is_doubted()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
