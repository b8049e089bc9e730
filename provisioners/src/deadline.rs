//! By when a call must have come back.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::ProvisionError;

/// The moment by which a call must have come back, with or without an answer.
///
/// An absolute moment, so that it can be handed down through several steps without arithmetic. It uses
/// tokio's clock, which tests can pause.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment that is `duration` away from now.
    pub fn after(duration: Duration) -> Self {
        let now = Instant::now();
        // A duration too long to be represented is as good as a year.
        Self(
            now.checked_add(duration)
                .unwrap_or(now + Duration::from_secs(365 * 24 * 3600)),
        )
    }

    /// How long there is left; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// This deadline or the moment `duration` from now, whichever comes first.
    #[must_use]
    pub fn at_most(self, duration: Duration) -> Self {
        Self(self.0.min(Self::after(duration).0))
    }

    /// Runs a call until the deadline.
    ///
    /// # Errors
    /// The call's own error, or [`ProvisionError::Timeout`] (outcome unknown) with `what` was being done.
    pub async fn limit<T>(
        self,
        what: &str,
        call: impl Future<Output = Result<T, ProvisionError>>,
    ) -> Result<T, ProvisionError> {
        match tokio::time::timeout_at(self.0, call).await {
            Ok(result) => result,
            Err(_) => Err(ProvisionError::timeout(what)),
        }
    }

    /// Sleeps for `duration`, or until the deadline; `false` once the deadline has passed.
    pub async fn sleep(self, duration: Duration) -> bool {
        tokio::time::sleep_until(self.at_most(duration).0).await;
        !self.has_passed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_ends_with_an_unknown_outcome() {
        let deadline = Deadline::after(Duration::from_secs(3));
        let error = deadline
            .limit("asking", std::future::pending::<Result<(), _>>())
            .await
            .expect_err("hangs");
        assert!(error.is_outcome_unknown());
        assert!(deadline.has_passed());
        assert!(!deadline.sleep(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_counts() {
        let deadline = Deadline::after(Duration::MAX).at_most(Duration::from_secs(5));
        assert_eq!(deadline.remaining(), Duration::from_secs(5));
        assert_eq!(
            deadline.at_most(Duration::from_secs(9)).remaining(),
            Duration::from_secs(5)
        );
        assert!(deadline.sleep(Duration::from_secs(1)).await);
    }
}
