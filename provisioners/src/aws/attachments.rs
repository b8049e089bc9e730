//! What outlives an instance: volumes, elastic addresses and network interfaces, which a pet's successor takes over.
//!
//! EC2 attaches all of them to a machine that runs already. So the machine's first boot waits for its volumes
//! (`user_data.rs`), and nothing is taken from a holder that isn't proven off. Nothing is ever torn off: `Force` is not used.

use std::time::Duration;

use super::AwsProvisioner;
use super::machine::Machine;
use super::properties::is_id;
use super::query::Query;
use super::xml::Node;
use crate::{Attachment, Deadline, InstanceId, Problem, ProvisionError};

/// EC2 recommends these names for what is added to a machine.
const DEVICES: &str = "fghijklmnop";
/// Interfaces that are added; small types take 2 in all, and EC2 says so.
const INTERFACES_MAX: usize = 7;
/// The pauses between two looks at something that changes.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(200);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(3);

/// One attachment that a machine is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// An EBS volume, and the name that it is attached by.
    Volume { id: String, device: String },
    /// An elastic address.
    Address { id: String },
    /// A network interface, and its number on the machine.
    Interface { id: String, number: usize },
}

/// Who holds an attachment.
enum Holding {
    Free,
    /// It is being attached or detached.
    Moving,
    Held {
        by: InstanceId,
        /// By what the holding is ended, where it has an ID of its own.
        handle: Option<String>,
    },
}

/// An attachment as it is now.
struct Sight {
    holding: Holding,
    zone: Option<String>,
}

impl Wanted {
    /// Reads the attachments of a spec. Pure. Each is always called the same on its machine, in whatever order they stand; and
    /// addresses come first, while there is only one interface to give them to.
    pub(super) fn read(attachments: &[Attachment]) -> Result<Vec<Self>, Vec<Problem>> {
        let (mut wanted, mut problems) = (Vec::new(), Vec::new());
        let (mut devices, mut interfaces) = (DEVICES.chars(), 0);
        let mut sorted: Vec<_> = attachments.iter().collect();
        sorted.sort_by(|one, other| one.id.cmp(&other.id));
        for one in sorted {
            let id = one.id.clone();
            let known = wanted.iter().any(|other: &Self| other.id() == id);
            let read = match one.kind.as_str() {
                _ if known => None,
                "" | "ebs" if is_id(&id, "vol-") => devices.next().map(|letter| Self::Volume {
                    id,
                    device: format!("/dev/sd{letter}"),
                }),
                "" | "address" if is_id(&id, "eipalloc-") => Some(Self::Address { id }),
                "" | "interface" if is_id(&id, "eni-") && interfaces < INTERFACES_MAX => {
                    interfaces += 1;
                    Some(Self::Interface {
                        id,
                        number: interfaces,
                    })
                }
                _ => None,
            };
            match read {
                Some(read) => wanted.push(read),
                None => problems.push(unfit(one)),
            }
        }
        if problems.is_empty() {
            Ok(wanted)
        } else {
            Err(problems)
        }
    }

    /// The provider's name for it.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Volume { id, .. } | Self::Address { id } | Self::Interface { id, .. } => id,
        }
    }
}

fn unfit(one: &Attachment) -> Problem {
    let shown: String = one.id.chars().take(64).collect();
    let kind: String = one.kind.chars().take(32).collect();
    let remedy = format!(
        "write each once: up to {} volumes (vol-…, kind `ebs`), elastic addresses (eipalloc-…, `address`), up to {INTERFACES_MAX} \
         network interfaces (eni-…, `interface`)",
        DEVICES.len()
    );
    Problem::new(
        "attachments",
        format!("`{shown}` of kind `{kind}` can't be attached"),
        remedy,
    )
}

