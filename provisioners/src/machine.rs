//! Machines as their provisioner sees them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{OperationId, Properties};

/// A machine that a provisioner made, as it describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The provider's name for it.
    pub id: InstanceId,
    /// What the provider says of it.
    pub state: InstanceState,
    /// Its tags, those of [`tag`] among them.
    pub tags: Tags,
    /// Where it can be reached, once that is known.
    pub address: Option<IpAddr>,
    /// Whatever else the provisioner knows of it, for people and scripts.
    pub properties: Properties,
    /// When it was made, in milliseconds since 1970; 0 if the provider doesn't say.
    pub created_at_ms: u64,
    /// What is attached to it.
    pub attachments: Vec<Attachment>,
}

impl Instance {
    /// The operation that made it, from its tags.
    pub fn operation(&self) -> Option<OperationId> {
        self.tags.get(tag::OPERATION)?.parse().ok()
    }
}

/// What a provider says of an instance.
///
/// Instances that are destroyed for good are not listed at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Made or started a moment ago, not yet running.
    Starting,
    /// Running, which says nothing about the agent or the workload in it.
    Running,
    /// On its way to be stopped or destroyed; may still run.
    Stopping,
    /// Not running. It may be started again.
    Stopped,
    /// The provider can't say.
    Unknown,
}

impl InstanceState {
    /// Whether something of it may be running. Only [`Stopped`](Self::Stopped) says no.
    pub fn may_run(self) -> bool {
        self != Self::Stopped
    }

    /// The word for it in status output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A provider's name for an instance, such as `i-0abc…`.
///
/// At most [`InstanceId::MAX_BYTES`] of printable ASCII without spaces, so that it can stand in a log line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(String);

/// A text that can't be an instance ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an instance ID is 1 to {max} printable ASCII characters without spaces", max = InstanceId::MAX_BYTES)]
pub struct ParseInstanceIdError;

impl InstanceId {
    /// The longest that providers use are resource paths of about 300 characters (Azure).
    pub const MAX_BYTES: usize = 512;

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceId {
    type Err = ParseInstanceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for InstanceId {
    type Error = ParseInstanceIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let length_fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if length_fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text))
        } else {
            Err(ParseInstanceIdError)
        }
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that outlives the instance it is attached to: a disk, an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// The provisioner's name for it.
    pub id: String,
    /// What it is, in the provisioner's words (`disk`, `ebs`, `address`); empty for its usual kind.
    pub kind: String,
}

impl Attachment {
    /// An attachment of this ID and kind.
    pub fn new(id: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            kind: kind.into(),
        }
    }
}

/// What a machine says of itself to people and placement: `zone`, `rack`, anything.
pub type Labels = BTreeMap<String, String>;

/// Names and values by which a provider's instances are found again.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(BTreeMap<String, String>);

/// The tags that muster itself sets. No user may set one that begins with [`tag::PREFIX`].
pub mod tag {
    /// What the names of all of them begin with.
    pub const PREFIX: &str = "muster.";
    /// The cluster that the instance belongs to; every description asks for it.
    pub const CLUSTER: &str = "muster.cluster";
    /// The group that it was made for.
    pub const GROUP: &str = "muster.group";
    /// The member of the group (slot name or logical ID).
    pub const MEMBER: &str = "muster.member";
    /// The operation that made it; set by the provisioner itself.
    pub const OPERATION: &str = "muster.operation";
    /// Which life of that member this is.
    pub const GENERATION: &str = "muster.generation";
    /// The revision of the group's spec that it was made from.
    pub const REVISION: &str = "muster.revision";
}

impl Tags {
    /// No tags.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a tag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets a tag.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// The same tags and one more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.insert(name, value);
        self
    }

    /// All tags in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every tag of `filter` is here with the same value. An empty filter matches everything.
    pub fn matches(&self, filter: &Self) -> bool {
        filter
            .iter()
            .all(|(name, value)| self.get(name) == Some(value))
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Tags {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(tags: I) -> Self {
        Self(
            tags.into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl<N: Into<String>, V: Into<String>> Extend<(N, V)> for Tags {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, tags: I) {
        self.0.extend(
            tags.into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instance_ids_are_printable_and_bounded() {
        for valid in ["i-0abc", "/subscriptions/1/resourceGroups/x", "p-1"] {
            assert_eq!(valid.parse::<InstanceId>().expect("valid").as_str(), valid);
        }
        for rubbish in [
            "",
            "a b",
            "a\n",
            "ü",
            &"x".repeat(InstanceId::MAX_BYTES + 1),
        ] {
            assert_eq!(rubbish.parse::<InstanceId>(), Err(ParseInstanceIdError));
        }
        assert!(postcard::from_bytes::<InstanceId>(&[1, b' ']).is_err());
    }

    #[test]
    fn a_filter_asks_for_all_of_its_tags() {
        let tags = Tags::from_iter([("a", "1"), ("b", "2")]);
        assert!(tags.matches(&Tags::new()));
        assert!(tags.matches(&Tags::new().with("a", "1")));
        assert!(!tags.matches(&Tags::new().with("a", "2")));
        assert!(!tags.matches(&Tags::new().with("a", "1").with("c", "")));
    }

    #[test]
    fn an_instance_survives_json_and_binary() {
        let instance = Instance {
            id: "i-1".parse().expect("valid"),
            state: InstanceState::Running,
            tags: Tags::new().with(tag::CLUSTER, "c"),
            address: Some([127, 0, 0, 1].into()),
            properties: r#"{"pid":1}"#.parse().expect("valid"),
            created_at_ms: 5,
            attachments: vec![Attachment::new("d", "disk")],
        };
        let json = serde_json::to_string(&instance).expect("serialises");
        assert_eq!(
            serde_json::from_str::<Instance>(&json).expect("parses"),
            instance
        );
        let binary = postcard::to_allocvec(&instance).expect("serialises");
        assert_eq!(
            postcard::from_bytes::<Instance>(&binary).expect("parses"),
            instance
        );
    }

    proptest! {
        #[test]
        fn bytes_of_strangers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = postcard::from_bytes::<Instance>(&bytes);
        }
    }
}
