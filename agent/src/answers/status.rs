//! The fleet at a glance.

use std::collections::BTreeSet;

use muster_mesh::identity::{ClusterId, MachineId};

use super::census::Census;
use super::group::{fleet_holds, group_rows};
use super::rows::{by_name, condition, machine_row};
use super::snapshot::Snapshot;
use crate::api::types::{ClusterInfo, MachineState, MemberCounts, OrphanRow, Status};
use crate::api::{ApiError, ErrorKind};

/// The whole fleet: what `muster status` shows.
///
/// # Errors
/// `unavailable` while this machine's copy of the state is still empty.
pub fn status(snapshot: &Snapshot<'_>) -> Result<Status, ApiError> {
    let mut machines: Vec<_> = snapshot
        .state
        .machines
        .values()
        .map(|machine| machine_row(snapshot, machine))
        .collect();
    by_name(&mut machines);
    Ok(Status {
        cluster: cluster(snapshot)?,
        as_of: snapshot.as_of(),
        leader: snapshot.leader.map(|leader| snapshot.name_of(leader)),
        coordinators: coordinators(snapshot),
        quorum: snapshot.quorum.ok,
        members: member_counts(snapshot),
        holds: fleet_holds(snapshot),
        groups: group_rows(snapshot, &Census::of(snapshot)),
        machines,
        orphans: orphans(snapshot, |_| true),
        quarantine: super::quarantine::rows(snapshot, |_| true),
        orders: super::hand::open(snapshot),
    })
}

/// The instances that nobody runs on, of the groups that are wanted.
pub(super) fn orphans(
    snapshot: &Snapshot<'_>,
    of: impl Fn(Option<&str>) -> bool,
) -> Vec<OrphanRow> {
    let orphans = snapshot.state.orphans.iter();
    let wanted = orphans.filter(|orphan| of(orphan.group.as_deref()));
    wanted
        .map(|orphan| OrphanRow {
            id: orphan.id.to_string(),
            provisioner: orphan.provisioner.clone(),
            group: orphan.group.clone(),
            op: orphan.op.as_ref().map(ToString::to_string),
            since_ms: orphan.since_ms,
        })
        .collect()
}

/// Which cluster this is.
pub(super) fn cluster(snapshot: &Snapshot<'_>) -> Result<ClusterInfo, ApiError> {
    let cluster = snapshot.state.cluster.as_ref().ok_or_else(not_yet)?;
    Ok(ClusterInfo {
        id: cluster.id,
        name: cluster.name.to_string(),
    })
}

/// The cluster's ID.
pub(super) fn cluster_id(snapshot: &Snapshot<'_>) -> Result<ClusterId, ApiError> {
    cluster(snapshot).map(|cluster| cluster.id)
}

fn not_yet() -> ApiError {
    ApiError::new(
        ErrorKind::Unavailable,
        "this machine has no copy of the fleet state yet",
    )
    .remedy("try again in a moment; if that doesn't help, `muster members` shows whom it can reach")
}

fn coordinators(snapshot: &Snapshot<'_>) -> Vec<String> {
    let names: BTreeSet<_> = snapshot
        .seats
        .voters
        .iter()
        .map(|seat| super::rows::natural(&snapshot.name_of(seat.machine)))
        .collect();
    names.into_iter().map(|(_, _, name)| name).collect()
}

/// Members by condition: everyone on the roster who has joined once, and strangers who answer. Machines that are no
/// longer on the roster and don't answer are history, which the mesh only remembers for a while.
pub(super) fn member_counts(snapshot: &Snapshot<'_>) -> MemberCounts {
    let mut counts = MemberCounts::default();
    let roster = &snapshot.state.machines;
    for (id, machine) in roster {
        match condition(snapshot, machine).state {
            MachineState::Provisioning | MachineState::Adopted => {}
            // Being destroyed is the fleet's doing; the mesh may still hear from it.
            MachineState::Destroying => count_member(&mut counts, snapshot, *id),
            state => count(&mut counts, state),
        }
    }
    for id in snapshot.world.members.keys() {
        if !roster.contains_key(id) && snapshot.world.is_active(*id) {
            count_member(&mut counts, snapshot, *id);
        }
    }
    counts
}

fn count_member(counts: &mut MemberCounts, snapshot: &Snapshot<'_>, id: MachineId) {
    if let Some(seen) = snapshot.world.members.get(&id) {
        count(counts, super::rows::mesh_condition(snapshot, seen).state);
    }
}

fn count(counts: &mut MemberCounts, state: MachineState) {
    let of_this_state = match state {
        MachineState::Alive => &mut counts.alive,
        MachineState::Suspect => &mut counts.suspect,
        MachineState::Down => &mut counts.down,
        MachineState::Left => &mut counts.left,
        MachineState::Provisioning | MachineState::Adopted | MachineState::Destroying => return,
    };
    *of_this_state += 1;
}
