//! What a machine says of itself, and the sentences for it.

use std::fmt;

use muster_flavors::Part;
use serde::{Deserialize, Serialize};

/// The longest detail of a failed workload that is reported: one line.
pub const WORKLOAD_DETAIL_BYTES_MAX: usize = 120;

/// How bad it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to say.
    #[default]
    Ok,
    /// Someone should look at it during the day.
    Warning,
    /// It cannot do its work, or soon will not.
    Critical,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// What a finding is about. New ones are added at the end: the order is part of the wire format (two bits each in
/// [`Vitals::reasons`](muster_mesh::records::Vitals::reasons)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Busy time of the processors, in percent.
    Cpu,
    /// Load per processor, in tasks.
    Load,
    /// Used memory, in percent.
    Memory,
    /// Used space of the data directory's file system, in percent.
    Disk,
    /// Used inodes of the data directory's file system, in percent.
    Inodes,
    /// Waiting for processors, in percent of the time.
    CpuPressure,
    /// Waiting for memory, in percent of the time.
    MemoryPressure,
    /// Waiting for disks, in percent of the time.
    IoPressure,
    /// Difference between this clock and the peers', in milliseconds.
    Clock,
    /// The data directory's file system refuses writes. Has no value.
    ReadOnly,
    /// The flavor's health command failed. Has no value.
    Workload,
    /// The data directory's file system cannot be examined. Has no value.
    DataDir,
    /// Memory ran out, and the kernel ended something. Has no value.
    OutOfMemory,
    /// The verdict on anything but the workload keeps changing: what is told is the worst of the last seconds. Has no value.
    Unsteady,
    /// The workload does not run, because its machine has no lease. Has no value.
    Lease,
    /// The flavor's health command keeps turning from failure to success and back: what is told is the worst of the last
    /// seconds. Has no value.
    UnsteadyWorkload,
    /// Its provider announced that it takes the machine away, or works on it. Has no value.
    Announced,
}

impl Subject {
    /// All subjects, in the order of the encoding.
    pub const ALL: [Self; 17] = [
        Self::Cpu,
        Self::Load,
        Self::Memory,
        Self::Disk,
        Self::Inodes,
        Self::CpuPressure,
        Self::MemoryPressure,
        Self::IoPressure,
        Self::Clock,
        Self::ReadOnly,
        Self::Workload,
        Self::DataDir,
        Self::OutOfMemory,
        Self::Unsteady,
        Self::Lease,
        Self::UnsteadyWorkload,
        Self::Announced,
    ];

    /// The name in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Load => "load",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Inodes => "inodes",
            Self::CpuPressure => "cpu_pressure",
            Self::MemoryPressure => "memory_pressure",
            Self::IoPressure => "io_pressure",
            Self::Clock => "clock",
            Self::ReadOnly => "read_only",
            Self::Workload => "workload",
            Self::DataDir => "data_dir",
            Self::OutOfMemory => "out_of_memory",
            Self::Unsteady => "unsteady",
            Self::Lease => "lease",
            Self::UnsteadyWorkload => "unsteady_workload",
            Self::Announced => "announced",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// What it is about.
    pub subject: Subject,
    /// How bad it is; never [`Level::Ok`].
    pub level: Level,
    /// The value that was found, in the subject's unit; `None` where there is none or it is not known here.
    pub value: Option<f64>,
    /// The threshold that it reached, in the same unit; known on the machine itself only.
    pub limit: Option<f64>,
}

/// A finding as a sentence, such as `memory used 93 % (warning from 90 %)`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, unit, digits) = match self.subject {
            Subject::Cpu => ("processors busy", " %", 0),
            Subject::Load => ("load per processor", "", 1),
            Subject::Memory => ("memory used", " %", 0),
            Subject::Disk => ("disk of the data directory used", " %", 0),
            Subject::Inodes => ("inodes of the data directory's disk used", " %", 0),
            Subject::CpuPressure => ("tasks waiting for processors", " %", 0),
            Subject::MemoryPressure => ("everything waiting for memory", " %", 0),
            Subject::IoPressure => ("everything waiting for disks", " %", 0),
            Subject::Clock => match self.value {
                Some(offset) if offset < 0.0 => ("clock behind its peers' by", " ms", 0),
                Some(_) => ("clock ahead of its peers' by", " ms", 0),
                None => ("clock off its peers'", "", 0),
            },
            Subject::ReadOnly => {
                return f.write_str("the data directory's file system is read-only");
            }
            Subject::Workload => return f.write_str("the workload's health command failed"),
            Subject::DataDir => return f.write_str("the data directory cannot be examined"),
            Subject::OutOfMemory => {
                return f.write_str("memory ran out, and the kernel ended something");
            }
            Subject::Unsteady => {
                return f
                    .write_str("health keeps changing (this is the worst of the last seconds)");
            }
            Subject::UnsteadyWorkload => {
                return f.write_str(
                    "the workload keeps failing and working again (this is the worst of the last seconds)",
                );
            }
            Subject::Announced => {
                return f.write_str(
                    "its provider announced that it takes the machine away, or works on it",
                );
            }
            Subject::Lease => {
                return f.write_str("it has no lease, so its workload does not run");
            }
        };
        f.write_str(what)?;
        if let Some(value) = self.value.map(f64::abs) {
            write!(f, " {value:.digits$}{unit}")?;
        }
        match self.limit {
            Some(limit) => write!(f, " ({} from {limit}{unit})", self.level),
            None => write!(f, " ({})", self.level),
        }
    }
}

