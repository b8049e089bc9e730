//! What the agent's own process costs, under the names that Prometheus' client libraries use.

use super::{Export, Exposition};

/// What this process uses. All zero where the system has no `/proc`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessStats {
    /// Processor time so far, in seconds.
    pub cpu_seconds: f64,
    /// Memory in RAM, pages shared with other processes included.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_files: u64,
}

impl ProcessStats {
    /// Asks the kernel.
    pub fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':')
                .split_ascii_whitespace()
                .next()?
                .parse()
                .ok()
        };
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            resident_bytes: field("VmRSS").unwrap_or_default() * 1024,
            threads: field("Threads").unwrap_or_default(),
            // The directory that is read is open itself while it is counted.
            open_files: std::fs::read_dir("/proc/self/fd")
                .map_or(0, |entries| entries.count().saturating_sub(1) as u64),
        }
    }
}

/// What the flight recorder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlightStats {
    /// Machines that something is held of.
    pub peers: u64,
    /// What that takes, in bytes.
    pub bytes: u64,
}

impl Export for FlightStats {
    fn export(&self, out: &mut Exposition) {
        out.gauge(
            "muster_flight_recorder_peers",
            "Other machines whose last words this one holds.",
            self.peers as f64,
        );
        out.gauge(
            "muster_flight_recorder_bytes",
            "Memory that their last words take.",
            self.bytes as f64,
        );
    }
}

impl Export for ProcessStats {
    fn export(&self, out: &mut Exposition) {
        let mut cpu = out.family(
            "process_cpu_seconds_total",
            "Processor time of the agent.",
            super::Kind::Counter,
        );
        cpu.value(&[], self.cpu_seconds);
        out.gauge(
            "process_resident_memory_bytes",
            "Memory of the agent in RAM, shared pages included.",
            self.resident_bytes as f64,
        );
        out.gauge(
            "process_threads",
            "Threads of the agent.",
            self.threads as f64,
        );
        out.gauge(
            "process_open_fds",
            "Open file descriptors of the agent.",
            self.open_files as f64,
        );
    }
}
