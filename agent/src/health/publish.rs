//! Decides which reports are worth every machine's attention.

use std::time::Duration;

use crate::config::HealthConfig;

use super::report::{Readings, Report};

/// Figures that moved while the verdict stayed travel at most this often; a changed verdict travels at once.
const FIGURES_EVERY: Duration = Duration::from_secs(60);
/// A clock that drifts by less than this says nothing new.
const CLOCK_STEP_MS: u32 = 100;

/// Lets a report through only when it says something new. Pure: time comes in as an argument.
#[derive(Debug, Clone)]
pub struct Publisher {
    step_percent: f64,
    last: Option<(Duration, Report)>,
}

impl Publisher {
    /// A publisher that has let nothing through yet, so that the first report passes.
    pub fn new(config: &HealthConfig) -> Self {
        Self {
            step_percent: config.report_step_percent.get(),
            last: None,
        }
    }

    /// Whether this report is to be published at `now` (since an arbitrary origin).
    ///
    /// Yes when a finding came, went or changed its level; or when a figure moved by the configured step since the
    /// last *published* report, at most every minute. Comparing with the published one, not the previous one, keeps
    /// slow drifts from going unnoticed and values at a boundary from chattering.
    pub fn handle_report(&mut self, now: Duration, report: &Report) -> bool {
        let publish = self.last.as_ref().is_none_or(|(at, last)| {
            let rested = now.saturating_sub(*at) >= FIGURES_EVERY;
            !last.same_verdict(report)
                || (rested && moved(&last.readings, &report.readings, self.step_percent))
        });
        if publish {
            self.last = Some((now, report.clone()));
        }
        publish
    }

    /// The report that was let through last.
    pub fn published(&self) -> Option<&Report> {
        self.last.as_ref().map(|(_, report)| report)
    }
}

/// Whether any figure moved by a step, appeared or vanished.
fn moved(old: &Readings, new: &Readings, step_percent: f64) -> bool {
    let percent = |old: Option<u8>, new: Option<u8>| match (old, new) {
        (Some(old), Some(new)) => f64::from(old.abs_diff(new)) >= step_percent,
        (old, new) => old.is_some() != new.is_some(),
    };
    // Load has no upper end: it moves by the step of itself, and below one task per processor by that of one.
    let load = match (old.load_per_cpu_x100, new.load_per_cpu_x100) {
        (Some(old), Some(new)) => {
            f64::from(old.abs_diff(new)) >= 2.0 * step_percent * f64::from(old.max(100)) / 100.0
        }
        (old, new) => old.is_some() != new.is_some(),
    };
    let clock = match (old.clock_offset_ms, new.clock_offset_ms) {
        (Some(old), Some(new)) => old.abs_diff(new) >= CLOCK_STEP_MS,
        (old, new) => old.is_some() != new.is_some(),
    };
    load || clock
        || percent(old.cpu_percent, new.cpu_percent)
        || percent(old.memory_percent, new.memory_percent)
        || percent(old.disk_percent, new.disk_percent)
        || percent(old.cpu_pressure_percent, new.cpu_pressure_percent)
        || percent(old.memory_pressure_percent, new.memory_pressure_percent)
        || percent(old.io_pressure_percent, new.io_pressure_percent)
}
