//! Trying again.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::{Deadline, ProvisionError};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Repeats a call while its error [may pass](ProvisionError::is_retryable), with growing and jittered pauses (200 ms to 10 s; the
/// back end's own wish if that is longer), and gives its last error once the next pause would outlast the deadline.
///
/// Only for what may be done twice: what reads, and what the back end knows by its operation ID.
///
/// # Errors
/// The call's own.
pub async fn retried<T, F, Fut>(deadline: Deadline, mut call: F) -> Result<T, ProvisionError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, ProvisionError>>,
{
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build();
    loop {
        let error = match call().await {
            Err(error) if error.is_retryable() => error,
            ended => return ended,
        };
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE).max(asked(&error));
        if pause >= deadline.remaining() || !deadline.sleep(pause).await {
            return Err(error);
        }
    }
}

/// How long the back end wants to be left alone.
fn asked(error: &ProvisionError) -> Duration {
    match error {
        ProvisionError::Throttled {
            retry_after: Some(wait),
        } => *wait,
        _ => Duration::ZERO,
    }
}
