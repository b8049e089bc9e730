//! What all tasks of one agent share: handles, no logic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use muster_mesh::consensus::follow::Standing;
use muster_mesh::consensus::{At, Replica};
use muster_mesh::identity::{MachineId, Peer};
use muster_mesh::membership::Hint;
use muster_mesh::pki::Credentials;
use muster_mesh::state_dir::StateDir;
use muster_mesh::transport::Transport;
use muster_provisioners::Provisioners;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clock::FleetClock;
use super::council::Council;
use super::leader::LeaseDesk;
use super::lease::Leased;
use super::local_events::LocalEvents;
use super::mesh::Mesh;
use super::refounding::Refounding;
use super::services::Promised;
use crate::config::AgentConfig;
use crate::fleet::FleetState;
use crate::observe::log::LogHandle;

/// What all tasks of one agent share.
pub(super) struct Shared {
    /// The configuration that it was started with.
    pub config: AgentConfig,
    /// This machine.
    pub me: MachineId,
    /// Its directory.
    pub state_dir: Arc<StateDir>,
    /// Its identity, renewed from time to time.
    pub credentials: watch::Receiver<Arc<Credentials>>,
    /// Its endpoint.
    pub transport: Transport,
    /// The mesh task.
    pub mesh: Mesh,
    /// Its copy of the fleet's state.
    pub replica: Replica<FleetState>,
    /// Its place in the tree in which the log is passed on.
    pub standing: Standing,
    /// Its seat among the coordinators, if it has one.
    pub council: Council,
    /// How far the fleet's log is known to be, by gossip.
    pub hints: watch::Receiver<Option<Hint>>,
    /// What this machine observed.
    pub events: Arc<LocalEvents>,
    /// The provisioners that it can use.
    pub provisioners: Provisioners,
    /// How this machine stands with its lease.
    pub leased: Leased,
    /// Where a leader takes questions for leases.
    pub leases: LeaseDesk,
    /// What time it is by the fleet's clock, while this machine leads.
    pub clock: FleetClock,
    /// What this machine has promised to leaders.
    pub promised: Promised,
    /// What it knows of founding the log anew.
    pub refounding: Refounding,
    /// What is logged.
    pub log: LogHandle,
    /// When this machine's copy of the state was last known to be complete.
    pub complete: Complete,
    /// Asks this machine to leave the mesh for good, then to stop.
    pub leave: CancellationToken,
    /// Ends the agent.
    pub stop: CancellationToken,
}

impl Shared {
    /// This machine and its address.
    pub(super) fn here(&self) -> Peer {
        let addr = self.mesh.look().peer(self.me).map(|peer| peer.addr);
        Peer {
            machine: self.me,
            addr: addr.unwrap_or_else(|| self.transport.local_addr()),
        }
    }

    /// The machine that leads, as far as this one knows: from its own seat, or from who wrote the log's last entry.
    pub(super) fn leader(&self) -> Option<MachineId> {
        if let Some(coordinator) = self.council.coordinator() {
            let status = coordinator.status();
            let leader = status.borrow().leader;
            if let Some(node) = leader.and_then(|leader| leader.node) {
                return Some(node.machine);
            }
        }
        let At { leader, .. } = self.replica.at()?;
        self.replica.seats().get(leader).map(|node| node.machine)
    }

    /// Whether this machine leads.
    pub(super) fn leads(&self) -> bool {
        self.council.coordinator().is_some_and(|coordinator| {
            coordinator.status().borrow().role == muster_mesh::consensus::coordinator::Role::Leader
        })
    }

    /// The present by the fleet's clock, in milliseconds since 1970: what this machine stamps on commands while it leads.
    /// Never behind the state's clock.
    pub(super) fn fleet_now_ms(&self) -> u64 {
        let state_ms = self.replica.read(|state, _| state.clock_ms);
        self.clock.now_ms(state_ms)
    }

    /// When this machine's copy of the state, which reaches to `index`, was last known to be complete, in milliseconds
    /// since 1970.
    pub(super) fn as_of_ms(&self, index: Option<u64>, now_ms: u64) -> u64 {
        if let Some(hint) = *self.hints.borrow()
            && index.is_some_and(|index| index >= hint.index)
        {
            // The leader's clock may be ahead of ours; an answer is never from the future.
            self.complete.note(hint.leader_ms.min(now_ms));
        }
        self.complete.get()
    }

    /// Where to find a machine: as the mesh knows it, else as the roster has it.
    pub(super) fn peer(&self, machine: MachineId) -> Option<Peer> {
        self.mesh.look().peer(machine).or_else(|| {
            let addr = self
                .replica
                .read(|state, _| state.machines.get(&machine)?.addr)?;
            Some(Peer { machine, addr })
        })
    }

    /// A machine's name; its ID while it has none.
    pub(super) fn name(&self, machine: MachineId) -> String {
        self.replica.read(|state, _| {
            let named = state
                .machines
                .get(&machine)
                .map(|machine| machine.name.to_string());
            named.unwrap_or_else(|| machine.to_string())
        })
    }
}

/// When a copy was last known to be complete, in milliseconds since 1970; only grows.
#[derive(Debug, Default)]
pub(super) struct Complete(AtomicU64);

impl Complete {
    /// What was known before the start.
    pub(super) fn since(at_ms: u64) -> Self {
        Self(AtomicU64::new(at_ms))
    }

    fn note(&self, at_ms: u64) {
        self.0.fetch_max(at_ms, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
