//! What a guard is told, and what it leaves in its file.

use std::io;
use std::path::{Path, PathBuf};

use muster_flavors as flavors;
use serde::{Deserialize, Serialize};

use super::marked::Known;
use crate::fleet::{FlavorSpec, LeaseTerms};

/// What a guard is told when it starts, on its standard input, in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// The flavor that stops the workload, and knows the command that starts it.
    pub flavor: FlavorSpec,
    /// Who the group declares.
    pub allocation: flavors::Allocation,
    /// The workload.
    pub workload: flavors::Workload,
    /// How long the lease is, and how long stopping may take.
    pub terms: LeaseTerms,
    /// Until when the workload may run, in milliseconds since the boot. What is over already is stopped at once, and
    /// nothing is started then.
    pub until_ms: u64,
}

/// How a guard ended, as its file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It has not.
    Runs,
    /// The workload was stopped, and nothing was left of it.
    Stopped,
    /// Something may be left of it.
    Failed(String),
}

/// A guard's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Which boot of the computer it speaks of.
    pub boot: String,
    /// Until when the workload may run, in milliseconds since that boot.
    pub until_ms: u64,
    /// How long stopping it may take, in milliseconds.
    pub stop_ms: u64,
    /// The workload's first process; `None` where none was started.
    pub process: Option<Known>,
    /// How it ended.
    pub ending: Ending,
}

impl Standing {
    /// What the file says, of whatever boot; `None` where there is none.
    ///
    /// # Errors
    /// Where it can't be read, or makes no sense.
    pub(super) fn read(place: &Place) -> io::Result<Option<Self>> {
        match std::fs::read(place.standing()) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The files of a guard.
#[derive(Debug, Clone)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    pub(super) fn directory(&self) -> &Path {
        &self.0
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lease.lock")
    }

    pub(super) fn pipe(&self) -> PathBuf {
        self.0.join("lease.pipe")
    }

    pub(super) fn standing(&self) -> PathBuf {
        self.0.join("lease")
    }
}

/// Which boot of the computer this is; empty where the kernel does not say.
///
/// # Errors
/// When it can't be read at this moment.
pub(super) fn this_boot() -> io::Result<String> {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => Ok(id.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}
