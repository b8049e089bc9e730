//! Why things were done, and what happened.

use serde::{Deserialize, Serialize};

use super::{AsOf, MachineRow};

/// Why something was done or wasn't: the answer to `explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Who answers, and how old the answer is.
    #[serde(flatten)]
    pub answer: AsOf,
    /// What was asked about.
    pub subject: String,
    /// The sum of it in one or two sentences.
    pub summary: String,
    /// The machine that goes by this name today; `null` for groups, decisions and machines of the past.
    pub machine: Option<MachineRow>,
    /// The decisions that concern it, newest first.
    pub decisions: Vec<DecisionRow>,
    /// The events that concern it, oldest first.
    pub events: Vec<EventRow>,
}

/// One decision, with all it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRow {
    /// Its number: what `explain` and `approve` take.
    pub id: u64,
    /// When, as RFC 3339 text.
    pub at: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The machine that led.
    pub leader: String,
    /// Its term.
    pub term: u64,
    /// The group it is about.
    pub group: Option<String>,
    /// The machine it is about.
    pub machine: Option<String>,
    /// What was made of the evidence, such as `gone` or `unreachable`.
    pub diagnosis: String,
    /// What observers saw.
    pub evidence: Vec<EvidenceRow>,
    /// The rules it passed, in order, and the one that held.
    pub checks: Vec<CheckRow>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What one observer saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRow {
    /// Who: a machine's name, `mesh`, `record` or a provisioner.
    pub source: String,
    /// What.
    pub detail: String,
    /// When, in milliseconds since 1970.
    pub at_ms: Option<u64>,
}

/// One rule, and by how much it was passed or missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRow {
    /// The rule's name.
    pub rule: String,
    /// Passed, or held.
    pub verdict: CheckVerdict,
    /// By what margin, with numbers.
    pub margin: String,
    /// What would have turned the verdict.
    #[serde(default)]
    pub otherwise: String,
}

/// What a rule said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// Nothing against it.
    Pass,
    /// Not now.
    Hold,
    /// Not now; but a person typed the rule's name to have it done all the same.
    Forced,
}

/// What came of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Acted, held, only said so, asks, or says that it is over.
    pub kind: OutcomeKind,
    /// What is done, would be done, or waits for approval, such as `replace web-2 by web-4`.
    pub action: Option<String>,
    /// The operation ID of what was ordered.
    pub op: Option<String>,
    /// The rule that held.
    pub rule: Option<String>,
    /// The rest, in words.
    pub detail: String,
}

/// The sorts of outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// An intent was ordered.
    Act,
    /// A rule stopped it.
    Hold,
    /// The group's mode is `observe`.
    Observe,
    /// The group's mode is `approve`, and nobody has yet.
    AwaitApproval,
    /// What stood on record is over.
    Clear,
}

/// Something that happened: a line of `muster events --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Its place in the order of things; what `after` takes.
    pub seq: u64,
    /// When, as RFC 3339 text.
    pub at: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What sort of thing, such as `machine_joined`.
    pub kind: String,
    /// The machine's name, where one is concerned.
    pub machine: Option<String>,
    /// The group's ID, where one is concerned.
    pub group: Option<String>,
    /// The decision it belongs to.
    pub decision: Option<u64>,
    /// The rest, in words.
    pub detail: String,
}
