//! A report as the [`Vitals`] that the mesh carries: a dozen bytes when all is well.
//!
//! What peers need travels: levels, what they are about, and the figures. Thresholds and the words of a failed
//! workload stay on the machine.

use muster_flavors::Part;
use muster_mesh::records::{FIGURES, Vitals};

use super::report::{Finding, Level, Readings, Report, Subject};

/// Bits per subject in [`Vitals::reasons`]: enough for a [`Level`].
const LEVEL_BITS: usize = 2;

/// From which bit on [`Vitals::reasons`] holds the workload's [`Part`]; below there is room for 24 subjects.
const PART_BIT: u32 = 48;

impl From<&Report> for Vitals {
    fn from(report: &Report) -> Self {
        let reasons = report.findings.iter().fold(0, |reasons, finding| {
            reasons | (finding.level as u64) << (LEVEL_BITS * finding.subject as usize)
        });
        let part = report.part.map_or(0, Part::to_bits);
        Self {
            level: report.level() as u8,
            reasons: reasons | u64::from(part) << PART_BIT,
            figures: report.readings.figures(),
        }
    }
}

impl From<&Vitals> for Report {
    /// Takes what a peer sent; subjects that a newer version knows are left out.
    fn from(vitals: &Vitals) -> Self {
        let readings = Readings::from_figures(vitals.figures);
        let finding = |subject: Subject| {
            let level = match vitals.reasons >> (LEVEL_BITS * subject as usize) & 0b11 {
                0 => return None,
                1 => Level::Warning,
                _ => Level::Critical,
            };
            Some(Finding {
                subject,
                level,
                value: readings.of(subject),
                limit: None,
            })
        };
        let mut findings: Vec<_> = Subject::ALL.into_iter().filter_map(finding).collect();
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.level), finding.subject));
        Self {
            findings,
            workload_detail: None,
            part: u32::try_from(vitals.reasons >> PART_BIT)
                .ok()
                .and_then(Part::from_bits),
            readings,
        }
    }
}

impl Readings {
    /// The readings in the order of the wire format, which only grows at its end.
    fn figures(&self) -> [Option<i32>; FIGURES] {
        [
            self.cpu_percent.map(i32::from),
            self.memory_percent.map(i32::from),
            self.disk_percent.map(i32::from),
            self.load_per_cpu_x100.map(i32::from),
            self.clock_offset_ms,
            self.cpu_pressure_percent.map(i32::from),
            self.memory_pressure_percent.map(i32::from),
            self.io_pressure_percent.map(i32::from),
        ]
    }

    /// The reverse; figures out of range, which only a broken peer sends, count as unknown.
    fn from_figures(figures: [Option<i32>; FIGURES]) -> Self {
        let [
            cpu,
            memory,
            disk,
            load,
            clock,
            cpu_pressure,
            memory_pressure,
            io_pressure,
        ] = figures;
        let percent = |figure: Option<i32>| {
            figure
                .and_then(|figure| u8::try_from(figure).ok())
                .filter(|percent| *percent <= 100)
        };
        Self {
            cpu_percent: percent(cpu),
            memory_percent: percent(memory),
            disk_percent: percent(disk),
            load_per_cpu_x100: load.and_then(|figure| figure.try_into().ok()),
            clock_offset_ms: clock,
            cpu_pressure_percent: percent(cpu_pressure),
            memory_pressure_percent: percent(memory_pressure),
            io_pressure_percent: percent(io_pressure),
        }
    }

    /// The reading that a finding is about, in the subject's unit.
    fn of(&self, subject: Subject) -> Option<f64> {
        match subject {
            Subject::Cpu => self.cpu_percent.map(f64::from),
            Subject::Load => self
                .load_per_cpu_x100
                .map(|hundredths| f64::from(hundredths) / 100.0),
            Subject::Memory => self.memory_percent.map(f64::from),
            Subject::Disk => self.disk_percent.map(f64::from),
            Subject::CpuPressure => self.cpu_pressure_percent.map(f64::from),
            Subject::MemoryPressure => self.memory_pressure_percent.map(f64::from),
            Subject::IoPressure => self.io_pressure_percent.map(f64::from),
            Subject::Clock => self.clock_offset_ms.map(f64::from),
            Subject::Inodes
            | Subject::ReadOnly
            | Subject::Workload
            | Subject::DataDir
            | Subject::OutOfMemory
            | Subject::Unsteady
            | Subject::Lease
            | Subject::UnsteadyWorkload
            | Subject::Announced => None,
        }
    }
}
