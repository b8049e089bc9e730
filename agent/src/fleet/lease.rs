//! Leases: the right of a pet to run its workload, for a while.
//!
//! Nothing here needs clocks that agree. A machine counts its lease from the moment at which it *sent* its request; the
//! leader counts from the moment at which it granted it, which is later. Each counts on a clock that nobody sets, and
//! [`DRIFT_PERCENT`] is how far two such clocks may run apart.

use serde::{Deserialize, Serialize};

use super::limits::SECOND_MS;

/// How much slower than another machine's clock one may run, in percent. Ordinary clocks are off by less than 0.02 %, a
/// virtual machine's on a host that is overloaded by more. The leader measures it and gives no lease beyond half of it.
pub const DRIFT_PERCENT: u64 = 2;

/// The shortest lease, in milliseconds: an election and two tries to renew must fit.
pub const LEASE_MS_MIN: u64 = 5 * SECOND_MS;

/// The longest lease, in milliseconds: so long nobody could start a successor.
pub const LEASE_MS_MAX: u64 = 600 * SECOND_MS;

/// The shortest time to stop, in milliseconds: in less nothing can be asked to, and all would be killed.
pub const STOP_MS_MIN: u64 = SECOND_MS;

/// The least that must be left of a lease before stopping begins, in milliseconds: it is renewed three times in it, and each
/// question takes its time.
pub const RUN_MS_MIN: u64 = 3 * SECOND_MS;

/// How long stopping may take where a group does not say and its lease is four times as long at least, in milliseconds.
pub const STOP_MS: u64 = 3 * SECOND_MS;

/// For how long the right is given, and how long stopping may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// How long a lease is good for from the moment at which it was asked for, in milliseconds.
    pub lease_ms: u64,
    /// How long before its end the workload is told to stop, in milliseconds. As long again is waited after it, in which
    /// a watchdog resets a machine that does not stop.
    pub stop_ms: u64,
}

impl LeaseTerms {
    /// How long stopping may take where a group with leases of so long does not say, in milliseconds.
    pub fn stop_ms_default(lease_ms: u64) -> u64 {
        STOP_MS.min(lease_ms / 4)
    }

    /// Whether a leader could be elected within it, somebody would wait for its end, and there is time to stop and, before
    /// that, to renew it.
    pub fn is_sane(&self) -> bool {
        (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&self.lease_ms)
            && self.stop_ms >= STOP_MS_MIN
            && self.run_ms() >= RUN_MS_MIN
    }

    /// How long the workload may run on without a renewal, in milliseconds: until it is told to stop.
    pub fn run_ms(&self) -> u64 {
        self.lease_ms.saturating_sub(self.stop_ms)
    }

    /// How often a lease is renewed, in milliseconds: two tries may fail before the workload is told to stop.
    pub fn renew_ms(&self) -> u64 {
        self.run_ms() / 3
    }

    /// How long after a grant, by the granting machine's clock, the workload does not run any more, whatever became of
    /// its machine: the lease, the time to stop, and what two clocks may differ by.
    pub fn over_ms(&self) -> u64 {
        let long = self.lease_ms.saturating_add(self.stop_ms);
        long.saturating_mul(100).div_ceil(100 - DRIFT_PERCENT)
    }

    /// The longer of both in each respect.
    #[must_use]
    pub fn or_longer(self, other: Self) -> Self {
        Self {
            lease_ms: self.lease_ms.max(other.lease_ms),
            stop_ms: self.stop_ms.max(other.stop_ms),
        }
    }
}

/// How it is known that a machine's workload runs no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fenced {
    /// Its provisioner proves the machine off.
    Off,
    /// Its lease, and the time to stop, are over. The machine itself may run, and is left as it is.
    LeaseOver,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_over_for_others_after_it_is_over_for_the_slowest_clock() {
        let terms = LeaseTerms {
            lease_ms: 10_000,
            stop_ms: 5_000,
        };
        assert_eq!(terms.renew_ms(), 1666, "three times before it stops");
        assert_eq!(terms.over_ms(), 15_307);
        let slowest = terms.over_ms() as f64 * (1.0 - DRIFT_PERCENT as f64 / 100.0);
        assert!(slowest >= (terms.lease_ms + terms.stop_ms) as f64);
        let longer = terms.or_longer(LeaseTerms {
            lease_ms: 6_000,
            stop_ms: 9_000,
        });
        assert_eq!((longer.lease_ms, longer.stop_ms), (10_000, 9_000));
        assert_eq!(
            LeaseTerms {
                lease_ms: u64::MAX,
                stop_ms: u64::MAX
            }
            .over_ms(),
            u64::MAX.div_ceil(98)
        );
    }

    #[test]
    fn terms_leave_time_to_stop_and_to_renew_before_that() {
        let is_sane = |lease_ms, stop_ms| LeaseTerms { lease_ms, stop_ms }.is_sane();
        for lease_ms in [LEASE_MS_MIN, 12_000, LEASE_MS_MAX] {
            assert!(is_sane(lease_ms, LeaseTerms::stop_ms_default(lease_ms)));
            assert!(is_sane(lease_ms, STOP_MS_MIN));
            assert!(!is_sane(lease_ms, STOP_MS_MIN - 1));
            assert!(is_sane(lease_ms, lease_ms - RUN_MS_MIN));
            assert!(!is_sane(lease_ms, lease_ms - RUN_MS_MIN + 1));
        }
        assert!(!is_sane(10_000, u64::MAX));
        assert!(!is_sane(LEASE_MS_MIN - 1, 1_500) && !is_sane(LEASE_MS_MAX + 1, 3_000));
    }
}
