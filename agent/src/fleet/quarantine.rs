//! Hardware on which nothing is made, because a machine on it has failed.

use serde::{Deserialize, Serialize};

use super::InstanceId;
use super::command::QuarantineListing;
use super::names::{GroupId, MachineName};
use super::text::Text;

/// A piece of hardware in quarantine, as its provisioner says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The provisioner's name.
    pub provisioner: String,
    /// What the provisioner calls the hardware.
    pub hardware: String,
    /// Why nothing is made on it.
    pub why: Text,
    /// Since when that has been known, in milliseconds since 1970.
    pub since_ms: u64,
    /// The machine that failed on it; `None` where the provisioner alone knows of it.
    pub failed: Option<FailedOn>,
    /// Since when a person wants it to be released, in milliseconds since 1970; `None` while nobody does.
    pub released_ms: Option<u64>,
}

/// A machine that failed on its hardware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedOn {
    /// Its name.
    pub machine: MachineName,
    /// Its group.
    pub group: GroupId,
    /// Its instance.
    pub instance: InstanceId,
}

impl Quarantine {
    /// Which one it is.
    pub fn key(&self) -> (&str, &str) {
        (&self.provisioner, &self.hardware)
    }

    /// Whether a person may mean it by this: the name of the hardware, of the machine that failed on it, or its instance.
    pub fn is_called(&self, name: &str) -> bool {
        let by_machine =
            |failed: &FailedOn| failed.machine.as_str() == name || failed.instance.as_str() == name;
        self.hardware == name || self.failed.as_ref().is_some_and(by_machine)
    }
}

impl QuarantineListing {
    /// Whether by this list hardware is out of quarantine: it is as it was before the provisioner was asked, which does not
    /// name it.
    pub fn ends(&self, known: &Quarantine) -> bool {
        let mut listed = self.listed.iter();
        known.provisioner == self.provisioner
            && self.gone.contains(known)
            && !listed.any(|one| one.hardware == known.hardware)
    }
}

/// What a provisioner says of one piece of hardware in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedHardware {
    /// What it calls the hardware.
    pub hardware: String,
    /// Why, as it was told.
    pub why: Text,
}
