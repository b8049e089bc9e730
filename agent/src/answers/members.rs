//! The mesh as this machine sees it.

use muster_mesh::identity::MachineId;

use super::rows::{as_of, mesh_condition, natural};
use super::snapshot::Snapshot;
use crate::api::types::{Listed, MemberRow};
use crate::node::world::Seen;

/// All members that this machine knows of, itself included, by name.
pub(super) fn members(snapshot: &Snapshot<'_>) -> Listed<MemberRow> {
    let mut items: Vec<_> = snapshot
        .world
        .members
        .iter()
        .map(|(id, seen)| member_row(snapshot, *id, seen))
        .collect();
    items.sort_by_cached_key(|row| {
        let unnamed = row.name.is_none();
        let name = row.name.as_deref().map(natural);
        (unnamed, name, row.machine_id)
    });
    Listed {
        as_of: snapshot.as_of(),
        items,
    }
}

/// The row of one member. Round-trip times are the transport's to know, and come in later.
pub(super) fn member_row(snapshot: &Snapshot<'_>, id: MachineId, seen: &Seen) -> MemberRow {
    let said = seen.said.as_ref();
    let condition = mesh_condition(snapshot, seen);
    MemberRow {
        name: snapshot
            .name_on_roster(id)
            .or_else(|| said.map(|said| said.name.clone())),
        machine_id: id,
        address: seen.addr,
        status: condition.state,
        since_ms: condition.since_ms,
        generation: seen.generation.0,
        version: said.map(|said| said.version.clone()),
        coordinator: snapshot.coordinates(id),
        rtt_ms: None,
        labels: said.map(|said| said.labels.clone()).unwrap_or_default(),
        as_of_ms: as_of(snapshot, seen, condition.state),
    }
}
