//! A token bucket in whole numbers: what may be spent on healing over time.

use serde::{Deserialize, Serialize};

use super::limits::HOUR_MS;

/// One token in the bucket's units. A rate of `n` tokens an hour adds exactly `n` units a millisecond, so nothing
/// is ever lost or won by rounding, however often the bucket is looked at.
const TOKEN: u64 = HOUR_MS;

/// A token bucket: holds at most an hour's tokens and fills up within an hour.
///
/// Its clock is the fleet state's, which is the leaders' clocks made monotonic: a leader that is ahead by `d` can
/// bring forward what `d` would have brought, never more than one bucketful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    units: u64,
    as_of_ms: u64,
}

impl Bucket {
    /// A full bucket of `per_hour` tokens.
    pub fn full(per_hour: u32, now_ms: u64) -> Self {
        Self {
            units: u64::from(per_hour) * TOKEN,
            as_of_ms: now_ms,
        }
    }

    /// How many whole tokens are in it.
    pub fn tokens(&self, per_hour: u32, now_ms: u64) -> u32 {
        u32::try_from(self.at(per_hour, now_ms).units / TOKEN).unwrap_or(u32::MAX)
    }

    /// How long until there is a whole token, in milliseconds: 0 when there is one, `None` when there never will
    /// be.
    pub fn wait_ms(&self, per_hour: u32, now_ms: u64) -> Option<u64> {
        let missing = TOKEN.saturating_sub(self.at(per_hour, now_ms).units);
        match per_hour {
            _ if missing == 0 => Some(0),
            0 => None,
            rate => Some(missing.div_ceil(u64::from(rate))),
        }
    }

    /// Takes a token. Where there is none, which only a person may force, what there is of one is gone, too.
    pub(super) fn take(&mut self, per_hour: u32, now_ms: u64) {
        let filled = self.at(per_hour, now_ms);
        let units = filled.units.saturating_sub(TOKEN);
        *self = Self { units, ..filled };
    }

    /// Settles what has come in so far, at the old rate, before the rate changes.
    pub(super) fn settle(&mut self, per_hour: u32, now_ms: u64) {
        *self = self.at(per_hour, now_ms);
    }

    fn at(&self, per_hour: u32, now_ms: u64) -> Self {
        let elapsed_ms = now_ms.saturating_sub(self.as_of_ms);
        let gained = elapsed_ms.saturating_mul(u64::from(per_hour));
        let units = self
            .units
            .saturating_add(gained)
            .min(u64::from(per_hour) * TOKEN);
        Self {
            units,
            as_of_ms: now_ms.max(self.as_of_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_gives_an_hours_tokens_and_then_one_at_a_time() {
        let mut bucket = Bucket::full(10, 0);
        for left in (0..10).rev() {
            bucket.take(10, 0);
            assert_eq!(bucket.tokens(10, 0), left);
        }
        assert_eq!(bucket.wait_ms(10, 0), Some(HOUR_MS / 10));
        assert_eq!(bucket.tokens(10, HOUR_MS / 10 - 1), 0);
        assert_eq!(bucket.tokens(10, HOUR_MS / 10), 1);
        bucket.take(10, HOUR_MS / 10);
        assert_eq!(bucket.wait_ms(10, HOUR_MS / 10), Some(HOUR_MS / 10));
    }

    #[test]
    fn what_is_forced_takes_what_there_is_and_no_more() {
        let mut bucket = Bucket::full(2, 0);
        for _ in 0..3 {
            bucket.take(2, 0);
        }
        assert_eq!(bucket.wait_ms(2, 0), Some(HOUR_MS / 2));
        bucket.take(2, HOUR_MS / 4);
        assert_eq!(bucket.wait_ms(2, HOUR_MS / 4), Some(HOUR_MS / 2));
    }

    #[test]
    fn looking_often_loses_nothing() {
        let mut often = Bucket::full(7, 0);
        for _ in 0..7 {
            often.take(7, 0);
        }
        let mut once = often;
        for now_ms in 0..HOUR_MS / 7 + 1 {
            often.settle(7, now_ms);
        }
        once.settle(7, HOUR_MS / 7);
        assert_eq!(often, once);
    }

    #[test]
    fn a_clock_that_jumps_back_or_far_ahead_does_no_harm() {
        let mut bucket = Bucket::full(2, 1000);
        bucket.take(2, 0);
        bucket.take(2, 0);
        assert_eq!(bucket.tokens(2, 1000), 0);
        assert_eq!(bucket.tokens(2, u64::MAX), 2);
        assert_eq!(Bucket::full(0, 0).wait_ms(0, u64::MAX), None);
    }
}
