//! Telling this machine's coordinator which of the others the mesh takes for dead, so that a leader's death is
//! noticed sooner than by its silence.

use std::sync::Arc;

use super::shared::Shared;
use crate::fleet::MemberStatus;

/// Watches the coordinators until the agent stops.
///
/// Gossip only hurries an election: the coordinator itself asks the others first whether they miss the leader too.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut world = shared.mesh.world();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = world.changed() => if changed.is_err() { return },
        }
        let Some(coordinator) = shared.council.coordinator() else {
            continue;
        };
        let seen = Arc::clone(&world.borrow_and_update());
        for (seat, node) in coordinator.status().borrow().seats.iter() {
            if matches!(
                seen.status(node.machine),
                Some(MemberStatus::Down | MemberStatus::Left)
            ) {
                coordinator.elect_now(seat);
            }
        }
    }
}
