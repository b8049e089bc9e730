//! The fleet state itself: plain data, in order.

use std::collections::{BTreeMap, VecDeque};

use muster_mesh::consensus::Seat;
use muster_mesh::identity::{ClusterId, MachineId};
use muster_provisioners::Table;
use serde::{Deserialize, Serialize};

use super::OperationId;
use super::decision::{Cause, Decision, DecisionId, Outcome, Subject, Would};
use super::demand::{Cordon, Demand, DemandId};
use super::diagnosis::Diagnosis;
use super::event::Event;
use super::group::Group;
use super::intent::Intent;
use super::machine::Machine;
use super::names::{GroupId, MachineName};
use super::orphan::Orphan;
use super::pause::{Pause, PauseKey};
use super::pool::Pools;
use super::quarantine::Quarantine;
use super::recovery::Recovered;
use super::rule::is_outdated;
use super::text::Text;
use super::token::{Operator, Token, TokenId};

/// The replicated state of the fleet. The default is the state before the first command.
///
/// Fields are readable by the crate for queries; only [`apply_envelope`](Self::apply_envelope) changes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetState {
    /// Which fleet; `None` until it is founded.
    pub cluster: Option<Cluster>,
    /// The leaders' clocks made monotonic, in milliseconds since 1970.
    pub clock_ms: u64,
    /// The highest term of the log that a command came from.
    pub term: u64,
    /// How many orders and admissions there have been; machine IDs follow from it.
    pub sequence: u64,
    /// The groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// The roster: the machines that should exist.
    pub machines: BTreeMap<MachineId, Machine>,
    /// Intents: all open ones, and the last ones that ended.
    pub intents: BTreeMap<OperationId, Intent>,
    /// The last decisions, oldest first.
    pub decisions: VecDeque<Decision>,
    /// The number that the next decision gets.
    pub next_decision: DecisionId,
    /// What stands on record about machines and groups: the last decision that is not over.
    pub concerns: BTreeMap<Subject, Concern>,
    /// What people approved and is not done yet.
    pub approvals: BTreeMap<MachineId, Approval>,
    /// Orders by hand: all that stand or are under way, and the last that ended.
    pub demands: BTreeMap<DemandId, Demand>,
    /// The number of the last order by hand.
    pub last_demand: DemandId,
    /// Machines that are cordoned.
    pub cordons: BTreeMap<MachineId, Cordon>,
    /// The last events, oldest first.
    pub events: VecDeque<Event>,
    /// The number that the next event gets.
    pub next_event: u64,
    /// Join tokens made by people.
    pub tokens: BTreeMap<TokenId, Token>,
    /// Operators, revoked ones included until their certificates end.
    pub operators: BTreeMap<MachineName, Operator>,
    /// Machines whose certificates are refused, with since when, in milliseconds since 1970.
    pub revoked: BTreeMap<MachineId, u64>,
    /// Coordinators' seats.
    pub seats: BTreeMap<Seat, MachineId>,
    /// The last seat that was given out.
    pub last_seat: Seat,
    /// The last order by which the log was founded anew without most of the roster.
    pub recovered: Option<Recovered>,
    /// Instances that carry our tags and that nobody runs on, by provisioner and ID.
    pub orphans: Vec<Orphan>,
    /// Hardware in quarantine, the oldest first.
    pub quarantine: Vec<Quarantine>,
    /// What is left of the fleet's heal budget and of the zones'.
    pub pools: Pools,
    /// Pauses in effect, and expired ones until the next change.
    pub pauses: BTreeMap<PauseKey, Pause>,
    /// What provisioners have to remember, by their names.
    pub ledgers: BTreeMap<String, Table>,
}

/// Which fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The mesh's ID.
    pub id: ClusterId,
    /// Its name, for people.
    pub name: Text,
    /// The cluster CA's certificate (DER).
    pub ca_der: Vec<u8>,
    /// When it was founded, in milliseconds since 1970.
    pub founded_ms: u64,
}

/// What stands on record about a machine or a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concern {
    /// The decision that says so.
    pub decision: DecisionId,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// When it was put on record in these words, in milliseconds since 1970.
    pub recorded_ms: u64,
    /// Why there was anything to decide.
    pub cause: Cause,
    /// What was decided.
    pub outcome: Outcome,
}

impl Concern {
    /// Whether a hold by the same rule is to be put on record anew: it says something else, and what it said has run out
    /// or has stood for long enough.
    pub fn is_outdated(&self, outcome: &Outcome, now_ms: u64) -> bool {
        let (
            Outcome::Hold {
                rule: old,
                detail: said,
                until_ms: until,
            },
            Outcome::Hold {
                rule: new,
                detail: says,
                until_ms: then,
            },
        ) = (&self.outcome, outcome)
        else {
            return false;
        };
        let ran_out = until.is_some_and(|until_ms| until_ms <= now_ms);
        old == new
            && (said, until) != (says, then)
            && (ran_out || is_outdated(self.since_ms, self.recorded_ms, now_ms))
    }
}

/// A person's word that a decision may be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Which decision.
    pub decision: DecisionId,
    /// What had been found; `None` where no diagnosis was the cause.
    pub diagnosis: Option<Diagnosis>,
    /// What may be done.
    pub would: Would,
    /// Who, as far as known.
    pub by: Option<Text>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Approval {
    /// Why it is not good for something else; `None` where it is for exactly this: the same is to be done, for the same
    /// diagnosis.
    pub fn is_not_for(&self, diagnosis: Option<Diagnosis>, would: Would) -> Option<String> {
        if (self.diagnosis, self.would) == (diagnosis, would) {
            return None;
        }
        let found = |diagnosis: Option<Diagnosis>| {
            diagnosis.map_or_else(String::new, |found| format!(" as {found}"))
        };
        Some(format!(
            "the approval of decision {} was to {}{}, not to {}{}",
            self.decision,
            self.would.of_it(),
            found(self.diagnosis),
            would.of_it(),
            found(diagnosis),
        ))
    }
}
