//! What this machine reports of itself.
//!
//! Four parts, each usable alone: a [`Sampler`] reads the kernel's figures into a [`Sample`]; [`Judge`] is the pure
//! core that makes a [`Report`] of samples, thresholds and its own short memory; a [`Steadier`] says of one whose
//! verdict keeps changing just that; a [`Publisher`] lets a report through only when it says something new, since every
//! published report costs packets on every machine. All but the first take samples and time as arguments and do no I/O.
//!
//! ```
//! use std::time::Duration;
//! use muster::config::HealthConfig;
//! use muster::health::{Judge, Level, Publisher, Sample};
//!
//! let mut judge = Judge::new(&HealthConfig::default());
//! let mut publisher = Publisher::new(&HealthConfig::default());
//! let full = Sample { disk_used_percent: Some(97.0), ..Sample::default() };
//! judge.handle_sample(&full);
//! let report = judge.handle_sample(&full);
//! assert_eq!(report.level(), Level::Critical);
//! assert_eq!(report.reasons(), ["disk of the data directory used 97 % (critical from 95 %)"]);
//! assert!(publisher.handle_report(Duration::ZERO, &report));
//! assert!(!publisher.handle_report(Duration::from_secs(5), &report), "nothing new");
//! ```

mod judge;
mod publish;
mod report;
mod sample;
mod sampler;
mod steady;
mod wire;

#[cfg(test)]
mod tests;

pub use judge::Judge;
pub use publish::Publisher;
pub use report::{Finding, Level, Readings, Report, Subject, WORKLOAD_DETAIL_BYTES_MAX};
pub use sample::{Boot, Sample, Workload};
pub use sampler::Sampler;
pub use steady::Steadier;
