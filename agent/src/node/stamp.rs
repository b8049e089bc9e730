//! What time the fleet's log is told it is. Pure.
//!
//! The state's clock only goes forward, so one leader whose clock is hours ahead would take it along for good: pauses and
//! graces would be over, approvals and orders expired, and budgets full. So what a leader stamps on commands is not simply its
//! wall clock. It starts from that, put right by what peers' clocks say, and from then on runs on a clock that nobody
//! sets. It follows the wall clock, put right, only slowly; a wall clock that is set at once is not followed at once.

use std::time::Duration;

/// A wall clock that is at most this far from its peers' is taken as it is, in milliseconds. Every machine of the fleet may be
/// off by seconds, and so may what was measured.
const TOLERATED_MS: u64 = 10_000;

/// What the stamp runs faster by while it is behind, as a part of the time that passes: one in twenty. A minute is made up for
/// in twenty minutes, and nothing that is waited for is noticeably early.
const FASTER: u64 = 20;

/// What the stamp runs slower by while it is ahead: one in two. Time goes on, so what is waited for comes, and the right time
/// catches up.
const SLOWER: u64 = 2;

/// The clock of one leader, for one reign. It stands still until it is known how far the machine's own is off.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    /// How far the wall clock is ahead of the right time, as far as peers can tell, in milliseconds.
    ahead_ms: Option<i64>,
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    stamp_ms: u64,
    /// When that was, on a clock that nobody sets.
    at: Duration,
}

impl Stamp {
    /// Begins a reign: nothing of the time before it counts. `ahead_ms` is what was measured; without it time stands still.
    pub(super) fn begin(&mut self, ahead_ms: Option<i64>) {
        *self = Self {
            ahead_ms,
            last: None,
        };
    }

    /// A later measurement.
    pub(super) fn measured(&mut self, ahead_ms: i64) {
        self.ahead_ms = Some(ahead_ms);
    }

    /// What time it is, in milliseconds since 1970. `now` is a clock that nobody sets, `wall_ms` this machine's clock, and
    /// `state_ms` the clock of the fleet's state as it is; 0 before the fleet was founded.
    pub(super) fn now_ms(&mut self, now: Duration, wall_ms: u64, state_ms: u64) -> u64 {
        let Some(ahead_ms) = self.ahead_ms else {
            return if state_ms == 0 { wall_ms } else { state_ms };
        };
        let right_ms = put_right(wall_ms, ahead_ms);
        let stamp_ms = match self.last {
            None => right_ms.max(state_ms),
            Some(last) => {
                let passed_ms = millis(now.saturating_sub(last.at));
                follow(last.stamp_ms, passed_ms, right_ms).max(state_ms)
            }
        };
        self.last = Some(Last { stamp_ms, at: now });
        stamp_ms
    }

    /// The wall clock, put right as far as that is known. Where the state's clock was put ahead, this is not.
    pub(super) fn right_ms(&self, wall_ms: u64) -> u64 {
        put_right(wall_ms, self.ahead_ms.unwrap_or_default())
    }
}

/// How far this machine's clock is ahead, from how far it is ahead of each of some peers': the median, its own clock being
/// one of those that are compared. Of two in the middle the one that makes it earlier: what is late can be waited for.
pub(super) fn median_ahead(of_peers_ms: impl IntoIterator<Item = i64>) -> i64 {
    let mut all: Vec<i64> = of_peers_ms.into_iter().chain([0]).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn put_right(wall_ms: u64, ahead_ms: i64) -> u64 {
    if ahead_ms.unsigned_abs() <= TOLERATED_MS {
        return wall_ms;
    }
    wall_ms.saturating_add_signed(ahead_ms.saturating_neg())
}

/// The time when it was `last_ms`, `passed_ms` have passed, and it should be `right_ms`.
fn follow(last_ms: u64, passed_ms: u64, right_ms: u64) -> u64 {
    let free_ms = last_ms.saturating_add(passed_ms);
    if right_ms >= free_ms {
        let made_up_ms = (right_ms - free_ms).min(passed_ms.div_ceil(FASTER));
        return free_ms.saturating_add(made_up_ms);
    }
    let lost_ms = (free_ms - right_ms).min(passed_ms / SLOWER);
    free_ms - lost_ms
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
