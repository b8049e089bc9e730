//! Machines to be made.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Attachment, Labels, OperationId, Properties, Tags, tag};

/// The machine to be made.
///
/// A flavor's `prepare` completes what the group's template says; a provisioner carries it out.
/// It can be stored and compared, except for [`boot`](Self::boot), which holds a secret and is never written
/// by serde.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// The machine's name in the mesh, unique in its cluster; its host name where it has one.
    pub name: String,
    /// For pets the ID that outlives any one instance.
    pub logical_id: Option<String>,
    /// What only the provisioner understands.
    pub properties: Properties,
    /// By what it is found again, [`tag::CLUSTER`] among them.
    pub tags: Tags,
    /// What its agent says of it.
    pub labels: Labels,
    /// What has to be attached before it starts.
    pub attachments: Vec<Attachment>,
    /// What runs once on its first boot: the text of a shell script, possibly empty.
    pub init: String,
    /// How its agent finds and joins the mesh.
    #[serde(skip)]
    pub boot: BootConfig,
}

impl MachineSpec {
    /// The longest `init` that is accepted: the clouds' limit of user data is 16 kB (EC2) to 64 kB.
    pub const INIT_MAX_BYTES: usize = 64 * 1024;

    /// A spec with only a name, and a provisioner's properties.
    pub fn new(name: impl Into<String>, properties: Properties) -> Self {
        Self {
            name: name.into(),
            logical_id: None,
            properties,
            tags: Tags::new(),
            labels: Labels::new(),
            attachments: Vec::new(),
            init: String::new(),
            boot: BootConfig::default(),
        }
    }

    /// The tags that the instance has to carry: the spec's own, and the operation that makes it.
    pub fn tags_for(&self, op: &OperationId) -> Tags {
        self.tags.clone().with(tag::OPERATION, op.as_str())
    }
}

/// How a new machine's agent finds and joins the mesh; what the agent's configuration file will say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootConfig {
    /// Agents that it can ask to let it in.
    pub seeds: Vec<SocketAddr>,
    /// What it shows them. Single-use for a replacement, bound to its intent.
    pub join_token: Secret,
    /// The group that it is a member of.
    pub group: String,
    /// Which member of the group it is (slot name or logical ID).
    pub member: String,
    /// Further keys of the agent's configuration file, in its own words; the keys that the provisioner
    /// decides (name, addresses, directories) win over them.
    pub settings: Properties,
}

/// A text that must not be seen: it shows as `***` and serde doesn't know it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that has to hand it over.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(none)" } else { "***" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_neither_shown_nor_stored() {
        let mut spec = MachineSpec::new("web-1", Properties::new());
        spec.boot.join_token = Secret::new("muster1-secret");
        assert!(!format!("{spec:?}").contains("secret"));
        let json = serde_json::to_string(&spec).expect("serialises");
        assert!(!json.contains("secret"));
        let binary = postcard::to_allocvec(&spec).expect("serialises");
        let back: MachineSpec = postcard::from_bytes(&binary).expect("parses");
        assert_eq!(back.boot, BootConfig::default());
        assert_eq!(back.name, spec.name);
    }

    #[test]
    fn the_operation_becomes_a_tag() {
        let op = OperationId::derive("c", "g", "m", 1, "provision");
        let spec = MachineSpec::new("m", Properties::new());
        assert_eq!(spec.tags_for(&op).get(tag::OPERATION), Some(op.as_str()));
    }
}
