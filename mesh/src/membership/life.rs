//! A life: one generation of one machine, which is what SWIM calls an identity.

use std::net::SocketAddr;

use crate::identity::{Generation, MachineId, Peer};

/// One life of a machine, as foca's identity.
///
/// Equality looks at machine and generation only: a life's address never changes, and the destination in a header
/// then needs no address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub(super) machine: MachineId,
    pub(super) generation: Generation,
    pub(super) addr: SocketAddr,
}

impl Life {
    pub(super) fn peer(&self) -> Peer {
        Peer {
            machine: self.machine,
            addr: self.addr,
        }
    }
}

impl PartialEq for Life {
    fn eq(&self, other: &Self) -> bool {
        (self.machine, self.generation) == (other.machine, other.generation)
    }
}

impl Eq for Life {}

impl foca::Identity for Life {
    type Addr = MachineId;

    /// Never by itself: a new generation has to be durable before it is used, see `Event::Renew`.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> MachineId {
        self.machine
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}
