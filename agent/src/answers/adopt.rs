//! Taking over a fleet that InfraKit runs: its instances become a group's machines as they are.
//!
//! InfraKit's group controller keeps no record but tags: the group, the logical ID, and a hash of what the instance was made
//! from. The same are enough here. First each instance is given this fleet's tags, so that its provisioner lists it among ours;
//! then the group goes on record, together with them. Broken off in between, it is begun again.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_provisioners::infrakit::{config_hash, marks};
use muster_provisioners::{Deadline, Instance as Listed, InstanceId, Provisioner, Tags, tag};

use super::desk::Desk;
use super::order::{actor, commit};
use super::specs;
use crate::api::types::{AdoptRequest, ApplyRequest, Done};
use crate::api::{ApiError, Caller, ErrorKind};
use crate::fleet::{Adopt, Allocation, Command, GroupSpec, Instance, MachineName, Member, count};
use crate::spec::Registries;
use crate::spec::infrakit::export;

/// How long a provisioner may take for all of it.
const WITHIN: Duration = Duration::from_secs(10);

/// Machines that an answer names.
const NAMED_MAX: usize = 20;

/// Takes over all instances of a group.
pub(super) async fn adopt<D: Desk>(
    desk: &D,
    registries: &Registries,
    caller: &Caller,
    request: AdoptRequest,
) -> Result<Done, ApiError> {
    let AdoptRequest { spec, dry_run } = request;
    let checked = ApplyRequest {
        specs: vec![spec.clone()],
        dry_run,
        expected: BTreeMap::new(),
    };
    specs::check(&checked, registries)?;
    let (by, cluster, is_declared) = desk.snapshot(|snapshot| {
        let cluster = snapshot
            .state
            .cluster
            .as_ref()
            .map(|cluster| cluster.id.to_string());
        let is_declared = snapshot.state.groups.contains_key(&spec.id);
        (
            actor(snapshot, caller),
            cluster.unwrap_or_default(),
            is_declared,
        )
    });
    if is_declared {
        let message = format!("group {} is declared already", spec.id);
        return Err(ApiError::refused(message)
            .remedy("only a new group can begin with instances that are there"));
    }
    let name = &spec.instance.provisioner;
    let provisioner = desk.provisioner(name).ok_or_else(|| {
        ApiError::refused(format!("the leader has no provisioner `{name}`")).remedy(format!(
            "configure it on every machine that may coordinate: [provisioners.{name}]"
        ))
    })?;
    let deadline = Deadline::after(WITHIN);
    let filter = Tags::new().with(marks::GROUP, export::id(&spec));
    let listed = provisioner.describe(&filter, deadline).await;
    let listed = listed.map_err(|error| unasked(&error))?;
    let members = claim(&spec, &listed, &cluster)?;
    let detail = told(&spec, &members, dry_run);
    if dry_run {
        return Ok(Done { detail });
    }
    take_over(&*provisioner, &spec, &members, &cluster, deadline).await?;
    let instance = |listed: &Listed| Instance {
        provisioner: name.clone(),
        id: listed.id.clone(),
        properties: listed.properties.clone(),
    };
    let instances = members
        .iter()
        .map(|(member, listed)| (member.clone(), instance(listed)));
    let command = Command::Adopt(Box::new(Adopt {
        instances: instances.collect(),
        spec,
    }));
    commit(desk, by, command).await?;
    Ok(Done { detail })
}

/// Gives the instances the tags by which they are found among the fleet's own from now on.
async fn take_over(
    provisioner: &dyn Provisioner,
    spec: &GroupSpec,
    members: &[(Member, &Listed)],
    cluster: &str,
    deadline: Deadline,
) -> Result<(), ApiError> {
    for (member, listed) in members {
        let tags = Tags::new()
            .with(tag::CLUSTER, cluster)
            .with(tag::GROUP, spec.id.as_str())
            .with(tag::MEMBER, member.to_string());
        let adopted = provisioner.adopt(&listed.id, &tags, deadline).await;
        adopted.map_err(|error| unasked(&error))?;
    }
    check_taken(provisioner, spec, members, cluster, deadline).await
}

