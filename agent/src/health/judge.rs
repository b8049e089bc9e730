//! The pure core: samples in, a report out, without flapping.
//!
//! A level gets worse after `raise_after` bad samples in a row and better after `clear_after` good ones; good means
//! below the threshold by the margin, so that a value that dances on its threshold changes nothing.

use crate::config::{HealthConfig, Percent, Threshold};

use super::report::{Finding, Level, Readings, Report, Subject, WORKLOAD_DETAIL_BYTES_MAX};
use super::sample::{Sample, Workload};

/// How much of each new sample goes into the reported processor figure: about half a minute at the usual 5 s.
const CPU_SMOOTHING: f64 = 0.2;

/// Turns samples into reports. Feed it every sample; it remembers a few bytes per subject and nothing else.
#[derive(Debug, Clone)]
pub struct Judge {
    limits: Limits,
    tracked: [Tracked; Subject::ALL.len()],
    cpu_smooth: Option<f64>,
}

impl Judge {
    /// A judge that has seen nothing yet.
    pub fn new(config: &HealthConfig) -> Self {
        Self {
            limits: Limits::new(config),
            tracked: Default::default(),
            cpu_smooth: None,
        }
    }

    /// Takes other thresholds from now on; what was found so far stands until samples change it.
    pub fn set_config(&mut self, config: &HealthConfig) {
        self.limits = Limits::new(config);
    }

    /// Judges the next sample.
    pub fn handle_sample(&mut self, sample: &Sample) -> Report {
        let mut findings = Vec::new();
        for (subject, tracked) in Subject::ALL.into_iter().zip(&mut self.tracked) {
            let Some(value) = value_of(subject, sample) else {
                // Not knowing is no evidence, neither for better nor for worse.
                findings.extend(tracked.finding(subject));
                continue;
            };
            let rule = self.limits.rule(subject);
            tracked.handle_value(rule, value);
            findings.extend(tracked.finding(subject));
        }
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.level), finding.subject));
        let detail = match &sample.workload {
            Workload::Failed { detail } => Some(one_line(detail)),
            Workload::Unknown | Workload::Healthy { .. } => None,
        };
        let part = match &sample.workload {
            Workload::Healthy { part } => *part,
            Workload::Unknown | Workload::Failed { .. } => None,
        };
        Report {
            findings,
            workload_detail: detail,
            part,
            readings: self.readings(sample),
        }
    }

    fn readings(&mut self, sample: &Sample) -> Readings {
        if let Some(busy) = sample.cpu_busy_percent {
            let last = self.cpu_smooth.unwrap_or(busy);
            self.cpu_smooth = Some(last + CPU_SMOOTHING * (busy - last));
        }
        let percent = |value: Option<f64>| value.map(|value| value.clamp(0.0, 100.0).round() as u8);
        let hundredths =
            |value: f64| (value * 100.0).clamp(0.0, f64::from(u16::MAX)).round() as u16;
        let bounded = |value: i64| value.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        Readings {
            cpu_percent: percent(self.cpu_smooth),
            load_per_cpu_x100: sample.load_per_cpu.map(hundredths),
            memory_percent: percent(sample.memory_used_percent),
            disk_percent: percent(sample.disk_used_percent),
            cpu_pressure_percent: percent(sample.cpu_pressure_percent),
            memory_pressure_percent: percent(sample.memory_pressure_percent),
            io_pressure_percent: percent(sample.io_pressure_percent),
            clock_offset_ms: sample.clock_offset_ms.map(bounded),
        }
    }
}

/// The figure that a subject is judged by; higher is worse. A clock's sign is kept for the sentence only.
fn value_of(subject: Subject, sample: &Sample) -> Option<f64> {
    let flag = |bad: bool| if bad { 1.0 } else { 0.0 };
    match subject {
        Subject::Cpu => sample.cpu_busy_percent,
        Subject::Load => sample.load_per_cpu,
        Subject::Memory => sample.memory_used_percent,
        Subject::Disk => sample.disk_used_percent,
        Subject::Inodes => sample.inodes_used_percent,
        Subject::CpuPressure => sample.cpu_pressure_percent,
        Subject::MemoryPressure => sample.memory_pressure_percent,
        Subject::IoPressure => sample.io_pressure_percent,
        Subject::Clock => sample.clock_offset_ms.map(|offset| offset as f64),
        Subject::ReadOnly => sample.read_only.map(flag),
        Subject::DataDir => sample.data_dir_lost.map(flag),
        Subject::OutOfMemory => sample.memory_ran_out.map(flag),
        Subject::Lease => sample.lease_lost.map(flag),
        Subject::Announced => sample.announced.map(flag),
        Subject::Workload => match sample.workload {
            Workload::Unknown => None,
            Workload::Healthy { .. } => Some(flag(false)),
            Workload::Failed { .. } => Some(flag(true)),
        },
        // Not a figure but what becomes of the others, see `Steadier`.
        Subject::Unsteady | Subject::UnsteadyWorkload => None,
    }
    .filter(|value| value.is_finite())
}

/// The first line of a text, cut to what may be reported.
fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    let mut end = line.len().min(WORKLOAD_DETAIL_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].to_owned()
}

/// The thresholds by subject.
#[derive(Debug, Clone)]
struct Limits {
    config: HealthConfig,
}

