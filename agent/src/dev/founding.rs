//! The first machine: made by the same provisioner as all others, with an agent that founds the mesh.

use std::time::Duration;

use muster_flavors::Place;
use muster_mesh::identity::ClusterId;
use muster_provisioners::{
    BootConfig, Deadline, InstanceId, MachineSpec, OperationId, Provisioner, Tags, tag,
};
use rand::TryRng;
use serde_json::json;

use super::root::{FleetRoot, failed};
use super::say::Say;
use crate::cli::failure::Failure;
use crate::fleet::names::Member;
use crate::fleet::spec::{Allocation, GroupSpec};
use crate::spec::{Registries, for_flavor};

/// What people call a `dev` fleet.
const CLUSTER_NAME: &str = "dev";

/// How long making and starting a process may take on a busy computer.
const PROVISION: Duration = Duration::from_secs(30);

/// Makes the first machine of the specs.
pub(super) async fn found(root: &FleetRoot, specs: &[GroupSpec], say: Say) -> Result<(), Failure> {
    let cluster = ClusterId::new(
        rand::rngs::SysRng
            .try_next_u64()
            .map_err(anyhow::Error::new)?
            .max(1),
    )
    .expect("at least one is not zero");
    let (spec, op) = first_machine(specs, cluster)?;
    say.own(
        "founding",
        Some(&spec.name),
        format!("founds mesh `{CLUSTER_NAME}` {cluster}"),
    )?;
    let deadline = Deadline::after(PROVISION);
    let id: InstanceId = root
        .provisioner
        .provision(&spec, &op, deadline)
        .await
        .map_err(failed("making the first machine"))?;
    let machines = root.machines().await?;
    if let Some(machine) = machines.iter().find(|machine| machine.instance.id == id) {
        let detail = format!(
            "process {}, log {}",
            machine.property("pid"),
            machine.property("log")
        );
        say.own("started", Some(&spec.name), detail)?;
    }
    Ok(())
}

/// The first member of the first group that has any, as its group's spec wants it. Pure.
fn first_machine(
    specs: &[GroupSpec],
    cluster: ClusterId,
) -> Result<(MachineSpec, OperationId), Failure> {
    let founder = specs
        .iter()
        .find_map(|group| Some((group, first_member(group)?)));
    let Some((group, member)) = founder else {
        return Err(Failure::usage(
            "these specs have no machine that `muster dev` could begin with",
            "give a group of provisioner `process` a size or members",
        ));
    };
    let name = member.machine_name(&group.id).to_string();
    let (group_id, member_id) = (group.id.to_string(), member.to_string());
    let mut spec = MachineSpec::new(&name, group.instance.properties.clone());
    spec.logical_id = member.is_pet().then(|| member_id.clone());
    spec.labels = group.labels.clone();
    if let Some(zone) = group.placement.zones.first() {
        spec.labels.insert("zone".into(), zone.clone());
    }
    // The fleet finds it by these when it asks its provisioner.
    spec.tags = Tags::new()
        .with(tag::CLUSTER, cluster.to_string())
        .with(tag::GROUP, &group_id)
        .with(tag::MEMBER, &member_id);
    if let (Allocation::Pets { members }, Member::Pet(pet)) = (&group.allocation, &member) {
        spec.attachments = members
            .get(pet)
            .map(|pet| pet.attachments.clone())
            .unwrap_or_default();
    }
    spec.boot = BootConfig {
        group: group_id.clone(),
        member: member_id.clone(),
        ..BootConfig::default()
    };
    spec.boot.settings.set(
        "found",
        json!({ "name": CLUSTER_NAME, "cluster": cluster.to_string(), "pet": member.is_pet() }),
    );
    let spec = prepared(group, spec, &member_id)?;
    let op = OperationId::derive(&cluster.to_string(), &group_id, &member_id, 0, "found");
    Ok((spec, op))
}

fn first_member(group: &GroupSpec) -> Option<Member> {
    if group.instance.provisioner != muster_provisioners::process::NAME {
        return None;
    }
    match &group.allocation {
        Allocation::Cattle { size: 0 } => None,
        Allocation::Cattle { .. } => Some(Member::Cattle(1)),
        Allocation::Pets { members } => members.keys().next().cloned().map(Member::Pet),
    }
}

/// What the group's flavor makes of it.
fn prepared(group: &GroupSpec, spec: MachineSpec, member: &str) -> Result<MachineSpec, Failure> {
    let allocation = for_flavor(&group.allocation);
    let place = Place {
        group: group.id.as_str(),
        member,
        allocation: &allocation,
        peers: &[],
    };
    let refused = |problems: Vec<muster_provisioners::Problem>| {
        let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure::other(format!("preparing the first machine: {}", all.join("; ")))
    };
    let flavor = &group.flavor;
    let built = Registries::builtin()
        .flavors
        .build(&flavor.name, &flavor.properties, &allocation);
    built
        .and_then(|flavor| flavor.prepare(spec, &place))
        .map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::specs::wanted;

    #[test]
    fn the_first_machine_is_a_member_of_its_group_and_founds_the_mesh() {
        let cluster = ClusterId::new(0xbeef).expect("not zero");
        let specs = wanted(&[], None).unwrap_or_else(|error| panic!("{error}"));
        let (spec, op) = first_machine(&specs, cluster).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(spec.name, "web-1");
        assert_eq!(spec.boot.group, "web");
        assert_eq!(spec.tags.get(tag::CLUSTER), Some("000000000000beef"));
        assert_eq!(spec.tags.get(tag::MEMBER), Some(spec.boot.member.as_str()));
        let found = spec.boot.settings.get("found").expect("it founds");
        assert_eq!(found["cluster"], "000000000000beef");
        let again = first_machine(&specs, cluster).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(again.1, op, "the same order has the same name");
    }

    #[test]
    fn a_fleet_of_pets_begins_with_a_pet_and_its_disk() {
        let cluster = ClusterId::new(1).expect("not zero");
        let mut specs = wanted(&[], None).unwrap_or_else(|error| panic!("{error}"));
        specs.remove(0);
        let (spec, _) = first_machine(&specs, cluster).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(
            (spec.name.as_str(), spec.logical_id.as_deref()),
            ("db-1", Some("db-1"))
        );
        assert_eq!(spec.attachments.len(), 1);
    }

    #[test]
    fn without_any_machine_there_is_nothing_to_begin_with() {
        let cluster = ClusterId::new(1).expect("not zero");
        assert!(matches!(
            first_machine(&[], cluster),
            Err(Failure::Usage { .. })
        ));
    }
}