/// By these tags alone the instances are found from now on: one that did not keep them would look gone.
async fn check_taken(
    provisioner: &dyn Provisioner,
    spec: &GroupSpec,
    members: &[(Member, &Listed)],
    cluster: &str,
    deadline: Deadline,
) -> Result<(), ApiError> {
    let ours = Tags::new()
        .with(tag::CLUSTER, cluster)
        .with(tag::GROUP, spec.id.as_str());
    let listed = provisioner.describe(&ours, deadline).await;
    let listed = listed.map_err(|error| unasked(&error))?;
    let is_listed = |id: &InstanceId| listed.iter().any(|listed| listed.id == *id);
    match members.iter().find(|(_, member)| !is_listed(&member.id)) {
        None => Ok(()),
        Some((_, missing)) => {
            let message = format!("{} does not show the tags that it was given", missing.id);
            Err(ApiError::refused(message).remedy(
                "try again once the plugin lists them; one that keeps no tags can't be adopted from",
            ))
        }
    }
}

fn unasked(error: &muster_provisioners::ProvisionError) -> ApiError {
    ApiError::new(ErrorKind::Refused, format!("nothing was adopted: {error}"))
        .remedy("mend that, and say it again: what has its tags already stays as it is")
}

/// Which instance becomes which member. Pure.
///
/// # Errors
/// Why they can't be the group's.
fn claim<'a>(
    spec: &GroupSpec,
    listed: &'a [Listed],
    cluster: &str,
) -> Result<Vec<(Member, &'a Listed)>, ApiError> {
    let group = export::id(spec);
    if listed.is_empty() {
        let message = format!("no instance has the tag {} = {group}", marks::GROUP);
        return Err(
            ApiError::refused(message).remedy("apply the group, if there is nothing to take over")
        );
    }
    if listed.len() > spec.desired() {
        let message = format!(
            "there are {} of it, and the spec wants {}",
            count(listed.len(), "instance"),
            spec.desired()
        );
        return Err(
            ApiError::refused(message).remedy("declare as many as there are; scale it afterwards")
        );
    }
    let wanted = config_hash(&export::instance(spec), &export::flavor(spec));
    let mut members = Vec::new();
    for (instance, number) in listed.iter().zip(1..) {
        if let Some(other) = instance
            .tags
            .get(tag::CLUSTER)
            .filter(|other| *other != cluster)
        {
            let message = format!("instance {} belongs to another fleet, {other}", instance.id);
            return Err(ApiError::refused(message).remedy("free the group there first"));
        }
        let hash = instance.tags.get(marks::CONFIG_HASH);
        if hash != Some(&wanted) {
            let message = format!(
                "instance {} was made from another configuration: its hash is {}, and the spec's is {wanted}",
                instance.id,
                hash.unwrap_or("not there")
            );
            return Err(ApiError::refused(message).remedy(
                "give the spec that InfraKit runs, and change it once the group is adopted",
            ));
        }
        let member = match &spec.allocation {
            Allocation::Cattle { .. } => Member::Cattle(number),
            Allocation::Pets { members } => Member::Pet(pet(spec, members.keys(), instance)?),
        };
        members.push((member, instance));
    }
    Ok(members)
}

/// The pet that an instance is, by its logical ID.
fn pet<'a>(
    spec: &GroupSpec,
    mut names: impl Iterator<Item = &'a MachineName>,
    instance: &Listed,
) -> Result<MachineName, ApiError> {
    let id = instance.tags.get(marks::LOGICAL_ID);
    let of = |name: &&MachineName| Some(export::logical_id(spec, name).as_str()) == id;
    names.find(of).cloned().ok_or_else(|| {
        let id = id.unwrap_or("none");
        let message = format!(
            "instance {} has the logical ID {id}, which is none of the spec's",
            instance.id
        );
        ApiError::refused(message)
            .remedy("list it among the LogicalIDs, or destroy it with InfraKit")
    })
}

fn told(spec: &GroupSpec, members: &[(Member, &Listed)], dry_run: bool) -> String {
    let mut names: Vec<_> = members
        .iter()
        .take(NAMED_MAX)
        .map(|(member, listed)| format!("{} is {}", member.machine_name(&spec.id), listed.id))
        .collect();
    if members.len() > NAMED_MAX {
        names.push(format!("and {} more", members.len() - NAMED_MAX));
    }
    let (what, names) = (count(members.len(), "instance"), names.join(", "));
    if dry_run {
        format!("group {} would begin with {what}: {names}", spec.id)
    } else {
        format!(
            "group {} begins with {what}, which go on as they are: {names}",
            spec.id
        )
    }
}

#[cfg(test)]
mod tests;
