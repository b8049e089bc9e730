//! # Healing: from what was seen to what is done
//!
//! ```text
//! evidence                                  ->  diagnosis
//! diagnosis + fleet state + authority + time ->  decision: an action, or a hold with the rule that stopped it
//! ```
//!
//! This module does no I/O: no runtime, no sockets, no clock, no randomness (a test keeps it so). The same fleet
//! state and the same [`Situation`] give the same decisions, on any machine and in a simulation.

mod board;
mod decide;
mod diagnose;
mod draft;
mod gate;
mod gates;
mod hand;
mod history;
mod housekeeping;
mod ladder;
mod observe;
mod orphans;
mod proof;
mod quorum;
mod recovery;
mod rehearsal;
mod repair;
mod returns;
mod scale;
mod situation;
mod testimony;
pub mod timing;
mod trial;

pub use decide::{Plan, decide, decide_without};
pub use diagnose::{Finding, diagnose, diagnose_all};
pub use gate::Gate;
pub use observe::{Domain, Listing, Proofs, Suspect, choose_witnesses, strangers, suspects};
pub use orphans::OrphanWatch;
pub use quorum::quorum;
pub use rehearsal::{Rehearsal, rehearsable, rehearsed};
pub use returns::{Spared, may_be_spared, spared};
pub use situation::{Authority, MachineEvidence, Situation, Stranger};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
