//! Counting machines again that were unaccounted for: once they stand behind the leader of this log.

use std::collections::BTreeSet;

use muster_mesh::identity::MachineId;

use super::authority::ask_one;
use crate::fleet::{Command, FleetState};
use crate::node::propose::propose_in;
use crate::node::shared::Shared;
use crate::node::world::World;

/// Machines asked in one look; the rest have their turn in the next one.
const ASKED_MAX: usize = 16;

/// Has the state count those that are back. Whoever acknowledges a leader of this log helps no leader of an older one any
/// more; that a machine is alive in the mesh does not say that.
pub(super) async fn settle(shared: &Shared, term: u64) {
    let world = shared.mesh.look();
    let back = shared.replica.read(|state, _| back(state, &world));
    for machine in back {
        if !ask_one(shared, term, machine).await {
            continue;
        }
        let command = Command::Account { machine };
        if let Err(error) = propose_in(shared, Some(term), None, command).await {
            tracing::debug!(%machine, %error, "a machine that is back is not counted yet");
            return;
        }
    }
}

/// Machines that nobody can account for.
pub(super) fn unaccounted(state: &FleetState) -> BTreeSet<MachineId> {
    let all = state.machines.values();
    all.filter(|machine| machine.unaccounted_ms.is_some())
        .map(|machine| machine.id)
        .collect()
}

fn back(state: &FleetState, world: &World) -> Vec<MachineId> {
    let all = unaccounted(state).into_iter();
    all.filter(|machine| world.is_active(*machine))
        .take(ASKED_MAX)
        .collect()
}
