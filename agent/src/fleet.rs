//! # What all machines agree on
//!
//! [`FleetState`] is the replicated state machine of the fleet: groups and what they should be, the roster of
//! machines, intents, decisions, budgets, tokens, seats. It changes only by [`Command`]s from the coordinators'
//! log, and every machine holds a copy.
//!
//! This module does no I/O: no runtime, no sockets, no clock, no randomness (a test keeps it so). Time comes in
//! with each command's [`Envelope`].
//!
//! Invariants:
//!
//! - `apply` is deterministic and total: the same log gives the same bytes everywhere, and no command can make it
//!   panic.
//! - A refused command changes nothing and says why.
//! - Every invariant is checked again when a command is applied, whoever proposed it: one open intent for a
//!   machine and a member, budgets, authority, single use, unique names and IDs.
//! - Everything is bounded, see [`limits`].

pub mod limits;

mod apply;
mod budget;
mod command;
mod decision;
mod demand;
mod diagnosis;
mod event;
mod evidence;
mod group;
mod ids;
mod intent;
mod lease;
mod machine;
pub(crate) mod names;
mod orphan;
mod pause;
mod pool;
mod quarantine;
mod query;
mod recovery;
mod refusal;
mod reply;
mod rule;
mod rung;
mod snapshot;
pub(crate) mod spec;
mod state;
mod text;
mod token;
mod turn;
mod wire;

pub use budget::Bucket;
pub use command::{
    Admit, Adopt, Ask, COMMAND_VERSION, Command, Envelope, Found, LedgerWrite, Progress, PutAside,
    QuarantineChange, QuarantineListing, SpecChange, StepResult, Undrained,
};
pub use decision::{
    Cause, Decision, DecisionId, Mandate, Order, Outcome, Proposal, Subject, Would,
};
pub use demand::{Cordon, Demand, DemandEnd, DemandId, DemandState, unforcible};
pub use diagnosis::Diagnosis;
pub use event::{Event, EventKind};
pub use evidence::{
    Answer, Evidence, Health, HistoryEvidence, Leaving, MemberEvidence, MemberStatus, Path,
    ProviderEvidence, ProviderWord, RecordEvidence, RosterEvidence, WitnessEvidence, Workload,
};
pub use group::{Backoff, Group};
pub use ids::{machine_id, operation_id};
pub use intent::{Action, Begun, Held, Intent, IntentState, Origin, Step, StepRecord};
pub use lease::{
    DRIFT_PERCENT, Fenced, LEASE_MS_MAX, LEASE_MS_MIN, LeaseTerms, RUN_MS_MIN, STOP_MS, STOP_MS_MIN,
};
pub use machine::{Admission, Instance, Machine, Phase, Place};
pub use muster_provisioners::{Attachment, InstanceId, OperationId, Properties};
pub use names::{GROUP_BYTES_MAX, GroupId, MachineName, Member, NAME_BYTES_MAX, ParseNameError};
pub use orphan::Orphan;
pub use pause::{Pause, PauseKey, PauseScope};
pub use pool::{Limit, Pool, Pools};
pub use quarantine::{FailedOn, ListedHardware, Quarantine};
pub use recovery::{Recovered, Recovery};
pub use refusal::Refusal;
pub use reply::{Admitted, Applied, REPLY_VERSION, Reply};
pub use rule::{Check, Rule, Verdict};
pub use rung::{Rung, Treatment, Treatments};
pub use snapshot::SNAPSHOT_VERSION;
pub use spec::{
    Allocation, BudgetPolicy, FlavorSpec, GroupKind, GroupSpec, HealMode, HealPolicy, InstanceSpec,
    Labels, PetSpec, Placement, SpecRevision, Template, Unreachable,
};
pub use state::{Approval, Cluster, Concern, FleetState};
pub use text::{TEXT_BYTES_MAX, Text, clock_time, count, span};
pub use token::{KeyHash, Operator, SecretHash, Token, TokenId};
pub use turn::{Turn, Wait};
pub use wire::DecodeError;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
