//! Making an instance, once for each operation.

use std::time::Duration;

use data_encoding::BASE64;

use super::AwsProvisioner;
use super::attachments::{PAUSE_MIN, Wanted};
use super::machine::{ATTACHMENT_TAG, Life, Machine};
use super::properties::{AwsProperties, NAME_TAG, refuse_tag};
use super::query::{Query, owner};
use super::refusal::Failure;
use super::user_data;
use crate::{Deadline, InstanceId, MachineSpec, OperationId, Problem, ProvisionError, Tags, tag};

/// The code for a token that was used with other words before.
const MISMATCH: &str = "IdempotentParameterMismatch";
/// How long the pause between looks for an instance that a list does not show yet may become.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(3);

/// Where an instance may be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Spot {
    subnet: Option<String>,
    zone: Option<String>,
}

impl AwsProvisioner {
    /// Makes the instance of an operation, or finds it, and gives it its attachments.
    pub(super) async fn create(
        &self,
        spec: &MachineSpec,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<InstanceId, ProvisionError> {
        let properties = AwsProperties::read(&spec.properties).map_err(ProvisionError::Invalid)?;
        let wanted = Wanted::read(&spec.attachments).map_err(ProvisionError::Invalid)?;
        check_tags(spec)?;
        let made = self.made(op, deadline).await?;
        let (id, over) = match made {
            Some(machine) => (machine.id, machine.life.is_over()),
            // A token that EC2 remembers gives an instance that may have ended long ago.
            None => self.make(spec, &properties, &wanted, op, deadline).await?,
        };
        if !over {
            self.take_all(&id, &wanted, &mut true, deadline).await?;
        }
        Ok(id)
    }

    /// The instance that an operation made, if it is on the list; one that has ended only where there is no other.
    async fn made(
        &self,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<Option<Machine>, ProvisionError> {
        let query = Query::look("DescribeInstances", "looking for what the operation made")
            .filter(&format!("tag:{}", tag::OPERATION), &[op.as_str()]);
        let mut found = self.machines(&query, deadline).await?;
        found.retain(|machine| machine.tags.get(tag::OPERATION) == Some(op.as_str()));
        found.sort_by_key(|machine| (machine.life == Life::Terminated, machine.made_ms));
        Ok(found.into_iter().next())
    }

    async fn make(
        &self,
        spec: &MachineSpec,
        properties: &AwsProperties,
        wanted: &[Wanted],
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<(InstanceId, bool), ProvisionError> {
        let zone = self.look_free(wanted, deadline).await?;
        let spots = self.spots(spec, properties, zone, op, deadline).await?;
        let query = order(spec, properties, wanted, op)?;
        let mut full = None;
        for spot in spots {
            let query = query
                .clone()
                .maybe("SubnetId", spot.subnet.as_ref())
                .maybe("Placement.AvailabilityZone", spot.zone.as_ref());
            match self.ec2().ask(&query, deadline).await {
                Ok(answer) => {
                    let first = answer.items("instancesSet").next();
                    let made = first.and_then(|instance| Machine::read(instance).ok());
                    let account = owner(&answer);
                    // It was made: only its name is not known.
                    let unknown = || {
                        ProvisionError::timeout(format!(
                            "{}: the answer names no instance",
                            query.what
                        ))
                    };
                    let made = made.ok_or_else(unknown)?;
                    self.note_one(&made.id, account);
                    return Ok((made.id, made.life.is_over()));
                }
                Err(failure) if failure.code() == MISMATCH => {
                    return self.adopt(op, full, failure, deadline).await;
                }
                // Another zone may have room.
                Err(failure) => match (has_no_room(failure.code()), failure.into()) {
                    (true, error) => full = Some(weightier(full, error)),
                    (false, error) => return Err(weightier(full, error)),
                },
            }
        }
        Err(full.unwrap_or_else(|| ProvisionError::failed("there is no place to make it in")))
    }

    /// This operation was carried out by somebody who knew other seeds: what it made will be on the list.
    async fn adopt(
        &self,
        op: &OperationId,
        full: Option<ProvisionError>,
        mismatch: Failure,
        deadline: Deadline,
    ) -> Result<(InstanceId, bool), ProvisionError> {
        // The token may be remembered only from a zone without room.
        if let Some(full) = full {
            return match self.made(op, deadline).await? {
                Some(machine) => Ok((machine.id, machine.life.is_over())),
                None => Err(full),
            };
        }
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(machine) = self.made(op, deadline).await? {
                return Ok((machine.id, machine.life.is_over()));
            }
            if !deadline.sleep(pause).await {
                return Err(match mismatch {
                    Failure::Refused(refusal) => ProvisionError::timeout(refusal.what),
                    Failure::Broken(error) => error,
                });
            }
            pause = (pause * 3 / 2).min(LOOK_PAUSE_MAX);
        }
    }

    /// Where the machine may stand, in the order to be tried: in the zone of its attachments, else in that of its label `zone`,
    /// else anywhere. Which of several comes first differs from operation to operation, so that a group spreads.
    async fn spots(
        &self,
        spec: &MachineSpec,
        properties: &AwsProperties,
        bound: Option<String>,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<Vec<Spot>, ProvisionError> {
        let label = spec.labels.get("zone").cloned();
        let region = self.ec2().region(deadline).await?;
        if let (Some(bound), Some(label)) = (&bound, &label)
            && label.starts_with(region)
            && bound != label
        {
            let reason =
                format!("the attachments are in {bound}, and the machine is to be in {label}");
            let remedy = "place the group where its attachments are";
            return Err(ProvisionError::Invalid(vec![Problem::new(
                "attachments",
                reason,
                remedy,
            )]));
        }
        let zone = bound.or_else(|| label.filter(|zone| zone.starts_with(region)));
        if properties.subnets.is_empty() {
            return Ok(vec![Spot { subnet: None, zone }]);
        }
        let mut subnets = properties.subnets.clone();
        if let Some(zone) = zone {
            let zones = self.zones_of(&subnets, deadline).await?;
            subnets.retain(|subnet| zones.iter().any(|(id, own)| id == subnet && *own == zone));
            if subnets.is_empty() {
                let remedy = "add a subnet of that zone";
                return Err(ProvisionError::Invalid(vec![Problem::new(
                    "subnets",
                    format!("none of them is in {zone}"),
                    remedy,
                )]));
            }
        }
        let first = op.as_str().bytes().map(usize::from).sum::<usize>() % subnets.len();
        subnets.rotate_left(first);
        let spots = subnets.into_iter().map(|subnet| Spot {
            subnet: Some(subnet),
            zone: None,
        });
        Ok(spots.collect())
    }

    /// The zone of each subnet.
    async fn zones_of(
        &self,
        subnets: &[String],
        deadline: Deadline,
    ) -> Result<Vec<(String, String)>, ProvisionError> {
        let query =
            Query::look("DescribeSubnets", "looking at the subnets").list("SubnetId", subnets);
        let answer = self.ec2().ask(&query, deadline).await?;
        let zones = answer.items("subnetSet").filter_map(|subnet| {
            let zone = subnet.text("availabilityZone")?.to_owned();
            Some((subnet.text("subnetId")?.to_owned(), zone))
        });
        Ok(zones.collect())
    }
}

/// Codes that speak of one zone, not of the account.
fn has_no_room(code: &str) -> bool {
    code.starts_with("Insufficient") || matches!(code, "Unsupported" | "SpotMaxPriceTooLow")
}

/// What is told of two zones' refusals: a lack of room passes, whatever another zone says; only that the outcome is unknown
/// counts for more.
fn weightier(before: Option<ProvisionError>, now: ProvisionError) -> ProvisionError {
    match before {
        Some(full @ ProvisionError::Capacity(_)) if !now.is_outcome_unknown() => full,
        _ => now,
    }
}

/// The order, but for where.
fn order(
    spec: &MachineSpec,
    properties: &AwsProperties,
    wanted: &[Wanted],
    op: &OperationId,
) -> Result<Query, ProvisionError> {
    let script = user_data::script(spec, properties, wanted, op)?;
    let template = properties.launch_template.as_ref();
    let named = template.map(|template| {
        let name = if template.name.starts_with("lt-") {
            "LaunchTemplate.LaunchTemplateId"
        } else {
            "LaunchTemplate.LaunchTemplateName"
        };
        (name, template.name.as_str())
    });
    let profile = properties.instance_profile.as_deref();
    let (arn, name) = match profile {
        Some(arn) if arn.starts_with("arn:") => (Some(arn), None),
        name => (None, name),
    };
    let mut query = Query::change("RunInstances", format!("making {}", spec.name))
        .with("MinCount", 1)
        .with("MaxCount", 1)
        .with("ClientToken", op.as_str())
        .maybe("ImageId", properties.image.as_ref())
        .maybe("InstanceType", properties.instance_type.as_ref())
        .maybe("KeyName", properties.key_name.as_ref())
        .maybe("IamInstanceProfile.Arn", arn)
        .maybe("IamInstanceProfile.Name", name)
        .list("SecurityGroupId", &properties.security_groups)
        .with("UserData", BASE64.encode(script.as_bytes()))
        // Without a session's token any program that can be tricked into fetching an address gets the role's credentials.
        .with("MetadataOptions.HttpTokens", "required")
        .with(
            "MetadataOptions.HttpPutResponseHopLimit",
            properties.metadata_hops,
        );
    if let (Some((parameter, name)), Some(template)) = (named, template) {
        query = query
            .with(parameter, name)
            .with("LaunchTemplate.Version", template.version);
    }
    if let Some(spot) = &properties.spot {
        query = query
            .with("InstanceMarketOptions.MarketType", "spot")
            .with(
                "InstanceMarketOptions.SpotOptions.SpotInstanceType",
                "one-time",
            )
            .with(
                "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior",
                "terminate",
            )
            .maybe(
                "InstanceMarketOptions.SpotOptions.MaxPrice",
                spot.max_price.as_ref(),
            );
    }
    if let Some(root) = &properties.root_volume {
        query = query
            .with("BlockDeviceMapping.1.DeviceName", &root.device)
            .maybe("BlockDeviceMapping.1.Ebs.VolumeSize", root.size_gb)
            .maybe("BlockDeviceMapping.1.Ebs.VolumeType", root.kind.as_ref())
            .maybe("BlockDeviceMapping.1.Ebs.Encrypted", root.encrypted);
    }
    query = query.with("TagSpecification.1.ResourceType", "instance");
    for (index, (name, value)) in all_tags(spec, properties, op).iter().enumerate() {
        let prefix = format!("TagSpecification.1.Tag.{}", index + 1);
        query = query
            .with(format!("{prefix}.Key"), name)
            .with(format!("{prefix}.Value"), value);
    }
    Ok(query)
}

fn all_tags(spec: &MachineSpec, properties: &AwsProperties, op: &OperationId) -> Tags {
    let mut tags: Tags = properties
        .tags
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    tags.insert(NAME_TAG, spec.name.as_str());
    for one in &spec.attachments {
        tags.insert(format!("{ATTACHMENT_TAG}{}", one.id), one.kind.as_str());
    }
    tags.extend(spec.tags_for(op).iter());
    tags
}

/// The tags that everything is found again by.
fn check_tags(spec: &MachineSpec) -> Result<(), ProvisionError> {
    let problems: Vec<_> = spec
        .tags
        .iter()
        .filter_map(|(name, value)| {
            let reason = match refuse_tag(name, value) {
                None if name == NAME_TAG || name.starts_with(ATTACHMENT_TAG) => {
                    "muster sets it itself"
                }
                refused => refused?,
            };
            Some(Problem::new(
                format!("tags.{name}"),
                reason,
                "choose another one",
            ))
        })
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ProvisionError::Invalid(problems))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_room_in_one_zone_is_not_forgotten_for_anothers_refusal() {
        let full = || ProvisionError::capacity("a is full");
        let unfit = || ProvisionError::failed("b has no such type");
        assert_eq!(weightier(Some(full()), unfit()), full());
        assert_eq!(weightier(Some(unfit()), full()), full());
        assert_eq!(weightier(None, unfit()), unfit());
        let unknown = ProvisionError::timeout("making i");
        assert_eq!(weightier(Some(full()), unknown.clone()), unknown);
    }
}
