//! Provisioners: what makes, finds, reboots, power-cycles, reimages and destroys machines.
//!
//! A [`Provisioner`] hides one back end (local processes, a cloud, a rack of bare metal) behind the few calls
//! that healing needs. The words it speaks are shared by all of them:
//!
//! - [`MachineSpec`]: the machine to be made, with the [`BootConfig`] by which its agent joins the mesh;
//! - [`Instance`]: the machine as its provisioner sees it;
//! - [`OperationId`]: the name of one intended change, by which a repeated call does nothing twice;
//! - [`Problem`]: what is wrong with a property, and what to do about it;
//! - [`ProvisionError`]: why a call failed, and above all whether its outcome is known.
//!
//! Configuration types are factories ([`ProvisionerConfig`]): their `validate` is pure, their `build` does I/O.
//! A [`Registry`] knows them by name; [`process`] is always there. Every implementation has to pass the same suite,
//! `conformance` (a feature, together with `fake`, an in-memory back end with injected faults).

pub mod aws;
mod boot;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod deadline;
#[cfg(feature = "docker")]
pub mod docker;
mod error;
#[cfg(feature = "conformance")]
pub mod fake;
mod fields;
pub mod http;
#[cfg(unix)]
pub mod infrakit;
pub mod ledger;
pub mod lxd;
mod machine;
mod operation;
mod problem;
#[cfg(target_os = "linux")]
pub mod process;
mod properties;
mod provisioner;
#[cfg(unix)]
pub mod redfish;
mod registry;
mod spec;

pub use boot::{AgentPlace, agent_config};
pub use deadline::Deadline;
pub use error::ProvisionError;
pub use fields::Fields;
pub use ledger::Table;
pub use machine::{Attachment, Instance, InstanceId, InstanceState, Labels, Tags, tag};
pub use operation::OperationId;
pub use problem::Problem;
pub use properties::{Properties, PropertiesError};
pub use provisioner::{Capabilities, Destroyed, Idempotency, Proof, Provisioner, Quarantined};
pub use registry::{Configured, Kind, ProvisionerConfig, Provisioners, Registry};
pub use spec::{BootConfig, MachineSpec, Secret};
