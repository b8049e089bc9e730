//! The coordinators' log: what all machines agree on, in one order.
//!
//! A few machines, the *coordinators*, hold a replicated log of commands (raft: [`Coordinator`]). Every machine,
//! coordinator or not, holds a [`Replica`]: the state that results from applying the log's committed commands, in
//! order, to a [`StateMachine`]. Coordinators get commands from each other; everybody else [follows](follow) the log
//! from any peer that has it.
//!
//! This module does not know what commands mean: they are bytes. Nor does it know the consensus library's types on
//! its surface: [`Coordinator`] is the whole of what a caller sees of it.
//!
//! Invariants:
//!
//! - Only *committed* commands reach a [`Replica`], a follower or a snapshot; a replica never goes backwards in
//!   the same log.
//! - A coordinator's state comes from its own store and its leader only. A follower's copy, which any machine may
//!   have served, is never the base of what a coordinator votes on.
//! - A seat number is never used again, and a machine speaks for its own seat only.
//! - What a coordinator has acknowledged (a vote, an entry) is on disk first.

pub mod coordinator;
pub mod copy;
pub mod follow;
pub mod replica;
pub mod seat;
pub mod seats;

mod image;
mod machine;
mod network;
mod raft;
mod seal;
mod store;
mod wire;

pub use coordinator::{Coordinator, CoordinatorConfig};
pub use image::{DecodeImageError, IMAGE_BYTES_MAX, Image};
pub use network::{CallError, Network};
pub use replica::Replica;
pub use seat::{At, LogGeneration, Seat, SeatNode, Seats};

/// The longest command in bytes that can be proposed (1 MiB).
///
/// An entry must fit one request on the wire (frames are at most 4 MiB) and reach a coordinator within one
/// heartbeat, which at this size takes a link of some 15 Mbit/s. Real commands are a few hundred bytes; a large
/// group specification is tens of kilobytes.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;

/// What the log's commands act on: deterministic, and the same on every machine.
///
/// The default value is the state before the first command.
pub trait StateMachine: Default + Send + 'static {
    /// Applies one committed command and says what came of it.
    ///
    /// The result must depend on the state and the arguments alone: no clock, no randomness, no I/O. A command
    /// that makes no sense (from a newer version, say) is to be answered with a refusal, never with a panic.
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8>;

    /// The whole state as bytes, for machines that start from nothing.
    fn snapshot(&self) -> Vec<u8>;

    /// Takes over the state from [`Self::snapshot`]'s bytes. Called on a default value only.
    ///
    /// # Errors
    /// When the bytes are no snapshot that this version understands.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;
}

/// A snapshot's state could not be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the state in the snapshot cannot be read: {0}")]
pub struct RestoreError(pub String);

#[cfg(test)]
mod tests;
