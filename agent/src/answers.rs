//! # From state to answers
//!
//! Everything between what people ask ([`api`](crate::api)) and what this machine knows: its copy of the fleet state
//! ([`fleet`](crate::fleet)) and its picture of the mesh ([`World`](crate::node::world::World)).
//!
//! - [`Snapshot`] is all that an answer is made from. Each kind of answer has a file of its own with pure functions
//!   of a snapshot: the same snapshot gives the same answer, and no snapshot, however odd, makes one panic.
//! - [`Desk`] is what the node lends: snapshots, a way into the log, a way to the leader.
//! - [`Answers`] puts the two together as the API's [`Backend`](crate::api::Backend). Reads are answered from the
//!   snapshot, on any machine and whoever leads; writes are made into commands where the leader runs, and forwarded
//!   to it from everywhere else.

mod access;
mod adopt;
mod backend;
mod census;
mod coordinators;
mod decisions;
mod desk;
mod events;
mod explain;
mod figures;
mod follow;
mod group;
mod hand;
mod health;
mod intents;
mod issue;
mod last_words;
mod machine;
mod members;
mod order;
mod otherwise;
mod plan;
mod quarantine;
mod refused;
mod remedy;
mod report;
mod rows;
mod snapshot;
mod specs;
mod status;

#[cfg(test)]
mod tests;

pub use backend::Answers;
pub use desk::{Desk, Heard, LocalEvent};
pub use explain::explain;
pub use figures::figures;
pub use snapshot::{QuorumView, Seat, SeatsView, Snapshot};
pub use status::status;
