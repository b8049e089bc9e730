//! Reads the kernel's figures: a few files of `/proc` kept open, and one call for the file system.
//!
//! A look takes about 25 µs of CPU on two processors, measured with
//! `cargo test -p muster health::tests::cost -- --ignored --nocapture`. Libraries that list processes, disks and
//! networks as well take tens of milliseconds and keep what they found.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_mesh::clock::Monotonic;
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::sample::{Boot, Sample};

/// As much of a file as is looked at. What is needed stands in the first lines of each.
const READ_BYTES: usize = 2048;

/// As much as is looked at of `vmstat`, where what is needed stands near the end of some 4 kB.
const VMSTAT_BYTES: usize = 16 * 1024;

/// How long memory that ran out is worth telling.
const RAN_OUT_KEPT: Duration = Duration::from_secs(300);

/// Reads the machine's figures. Holds seven files open, so that a look costs one `pread` each and allocates nothing.
///
/// A file that is missing (PSI on older kernels, all of them elsewhere than on Linux) leaves its figures out.
/// [`Sampler::sample`] blocks as long as the kernel does: not at all, except for a data directory on a network file
/// system whose server is gone.
#[derive(Debug)]
pub struct Sampler {
    data_dir: PathBuf,
    stat: Option<File>,
    load: Option<File>,
    memory: Option<File>,
    vmstat: Option<File>,
    cpu_pressure: Option<File>,
    memory_pressure: Option<File>,
    io_pressure: Option<File>,
    cpus: f64,
    last: Option<CpuTimes>,
    clock: Monotonic,
    /// Processes that the kernel ended because memory ran out, as counted last, and when that last grew.
    kills: Option<(u64, Option<Duration>)>,
    boot: Option<Boot>,
}

impl Sampler {
    /// A sampler of this machine, with the data directory whose file system is watched.
    pub fn new(data_dir: &Path) -> Self {
        Self::with_proc(Path::new("/proc"), data_dir)
    }

    /// A sampler that reads another directory in place of `/proc`.
    pub fn with_proc(proc_root: &Path, data_dir: &Path) -> Self {
        let open = |name: &str| File::open(proc_root.join(name)).ok();
        Self {
            data_dir: data_dir.to_owned(),
            stat: open("stat"),
            load: open("loadavg"),
            memory: open("meminfo"),
            vmstat: open("vmstat"),
            cpu_pressure: open("pressure/cpu"),
            memory_pressure: open("pressure/memory"),
            io_pressure: open("pressure/io"),
            cpus: count_cpus(proc_root),
            last: None,
            clock: Monotonic::start(),
            kills: None,
            boot: read_boot(proc_root),
        }
    }

    /// Which start of the operating system this is, as far as the kernel tells.
    pub fn boot(&self) -> Option<Boot> {
        self.boot
    }

    /// Looks at the machine. Leaves out what could not be had; clock and workload are the caller's.
    pub fn sample(&mut self) -> Sample {
        let sample = Sample {
            cpu_busy_percent: self.cpu_busy(),
            load_per_cpu: with_text(self.load.as_ref(), parse_load).map(|load| load / self.cpus),
            memory_used_percent: with_text(self.memory.as_ref(), parse_memory),
            cpu_pressure_percent: with_text(self.cpu_pressure.as_ref(), |text| {
                parse_pressure(text, "some")
            }),
            memory_pressure_percent: with_text(self.memory_pressure.as_ref(), |text| {
                parse_pressure(text, "full")
            }),
            io_pressure_percent: with_text(self.io_pressure.as_ref(), |text| {
                parse_pressure(text, "full")
            }),
            memory_ran_out: self.memory_ran_out(),
            ..Sample::default()
        };
        match statvfs(&self.data_dir) {
            Ok(disk) => Sample {
                disk_used_percent: used_percent(
                    disk.f_blocks.saturating_sub(disk.f_bfree),
                    disk.f_bavail,
                ),
                inodes_used_percent: used_percent(
                    disk.f_files.saturating_sub(disk.f_ffree),
                    disk.f_favail,
                ),
                read_only: Some(disk.f_flag.contains(StatVfsMountFlags::RDONLY)),
                data_dir_lost: Some(false),
                ..sample
            },
            Err(_) => Sample {
                data_dir_lost: Some(true),
                ..sample
            },
        }
    }

