//! Waits for conditions rather than for times.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

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
        mind_signals();
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

/// Waits, for what has to be measured over a time.
pub fn pause(duration: Duration) {
    let end = now() + duration;
    while let Some(left) = end.checked_duration_since(now()) {
        thread::sleep(left.min(PAUSE));
        mind_signals();
    }
}

/// Set by the signals that would end this process.
static SIGNALLED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Makes Ctrl-C, SIGTERM and SIGHUP end this program's next wait by a panic, so that whatever was started is cleared
/// away as after any other failure. A second signal ends the process at once.
///
/// # Errors
///
/// When the kernel refuses a handler.
pub fn unwind_on_signals() -> io::Result<()> {
    let flag = SIGNALLED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(flag))?;
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// Whether a signal has asked this program to end, after [`unwind_on_signals`].
pub fn is_signalled() -> bool {
    SIGNALLED
        .get()
        .is_some_and(|flag| flag.load(Ordering::Relaxed))
}

fn mind_signals() {
    // While unwinding, what is waited for is that everything is gone.
    assert!(thread::panicking() || !is_signalled(), "told to end");
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
