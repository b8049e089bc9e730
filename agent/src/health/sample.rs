//! One look at the machine, as plain figures.

use muster_flavors::Part;

/// What one look at the machine found. A figure that could not be had is `None` and judged as neither good nor bad.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// Busy time of all processors together since the last look, waiting for disks not included.
    pub cpu_busy_percent: Option<f64>,
    /// Runnable and blocked tasks per processor: the one-minute load average over the number of processors.
    pub load_per_cpu: Option<f64>,
    /// Memory that new programs could not have; caches count as available.
    pub memory_used_percent: Option<f64>,
    /// Used space of the data directory's file system, as an unprivileged writer sees it.
    pub disk_used_percent: Option<f64>,
    /// Used inodes of the data directory's file system; `None` too where it has no fixed number of them.
    pub inodes_used_percent: Option<f64>,
    /// Share of the last minute in which some task waited for a processor (PSI).
    pub cpu_pressure_percent: Option<f64>,
    /// Share of the last minute in which all tasks waited for memory (PSI).
    pub memory_pressure_percent: Option<f64>,
    /// Share of the last minute in which all tasks waited for disks (PSI).
    pub io_pressure_percent: Option<f64>,
    /// Whether the data directory's file system refuses writes.
    pub read_only: Option<bool>,
    /// Whether the data directory's file system cannot even be examined: gone, or its disk fails.
    pub data_dir_lost: Option<bool>,
    /// Whether memory ran out within the last five minutes, so that the kernel ended a process.
    pub memory_ran_out: Option<bool>,
    /// How far this clock is ahead of the peers', in milliseconds; negative when behind. Filled in by the caller.
    pub clock_offset_ms: Option<i64>,
    /// Whether its workload does not run because it has no lease. Filled in by the caller.
    pub lease_lost: Option<bool>,
    /// Whether its provider announced that it takes the machine away, or works on it. Filled in by the caller.
    pub announced: Option<bool>,
    /// What the flavor's health command said last. Filled in by the caller.
    pub workload: Workload,
}

/// What the flavor's health command says of the workload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Workload {
    /// There is no command, or it has not run yet.
    #[default]
    Unknown,
    /// It succeeded.
    Healthy {
        /// The part that it plays in its ensemble, if it is a member of one.
        part: Option<Part>,
    },
    /// It failed or ran out of time.
    Failed {
        /// What it said, in one line.
        detail: String,
    },
}

/// Which start of the operating system this is. Does not change while the agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// The kernel's random number for this start; differs after every reboot.
    pub id: u128,
    /// How long the machine had been up when the agent asked, in milliseconds.
    pub uptime_ms: u64,
}
