//! What processes use, as the kernel counts it.

use std::fs;

/// What one process uses.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Memory in RAM, in bytes, shared pages included.
    pub resident_bytes: u64,
    /// Memory in RAM, in bytes, shared pages counted in parts.
    pub proportional_bytes: u64,
    /// Its own processor time since its start, in seconds.
    pub cpu_seconds: f64,
    /// The processor time of the commands that it started and that have ended, in seconds.
    pub commands_cpu_seconds: f64,
}

/// Asks the kernel; all zero for a process that is gone.
pub fn of(pid: u32) -> Usage {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kilobytes = |name: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_ascii_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or_default()
    };
    let (cpu_seconds, commands_cpu_seconds) = cpu_seconds(pid).unwrap_or_default();
    Usage {
        resident_bytes: kilobytes("Rss:") * 1024,
        proportional_bytes: kilobytes("Pss:") * 1024,
        cpu_seconds,
        commands_cpu_seconds,
    }
}

/// Time in user and kernel mode of all its threads, ended ones included, and of its children that it has waited for
/// (`proc(5)`, fields 14 and 15, 16 and 17).
fn cpu_seconds(pid: u32) -> Option<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Some((
        seconds(ticks(11)? + ticks(12)?),
        seconds(ticks(13)? + ticks(14)?),
    ))
}
