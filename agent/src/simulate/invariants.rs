//! What must hold in every history, told from outside: one file for each invariant of the design that a simulation
//! can observe, and for what follows from several of them. The random histories of `heal` are watched by the same.
//!
//! Invariant 9 (*any member answers*) is asked of one machine of a small fleet. Of 10 the bounds are checked;
//! that nothing panics shows by itself. Of 11 it is checked that the log gives the same bytes again.

mod agrees;
mod answers;
mod bounded;
mod budgets;
mod comes_to_rest;
mod explains;
mod gossip;
mod majority;
mod one_action;
mod permission;
mod pets;
mod same_bytes;
mod slow;

use muster_mesh::identity::MachineId;
use serde::Serialize;

use crate::answers::Snapshot;
use crate::api::types::Status;
use crate::fleet::{Envelope, FleetState, Intent, OperationId, Place, Reply, Rule, Step};
use crate::heal::{Plan, Situation};

/// Violations that are kept. The first is what counts; the rest mostly follows from it.
const VIOLATIONS_MAX: usize = 20;

/// Something that is to be judged.
pub(crate) enum Sight<'a> {
    /// A leader has decided.
    Decided {
        /// The state that it decided on.
        state: &'a FleetState,
        /// What it knew.
        situation: &'a Situation,
        /// What it proposes.
        plan: &'a Plan,
        /// The rule that it left out, if it was to.
        left_out: Option<Rule>,
    },
    /// A command was applied.
    Applied {
        /// The state before it, where somebody kept that.
        before: Option<&'a FleetState>,
        /// The state after it.
        state: &'a FleetState,
        /// The command.
        envelope: &'a Envelope,
        /// Its bytes.
        bytes: &'a [u8],
        /// What came of it.
        reply: &'a Reply,
    },
    /// An executor has called the provider.
    Called(&'a Call<'a>),
    /// A machine was asked.
    Answered {
        /// What it answers from.
        snapshot: &'a Snapshot<'a>,
        /// How long ago its copy of the state was complete for sure, in milliseconds.
        age_ms: u64,
        /// What its copy should be, where it follows a leader.
        present: Option<&'a FleetState>,
        /// How long nobody has been able to lead, in milliseconds; `None` while somebody is.
        leaderless_ms: Option<u64>,
    },
    /// It is over, and so long ago the last thing went wrong.
    Ended {
        /// The state at the end.
        state: &'a FleetState,
        /// What is so while nobody can lead; `None` while somebody does.
        leaderless: Option<Leaderless<'a>>,
        /// How long nothing has gone wrong any more and the same has led, or nobody, in milliseconds.
        calm_ms: u64,
        /// Machines of the roster that do not work.
        broken: &'a [MachineId],
        /// When it ended, in milliseconds since 1970.
        now_ms: u64,
    },
}

/// A fleet that nobody leads.
pub(crate) struct Leaderless<'a> {
    /// What a machine says that runs; `None` where none does.
    pub(crate) said: Option<&'a Status>,
    /// The most machines of the roster that somebody hears who could go on with them, and how many there are.
    pub(crate) company: (usize, usize),
}

/// A call to the provider that does something, with what is really so.
pub(crate) struct Call<'a> {
    /// The operation that the call is made for.
    pub(crate) op: &'a OperationId,
    /// The intent as it was when the call was permitted.
    pub(crate) intent: &'a Intent,
    /// The step.
    pub(crate) step: Step,
    /// The machine that the call ends.
    pub(crate) ends: Option<MachineId>,
    /// Whether that machine was taken for dead, and was back, untouched and refused by nobody, when the call was permitted.
    pub(crate) is_back: bool,
    /// What the call makes, with the other machines of that member that run.
    pub(crate) makes: Option<(&'a Place, &'a [MachineId])>,
    /// Whether the operation has made an instance before, and this call made another one.
    pub(crate) made_again: bool,
    /// Machines of the roster that the caller heard when the call was permitted, and how many there were without those that
    /// are gone.
    pub(crate) hears: (usize, usize),
}

/// Something that must hold in every history.
pub(crate) trait Invariant {
    /// It, in a few words.
    fn title(&self) -> &'static str;

    /// Judges what is seen.
    ///
    /// # Errors
    /// How it is broken.
    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String>;

    /// Judges a state by itself, however it came about.
    ///
    /// # Errors
    /// How it is broken.
    fn sound(&self, _: &FleetState) -> Result<(), String> {
        Ok(())
    }
}

/// An invariant that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which.
    pub invariant: String,
    /// When, in milliseconds since the beginning.
    pub at_ms: u64,
    /// How.
    pub what: String,
}

/// All invariants, watching one history.
pub(crate) struct Watch {
    invariants: Vec<Box<dyn Invariant>>,
    /// What was broken so far.
    pub(crate) violations: Vec<Violation>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            invariants: vec![
                Box::new(gossip::GossipNeverDestroys),
                Box::new(majority::AMinorityNeverActs),
                Box::new(one_action::OneFailureOneAction::default()),
                Box::new(pets::TwoCopiesNeverRun),
                Box::new(permission::PeoplePermit),
                Box::new(slow::SlowIsNotDead),
                Box::new(explains::DoubtHoldsLoudly),
                Box::new(agrees::RulesAndStateAgree),
                Box::new(budgets::SpendingIsConserved::default()),
                Box::new(comes_to_rest::LimitsAreRight),
                Box::new(bounded::EverythingIsBounded),
                Box::new(same_bytes::SameBytes::default()),
                Box::new(answers::AnyMemberAnswers),
            ],
            violations: Vec::new(),
        }
    }

    /// Shows something to all of them.
    pub(crate) fn see(&mut self, at_ms: u64, sight: &Sight<'_>) {
        for invariant in &mut self.invariants {
            if let Err(what) = invariant.see(sight)
                && self.violations.len() < VIOLATIONS_MAX
            {
                let invariant = invariant.title().to_owned();
                self.violations.push(Violation {
                    invariant,
                    at_ms,
                    what,
                });
            }
        }
    }

    /// What is wrong with a state by itself, however it came about.
    #[cfg(test)]
    pub(crate) fn unsound(&self, state: &FleetState) -> Option<String> {
        let mut invariants = self.invariants.iter();
        invariants.find_map(|invariant| invariant.sound(state).err())
    }

    /// Something was broken that no invariant here watches.
    pub(crate) fn broken(&mut self, at_ms: u64, invariant: &str, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            let invariant = invariant.to_owned();
            self.violations.push(Violation {
                invariant,
                at_ms,
                what,
            });
        }
    }
}
