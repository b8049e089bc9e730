//! Waits for conditions rather than for times.

use std::thread;
use std::time::Duration;

/// How often a condition is looked at, unless told otherwise.
pub const PAUSE: Duration = Duration::from_millis(100);

/// Asks until the answer is `Ok`, or says what the last answer was.
///
/// # Errors
///
/// The last refusal, when the deadline passed before an `Ok`.
pub fn poll<T>(
    deadline: Duration,
    pause: Duration,
    mut ask: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let start = now();
    loop {
        let asked_at = now();
        match ask() {
            Ok(value) => return Ok(value),
            // The last look must lie after the deadline, or a busy machine fails tests that it would pass.
            Err(refusal) if asked_at.duration_since(start) > deadline => return Err(refusal),
            Err(_) => thread::sleep(pause),
        }
    }
}

/// Asks until the answer is `Ok`; fails the test with the last refusal when the deadline passes.
#[track_caller]
pub fn until<T>(what: &str, deadline: Duration, ask: impl FnMut() -> Result<T, String>) -> T {
    poll(deadline, PAUSE, ask)
        .unwrap_or_else(|refusal| panic!("waited {deadline:?} until {what}: {refusal}"))
}

/// The monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "tests and benchmarks watch real processes in real time"
)]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// The wall clock in milliseconds since 1970, as it stands in what the agents write.
#[expect(
    clippy::disallowed_methods,
    reason = "tests and benchmarks watch real processes in real time"
)]
pub fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
