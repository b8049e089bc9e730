//! Instances as EC2 describes them.

use std::net::IpAddr;

use super::clock;
use super::properties::NAME_TAG;
use super::query::owner;
use super::xml::Node;
use crate::{Attachment, Instance, InstanceId, InstanceState, Properties, Tags, tag};

/// What the names of the tags begin with that say what an instance was made with, each followed by the ID of one of its
/// attachments: EC2 forgets what was attached once it is detached.
pub(super) const ATTACHMENT_TAG: &str = "muster.attachment.";

/// What EC2 says of an instance's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
    /// A word that we don't know.
    Unknown,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) id: InstanceId,
    /// The account that it is in.
    pub(super) account: Option<String>,
    pub(super) life: Life,
    /// Whether it is a spot instance: one that was stopped may be started by its request.
    pub(super) is_spot: bool,
    /// All its tags, those for people and for ourselves among them.
    pub(super) tags: Tags,
    /// Its network interfaces by their number on the machine.
    pub(super) interfaces: Vec<(u32, String)>,
    /// Its volumes, and whether each would be deleted with it.
    pub(super) volumes: Vec<(String, bool)>,
    pub(super) made_ms: u64,
    address: Option<IpAddr>,
    shown: Vec<(&'static str, String)>,
}

impl Life {
    fn read(word: &str) -> Self {
        match word {
            "pending" => Self::Pending,
            "running" => Self::Running,
            "shutting-down" => Self::ShuttingDown,
            "terminated" => Self::Terminated,
            "stopping" => Self::Stopping,
            "stopped" => Self::Stopped,
            _ => Self::Unknown,
        }
    }

    /// Whether it has ended for good, or will shortly.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Terminated | Self::ShuttingDown)
    }
}

impl Machine {
    /// All instances of a page's reservations.
    pub(super) fn read_all(reservations: &[Node]) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for reservation in reservations {
            for instance in reservation.items("instancesSet") {
                all.push(Self {
                    account: owner(reservation),
                    ..Self::read(instance)?
                });
            }
        }
        // The same instance on two pages would look like two of one operation.
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all.dedup_by(|one, other| one.id == other.id);
        Ok(all)
    }

    /// One instance. What says less than which one it is is no list to be trusted.
    pub(super) fn read(node: &Node) -> Result<Self, String> {
        let id = node.text("instanceId").unwrap_or_default();
        let id = id
            .parse()
            .map_err(|_| "it lists an instance without an ID".to_owned())?;
        let tags = node
            .items("tagSet")
            .filter_map(|one| Some((one.text("key")?, one.value("value").unwrap_or_default())));
        let interfaces = node.items("networkInterfaceSet").filter_map(|one| {
            let number = one.text("attachment/deviceIndex")?.parse().ok()?;
            Some((number, one.text("networkInterfaceId")?.to_owned()))
        });
        let volumes = node.items("blockDeviceMapping").filter_map(|one| {
            let volume = one.text("ebs/volumeId")?.to_owned();
            Some((volume, one.is_true("ebs/deleteOnTermination")))
        });
        let words = [
            ("zone", "placement/availabilityZone"),
            ("type", "instanceType"),
            ("image", "imageId"),
            ("subnet", "subnetId"),
            ("public_address", "ipAddress"),
            ("reason", "stateReason/message"),
        ];
        let shown = words
            .into_iter()
            .filter_map(|(name, path)| Some((name, node.text(path)?.to_owned())));
        Ok(Self {
            id,
            account: None,
            life: Life::read(node.text("instanceState/name").unwrap_or_default()),
            is_spot: node.text("instanceLifecycle") == Some("spot"),
            tags: tags.collect(),
            interfaces: interfaces.collect(),
            volumes: volumes.collect(),
            made_ms: node
                .text("launchTime")
                .and_then(clock::parse_ms)
                .unwrap_or(0),
            address: node
                .text("privateIpAddress")
                .and_then(|address| address.parse().ok()),
            shown: shown.collect(),
        })
    }

    /// Whether muster made it.
    pub(super) fn is_ours(&self) -> bool {
        self.tags.get(tag::OPERATION).is_some()
    }

    /// What it was made with, whether it holds it now or not.
    pub(super) fn made_with(&self) -> Vec<Attachment> {
        let named = self.tags.iter().filter_map(|(name, kind)| {
            let id = name.strip_prefix(ATTACHMENT_TAG)?;
            Some(Attachment::new(id, kind))
        });
        named.collect()
    }

    /// As provisioners say it; `addresses` are the elastic ones that it has.
    pub(super) fn into_instance(self, addresses: &[String]) -> Instance {
        let holds = |one: &Attachment| {
            self.volumes.iter().any(|(id, _)| *id == one.id)
                || self.interfaces.iter().any(|(_, id)| *id == one.id)
                || addresses.contains(&one.id)
        };
        let attachments = self.made_with().into_iter().filter(holds).collect();
        let (state, why) = self.state();
        let mut properties = Properties::new();
        for (name, value) in &self.shown {
            properties.set(*name, value.as_str());
        }
        if self.is_spot {
            properties.set("lifecycle", "spot");
        }
        if let Some(why) = why {
            properties.set("why", why);
        }
        let plain =
            |(name, _): &(&str, &str)| !name.starts_with(ATTACHMENT_TAG) && *name != NAME_TAG;
        Instance {
            tags: self.tags.iter().filter(plain).collect(),
            id: self.id,
            state,
            address: self.address,
            properties,
            created_at_ms: self.made_ms,
            attachments,
        }
    }

    fn state(&self) -> (InstanceState, Option<&'static str>) {
        match self.life {
            Life::Pending => (InstanceState::Starting, None),
            Life::Running => (InstanceState::Running, None),
            Life::ShuttingDown | Life::Stopping => (InstanceState::Stopping, None),
            Life::Stopped if self.is_spot => (InstanceState::Unknown, Some(SPOT_STOPPED)),
            Life::Stopped | Life::Terminated => (InstanceState::Stopped, None),
            Life::Unknown => (
                InstanceState::Unknown,
                Some("EC2 says of its state what is not known here"),
            ),
        }
    }
}

