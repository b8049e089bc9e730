//! Orders by hand: what a person asked to have done to one machine.
//!
//! A demand is no intent. It stands until the leader's rules let it pass, until it is withdrawn, or until its time is
//! up. What passes becomes a decision and an intent like any other; the demand remembers how that ended.

use std::collections::BTreeSet;
use std::fmt;

use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

use super::OperationId;
use super::decision::Would;
use super::names::{GroupId, MachineName};
use super::rule::Rule;
use super::rung::Rung;
use super::text::Text;

/// A demand's number: grows, and is never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct DemandId(pub u64);

impl fmt::Display for DemandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a person asked to have done to one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The machine.
    pub machine: MachineId,
    /// Its name.
    pub name: MachineName,
    /// Its group.
    pub group: GroupId,
    /// What is to be done; never to retire it.
    pub what: Would,
    /// Why, in the words of who asked.
    pub reason: Text,
    /// Who asked, as far as known.
    pub by: Option<Text>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Until when it stands, in milliseconds since 1970.
    pub until_ms: u64,
    /// Rules that are not to stop it.
    pub forced: BTreeSet<Rule>,
    /// Whether it cordoned its machine, and nobody else did: then the cordon goes with it, unless it is done.
    pub cordoned: bool,
    /// How far it is.
    pub state: DemandState,
}

/// How far a demand is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DemandState {
    /// No decision to do it has been committed yet.
    Waits,
    /// It is being done.
    UnderWay {
        /// By this intent.
        op: OperationId,
    },
    /// It is over.
    Ended {
        /// When, in milliseconds since 1970.
        at_ms: u64,
        /// How.
        end: DemandEnd,
    },
}

/// How a demand ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DemandEnd {
    /// It was done.
    Done,
    /// It was tried, and failed.
    Failed {
        /// How.
        error: Text,
    },
    /// No rule let it pass in time.
    Expired,
    /// Somebody took it back.
    Withdrawn,
    /// Something else was done to the machine, or it went off the roster.
    Overtaken,
}

impl Demand {
    /// Whether it waits for the rules, and its time is not up.
    pub fn stands(&self, now_ms: u64) -> bool {
        self.waits() && now_ms < self.until_ms
    }

    /// Whether no decision to do it has been committed, and it is not over.
    pub fn waits(&self) -> bool {
        self.state == DemandState::Waits
    }

    /// Whether it waits or is under way.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, DemandState::Ended { .. })
    }
}

/// Why a rule can't be forced for what is asked; `None` if it can.
pub fn unforcible(rule: Rule, what: Would) -> Option<&'static str> {
    match rule {
        Rule::Quorum => Some("a minority never acts, whoever asks"),
        Rule::Fence => Some("two copies of a pet would run"),
        Rule::Ladder => Some("what its provisioner or flavor can't do, no force can"),
        Rule::Evidence if matches!(what, Would::Replace | Would::Treat(Rung::Reimage)) => Some(
            "it would destroy a machine that somebody still gets an answer from; destroy it at its provider if you are certain",
        ),
        Rule::Mode | Rule::Cordoned | Rule::Grace => Some(
            "it is about what the fleet does by itself, and an order by hand is not asked for it",
        ),
        Rule::Evidence
        | Rule::Paused
        | Rule::Settled
        | Rule::Backoff
        | Rule::Budget
        | Rule::Correlation
        | Rule::WorkloadQuorum
        | Rule::LastGoodReplica => None,
    }
}

/// Why a machine is left alone by automatic healing and given no new duties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// Why, in the words of who set it.
    pub reason: Text,
    /// Who set it, as far as known.
    pub by: Option<Text>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}
