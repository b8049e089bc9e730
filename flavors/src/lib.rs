//! Flavors: what a machine is for.
//!
//! A [`Flavor`] prepares a machine's first boot, judges the health of its workload, drains it, stops it, and
//! answers how many members of its group may be missing. Configuration types are factories: a [`Kind`] reads
//! and validates a group's properties, purely, and makes the flavor that is bound to them. A [`Registry`]
//! knows the kinds by name; [`vanilla`] is always there.
//!
//! `prepare` and everything about validation runs on the coordinators and does no I/O. `healthy`, `drain` and
//! `stop` run on the machine itself, next to the workload, through [`run`], which bounds what a command
//! may take: time, output, and processes left behind.

pub mod combo;
mod ensemble;
pub mod etcd;
pub mod exec;
mod flavor;
mod health;
mod hosts;
#[cfg(unix)]
pub mod infrakit;
mod read;
mod registry;
pub mod run;
mod server;
mod streak;
pub mod vanilla;
mod words;
pub mod zookeeper;

pub use ensemble::{Part, Role, majority};
pub use flavor::{Flavor, FlavorError, Place};
pub use health::{Health, HealthPlan, HealthStatus};
pub use registry::{Built, Kind, Registry};
pub use streak::Streak;
pub use words::{Allocation, PeerMember, Workload};
