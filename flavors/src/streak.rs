//! From single looks to a verdict.

use crate::{Health, HealthPlan, HealthStatus};

/// Turns single looks at a workload into a verdict that one lost packet can't overturn.
///
/// A failed look counts as a warning until [`HealthPlan::failures`] of them came in a row; after that it takes
/// [`HealthPlan::successes`] good ones to be well again. A look that could not be made changes nothing
/// about the count; that it could not be made is passed on. Pure.
#[derive(Debug, Clone, Default)]
pub struct Streak {
    failed: u32,
    succeeded: u32,
    critical: bool,
}

impl Streak {
    /// A workload of which nothing is known yet, so it counts as well.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one look and gives the verdict.
    pub fn observe(&mut self, plan: &HealthPlan, look: Health) -> Health {
        match look.status {
            HealthStatus::Critical => {
                self.succeeded = 0;
                self.failed = self.failed.saturating_add(1);
                self.critical |= self.failed >= plan.failures;
                if self.critical {
                    look
                } else {
                    let count = format!("failed {} of {}: ", self.failed, plan.failures);
                    Health {
                        part: look.part,
                        ..Health::warning(count + &look.reason)
                    }
                }
            }
            HealthStatus::Ok | HealthStatus::Warning => {
                self.failed = 0;
                self.succeeded = self.succeeded.saturating_add(1);
                self.critical &= self.succeeded < plan.successes;
                if self.critical {
                    let count = format!("succeeded {} of {}: ", self.succeeded, plan.successes);
                    Health {
                        part: look.part,
                        ..Health::critical(count + &look.reason)
                    }
                } else {
                    look
                }
            }
            HealthStatus::Unknown => look,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn plan(failures: u32, successes: u32) -> HealthPlan {
        let second = Duration::from_secs(1);
        HealthPlan {
            interval: second,
            timeout: second,
            failures,
            successes,
        }
    }

    fn statuses(plan: &HealthPlan, looks: &[HealthStatus]) -> Vec<HealthStatus> {
        let mut streak = Streak::new();
        looks
            .iter()
            .map(|&look| streak.observe(plan, Health::new(look, "")).status)
            .collect()
    }

    #[test]
    fn it_takes_a_streak_to_turn_the_verdict() {
        use HealthStatus::{Critical as C, Ok as O, Unknown as U, Warning as W};
        assert_eq!(
            statuses(&plan(3, 1), &[C, C, O, C, C, C, O]),
            [W, W, O, W, W, C, O]
        );
        assert_eq!(statuses(&plan(1, 2), &[C, O, C, O, O]), [C, C, C, C, O]);
        assert_eq!(statuses(&plan(2, 1), &[C, U, C, U]), [W, U, C, U]);
        assert_eq!(statuses(&plan(2, 2), &[W, C, C, W, W]), [W, W, C, C, W]);
    }

    proptest! {
        #[test]
        fn critical_needs_that_many_failures_in_a_row(
            looks in prop::collection::vec(any::<bool>(), 0..60),
            failures in 1u32..6,
        ) {
            let looks: Vec<_> = looks
                .into_iter()
                .map(|ok| if ok { HealthStatus::Ok } else { HealthStatus::Critical })
                .collect();
            let mut row = 0;
            for (look, verdict) in looks.iter().zip(statuses(&plan(failures, 1), &looks)) {
                row = if *look == HealthStatus::Ok { 0 } else { row + 1 };
                prop_assert_eq!(verdict == HealthStatus::Critical, row >= failures);
            }
        }
    }
}
