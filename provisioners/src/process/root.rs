//! The root as a whole: what is fixed for it, and who may change it.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::Inner;
use super::addresses::Network;
use super::config::{ProcessConfig, check_socket_path};
use super::create::{UNFINISHED, clear, exists, is_ours};
use super::files::{Lasting, Lock, failure, make_directory, read_json, remove, write, write_json};
use super::layout::Root;
use super::record::{Record, VERSION};
use crate::{Deadline, InstanceId, Problem, ProvisionError};

/// What is written down about instances, or why it can't be read.
pub(super) type Records = BTreeMap<InstanceId, Result<Record, ProvisionError>>;

/// `root.json`: what all machines of a root have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RootRecord {
    version: u32,
    pub(super) network: Network,
    pub(super) port: u16,
}

impl RootRecord {
    pub(super) fn read(root: &Root) -> Result<Self, ProvisionError> {
        match read_json::<Self>(&root.record())? {
            Some(record) if record.version == VERSION => Ok(record),
            Some(record) => {
                let text = format!(
                    "{} is of version {}",
                    root.record().display(),
                    record.version
                );
                Err(ProvisionError::failed(text))
            }
            None => {
                let text = format!("{} is missing", root.record().display());
                Err(ProvisionError::failed(text))
            }
        }
    }
}

/// Makes the root's directories and its record if they aren't there, and clears away what a crash left.
pub(super) fn prepare(config: &ProcessConfig, deadline: Deadline) -> Result<Root, ProvisionError> {
    make_directory(&config.root)?;
    // All agents must write the same paths, whichever way they were told of them.
    let path = fs::canonicalize(&config.root)
        .map_err(|error| failure("resolving", &config.root, &error))?;
    check_socket_path(&path).map_err(|problem| ProvisionError::Invalid(vec![problem]))?;
    let root = Root::new(path);
    for directory in [root.instances(), root.disk_locks(), root.graveyard()] {
        make_directory(&directory)?;
    }
    let _lock = lock(&root, deadline)?;
    let network = config
        .network
        .as_deref()
        .and_then(|text| text.parse::<Network>().ok());
    if exists(&root.record())? {
        let record = RootRecord::read(&root)?;
        let differs = |name: &str, made_with: String| {
            let reason = format!("this root was made with {made_with}");
            Problem::new(name, reason, "leave it out, or choose another root")
        };
        let mut problems = Vec::new();
        if network.is_some_and(|network| network != record.network) {
            problems.push(differs("network", record.network.to_string()));
        }
        if config.port.is_some_and(|port| port != record.port) {
            problems.push(differs("port", record.port.to_string()));
        }
        if !problems.is_empty() {
            return Err(ProvisionError::Invalid(problems));
        }
    } else {
        let record = RootRecord {
            version: VERSION,
            network: network.unwrap_or_else(|| Network::for_root(root.path())),
            port: config.port.unwrap_or(ProcessConfig::DEFAULT_PORT),
        };
        write_json(&root.record(), &record, Lasting::Durably)?;
    }
    clear_unfinished(&root)?;
    Ok(root)
}

/// Waits for the lock under which instances are added.
pub(super) fn lock(root: &Root, deadline: Deadline) -> Result<Lock, ProvisionError> {
    Lock::acquire(&root.lock(), deadline)?.ok_or_else(|| {
        ProvisionError::failed(format!(
            "the root {} has been removed",
            root.path().display()
        ))
    })
}

/// Unfinished directories are made and removed under the root's lock, which we hold: these have no owner.
fn clear_unfinished(root: &Root) -> Result<(), ProvisionError> {
    let directory = root.instances();
    let entries =
        fs::read_dir(&directory).map_err(|error| failure("reading", &directory, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failure("reading", &directory, &error))?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            clear(&entry.path())?;
        }
    }
    Ok(())
}

impl Root {
    /// All instances there are directories of, in order.
    pub(super) fn ids(&self) -> Result<Vec<InstanceId>, ProvisionError> {
        let directory = self.instances();
        let failed = |error: &io::Error| failure("reading", &directory, error);
        let mut ids = Vec::new();
        for entry in fs::read_dir(&directory).map_err(|error| failed(&error))? {
            let name = entry.map_err(|error| failed(&error))?.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            ids.extend(id.filter(is_ours));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// The number of the address that is looked at first. Only a preference, so it may be lost.
    pub(super) fn next_address(&self) -> u32 {
        let text = fs::read_to_string(self.next_address_path()).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    pub(super) fn set_next_address(&self, number: u32) -> Result<(), ProvisionError> {
        let text = format!("{number}\n");
        write(&self.next_address_path(), text.as_bytes(), Lasting::Loosely)
    }

    /// The records of all instances, also of those that can't be read.
    pub(super) fn records(&self) -> Result<Records, ProvisionError> {
        let mut records = Records::new();
        for id in self.ids()? {
            let place = self.instance(&id);
            let record = match Record::read(&place) {
                Ok(Some(record)) => Ok(record),
                // Destroyed since the directory was read.
                Ok(None) if !exists(place.path())? => continue,
                Ok(None) => {
                    let text = format!("{} is missing", place.record().display());
                    Err(ProvisionError::failed(text))
                }
                Err(error) => Err(error),
            };
            records.insert(id, record);
        }
        Ok(records)
    }
}

impl Inner {
    /// Waits for the lock under which instances are added.
    pub(super) fn root_lock(&self, deadline: Deadline) -> Result<Lock, ProvisionError> {
        lock(&self.root, deadline)
    }

    /// While the fleet is being stopped, nothing is started: no replacement for what goes down on purpose.
    pub(super) fn refuse_if_stopping(&self) -> Result<(), ProvisionError> {
        refuse_if_stopping(&self.root)
    }
}

pub(super) fn refuse_if_stopping(root: &Root) -> Result<(), ProvisionError> {
    if exists(&root.stopping())? {
        return Err(ProvisionError::unavailable("the fleet is being stopped"));
    }
    Ok(())
}

/// Whether the root can be worked with: it is there and can be written to, and all records can be read.
pub(super) fn check(inner: &Inner) -> Result<(), ProvisionError> {
    RootRecord::read(&inner.root)?;
    let probe = inner.root.path().join("probe");
    fs::write(&probe, b"").map_err(|error| failure("writing", &probe, &error))?;
    remove(&probe)?;
    inner
        .root
        .records()?
        .into_values()
        .try_for_each(|record| record.map(|_| ()))
}
