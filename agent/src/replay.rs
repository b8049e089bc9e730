//! # Deciding again what was decided
//!
//! A leader records each situation that led to a decision, with the fleet state that it was judged on and what was
//! proposed ([`Recorded`]). [`Recorded::again`] puts both through the decision core once more, which must give the same
//! bytes; [`Recorded::with`] does so under other rules, to answer "what if".
//!
//! This module does no I/O.

mod change;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use change::{Change, ParseChangeError};

use crate::fleet::{Command, FleetState, Outcome, Proposal, Subject};
use crate::heal::{Plan, Situation, decide};

/// The version of the format.
pub const RECORD_VERSION: u16 = 1;

/// What was decided, with everything that it follows from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The agent's version. Another version may have other rules.
    pub agent: String,
    /// What all machines had agreed on.
    pub state: FleetState,
    /// What the leader knew besides.
    pub situation: Situation,
    /// What it proposed, as bytes of commands.
    pub proposed: Vec<u8>,
}

/// Bytes that are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record can't be read: {0}")]
pub struct RecordError(String);

/// The record of a decision as bytes; `None` where nothing was decided. `plan` is as the core made it, without tokens.
pub fn record(state: &FleetState, situation: &Situation, plan: &Plan) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Borrowed<'a> {
        agent: &'a str,
        state: &'a FleetState,
        situation: &'a Situation,
        proposed: Vec<u8>,
    }
    if plan.proposals.is_empty() {
        return None;
    }
    let record = Borrowed {
        agent: env!("CARGO_PKG_VERSION"),
        state,
        situation,
        proposed: bytes(plan),
    };
    // Plain data serializes into memory without errors.
    postcard::to_stdvec(&record).ok()
}

fn bytes(plan: &Plan) -> Vec<u8> {
    let commands = plan.clone().into_commands();
    postcard::to_stdvec(&commands).unwrap_or_default()
}

/// What came of deciding again.
#[derive(Debug, Clone, PartialEq)]
pub struct Again {
    /// Whether it gave the same bytes.
    pub same: bool,
    /// Where it did not, or what other rules change.
    pub differences: Vec<Difference>,
}

/// A machine or group about which something else was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Which.
    pub subject: Subject,
    /// What was decided; `None` for nothing.
    pub was: Option<Outcome>,
    /// What would be.
    pub is: Option<Outcome>,
}

impl Recorded {
    /// Reads [`record`]'s bytes.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        match postcard::take_from_bytes(bytes) {
            Ok((recorded, [])) => Ok(recorded),
            Ok((_, more)) => Err(RecordError(format!("{} bytes too many", more.len()))),
            Err(error) => Err(RecordError(error.to_string())),
        }
    }

    /// What was proposed about machines and groups; nothing where the commands are of another version.
    pub fn proposals(&self) -> Vec<Proposal> {
        let commands: Vec<Command> = postcard::from_bytes(&self.proposed).unwrap_or_default();
        let decided = commands.into_iter().filter_map(|command| match command {
            Command::Decide(proposals) => Some(proposals),
            _ => None,
        });
        decided.flatten().collect()
    }

    /// The name of a machine of that time.
    pub fn name(&self, subject: &Subject) -> String {
        match subject {
            Subject::Group(group) => group.to_string(),
            Subject::Machine(id) => {
                let machine = self.state.machines.get(id);
                machine.map_or_else(|| id.to_string(), |machine| machine.name.to_string())
            }
        }
    }

    /// Decides again, by the same rules.
    pub fn again(&self) -> Again {
        self.with(&[])
    }

    /// Decides again as if the groups' rules had been others.
    pub fn with(&self, changes: &[Change]) -> Again {
        let mut state = self.state.clone();
        for change in changes {
            change.make(&mut state);
        }
        let plan = decide(&state, &self.situation);
        let same = bytes(&plan) == self.proposed;
        let differences = if same {
            Vec::new()
        } else {
            differences(self.proposals(), plan.proposals)
        };
        Again { same, differences }
    }
}

/// What was decided otherwise. Numbers in texts aside, so that a wait of another length is none.
fn differences(was: Vec<Proposal>, is: Vec<Proposal>) -> Vec<Difference> {
    let mut by_subject: BTreeMap<Subject, (Option<Outcome>, Option<Outcome>)> = BTreeMap::new();
    for proposal in was {
        by_subject.entry(proposal.subject).or_default().0 = Some(proposal.outcome);
    }
    for proposal in is {
        by_subject.entry(proposal.subject).or_default().1 = Some(proposal.outcome);
    }
    let like = |one: &Option<Outcome>, two: &Option<Outcome>| match (one, two) {
        (Some(one), Some(two)) => one == two || one.is_like(two),
        (one, two) => one.is_none() && two.is_none(),
    };
    let changed = by_subject
        .into_iter()
        .filter(|(_, (was, is))| !like(was, is));
    changed
        .map(|(subject, (was, is))| Difference { subject, was, is })
        .collect()
}