impl AwsProvisioner {
    /// The zone that attachments bind a machine to, after a look that nobody else holds them. Changes nothing.
    pub(super) async fn look_free(
        &self,
        wanted: &[Wanted],
        deadline: Deadline,
    ) -> Result<Option<String>, ProvisionError> {
        let mut zone: Option<String> = None;
        for one in wanted {
            let sight = self.sight(one, deadline).await?;
            if let Holding::Held { by, .. } = &sight.holding {
                self.proven_off(one, by, deadline).await?;
            }
            match (&zone, sight.zone) {
                (Some(zone), Some(other)) if *zone != other => {
                    let reason = format!(
                        "`{}` is in {other}, and another attachment in {zone}",
                        one.id()
                    );
                    let remedy = "a machine stands in one zone: move one of them there";
                    return Err(ProvisionError::Invalid(vec![Problem::new(
                        "attachments",
                        reason,
                        remedy,
                    )]));
                }
                (None, other) => zone = other,
                _ => {}
            }
        }
        Ok(zone)
    }

    /// Attaches what a machine is to have, and waits until it has it.
    ///
    /// Once something was changed, as `begun` says, every error is [`ProvisionError::Timeout`]: no other may be told of what is
    /// done in part. The same call goes on with it.
    pub(super) async fn take_all(
        &self,
        machine: &InstanceId,
        wanted: &[Wanted],
        begun: &mut bool,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        for one in wanted {
            let taken = self.take(machine, one, begun, deadline).await;
            let what = || format!("attaching {} to {machine}", one.id());
            taken.map_err(|error| {
                if *begun {
                    in_part(what(), error)
                } else {
                    error
                }
            })?;
        }
        Ok(())
    }

    /// Those that a machine does not hold.
    pub(super) async fn not_held_by(
        &self,
        machine: &InstanceId,
        wanted: &[Wanted],
        deadline: Deadline,
    ) -> Result<Vec<Wanted>, ProvisionError> {
        let mut others = Vec::new();
        for one in wanted {
            match self.sight(one, deadline).await?.holding {
                Holding::Held { by, .. } if by == *machine => {}
                _ => others.push(one.clone()),
            }
        }
        Ok(others)
    }

