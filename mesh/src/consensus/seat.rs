//! Seats in the coordinators' council, and positions in their log.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::raft::{LogId, StoredMembership};
use crate::identity::{MachineId, Peer};

/// A place among the coordinators: what votes are counted by.
///
/// A seat is taken from a counter in the replicated state when a machine becomes a candidate, and is never used
/// again: a machine that lost its store and kept its seat could vote twice in one term. Seat numbers grow, so a
/// number below one that is known and not among the members has been removed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Seat(pub u64);

impl Seat {
    /// The seat of the first coordinator of a new log.
    pub const FIRST: Self = Self(1);
}

impl From<u64> for Seat {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which machine sits on a seat, and where it was reachable when it took it.
///
/// The address is a hint for machines that know nothing better; who has the membership's current address of
/// `machine` should use that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SeatNode {
    /// The machine whose certificate may speak for the seat.
    pub machine: MachineId,
    /// Its address when it took the seat.
    pub addr: SocketAddr,
}

impl From<SeatNode> for Peer {
    fn from(node: SeatNode) -> Self {
        Self {
            machine: node.machine,
            addr: node.addr,
        }
    }
}

/// Which log this is. A log that was seeded anew after most coordinators were lost for good has the next higher
/// generation; entries and votes of different generations are never mixed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct LogGeneration(pub u64);

impl LogGeneration {
    /// The generation of a mesh's first log.
    pub const FIRST: Self = Self(1);
}

impl fmt::Display for LogGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A committed entry's position: the state after applying it is the same wherever the position is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct At {
    /// The term in which it was proposed.
    pub term: u64,
    /// The seat that proposed it.
    pub leader: Seat,
    /// Its place in the log, from 0 without gaps.
    pub index: u64,
}

impl From<LogId> for At {
    fn from(id: LogId) -> Self {
        Self {
            term: id.leader_id.term,
            leader: id.leader_id.node_id,
            index: id.index,
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (term {})", self.index, self.term)
    }
}

/// Who sits where, as of one entry of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seats {
    /// Seats whose votes count. While [`Self::changing`], those of the old and the new set together.
    pub voters: BTreeMap<Seat, SeatNode>,
    /// Seats that receive the log and do not vote (yet).
    pub learners: BTreeMap<Seat, SeatNode>,
    /// The voter set to come, while a change from one set to another has not ended.
    pub changing: Option<Vec<Seat>>,
    /// The entry that said so; `None` before the first.
    pub index: Option<u64>,
}

impl Seats {
    /// The machine on `seat`, voter or learner.
    pub fn get(&self, seat: Seat) -> Option<SeatNode> {
        self.voters
            .get(&seat)
            .or_else(|| self.learners.get(&seat))
            .copied()
    }

    /// The seat of `machine`, if it has one; a voter's seat before a learner's.
    pub fn of(&self, machine: MachineId) -> Option<Seat> {
        self.voters
            .iter()
            .chain(&self.learners)
            .find(|(_, node)| node.machine == machine)
            .map(|(seat, _)| *seat)
    }

    /// All seats with their machines, voters first.
    pub fn iter(&self) -> impl Iterator<Item = (Seat, SeatNode)> + '_ {
        self.voters
            .iter()
            .chain(&self.learners)
            .map(|(seat, node)| (*seat, *node))
    }

    /// The highest seat number among them.
    pub fn highest(&self) -> Option<Seat> {
        self.iter().map(|(seat, _)| seat).max()
    }
}

impl From<&StoredMembership> for Seats {
    fn from(stored: &StoredMembership) -> Self {
        let membership = stored.membership();
        let node = |seat: &Seat| membership.get_node(seat).and_then(|node| node.0);
        let configs = membership.get_joint_config();
        Self {
            voters: membership
                .voter_ids()
                .filter_map(|seat| Some((seat, node(&seat)?)))
                .collect(),
            learners: membership
                .learner_ids()
                .filter_map(|seat| Some((seat, node(&seat)?)))
                .collect(),
            changing: match configs.as_slice() {
                [_, .., goal] => Some(goal.iter().copied().collect()),
                _ => None,
            },
            index: stored.log_id().map(|id| id.index),
        }
    }
}
