//! How long to leave a peer alone after it could not be dialled.

use std::time::Duration;

use super::limits::{BACKOFF_MAX, BACKOFF_MIN};

/// The pause after so many failures in a row (at least one): doubled each time, and between half and all of it
/// by `random`, so that machines that lost the same peer do not come back to it in step.
pub(super) fn pause(failures: u32, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
    let half = full / 2;
    let part = u32::try_from(random % 1024).unwrap_or(0);
    half + half * part / 1023
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubles_up_to_a_cap() {
        assert_eq!(pause(1, 1023), BACKOFF_MIN);
        assert_eq!(pause(2, 1023), BACKOFF_MIN * 2);
        assert_eq!(pause(3, 0), BACKOFF_MIN * 2);
        assert_eq!(pause(1000, 1023), BACKOFF_MAX);
    }

    proptest! {
        #[test]
        fn stays_within_half_and_all(failures in 1u32.., random: u64) {
            let pause = pause(failures, random);
            prop_assert!(pause >= BACKOFF_MIN / 2 && pause <= BACKOFF_MAX);
        }
    }
}
