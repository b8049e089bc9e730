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
    /// How the workload's own verdict changes: whoever acts upon it has to know whether *that* keeps changing.
    workload: Turns,
    /// How everything else changes.
    rest: Turns,
    /// The worst that was found about each subject of late, and when that was last found.
    worst: BTreeMap<Subject, (Finding, Duration)>,
    /// What a workload that failed of late said.
    workload_detail: Option<String>,
}

/// How often one part of the verdict has changed.
#[derive(Debug, Clone, Default)]
struct Turns {
    /// When it last did, the latest at the end.
    at: VecDeque<Duration>,
    unsteady: bool,
}

impl Turns {
    /// Takes in whether it has changed once more.
    fn handle(&mut self, now: Duration, changed: bool) {
        if changed {
            if self.at.len() >= TURNS_MAX {
                self.at.pop_front();
            }
            self.at.push_back(now);
        }
        let of_late = |at: Option<&Duration>, within: Duration| {
            at.is_some_and(|at| now.saturating_sub(*at) < within)
        };
        let turns_fast = self.at.len() >= TURNS_MAX && of_late(self.at.front(), WINDOW);
        let was_unsteady = self.unsteady;
        self.unsteady = (turns_fast || was_unsteady) && of_late(self.at.back(), STANDS);
        if was_unsteady && !self.unsteady {
            self.at.clear();
        }
    }
}

impl Steadier {
    /// The report as it should be told at `now` (since an arbitrary origin): as it is, or, while the verdict on the workload
    /// or on the rest keeps changing, with the worst of that of the last twenty seconds, and [`Subject::UnsteadyWorkload`] or
    /// [`Subject::Unsteady`].
    pub fn handle_report(&mut self, now: Duration, report: Report) -> Report {
        let workload_turned = verdict(&self.last, true) != verdict(&report, true);
        let rest_turned = verdict(&self.last, false) != verdict(&report, false);
        self.workload.handle(now, workload_turned);
        self.rest.handle(now, rest_turned);
        self.remember_worst(now, &report);
        self.last = report;
        if self.workload.unsteady || self.rest.unsteady {
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

    /// What is steady as it is, and of what is not the worst.
    fn worst_report(&self) -> Report {
        let unsteady = |subject| {
            if is_workload(subject) {
                self.workload.unsteady
            } else {
                self.rest.unsteady
            }
        };
        let now = self.last.findings.iter().copied();
        let steady = now.filter(|finding| !unsteady(finding.subject));
        let worst = self.worst.values().map(|(finding, _)| *finding);
        let worst = worst.filter(|finding| unsteady(finding.subject));
        let said = [
            (self.rest.unsteady, Subject::Unsteady),
            (self.workload.unsteady, Subject::UnsteadyWorkload),
        ];
        let said = said.into_iter().filter(|(unsteady, _)| *unsteady);
        let said = said.map(|(_, subject)| Finding {
            subject,
            level: Level::Warning,
            value: None,
            limit: None,
        });
        let mut findings: Vec<_> = steady.chain(worst).chain(said).collect();
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.level), finding.subject));
        let fails = findings.iter().any(|finding| is_workload(finding.subject));
        Report {
            findings,
            workload_detail: self.workload_detail.clone().filter(|_| fails),
            part: self.last.part,
            readings: self.last.readings,
        }
    }
}

fn is_workload(subject: Subject) -> bool {
    subject == Subject::Workload
}

/// What is found at which level, about the workload or about all the rest.
fn verdict(report: &Report, workload: bool) -> Vec<(Subject, Level)> {
    let findings = report.findings.iter();
    findings
        .filter(|finding| is_workload(finding.subject) == workload)
        .map(|finding| (finding.subject, finding.level))
        .collect()
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
            part: None,
            ..Report::default()
        }
    }

    fn is_unsteady(report: &Report) -> bool {
        tells(report, Subject::UnsteadyWorkload)
    }

    fn tells(report: &Report, subject: Subject) -> bool {
        let about = |finding: &Finding| finding.subject == subject;
        report.findings.iter().any(about)
    }

    #[test]
    fn what_else_keeps_changing_makes_no_workload_unsteady() {
        let disk = Finding {
            subject: Subject::Disk,
            ..report(true).findings[0]
        };
        let mut steadier = Steadier::default();
        // The disk's verdict turns every five seconds; the workload works at first, and then fails for good.
        for second in (0..200).step_by(5) {
            let mut now = report(second >= 100);
            if second / 5 % 2 == 1 {
                now.findings.push(disk);
            }
            let told = steadier.handle_report(Duration::from_secs(second), now);
            assert!(!is_unsteady(&told), "{second}: {told:?}");
            if second >= 60 {
                assert!(tells(&told, Subject::Unsteady) && tells(&told, Subject::Disk));
            }
            assert_eq!(
                tells(&told, Subject::Workload),
                second >= 100,
                "as it is, and not as it was: {second}"
            );
        }
        // One that turns, too, is told as such, with the worst of it.
        for second in (200..300).step_by(5) {
            let now = report(second / 5 % 2 == 1);
            let told = steadier.handle_report(Duration::from_secs(second), now);
            assert!(second < 220 || is_unsteady(&told) && tells(&told, Subject::Workload));
        }
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
