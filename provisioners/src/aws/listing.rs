//! What there is: all instances of a cluster, with what is attached to them and what the provider announced.

use std::collections::BTreeMap;

use super::AwsProvisioner;
use super::machine::{ATTACHMENT_TAG, Life, Machine};
use super::notice::Notice;
use super::query::Query;
use super::xml::Node;
use crate::{Deadline, Instance, InstanceId, ProvisionError, Tags, tag};

/// Values that one filter may have.
const FILTER_VALUES_MAX: usize = 200;

/// What may be announced to a machine.
const EVENTS: [&str; 5] = [
    "instance-reboot",
    "instance-retirement",
    "instance-stop",
    "system-maintenance",
    "system-reboot",
];

/// The tags that EC2 is asked to look for: simple texts. The rest of a filter is looked at here.
const ASKED_FOR: [&str; 2] = [tag::CLUSTER, tag::OPERATION];

impl AwsProvisioner {
    /// All that muster made and that hasn't ended, with all tags of the filter.
    pub(super) async fn list(
        &self,
        filter: &Tags,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, ProvisionError> {
        let mut query = Query::look("DescribeInstances", "listing the instances")
            .filter(
                "instance-state-name",
                &["pending", "running", "shutting-down", "stopping", "stopped"],
            )
            .filter("tag-key", &[tag::OPERATION]);
        for name in ASKED_FOR {
            if let Some(value) = filter.get(name) {
                query = query.filter(&format!("tag:{name}"), &[value]);
            }
        }
        let mut machines = self.machines(&query, deadline).await?;
        machines.retain(|machine| {
            machine.is_ours() && machine.life != Life::Terminated && machine.tags.matches(filter)
        });
        let (addresses, notices) = futures::join!(
            self.addresses(&machines, deadline),
            self.notices(&machines, deadline)
        );
        let addresses = addresses?;
        let none = Vec::new();
        let instances = machines.into_iter().map(|machine| {
            let id = machine.id.clone();
            let mut instance = machine.into_instance(addresses.get(&id).unwrap_or(&none));
            if let Some(notice) = notices.get(&id) {
                instance.properties.set("notice", notice.to_string());
            }
            instance
        });
        Ok(instances.collect())
    }

    /// All instances that a query finds, in the order of their IDs.
    pub(super) async fn machines(
        &self,
        query: &Query,
        deadline: Deadline,
    ) -> Result<Vec<Machine>, ProvisionError> {
        let reservations = self.ec2().list(query, "reservationSet", deadline).await?;
        let machines = Machine::read_all(&reservations)
            .map_err(|why| ProvisionError::unavailable(format!("{}: {why}", query.what)))?;
        self.note(&machines);
        Ok(machines)
    }

    /// The elastic addresses of the machines that were made with one: of those, instances don't tell.
    async fn addresses(
        &self,
        machines: &[Machine],
        deadline: Deadline,
    ) -> Result<BTreeMap<InstanceId, Vec<String>>, ProvisionError> {
        let wanted: Vec<&str> = machines
            .iter()
            .flat_map(|machine| machine.tags.iter())
            .filter_map(|(name, _)| name.strip_prefix(ATTACHMENT_TAG))
            .filter(|id| id.starts_with("eipalloc-"))
            .collect();
        let mut held: BTreeMap<InstanceId, Vec<String>> = BTreeMap::new();
        for some in wanted.chunks(FILTER_VALUES_MAX) {
            let query = Query::look("DescribeAddresses", "looking at the addresses")
                .filter("allocation-id", some);
            let answer = self.ec2().ask(&query, deadline).await?;
            for address in answer.items("addressesSet") {
                let by = address.text("instanceId").and_then(|by| by.parse().ok());
                if let (Some(by), Some(id)) = (by, address.text("allocationId")) {
                    held.entry(by).or_default().push(id.to_owned());
                }
            }
        }
        Ok(held)
    }

    /// The next thing that the provider is going to do to each machine. That it can't be asked is no reason not to list them.
    async fn notices(
        &self,
        machines: &[Machine],
        deadline: Deadline,
    ) -> BTreeMap<InstanceId, Notice> {
        if machines.is_empty() {
            return BTreeMap::new();
        }
        let query = Query::look("DescribeInstanceStatus", "looking for scheduled events")
            .filter("event.code", &EVENTS);
        let listed = self.ec2().list(&query, "instanceStatusSet", deadline).await;
        let statuses = match listed {
            Ok(statuses) => statuses,
            Err(failure) => {
                tracing::debug!(error = %ProvisionError::from(failure), "scheduled events are not known");
                return BTreeMap::new();
            }
        };
        let mut notices: BTreeMap<InstanceId, Notice> = BTreeMap::new();
        for status in &statuses {
            let next = status.items("eventsSet").filter_map(event).min();
            let id = status.text("instanceId").and_then(|id| id.parse().ok());
            if let (Some(id), Some(next)) = (id, next) {
                notices.insert(id, next);
            }
        }
        notices
    }
}

/// An event that is still to come.
fn event(node: &Node) -> Option<Notice> {
    let description = node.text("description").unwrap_or_default();
    if description.starts_with("[Completed]") || description.starts_with("[Canceled]") {
        return None;
    }
    Some(Notice::scheduled(
        node.text("code")?,
        node.text("notBefore"),
    ))
}