    async fn take(
        &self,
        machine: &InstanceId,
        one: &Wanted,
        begun: &mut bool,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let mut pause = PAUSE_MIN;
        loop {
            match self.sight(one, deadline).await?.holding {
                Holding::Held { by, .. } if by == *machine => return Ok(()),
                Holding::Held { by, handle } => {
                    self.proven_off(one, &by, deadline).await?;
                    self.detach(one, &by, handle.as_deref(), deadline).await?;
                    *begun = true;
                }
                Holding::Free => {
                    self.attach(machine, one, deadline).await?;
                    *begun = true;
                }
                Holding::Moving => {}
            }
            if !deadline.sleep(pause).await {
                return Err(ProvisionError::timeout(format!("attaching {}", one.id())));
            }
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
    }

    /// That the holder of an attachment is off.
    async fn proven_off(
        &self,
        one: &Wanted,
        by: &InstanceId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        if self.proof(by, deadline).await?.is_off() {
            return Ok(());
        }
        Err(ProvisionError::Held {
            attachment: one.id().to_owned(),
            holder: by.clone(),
        })
    }

    async fn sight(&self, one: &Wanted, deadline: Deadline) -> Result<Sight, ProvisionError> {
        let what = format!("looking at {}", one.id());
        let (query, list) = match one {
            Wanted::Volume { id, .. } => (
                Query::look("DescribeVolumes", what).with("VolumeId.1", id),
                "volumeSet",
            ),
            Wanted::Address { id } => (
                Query::look("DescribeAddresses", what).with("AllocationId.1", id),
                "addressesSet",
            ),
            Wanted::Interface { id, .. } => (
                Query::look("DescribeNetworkInterfaces", what).with("NetworkInterfaceId.1", id),
                "networkInterfaceSet",
            ),
        };
        let answer = match self.ec2().ask(&query, deadline).await {
            Err(failure) if failure.is_not_found() => return Err(missing(one)),
            answer => answer?,
        };
        let Some(node) = answer.items(list).next() else {
            return Err(missing(one));
        };
        let holding = match one {
            Wanted::Volume { .. } => of_volume(one, node)?,
            Wanted::Address { .. } => of_address(one, node)?,
            Wanted::Interface { .. } => of_interface(node),
        };
        Ok(Sight {
            holding,
            zone: node.text("availabilityZone").map(str::to_owned),
        })
    }

    async fn attach(
        &self,
        machine: &InstanceId,
        one: &Wanted,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let what = format!("attaching {} to {machine}", one.id());
        let query = match one {
            Wanted::Volume { id, device } => Query::change("AttachVolume", what)
                .with("VolumeId", id)
                .with("InstanceId", machine)
                .with("Device", device),
            Wanted::Address { id } => {
                let query = Query::change("AssociateAddress", what)
                    .with("AllocationId", id)
                    .with("AllowReassociation", "false");
                match self.first_of_many(machine, deadline).await? {
                    Some(interface) => query.with("NetworkInterfaceId", interface),
                    None => query.with("InstanceId", machine),
                }
            }
            Wanted::Interface { id, number } => Query::change("AttachNetworkInterface", what)
                .with("NetworkInterfaceId", id)
                .with("InstanceId", machine)
                .with("DeviceIndex", number),
        };
        match self.ec2().ask(&query, deadline).await {
            Ok(_) => Ok(()),
            // It doesn't run yet, or somebody was faster, or it was done: the next look tells.
            Err(failure) if is_passing(failure.code()) => self.still_there(machine, deadline).await,
            Err(failure) => match failure.into() {
                ProvisionError::Timeout(_) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// The first interface of a machine that has several: an address is then given to that one by name.
    async fn first_of_many(
        &self,
        machine: &InstanceId,
        deadline: Deadline,
    ) -> Result<Option<String>, ProvisionError> {
        let found = self.one(machine, deadline).await?;
        let interfaces = found.map(|machine| machine.interfaces).unwrap_or_default();
        if interfaces.len() < 2 {
            return Ok(None);
        }
        let first = interfaces.into_iter().find(|(number, _)| *number == 0);
        Ok(first.map(|(_, id)| id))
    }

    /// An error if a machine that is waited for has ended.
    async fn still_there(
        &self,
        machine: &InstanceId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        match self.one(machine, deadline).await? {
            Some(Machine { life, .. }) if life.is_over() => Err(ProvisionError::failed(format!(
                "{machine} ended before it had its attachments"
            ))),
            _ => Ok(()),
        }
    }

    async fn detach(
        &self,
        one: &Wanted,
        by: &InstanceId,
        handle: Option<&str>,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let what = format!("detaching {} from {by}", one.id());
        let query = match (one, handle) {
            (Wanted::Volume { id, .. }, _) => Query::change("DetachVolume", what)
                .with("VolumeId", id)
                .with("InstanceId", by),
            (Wanted::Address { .. }, Some(handle)) => {
                Query::change("DisassociateAddress", what).with("AssociationId", handle)
            }
            (Wanted::Interface { .. }, Some(handle)) => {
                Query::change("DetachNetworkInterface", what).with("AttachmentId", handle)
            }
            // EC2 is still about to say how it is held.
            (_, None) => return Ok(()),
        };
        match self.ec2().ask(&query, deadline).await {
            Ok(_) => Ok(()),
            // A holder that was terminated lets go by itself; the next look tells.
            Err(failure) if is_passing(failure.code()) || failure.is_not_found() => Ok(()),
            Err(failure) => match failure.into() {
                ProvisionError::Timeout(_) => Ok(()),
                error => Err(error),
            },
        }
    }
}

/// An error after something was changed: that nothing was done is no longer true, whatever it says.
pub(super) fn in_part(what: String, error: ProvisionError) -> ProvisionError {
    match error {
        ProvisionError::Timeout(_) => error,
        other => ProvisionError::timeout(format!("{what} ({other})")),
    }
}

/// Codes of a state that passes, or of a call that came too late.
fn is_passing(code: &str) -> bool {
    [
        "IncorrectState",
        "IncorrectInstanceState",
        "InvalidInstanceID",
        "InvalidInstanceID.NotFound",
        "InvalidNetworkInterface.InUse",
        "InvalidAttachment.NotFound",
        "Resource.AlreadyAssociated",
        "VolumeInUse",
    ]
    .contains(&code)
}

fn of_volume(one: &Wanted, node: &Node) -> Result<Holding, ProvisionError> {
    let refuse = |reason: String, remedy: &str| {
        Err(ProvisionError::Invalid(vec![Problem::new(
            "attachments",
            reason,
            remedy,
        )]))
    };
    if node.is_true("multiAttachEnabled") {
        let reason = format!("`{}` may be attached to several machines at once", one.id());
        return refuse(
            reason,
            "turn multi-attach off: a pet's volume has one holder",
        );
    }
    let mut held = node
        .items("attachmentSet")
        .filter(|holding| holding.text("status") != Some("detached"));
    let Some(holding) = held.next() else {
        return match node.text("status") {
            Some("available") => Ok(Holding::Free),
            Some("deleting" | "deleted" | "error") => refuse(
                format!("`{}` is deleted or broken", one.id()),
                "name another volume",
            ),
            _ => Ok(Holding::Moving),
        };
    };
    let by = holding.text("instanceId").and_then(|by| by.parse().ok());
    Ok(match (holding.text("status"), by) {
        (Some("attached" | "busy"), Some(by)) => Holding::Held { by, handle: None },
        _ => Holding::Moving,
    })
}

fn of_address(one: &Wanted, node: &Node) -> Result<Holding, ProvisionError> {
    let handle = node.text("associationId").map(str::to_owned);
    match (
        node.text("instanceId").and_then(|by| by.parse().ok()),
        &handle,
    ) {
        (Some(by), _) => Ok(Holding::Held { by, handle }),
        (None, None) => Ok(Holding::Free),
        (None, Some(_)) => Err(ProvisionError::failed(format!(
            "`{}` belongs to a network interface that is no machine's: disassociate it",
            one.id()
        ))),
    }
}

fn of_interface(node: &Node) -> Holding {
    let handle = node.text("attachment/attachmentId").map(str::to_owned);
    let by = node.text("attachment/instanceId");
    match (
        by.and_then(|by| by.parse().ok()),
        node.text("attachment/status"),
        node.text("status"),
    ) {
        (_, Some("attaching" | "detaching"), _) => Holding::Moving,
        (Some(by), _, _) => Holding::Held { by, handle },
        (None, _, Some("available")) => Holding::Free,
        _ => Holding::Moving,
    }
}

fn missing(one: &Wanted) -> ProvisionError {
    ProvisionError::Invalid(vec![Problem::new(
        "attachments",
        format!("there is no `{}` in this region and account", one.id()),
        "make it first: muster moves volumes and addresses, and makes none",
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_in_part_is_never_called_undone() {
        let denied = in_part("attaching v".into(), ProvisionError::denied("no"));
        assert!(denied.is_outcome_unknown());
        assert!(denied.to_string().contains("denied: no"), "{denied}");
        let timeout = ProvisionError::timeout("asking");
        assert_eq!(in_part("attaching v".into(), timeout.clone()), timeout);
    }

    #[test]
    fn kinds_are_told_by_their_ids() {
        let spec = [
            Attachment::new("vol-1", ""),
            Attachment::new("vol-2", "ebs"),
            Attachment::new("eipalloc-1", "address"),
            Attachment::new("eni-1", ""),
        ];
        let wanted = Wanted::read(&spec).expect("fit");
        let (vol, eni) = ("vol-2".to_owned(), "eni-1".to_owned());
        let expected = [
            Wanted::Address {
                id: "eipalloc-1".into(),
            },
            Wanted::Interface { id: eni, number: 1 },
            Wanted::Volume {
                id: "vol-1".into(),
                device: "/dev/sdf".into(),
            },
            Wanted::Volume {
                id: vol,
                device: "/dev/sdg".into(),
            },
        ];
        assert_eq!(wanted, expected);
        let backwards: Vec<_> = spec.into_iter().rev().collect();
        assert_eq!(Wanted::read(&backwards), Ok(expected.to_vec()));
    }

    #[test]
    fn what_can_not_be_attached_is_refused() {
        for unfit in [
            vec![Attachment::new("data", "")],
            vec![Attachment::new("vol-1", "address")],
            vec![Attachment::new("vol-1\u{0}", "")],
            vec![
                Attachment::new("vol-1", ""),
                Attachment::new("vol-1", "ebs"),
            ],
            (0..12)
                .map(|n| Attachment::new(format!("vol-{n}"), ""))
                .collect(),
        ] {
            assert!(Wanted::read(&unfit).is_err(), "{unfit:?}");
        }
    }
}