/// Why a spot instance that is stopped is not proven off.
pub(super) const SPOT_STOPPED: &str =
    "a spot instance that is stopped may be started again by its request";

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(inner: &str) -> Result<Machine, String> {
        Machine::read(&Node::parse(format!("<item>{inner}</item>").as_bytes()).expect("valid"))
    }

    #[test]
    fn what_is_missing_or_crooked_is_taken_for_unknown() {
        let bare = machine("<instanceId>i-1</instanceId>").expect("named");
        assert_eq!(bare.life, Life::Unknown);
        let instance = bare.into_instance(&[]);
        assert_eq!(
            (instance.state, instance.address),
            (InstanceState::Unknown, None)
        );
        assert!(instance.properties.get("why").is_some());
        assert!(machine("<instanceState><name>running</name></instanceState>").is_err());
        assert!(machine("<instanceId>i 1</instanceId>").is_err());
        let crooked = machine(
            "<instanceId>i-1</instanceId><privateIpAddress>home</privateIpAddress><launchTime>soon</launchTime>\
             <tagSet><item><value>x</value></item><item><key>a</key></item></tagSet>",
        );
        let crooked = crooked.expect("named").into_instance(&[]);
        assert_eq!((crooked.address, crooked.created_at_ms), (None, 0));
        assert_eq!(crooked.tags, Tags::new().with("a", ""));
    }

    #[test]
    fn a_stopped_spot_instance_may_come_back() {
        let spot = "<instanceId>i-1</instanceId><instanceState><name>stopped</name></instanceState>\
                    <instanceLifecycle>spot</instanceLifecycle>";
        let spot = machine(spot).expect("named").into_instance(&[]);
        assert_eq!(spot.state, InstanceState::Unknown);
    }

    #[test]
    fn an_attachment_counts_while_it_is_held() {
        let text = "<instanceId>i-1</instanceId><tagSet>\
            <item><key>muster.attachment.vol-1</key><value>ebs</value></item>\
            <item><key>muster.attachment.vol-2</key><value/></item>\
            <item><key>muster.attachment.eipalloc-1</key><value/></item>\
            <item><key>Name</key><value>db-1</value></item></tagSet>\
            <blockDeviceMapping><item><ebs><volumeId>vol-1</volumeId></ebs></item>\
            <item><ebs><volumeId>vol-3</volumeId><deleteOnTermination>true</deleteOnTermination></ebs></item></blockDeviceMapping>";
        let read = machine(text).expect("named");
        assert_eq!(read.made_with().len(), 3);
        let instance = read.into_instance(&["eipalloc-1".to_owned()]);
        let held = [
            Attachment::new("eipalloc-1", ""),
            Attachment::new("vol-1", "ebs"),
        ];
        assert_eq!(instance.attachments, held);
        assert_eq!(instance.tags, Tags::new());
    }
}
