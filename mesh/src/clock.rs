//! The one place of this crate that asks the operating system for the time.
//!
//! Cores never call it: their drivers do, and pass the answer in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Wall clock in milliseconds since 1970; zero when the clock is set before that.
pub fn unix_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Time since this computer booted in milliseconds, with the time that it slept. Nobody sets this clock, and all processes
/// of the computer see the same.
pub fn boot_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let millis = now
        .tv_sec
        .saturating_mul(1000)
        .saturating_add(now.tv_nsec / 1_000_000);
    u64::try_from(millis).unwrap_or(0)
}

/// A monotonic clock with its origin at the moment it was made: the `now: Duration` of the cores.
#[derive(Debug, Clone, Copy)]
pub struct Monotonic {
    origin: tokio::time::Instant,
}

impl Monotonic {
    /// Starts a clock at zero.
    pub fn start() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }

    /// The moment at which this clock shows, or showed, `time`.
    pub fn at(&self, time: Duration) -> tokio::time::Instant {
        self.origin + time
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// The time of day by a clock that nobody sets: what the wall clock showed once, and the time that has passed since. Two
/// readings lie apart by what has passed between them, whatever is done to the wall clock meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    clock: Monotonic,
    /// What the wall clock showed at the origin of `clock`, in milliseconds since 1970.
    origin_ms: u64,
}

impl Steady {
    /// One that agrees with the wall clock now, and goes on with `clock`.
    pub fn start(clock: Monotonic) -> Self {
        let origin_ms = unix_ms().saturating_sub(millis(clock.now()));
        Self { clock, origin_ms }
    }

    /// The present, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.origin_ms.saturating_add(millis(self.clock.now()))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
