//! What is written down about an instance.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::read_json;
use super::identity::ProcessIdentity;
use super::layout::Place;
use crate::clock::now_ms;
use crate::{InstanceId, MachineSpec, OperationId, ProvisionError, Tags};

/// The version of all records. A record of another version is not understood, and said so.
pub(super) const VERSION: u32 = 1;

/// `instance.json`: what was ordered. Written before the instance can be seen, and again whenever it is reimaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) id: InstanceId,
    pub(super) operation: OperationId,
    /// The operation that last wrote it anew, if one did.
    #[serde(default)]
    pub(super) reimaged: Option<OperationId>,
    /// Without its join configuration, which serde leaves out.
    pub(super) spec: MachineSpec,
    /// The spec's tags and the last operation's.
    pub(super) tags: Tags,
    pub(super) address: SocketAddr,
    pub(super) created_at_ms: u64,
}

impl Record {
    /// Reads the record of an instance; `None` if there is none, because it is not there (any more).
    pub(super) fn read(place: &Place) -> Result<Option<Self>, ProvisionError> {
        let Some(record) = read_json::<Self>(&place.record())? else {
            return Ok(None);
        };
        if record.version != VERSION {
            let text = format!(
                "{} is of version {}",
                place.record().display(),
                record.version
            );
            return Err(ProvisionError::failed(text));
        }
        Ok(Some(record))
    }

    pub(super) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// The IDs of its disks, in the order in which they are locked.
    pub(super) fn disks(&self) -> Vec<&str> {
        let mut disks: Vec<_> = self
            .spec
            .attachments
            .iter()
            .map(|disk| disk.id.as_str())
            .collect();
        disks.sort_unstable();
        disks.dedup();
        disks
    }
}

/// `process.json`: which process the agent is. Written by that very process before it becomes the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessRecord {
    pub(super) version: u32,
    pub(super) process: ProcessIdentity,
    pub(super) started_at_ms: u64,
}

impl ProcessRecord {
    /// The process that the agent is or was; `None` if it was never started.
    pub(super) fn read(place: &Place) -> Result<Option<ProcessIdentity>, ProvisionError> {
        Ok(read_json::<Self>(&place.process())?.map(|record| record.process))
    }
}

/// `starting`: the order to start an instance. Without it nothing starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StartOrder {
    /// What is run, with `agent --config FILE`.
    pub(super) executable: PathBuf,
    /// The variables of the environment that the agent inherits.
    pub(super) inherit: Vec<String>,
    /// When it was ordered.
    pub(super) at_ms: u64,
}

impl StartOrder {
    /// How long an order to start holds. Whoever comes later with it finds it void, so that an instance that
    /// was seen dead after this time stays dead.
    pub(super) const VALID: Duration = Duration::from_secs(15);

    /// The order to start that still holds. One that can't be read is none: it is written for some seconds only,
    /// and a loss of power may damage it.
    pub(super) fn read(place: &Place) -> Option<Self> {
        read_json::<Self>(&place.starting())
            .ok()
            .flatten()
            .filter(Self::holds)
    }

    fn holds(&self) -> bool {
        // An order from the future was given before the clock was set back: nobody knows how old it is.
        now_ms()
            .checked_sub(self.at_ms)
            .is_some_and(|age| u128::from(age) < Self::VALID.as_millis())
    }
}

/// `doomed`: the order to destroy an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Doom {
    pub(super) operation: OperationId,
    pub(super) at_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_to_start_runs_out() {
        let order = |at_ms| StartOrder {
            executable: "/bin/true".into(),
            inherit: vec![],
            at_ms,
        };
        assert!(order(now_ms()).holds());
        let valid = u64::try_from(StartOrder::VALID.as_millis()).expect("short");
        assert!(!order(now_ms() - valid).holds());
        assert!(!order(now_ms() + 60_000).holds());
    }

    #[test]
    fn an_order_that_cannot_be_read_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::new(directory.path());
        assert_eq!(StartOrder::read(&place), None);
        std::fs::write(place.starting(), "{").expect("written");
        assert_eq!(StartOrder::read(&place), None);
    }
}
