//! Says once that a verdict keeps changing, instead of saying each change.
//!
//! What changes every few seconds is not known better by hearing of each change, and each costs packets on every
//! machine. So after a few changes in short order a report says that health keeps changing, with the worst of the last
//! seconds, until the verdict has stood for as long. What gets worse is never held back, and what stays better is known
//! [`STANDS`] later.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::report::{Finding, Level, Report, Subject};

/// So many changes of the verdict within [`WINDOW`] are one too many.
const TURNS_MAX: usize = 4;
/// See [`TURNS_MAX`]. A fault that is being mended makes two or three: it comes, it goes, and it may come once more.
const WINDOW: Duration = Duration::from_secs(60);
/// A verdict that has stood for this long is steady again.
const STANDS: Duration = Duration::from_secs(10);
/// The worst is told for this long: longer than [`STANDS`], or it would be taken back just before all is steady.
const WORST_FOR: Duration = Duration::from_secs(20);

/// Turns reports into steady ones. Pure: time comes in as an argument.
#[derive(Debug, Clone, Default)]
pub struct Steadier {
    last: Report,
    /// When the verdict last changed, the latest at the end.
    turns: VecDeque<Duration>,
    unsteady: bool,
    /// The worst that was found about each subject of late, and when that was last found.
    worst: BTreeMap<Subject, (Finding, Duration)>,
    /// What a workload that failed of late said.
    workload_detail: Option<String>,
}

impl Steadier {
    /// The report as it should be told at `now` (since an arbitrary origin): as it is, or, while its verdict keeps
    /// changing, with the worst of the last twenty seconds and [`Subject::Unsteady`].
    pub fn handle_report(&mut self, now: Duration, report: Report) -> Report {
        if !self.last.same_findings(&report) {
            if self.turns.len() >= TURNS_MAX {
                self.turns.pop_front();
            }
            self.turns.push_back(now);
        }
        self.remember_worst(now, &report);
        self.last = report;
        let of_late = |at: Option<&Duration>, within: Duration| {
            at.is_some_and(|at| now.saturating_sub(*at) < within)
        };
        let turns_fast = self.turns.len() >= TURNS_MAX && of_late(self.turns.front(), WINDOW);
        let was_unsteady = self.unsteady;
        self.unsteady = (turns_fast || was_unsteady) && of_late(self.turns.back(), STANDS);
        if was_unsteady && !self.unsteady {
            self.turns.clear();
        }
        if self.unsteady {
            self.worst_report()
        } else {
            self.last.clone()
        }
    }

    fn remember_worst(&mut self, now: Duration, report: &Report) {
        self.worst
            .retain(|_, (_, at)| now.saturating_sub(*at) < WORST_FOR);
        for finding in &report.findings {
            let (worst, at) = self.worst.entry(finding.subject).or_insert((*finding, now));
            if finding.level >= worst.level {
                (*worst, *at) = (*finding, now);
            }
        }
        if report.workload_detail.is_some() || !self.worst.contains_key(&Subject::Workload) {
            self.workload_detail.clone_from(&report.workload_detail);
        }
    }

    fn worst_report(&self) -> Report {
        let unsteady = Finding {
            subject: Subject::Unsteady,
            level: Level::Warning,
            value: None,
            limit: None,
        };
        let worst = self.worst.values().map(|(finding, _)| *finding);
        let mut findings: Vec<_> = worst.chain([unsteady]).collect();
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.level), finding.subject));
        Report {
            findings,
            workload_detail: self.workload_detail.clone(),
            readings: self.last.readings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HealthConfig;
    use crate::health::Publisher;

    fn report(fails: bool) -> Report {
        let finding = Finding {
            subject: Subject::Workload,
            level: Level::Critical,
            value: None,
            limit: None,
        };
        Report {
            findings: fails.then_some(finding).into_iter().collect(),
            workload_detail: fails.then(|| "exit code 1".to_owned()),
            ..Report::default()
        }
    }

    fn is_unsteady(report: &Report) -> bool {
        let about = |finding: &Finding| finding.subject == Subject::Unsteady;
        report.findings.iter().any(about)
    }

    /// What is published of a workload that fails whenever `fails` says so, by the second, looked at every five.
    fn published(seconds: u64, fails: impl Fn(u64) -> bool) -> Vec<(u64, Report)> {
        let mut steadier = Steadier::default();
        let mut publisher = Publisher::new(&HealthConfig::default());
        let mut published = Vec::new();
        for second in (0..seconds).step_by(5) {
            let now = Duration::from_secs(second);
            let told = steadier.handle_report(now, report(fails(second)));
            if publisher.handle_report(now, &told) {
                published.push((second, told));
            }
        }
        published
    }

    #[test]
    fn a_fault_that_comes_and_goes_is_told_each_time_at_once() {
        let told = published(120, |second| (20..40).contains(&second) || second == 50);
        let times: Vec<_> = told.iter().map(|(second, _)| *second).collect();
        assert_eq!(times, [0, 20, 40, 50, 55, 65]);
        assert!(!told.iter().take(4).any(|(_, told)| is_unsteady(told)));
    }

    #[test]
    fn what_changes_every_five_seconds_is_told_once() {
        let told = published(600, |second| second / 5 % 2 == 1);
        let last = told.last().expect("something is told");
        assert_eq!((told.len(), last.0), (5, 20), "{told:?}");
        assert!(is_unsteady(&last.1));
        assert_eq!(last.1.level(), Level::Critical, "the worst of it");
        assert_eq!(last.1.workload_detail.as_deref(), Some("exit code 1"));
    }

    #[test]
    fn what_stays_is_told_after_ten_seconds_and_what_gets_worse_at_once() {
        let flaps = |second| second / 5 % 2 == 1;
        for stays in [false, true] {
            let told = published(
                300,
                |second| if second < 100 { flaps(second) } else { stays },
            );
            let (at, last) = told.last().expect("something is told");
            assert!((105..=110).contains(at), "{told:?}");
            assert_eq!(*last, report(stays));
        }
        let mut steadier = Steadier::default();
        for second in 0..8 {
            steadier.handle_report(Duration::from_secs(5 * second), report(flaps(5 * second)));
        }
        let disk = Finding {
            subject: Subject::Disk,
            ..report(true).findings[0]
        };
        let worse = Report {
            findings: vec![disk],
            ..Report::default()
        };
        let told = steadier.handle_report(Duration::from_secs(40), worse);
        assert!(
            is_unsteady(&told) && told.findings.contains(&disk),
            "{told:?}"
        );
    }
}
