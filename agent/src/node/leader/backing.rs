//! Who stands behind this leader at this moment: asked for each decision, and again before each call that changes
//! anything.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_mesh::clock::{Monotonic, unix_ms};
use muster_mesh::consensus::Coordinator;
use muster_mesh::identity::MachineId;
use tokio::sync::Mutex;

use super::authority::Support;
use crate::fleet::{Check, FleetState};
use crate::heal;
use crate::node::shared::Shared;

/// How long the confirmation by a quorum of coordinators may take.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(2);

/// The standing of one leader in one term.
pub(super) struct Backing {
    shared: Arc<Shared>,
    coordinator: Coordinator<FleetState>,
    term: u64,
    support: Mutex<Support>,
}

impl Backing {
    pub(super) fn new(
        shared: &Arc<Shared>,
        coordinator: Coordinator<FleetState>,
        term: u64,
        clock: Monotonic,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            coordinator,
            term,
            support: Mutex::new(Support::new(clock)),
        }
    }

    /// Asks the roster for its acknowledgement where that is not fresh, then the coordinators. Takes three seconds at
    /// most. `proven_gone` are the machines that their provisioners prove gone, with since when.
    pub(super) async fn authority(&self, proven_gone: BTreeMap<MachineId, u64>) -> heal::Authority {
        let electors: BTreeSet<_> = self
            .shared
            .replica
            .read(|state, _| state.electors().map(|machine| machine.id).collect());
        let (acknowledged, contested) = {
            let mut support = self.support.lock().await;
            let acknowledged = support.gather(&self.shared, self.term, &electors).await;
            (acknowledged, support.is_contested())
        };
        let quorum_confirmed = self.coordinator.confirm(CONFIRM_DEADLINE).await.is_ok();
        let world = self.shared.mesh.look();
        let seats = self.shared.replica.seats();
        let voters: Vec<_> = seats.voters.values().map(|node| node.machine).collect();
        let reachable = voters.iter().filter(|machine| world.is_active(**machine));
        heal::Authority {
            quorum_confirmed,
            voters: u32::try_from(voters.len()).unwrap_or(u32::MAX),
            voters_reachable: u32::try_from(reachable.count()).unwrap_or(u32::MAX),
            acknowledged,
            // Whoever has promised a later log may belong to a fleet that replaces ours machine by machine. Then only
            // those count that answer.
            proven_gone: if contested {
                BTreeMap::new()
            } else {
                proven_gone
            },
        }
    }

    /// Whether this leader may act at this moment.
    ///
    /// # Errors
    /// What the rule `quorum` says against it.
    pub(super) async fn permit(&self, proven_gone: BTreeMap<MachineId, u64>) -> Result<(), Check> {
        let authority = self.authority(proven_gone).await;
        let gate = self
            .shared
            .replica
            .read(|state, _| heal::quorum(state, &authority, unix_ms()).1);
        if gate.check.holds() {
            return Err(gate.check);
        }
        Ok(())
    }
}
