//! Where a simulation's choices come from: its seed.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// A source of choices. The same seed gives the same choices on any machine.
pub(super) struct Random(Xoshiro256PlusPlus);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// From 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.0.random()
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.share() < share
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0.random()
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high.max(low))
    }

    /// So many milliseconds, give or take a fifth.
    pub(super) fn about_ms(&mut self, duration: Duration) -> u64 {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2);
        self.between(ms - ms / 5, ms + ms / 5)
    }

    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let last = items.len().checked_sub(1)?;
        items.get(self.0.random_range(0..=last))
    }

    /// `count` of these, in no order.
    pub(super) fn some<T>(&mut self, mut items: Vec<T>, count: usize) -> Vec<T> {
        items.shuffle(&mut self.0);
        items.truncate(count);
        items
    }
}
