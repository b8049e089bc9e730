//! Shared words: who is in a group, and what runs on a machine.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Part;

/// Who a group declares to be in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// Identical, replaceable machines.
    Cattle {
        /// How many.
        size: usize,
    },
    /// Machines with identities that outlive any one instance.
    Pets {
        /// Their logical IDs.
        members: Vec<String>,
    },
}

impl Allocation {
    /// How many members the group declares.
    pub fn len(&self) -> usize {
        match self {
            Self::Cattle { size } => *size,
            Self::Pets { members } => members.len(),
        }
    }

    /// Whether it declares none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Another member of the group, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerMember {
    /// Slot name or logical ID.
    pub member: String,
    /// The name of the machine that is it at present.
    pub machine: String,
    /// Where that is, once known.
    pub address: Option<IpAddr>,
    /// The part that it plays in the group's ensemble, as far as this machine has heard; nothing is known of it where commands
    /// are prepared.
    #[serde(default)]
    pub part: Option<Part>,
}

/// What runs on this machine: the context of `healthy`, `drain` and `stop`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The machine's name.
    pub machine: String,
    /// Its group.
    pub group: String,
    /// Which member of the group it is.
    pub member: String,
    /// Where commands run, if not where the agent does.
    pub directory: Option<PathBuf>,
    /// Further environment of commands, such as `MUSTER_DATA` for a pet's disk.
    pub environment: BTreeMap<String, String>,
    /// Whether it is on record that the members of the group have formed an ensemble: from then on a member that finds
    /// nothing of its own joins the others, and never founds another one.
    #[serde(default)]
    pub founded: bool,
    /// The other members of the group.
    pub peers: Vec<PeerMember>,
}

impl Workload {
    /// What is added to the environment of every command: `MUSTER_MACHINE`, `MUSTER_GROUP`, `MUSTER_MEMBER`,
    /// and [`environment`](Self::environment), which wins.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::from([
            ("MUSTER_MACHINE".to_owned(), self.machine.clone()),
            ("MUSTER_GROUP".to_owned(), self.group.clone()),
            ("MUSTER_MEMBER".to_owned(), self.member.clone()),
        ]);
        all.extend(self.environment.clone());
        all
    }
}