/// The figures behind a report, coarse enough that they rarely change. `None`: could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readings {
    /// Busy time of the processors, averaged over about half a minute.
    pub cpu_percent: Option<u8>,
    /// Load per processor, in hundredths of a task.
    pub load_per_cpu_x100: Option<u16>,
    /// Used memory.
    pub memory_percent: Option<u8>,
    /// Used space of the data directory's file system.
    pub disk_percent: Option<u8>,
    /// Waiting for processors, of the last minute.
    pub cpu_pressure_percent: Option<u8>,
    /// Waiting for memory, of the last minute.
    pub memory_pressure_percent: Option<u8>,
    /// Waiting for disks, of the last minute.
    pub io_pressure_percent: Option<u8>,
    /// How far the clock is ahead of the peers'; negative when behind.
    pub clock_offset_ms: Option<i32>,
}

impl Readings {
    /// The readings that there are, by name with the unit last, for JSON, tables and metrics.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> + use<> {
        let Self {
            load_per_cpu_x100,
            clock_offset_ms,
            ..
        } = *self;
        [
            ("cpu_busy_percent", self.cpu_percent.map(f64::from)),
            (
                "load_per_cpu",
                load_per_cpu_x100.map(|hundredths| f64::from(hundredths) / 100.0),
            ),
            ("memory_used_percent", self.memory_percent.map(f64::from)),
            ("disk_used_percent", self.disk_percent.map(f64::from)),
            (
                "cpu_pressure_percent",
                self.cpu_pressure_percent.map(f64::from),
            ),
            (
                "memory_pressure_percent",
                self.memory_pressure_percent.map(f64::from),
            ),
            (
                "io_pressure_percent",
                self.io_pressure_percent.map(f64::from),
            ),
            ("clock_offset_ms", clock_offset_ms.map(f64::from)),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
    }
}

/// What a machine says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// What is not as it should be, worst first; empty when all is well.
    pub findings: Vec<Finding>,
    /// What a failed workload said, at most [`WORKLOAD_DETAIL_BYTES_MAX`]; known on the machine itself only.
    pub workload_detail: Option<String>,
    /// The part that the workload plays in its ensemble; `None` where it fails, or is in none.
    pub part: Option<Part>,
    /// The figures behind it.
    pub readings: Readings,
}

impl Report {
    /// The worst of the findings.
    pub fn level(&self) -> Level {
        self.findings
            .iter()
            .map(|finding| finding.level)
            .max()
            .unwrap_or_default()
    }

    /// The findings as sentences, worst first.
    pub fn reasons(&self) -> Vec<String> {
        let sentence = |finding: &Finding| match (&self.workload_detail, finding.subject) {
            (Some(detail), Subject::Workload) => format!("{finding}: {detail}"),
            _ => finding.to_string(),
        };
        self.findings.iter().map(sentence).collect()
    }

    /// Whether two reports say the same apart from figures: same findings at the same levels, same workload in the same part.
    pub(super) fn same_verdict(&self, other: &Self) -> bool {
        self.workload_detail == other.workload_detail
            && self.part == other.part
            && self.same_findings(other)
    }

    /// Whether two reports have the same findings at the same levels.
    pub(super) fn same_findings(&self, other: &Self) -> bool {
        let verdict = |report: &Self| -> Vec<_> {
            let findings = report.findings.iter();
            findings
                .map(|finding| (finding.subject, finding.level))
                .collect()
        };
        verdict(self) == verdict(other)
    }
}
