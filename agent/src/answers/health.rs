//! How every machine feels.

use muster_mesh::identity::MachineId;

use super::rows::{as_of, health_level, member_state, natural};
use super::snapshot::Snapshot;
use crate::api::types::{HealthRow, Listed};
use crate::fleet::Workload;
use crate::node::world::Seen;

/// What all members last said of themselves, by name. Of machines that are no longer on the roster only those that
/// still answer.
pub(super) fn health(snapshot: &Snapshot<'_>) -> Listed<HealthRow> {
    let mut items: Vec<_> = snapshot
        .world
        .members
        .iter()
        .filter(|(id, _)| {
            snapshot.state.machines.contains_key(*id) || snapshot.world.is_active(**id)
        })
        .map(|(id, seen)| health_row(snapshot, *id, seen))
        .collect();
    items.sort_by_cached_key(|row| (natural(&row.name), row.machine_id));
    Listed {
        as_of: snapshot.as_of(),
        items,
    }
}

/// What one machine last said of itself.
pub(super) fn health_row(snapshot: &Snapshot<'_>, id: MachineId, seen: &Seen) -> HealthRow {
    let said = seen.said.as_ref();
    let workload = said.and_then(|said| said.workload.as_ref());
    let part = said.and_then(|said| said.part);
    HealthRow {
        name: snapshot.name_of(id),
        machine_id: id,
        health: said.map(|said| health_level(said.health)),
        reasons: said.map(|said| said.reasons.clone()).unwrap_or_default(),
        readings: said
            .map(|said| {
                said.readings
                    .named()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            })
            .unwrap_or_default(),
        workload: match workload {
            Some(Workload::Unleased) => Some("stopped".to_owned()),
            Some(Workload::Failed { detail, .. }) => Some(format!("failed: {detail}")),
            None => part.map(|part| part.to_string()),
        },
        as_of_ms: as_of(snapshot, seen, member_state(seen.status)),
    }
}
