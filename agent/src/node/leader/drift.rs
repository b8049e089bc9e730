//! How fast another machine's clock goes, from when its questions arrive.
//!
//! Nothing here does I/O or reads a clock: `now` is the time since an origin of the caller's.

use std::collections::VecDeque;
use std::time::Duration;

/// Of the questions of so long a time the one that was on its way for the shortest time counts.
const WINDOW: Duration = Duration::from_secs(20);

/// How many such times are compared, the first with the last.
const WINDOWS_MAX: usize = 7;

/// What two figures must lie apart for anything to be said. Over less, the time on the way would count for more than the
/// clock.
const APART_MIN: Duration = Duration::from_secs(40);

/// By how much longer than at first the quickest question may be on its way for good, as after a change of the route,
/// without the clock being called slow.
const JITTER: Duration = Duration::from_millis(500);

/// What is known of one machine's clock.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// For each window: when it began; by how much, in milliseconds, this clock was ahead of the other at least, and when.
    windows: VecDeque<(Duration, i128, Duration)>,
    last_ms: u64,
}

impl Drift {
    /// Takes in that a question arrived at `now` that was asked at `sent_ms` of the other's clock. Says by how many percent
    /// that is slower than this one at least; negative when it is faster, `None` while nobody can say.
    pub(super) fn note(&mut self, now: Duration, sent_ms: u64) -> Option<f64> {
        if sent_ms < self.last_ms {
            // It has booted since.
            self.windows.clear();
        }
        self.last_ms = sent_ms;
        let ahead_ms = i128::try_from(now.as_millis()).unwrap_or(i128::MAX) - i128::from(sent_ms);
        match self.windows.back_mut() {
            Some((began, least, at)) if now.saturating_sub(*began) < WINDOW => {
                if ahead_ms < *least {
                    (*least, *at) = (ahead_ms, now);
                }
            }
            _ => self.windows.push_back((now, ahead_ms, now)),
        }
        while self.windows.len() > WINDOWS_MAX {
            self.windows.pop_front();
        }
        self.slower_percent()
    }

    fn slower_percent(&self) -> Option<f64> {
        // The window that is still open may not have seen a quick question yet. A time of much traffic, in which all were
        // slow, does not last for two.
        let closed = self.windows.len().checked_sub(2)?;
        let one = self.slower_until(closed)?;
        let two = self.slower_until(closed.checked_sub(1)?)?;
        Some(one.min(two))
    }

    /// The same from the first window to another one.
    fn slower_until(&self, window: usize) -> Option<f64> {
        let (_, first, from) = self.windows.front()?;
        let (_, last, to) = self.windows.get(window)?;
        let apart = to.checked_sub(*from).filter(|apart| *apart >= APART_MIN)?;
        let jitter_ms = JITTER.as_millis() as f64;
        Some(((last - first) as f64 - jitter_ms) * 100.0 / apart.as_millis() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said after so many seconds of a question every 3 s, by a clock of that rate, each up to a second on its way.
    fn said(rate: f64, seconds: u64) -> Option<f64> {
        let mut drift = Drift::default();
        let mut said = None;
        for step in 0..seconds / 3 {
            let sent_ms = step * 3000;
            let on_way_ms = [5, 900, 30, 400, 1000, 12, 700][step as usize % 7];
            let now = Duration::from_millis(sent_ms + on_way_ms);
            said = drift.note(now, 5_000_000 + (sent_ms as f64 * rate) as u64);
        }
        said
    }

    #[test]
    fn a_slow_clock_is_seen_through_the_jitter() {
        assert_eq!(said(1.0, 60), None, "too soon");
        assert!((-0.6..0.0).contains(&said(1.0, 300).expect("known")));
        assert!((1.4..2.0).contains(&said(0.98, 300).expect("known")));
        assert!((-5.6..-5.0).contains(&said(1.05, 300).expect("known")));
    }

    #[test]
    fn a_longer_way_makes_no_clock_slow() {
        // From its 60th second on all questions are late: by half a second for good, or by two seconds for a while.
        for (late_ms, until) in [(500, u64::MAX), (2000, 83)] {
            let mut drift = Drift::default();
            for second in 0..300 {
                let late_ms = if (60..until).contains(&second) {
                    late_ms
                } else {
                    0
                };
                let now = Duration::from_millis(second * 1000 + late_ms);
                let said = drift.note(now, second * 1000);
                assert!(said.is_none_or(|slow| slow <= 0.0), "{second}: {said:?}");
            }
        }
    }

    #[test]
    fn a_reboot_begins_anew_and_a_sleep_makes_no_clock_slow() {
        let mut drift = Drift::default();
        for second in (0..200).step_by(3) {
            drift.note(Duration::from_secs(second), 1_000_000 + second * 1000);
        }
        assert_eq!(drift.note(Duration::from_secs(200), 7), None);
        let mut drift = Drift::default();
        let mut said = None;
        for second in (0..300).step_by(3) {
            // The leader slept for a minute: its own clock did not count that.
            let slept = if second > 100 { 60_000 } else { 0 };
            said = drift.note(Duration::from_secs(second), second * 1000 + slept);
        }
        assert!(said.expect("known") <= 0.0);
    }
}
