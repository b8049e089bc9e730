//! Who stands behind this leader at this moment: asked for each decision, and again before each call that changes
//! anything.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_mesh::clock::Monotonic;
use muster_mesh::consensus::Coordinator;
use muster_mesh::identity::MachineId;
use tokio::sync::Mutex;

use super::authority::Support;
use crate::fleet::{Check, FleetState};
use crate::heal;
use crate::node::authority::Ballot;
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

    /// The term of the log in which it leads.
    pub(super) fn term(&self) -> u64 {
        self.term
    }

    /// What the leader claims to be. Its log is the one that it coordinates: this machine's copy may be of a later one before
    /// the reign is over.
    pub(super) fn ballot(&self) -> Ballot {
        Ballot {
            generation: self.coordinator.generation().0,
            term: self.term,
            leader: self.shared.me,
        }
    }

    /// Asks the roster for its acknowledgement where that is not fresh, then the coordinators. Takes some 5 s at most, and as
    /// long again whenever the roster has shrunk meanwhile. `proven_gone` are the machines that their provisioners prove gone,
    /// with since when by the mesh's steady clock.
    pub(super) async fn authority(&self, proven_gone: BTreeMap<MachineId, u64>) -> heal::Authority {
        self.ask(proven_gone).await.0
    }

    /// [`Self::authority`], with the last entry of the log that was there when the coordinators confirmed this leader.
    async fn ask(&self, proven_gone: BTreeMap<MachineId, u64>) -> (heal::Authority, Option<u64>) {
        let mut electors = self.electors();
        let (acknowledged, contested, confirmed) = loop {
            let (acknowledged, contested) = {
                let mut support = self.support.lock().await;
                let acknowledged = support.gather(&self.shared, self.ballot(), &electors).await;
                (acknowledged, support.is_contested())
            };
            let confirmed = self.coordinator.confirm(CONFIRM_DEADLINE).await.ok();
            // One of those that were asked may have left the roster meanwhile; then another stands in for it.
            let now = self.electors();
            if now.len() >= electors.len() {
                break (acknowledged, contested, confirmed);
            }
            electors = now;
        };
        let world = self.shared.mesh.look();
        let seats = self.shared.replica.seats();
        let voters: Vec<_> = seats.voters.values().map(|node| node.machine).collect();
        let reachable = voters.iter().filter(|machine| world.is_active(**machine));
        let authority = heal::Authority {
            quorum_confirmed: confirmed.is_some(),
            rivalled: acknowledged.is_none(),
            voters: u32::try_from(voters.len()).unwrap_or(u32::MAX),
            voters_reachable: u32::try_from(reachable.count()).unwrap_or(u32::MAX),
            acknowledged: acknowledged.unwrap_or_default(),
            // Whoever has promised a later log may belong to a fleet that replaces ours machine by machine. Then only
            // those count that answer.
            proven_gone: if contested {
                BTreeMap::new()
            } else {
                proven_gone
            },
        };
        (authority, confirmed.map(|confirmed| confirmed.index))
    }

    fn electors(&self) -> BTreeSet<MachineId> {
        let replica = &self.shared.replica;
        replica.read(|state, _| state.electors().map(|machine| machine.id).collect())
    }

    /// Whether this leader may act at this moment. Says the index up to which the log was there when that was confirmed:
    /// whoever acts on what its own copy says has to wait until that has it.
    ///
    /// # Errors
    /// What the rule `quorum` says against it.
    pub(super) async fn permit(&self, proven_gone: BTreeMap<MachineId, u64>) -> Result<u64, Check> {
        let (authority, index) = self.ask(proven_gone).await;
        let now_ms = self.shared.mesh.steady().now_ms();
        let gate = self
            .shared
            .replica
            .read(|state, _| heal::quorum(state, &authority, now_ms).1);
        match index {
            Some(index) if !gate.check.holds() => Ok(index),
            _ => Err(gate.check),
        }
    }
}
