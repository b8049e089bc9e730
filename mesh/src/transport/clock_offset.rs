//! How far a peer's wall clock is from our clock, which counts from when this computer booted.

use std::time::Duration;

/// One comparison of two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSample {
    /// The peer's clock minus ours, milliseconds: when this computer booted by the peer's wall clock, in milliseconds since
    /// 1970.
    pub offset_ms: i64,
    /// The true offset is at most this far from [`Self::offset_ms`]: half the time that the exchange took, and a
    /// millisecond for rounding.
    pub error_ms: u64,
}

/// Compares clocks from one question and answer, as NTP does (RFC 5905, section 8): the peer read its clock at some
/// moment between sending and receiving, most likely in the middle.
///
/// `asked_ms` is our clock at the question, `theirs_ms` the peer's in its answer, `took` the time in between on our monotonic
/// clock.
pub fn compare_clocks(asked_ms: u64, theirs_ms: u64, took: Duration) -> ClockSample {
    let half_ms = u64::try_from(took.as_millis() / 2).unwrap_or(u64::MAX);
    let middle = i128::from(asked_ms) + i128::from(half_ms);
    let offset = i128::from(theirs_ms) - middle;
    let offset_ms = i64::try_from(offset).unwrap_or(if offset < 0 { i64::MIN } else { i64::MAX });
    ClockSample {
        offset_ms,
        error_ms: half_ms.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_symmetric_path_gives_the_exact_offset() {
        let sample = compare_clocks(1000, 6010, Duration::from_millis(20));
        assert_eq!((sample.offset_ms, sample.error_ms), (5000, 11));
        let behind = compare_clocks(1000, 910, Duration::from_millis(20));
        assert_eq!(behind.offset_ms, -100);
    }

    proptest! {
        #[test]
        fn the_truth_lies_within_the_error(
            offset in -100_000i64..100_000, there in 0..5_000u64, back in 0..5_000u64,
        ) {
            let asked = 1_900_000_000_000u64;
            let theirs = (asked + there).checked_add_signed(offset).unwrap();
            let sample = compare_clocks(asked, theirs, Duration::from_millis(there + back));
            prop_assert!(sample.offset_ms.abs_diff(offset) <= sample.error_ms);
        }

        #[test]
        fn absurd_clocks_do_no_harm(asked: u64, theirs: u64, took: u64) {
            compare_clocks(asked, theirs, Duration::from_millis(took));
        }
    }
}