/// How one subject is judged.
#[derive(Debug, Clone, Copy)]
struct Rule {
    warning: Option<f64>,
    critical: Option<f64>,
    /// What part of a threshold a value must stay below to count as good.
    clear_at: f64,
    raise_after: u32,
    clear_after: u32,
}

impl Limits {
    fn new(config: &HealthConfig) -> Self {
        Self {
            config: config.clone(),
        }
    }

    fn rule(&self, subject: Subject) -> Rule {
        let config = &self.config;
        let percent = |limit: Threshold<Percent>| limit.get().map(Percent::get);
        let millis = |limit: Threshold<std::time::Duration>| {
            limit.get().map(|limit| limit.as_secs_f64() * 1000.0)
        };
        let (warning, critical) = match subject {
            Subject::Cpu => (
                percent(config.cpu_warning_percent),
                percent(config.cpu_critical_percent),
            ),
            Subject::Load => (
                config.load_warning_per_cpu.get(),
                config.load_critical_per_cpu.get(),
            ),
            Subject::Memory => (
                percent(config.memory_warning_percent),
                percent(config.memory_critical_percent),
            ),
            Subject::Disk | Subject::Inodes => (
                percent(config.disk_warning_percent),
                percent(config.disk_critical_percent),
            ),
            Subject::CpuPressure => (
                percent(config.cpu_pressure_warning_percent),
                percent(config.cpu_pressure_critical_percent),
            ),
            Subject::MemoryPressure => (
                percent(config.memory_pressure_warning_percent),
                percent(config.memory_pressure_critical_percent),
            ),
            Subject::IoPressure => (
                percent(config.io_pressure_warning_percent),
                percent(config.io_pressure_critical_percent),
            ),
            Subject::Clock => (millis(config.clock_warning), millis(config.clock_critical)),
            // Facts, not measurements: there is nothing to smooth, and the flavor's command
            // has its own retries.
            Subject::ReadOnly
            | Subject::DataDir
            | Subject::Workload
            | Subject::Unsteady
            | Subject::UnsteadyWorkload
            | Subject::Lease => {
                return Rule::fact(Level::Critical);
            }
            // Whatever was ended may not be missed; what it means for the workload, its check says. And what was announced has
            // not happened yet.
            Subject::OutOfMemory | Subject::Announced => return Rule::fact(Level::Warning),
        };
        Rule {
            warning,
            critical,
            clear_at: 1.0 - config.clear_margin_percent.get() / 100.0,
            raise_after: config.raise_after,
            clear_after: config.clear_after,
        }
    }
}

impl Rule {
    /// Something that is so or not: it counts at once, and no longer than it lasts.
    fn fact(level: Level) -> Self {
        Self {
            warning: (level == Level::Warning).then_some(1.0),
            critical: (level == Level::Critical).then_some(1.0),
            clear_at: 1.0,
            raise_after: 1,
            clear_after: 1,
        }
    }

    /// The level of a value, given the present level: what is bad already stays bad within the margin.
    fn level(&self, value: f64, present: Level) -> Level {
        let value = value.abs();
        let reached = |limit: Option<f64>, level: Level| {
            let part = if present >= level { self.clear_at } else { 1.0 };
            limit.is_some_and(|limit| value >= limit * part)
        };
        if reached(self.critical, Level::Critical) {
            Level::Critical
        } else if reached(self.warning, Level::Warning) {
            Level::Warning
        } else {
            Level::Ok
        }
    }

    fn limit(&self, level: Level) -> Option<f64> {
        match level {
            Level::Ok => None,
            Level::Warning => self.warning,
            Level::Critical => self.critical,
        }
    }
}

/// What is remembered of one subject.
#[derive(Debug, Clone, Copy, Default)]
struct Tracked {
    level: Level,
    /// How many samples in a row asked for a worse (positive) or better (negative) level.
    streak: i64,
    /// The mildest change that all samples of the streak asked for.
    pending: Level,
    value: f64,
    limit: Option<f64>,
}

impl Tracked {
    fn handle_value(&mut self, rule: Rule, value: f64) {
        let asked = rule.level(value, self.level);
        let (worse, better) = (asked > self.level, asked < self.level);
        if worse {
            self.pending = if self.streak > 0 {
                self.pending.min(asked)
            } else {
                asked
            };
            self.streak = self.streak.max(0) + 1;
        } else if better {
            self.pending = if self.streak < 0 {
                self.pending.max(asked)
            } else {
                asked
            };
            self.streak = self.streak.min(0) - 1;
        } else {
            self.streak = 0;
        }
        let enough = self.streak >= i64::from(rule.raise_after)
            || self.streak <= -i64::from(rule.clear_after);
        if enough {
            self.level = self.pending;
            self.streak = 0;
        }
        self.value = value;
        self.limit = rule.limit(self.level);
    }

    fn finding(&self, subject: Subject) -> Option<Finding> {
        let is_fact = matches!(
            subject,
            Subject::ReadOnly
                | Subject::DataDir
                | Subject::Workload
                | Subject::OutOfMemory
                | Subject::Announced
                | Subject::Unsteady
                | Subject::UnsteadyWorkload
                | Subject::Lease
        );
        let finding = Finding {
            subject,
            level: self.level,
            value: (!is_fact).then_some(self.value),
            limit: self.limit.filter(|_| !is_fact),
        };
        (self.level > Level::Ok).then_some(finding)
    }
}
