//! What time the fleet's log is told it is. Pure.
//!
//! The state's clock only goes forward, so one leader whose clock is hours ahead would take it along for good: pauses and
//! graces would be over, approvals and orders expired, and budgets full. So what a leader stamps on commands is not simply its
//! wall clock. It starts from that, put right by what peers' clocks say, and from then on runs on a clock that nobody
//! sets. It follows what is measured later only slowly; a wall clock that is set is not followed before it was measured.
//!
//! Clocks are compared by what each showed when this machine booted: that stays the same until the clock is set, and
//! shows how far apart two are whatever is done to this machine's own in between.

use std::time::Duration;

/// A wall clock that is at most this far from its peers' is taken as it is, in milliseconds. Every machine of the fleet may be
/// off by a little, and so may what was measured; whose clock is as far off says itself that it is critical.
const TOLERATED_MS: u64 = 5_000;

/// What the stamp runs faster by while it is behind, as a part of the time that passes: one in twenty. A minute is made up for
/// in twenty minutes, and nothing that is waited for is noticeably early.
const FASTER: u32 = 20;

/// What the stamp runs slower by while it is ahead: one in two. Time goes on, so what is waited for comes, and the right time
/// catches up.
const SLOWER: u32 = 2;

/// The clock of one leader, for one reign. Until it is known what time it is, it goes on from where the state's clock stands.
///
/// All its times since the boot are by one clock that nobody sets.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    /// When this machine booted by the right time, as far as peers can tell, in milliseconds since 1970.
    booted_ms: Option<i64>,
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    /// Since 1970.
    stamp: Duration,
    /// When that was, since the boot.
    at: Duration,
    /// Whether it only goes on from the state's clock: that may have stood still for as long as nobody led.
    behind: bool,
}

impl Stamp {
    /// Begins a reign: nothing of the time before it counts, but for what was measured.
    pub(super) fn begin(&mut self) {
        self.last = None;
    }

    /// Whether it is known what time it is.
    pub(super) fn knows(&self) -> bool {
        self.booted_ms.is_some()
    }

    /// A measurement: when this machine booted by the right time, in milliseconds since 1970.
    pub(super) fn measured(&mut self, booted_ms: i64) {
        self.booted_ms = Some(booted_ms);
    }

    /// What time it is, in milliseconds since 1970. `now` is the time since the boot, `wall_ms` this machine's clock, and
    /// `state_ms` the clock of the fleet's state as it is; 0 before the fleet was founded.
    pub(super) fn now_ms(&mut self, now: Duration, wall_ms: u64, state_ms: u64) -> u64 {
        let state = Duration::from_millis(state_ms);
        let right = self.booted_ms.map(|booted_ms| right(booted_ms, now));
        let (stamp, behind) = match (right, self.last) {
            (None, _) if state_ms == 0 => return wall_ms,
            (None, last) => (last.map_or(state, |last| last.free(now)), true),
            (Some(right), None) => (right, false),
            (Some(right), Some(last)) if last.behind => (right.max(last.free(now)), false),
            (Some(right), Some(last)) => (last.follow(now, right), false),
        };
        let stamp = stamp.max(state);
        self.last = Some(Last {
            stamp,
            at: now,
            behind,
        });
        millis(stamp)
    }

    /// The right time as far as that is known, else the wall clock. Where the state's clock was put ahead, this is not.
    pub(super) fn right_ms(&self, now: Duration, wall_ms: u64) -> u64 {
        self.booted_ms
            .map_or(wall_ms, |booted_ms| millis(right(booted_ms, now)))
    }
}

impl Last {
    /// What time it is if nothing is known but what has passed since.
    fn free(&self, now: Duration) -> Duration {
        self.stamp.saturating_add(now.saturating_sub(self.at))
    }

    /// What time it is when it should be `right`.
    fn follow(&self, now: Duration, right: Duration) -> Duration {
        let (free, passed) = (self.free(now), now.saturating_sub(self.at));
        if right >= free {
            free + (right - free).min(passed / FASTER)
        } else {
            free - (free - right).min(passed / SLOWER)
        }
    }
}

/// When this machine booted by the right time, from when it did by its own wall clock and by those of some peers: the median
/// of them all counts. Of two in the middle the earlier one: what is late can be waited for.
pub(super) fn right_boot_ms(own_ms: i64, peers_ms: impl IntoIterator<Item = i64>) -> i64 {
    let mut all: Vec<i64> = peers_ms.into_iter().chain([own_ms]).collect();
    all.sort_unstable();
    let median_ms = all.get((all.len() - 1) / 2).copied().unwrap_or(own_ms);
    if median_ms.abs_diff(own_ms) <= TOLERATED_MS {
        return own_ms;
    }
    median_ms
}

/// The right time since 1970.
fn right(booted_ms: i64, now: Duration) -> Duration {
    Duration::from_millis(millis(now).saturating_add_signed(booted_ms))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
