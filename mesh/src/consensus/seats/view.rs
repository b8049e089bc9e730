//! What a plan depends on, and what comes out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::consensus::seat::Seat;
use crate::identity::MachineId;

/// A machine that belongs to the mesh, whatever its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineView {
    /// Its failure domain; machines without one share a domain.
    pub zone: Option<String>,
    /// Whether the membership takes it for alive.
    pub alive: bool,
    /// For how long it has been alive and well without a break; zero when it is not.
    pub healthy_for: Duration,
    /// It leaves, or is to be removed.
    pub leaving: bool,
    /// It may become a coordinator.
    pub eligible: bool,
    /// A seat number has been given out to it that is not among the members yet.
    pub has_taken_seat: bool,
}

/// A coordinator, as the leader knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatView {
    /// Who sits there.
    pub machine: MachineId,
    /// Whether its vote counts.
    pub is_voter: bool,
    /// For how long it has not answered the leader; zero for the leader itself.
    pub silent_for: Duration,
    /// It lacks nothing of the log, or next to nothing.
    pub is_caught_up: bool,
}

/// All that a plan depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CouncilView {
    /// The seat of the leader, which asks.
    pub leader: Seat,
    /// The machines that belong to the mesh, dead ones included as long as they do. A seat whose machine is not
    /// among them is as good as empty.
    pub machines: BTreeMap<MachineId, MachineView>,
    /// The seats, voters and learners.
    pub seats: BTreeMap<Seat, SeatView>,
    /// A change has not ended.
    pub is_changing: bool,
    /// How many machines the mesh is meant to have. While it has fewer, others are expected to come, and the voters
    /// do not become fewer.
    pub expected: usize,
    /// How many voters an operator wants, as far as there are machines; `None` for what is right for the mesh's size.
    pub wanted: Option<usize>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeatChange {
    /// Give the machine a seat number, have its coordinator started, and add it as a learner.
    AddLearner(MachineId),
    /// Make these the voters.
    SetVoters(BTreeSet<Seat>),
    /// Take the learner's seat away.
    RemoveLearner(Seat),
}

/// One step, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to do.
    pub change: SeatChange,
    /// The rule that asks for it, for people.
    pub why: &'static str,
}