    /// Whether the kernel ended something for want of memory lately. What it did before the first look is not known.
    fn memory_ran_out(&mut self) -> Option<bool> {
        let count = with_bytes::<VMSTAT_BYTES, _>(self.vmstat.as_ref(), parse_kills)?;
        let now = self.clock.now();
        let grew = match self.kills {
            Some((last, _)) if count > last => Some(now),
            Some((_, grew)) => grew.filter(|at| now.saturating_sub(*at) < RAN_OUT_KEPT),
            None => None,
        };
        self.kills = Some((count, grew));
        Some(grew.is_some())
    }

    /// Busy time since the last look; the first has nothing to compare with.
    fn cpu_busy(&mut self) -> Option<f64> {
        let times = with_text(self.stat.as_ref(), parse_cpu_times)?;
        let last = self.last.replace(times)?;
        let total = times
            .total
            .checked_sub(last.total)
            .filter(|total| *total > 0)?;
        // The kernel's idle counters may step back by a tick; that is no negative load.
        let idle = times.idle.saturating_sub(last.idle).min(total);
        Some(100.0 * (total - idle) as f64 / total as f64)
    }
}

/// The number of processes that were ended because memory ran out, since the machine started.
fn parse_kills(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

/// Processor time since the machine started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTimes {
    total: u64,
    idle: u64,
}

/// Reads the beginning of a kept file afresh and parses it.
fn with_text<T>(file: Option<&File>, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    with_bytes::<READ_BYTES, _>(file, parse)
}

/// The same with so many bytes.
fn with_bytes<const N: usize, T>(
    file: Option<&File>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let mut buffer = [0; N];
    let length = file?.read_at(&mut buffer, 0).ok()?;
    // A cut through a character can only be in a part that nobody reads: the figures are ASCII.
    let text = match std::str::from_utf8(&buffer[..length]) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&buffer[..error.valid_up_to()]).ok()?,
    };
    parse(text)
}

/// `cpu  user nice system idle iowait irq softirq steal guest guest_nice` (`proc(5)`). Guest time is part of user
/// time. Waiting for disks counts as idle: the processor could have worked.
fn parse_cpu_times(text: &str) -> Option<CpuTimes> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let mut fields = line.split_ascii_whitespace().take(8).map(str::parse::<u64>);
    let mut times = CpuTimes { total: 0, idle: 0 };
    for index in 0..8 {
        // Kernels before 2.6.11 have no steal time.
        let Some(field) = fields.next() else { break };
        let ticks = field.ok()?;
        times.total = times.total.saturating_add(ticks);
        if index == 3 || index == 4 {
            times.idle = times.idle.saturating_add(ticks);
        }
    }
    (times.total > 0).then_some(times)
}

/// `0.39 0.37 0.29 1/94 22134`: the load of the last minute.
fn parse_load(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Memory that is not available, in percent of all.
fn parse_memory(text: &str) -> Option<f64> {
    let figure = |name: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':')
            .split_ascii_whitespace()
            .next()?
            .parse()
            .ok()
    };
    let (total, available) = (figure("MemTotal")?, figure("MemAvailable")?);
    (total > 0.0).then(|| 100.0 * (1.0 - (available / total).clamp(0.0, 1.0)))
}

/// `some avg10=3.74 avg60=1.68 avg300=1.17 total=26304696`: the share of the last minute.
fn parse_pressure(text: &str, kind: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
    line.split_ascii_whitespace()
        .find_map(|field| field.strip_prefix("avg60="))?
        .parse()
        .ok()
}

/// Used space as a writer without privileges sees it: blocks reserved for root count as used up.
fn used_percent(used: u64, available: u64) -> Option<f64> {
    let whole = used.checked_add(available).filter(|whole| *whole > 0)?;
    Some(100.0 * used as f64 / whole as f64)
}

/// The number of processors; 1 when the kernel does not say.
fn count_cpus(proc_root: &Path) -> f64 {
    let text = std::fs::read_to_string(proc_root.join("stat")).unwrap_or_default();
    let is_cpu = |line: &&str| {
        line.strip_prefix("cpu")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    text.lines().filter(is_cpu).count().max(1) as f64
}

fn read_boot(proc_root: &Path) -> Option<Boot> {
    let id = std::fs::read_to_string(proc_root.join("sys/kernel/random/boot_id")).ok()?;
    let id = u128::from_str_radix(&id.trim().replace('-', ""), 16).ok()?;
    let uptime = std::fs::read_to_string(proc_root.join("uptime")).ok()?;
    let seconds: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Boot {
        id,
        uptime_ms: (seconds * 1000.0) as u64,
    })
}
