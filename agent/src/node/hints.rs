//! Which word about the fleet's log this machine believes. Pure.
//!
//! Every membership datagram carries a hint: how far the log is, and when its leader was last sure of itself. Any
//! member can write anything there, and whoever believes it passes it on. So a hint must fit what this machine's own
//! copy of the log says, and one that the log does not live up to is dropped again.

use std::time::Duration;

use muster_mesh::consensus::{At, LogGeneration};
use muster_mesh::membership::Hint;

/// Terms that a true hint may be ahead of this copy: as many elections as a night of trouble brings.
const TERMS_AHEAD_MAX: u64 = 1000;

/// Entries that a true hint may be ahead of this copy: those of a busy day.
const ENTRIES_AHEAD_MAX: u64 = 1_000_000;

/// How far a leader's clock may be ahead of this one.
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(10);

/// How long the log may stay behind a hint that is believed. A follower has what was committed within a second or two,
/// and after a change of its upstream within half a minute.
const UNMET_MAX: Duration = Duration::from_secs(60);

/// What becomes of a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is believed and passed on.
    Believed,
    /// It is about a later log than ours: not believed, and worth asking others about.
    Rumour(LogGeneration),
    /// It can't be true, or is of no use.
    Dropped,
}

/// The hint that is believed.
#[derive(Debug, Default)]
pub(super) struct Hints {
    believed: Option<Hint>,
    /// Since when the log has been behind it.
    unmet_since: Option<Duration>,
}

impl Hints {
    /// Judges a hint by this machine's copy of the log: which generation it is of, and how far it is (`None` while
    /// there is no copy). `now_ms` is the wall clock, `now` a monotonic one.
    pub(super) fn consider(
        &mut self,
        now: Duration,
        now_ms: u64,
        hint: Hint,
        copy: (LogGeneration, Option<At>),
    ) -> Verdict {
        let (generation, at) = copy;
        let Some(at) = at else {
            return Verdict::Dropped;
        };
        if hint.generation > generation.0 {
            return Verdict::Rumour(LogGeneration(hint.generation));
        }
        let latest_ms = now_ms.saturating_add(CLOCK_AHEAD_MAX.as_millis() as u64);
        let fits = hint.generation == generation.0
            && hint.term <= at.term.saturating_add(TERMS_AHEAD_MAX)
            && hint.index <= at.index.saturating_add(ENTRIES_AHEAD_MAX)
            && hint.leader_ms <= latest_ms;
        if !fits || Some(hint) <= self.believed {
            return Verdict::Dropped;
        }
        self.believed = Some(hint);
        if hint.index > at.index {
            self.unmet_since.get_or_insert(now);
        }
        Verdict::Believed
    }

    /// Compares what is believed with the copy. True when it was dropped: it is of another log, or the log has been
    /// behind it for too long.
    pub(super) fn doubt(&mut self, now: Duration, copy: (LogGeneration, Option<At>)) -> bool {
        let Some(believed) = self.believed else {
            return false;
        };
        let (generation, at) = copy;
        if at.is_some_and(|at| at.index >= believed.index) {
            self.unmet_since = None;
        }
        let unmet = self
            .unmet_since
            .is_some_and(|since| now.saturating_sub(since) >= UNMET_MAX);
        if unmet || believed.generation != generation.0 {
            *self = Self::default();
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use muster_mesh::consensus::Seat;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW_MS: u64 = 1_700_000_000_000;

    fn copy(index: u64) -> (LogGeneration, Option<At>) {
        let at = At {
            term: 7,
            leader: Seat(1),
            index,
        };
        (LogGeneration(2), Some(at))
    }

    fn hint(index: u64) -> Hint {
        Hint {
            generation: 2,
            term: 7,
            index,
            leader_ms: NOW_MS,
        }
    }

    fn judge(hint: Hint) -> Verdict {
        Hints::default().consider(SECOND, NOW_MS, hint, copy(100))
    }

    #[test]
    fn what_fits_the_copy_is_believed_and_what_cannot_be_true_is_not() {
        assert_eq!(judge(hint(101)), Verdict::Believed);
        let absurd = [
            Hint {
                generation: 1,
                ..hint(101)
            },
            Hint {
                term: u64::MAX,
                ..hint(101)
            },
            Hint {
                index: u64::MAX,
                ..hint(101)
            },
            Hint {
                leader_ms: u64::MAX,
                ..hint(101)
            },
            Hint {
                leader_ms: NOW_MS + 11_000,
                ..hint(101)
            },
        ];
        for hint in absurd {
            assert_eq!(judge(hint), Verdict::Dropped, "{hint:?}");
        }
        let later = Hint {
            generation: 3,
            ..hint(101)
        };
        assert_eq!(judge(later), Verdict::Rumour(LogGeneration(3)));
        let none = Hints::default().consider(SECOND, NOW_MS, hint(1), (LogGeneration(2), None));
        assert_eq!(none, Verdict::Dropped, "nothing to judge by");
    }

    #[test]
    fn a_hint_that_the_log_does_not_live_up_to_is_dropped_and_the_truth_is_heard_again() {
        let mut hints = Hints::default();
        let lie = hint(5000);
        assert_eq!(
            hints.consider(SECOND, NOW_MS, lie, copy(100)),
            Verdict::Believed
        );
        assert_eq!(
            hints.consider(SECOND, NOW_MS, hint(101), copy(100)),
            Verdict::Dropped
        );
        assert!(!hints.doubt(30 * SECOND, copy(101)));
        assert!(hints.doubt(61 * SECOND, copy(130)));
        let truth = hints.consider(62 * SECOND, NOW_MS, hint(131), copy(130));
        assert_eq!(truth, Verdict::Believed);
    }

    #[test]
    fn a_hint_that_comes_true_stays() {
        let mut hints = Hints::default();
        hints.consider(SECOND, NOW_MS, hint(200), copy(100));
        assert!(!hints.doubt(20 * SECOND, copy(200)));
        assert!(!hints.doubt(600 * SECOND, copy(200)));
        assert!(
            hints.doubt(601 * SECOND, (LogGeneration(3), None)),
            "another log"
        );
    }
}
