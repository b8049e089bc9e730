//! How well healing went: what was done, and what would have been, against what happened.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AsOf, BudgetRow, HealMode};

/// What came of all that was decided about failed machines: the answer to `report`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Who answers, and how old the answer is.
    #[serde(flatten)]
    pub answer: AsOf,
    /// Cases that ended before this time are left out, in milliseconds since 1970.
    pub since_ms: u64,
    /// Before this time cases may be missing, because the fleet remembers only the latest decisions; in milliseconds
    /// since 1970.
    pub complete_since_ms: u64,
    /// All groups together.
    pub fleet: Figures,
    /// Each group, by ID.
    pub groups: Vec<GroupReport>,
    /// How often each rule held, in the rules' order; rules that didn't are left out.
    pub held: Vec<HeldRow>,
    /// Every case, oldest first.
    pub cases: Vec<CaseRow>,
}

/// Cases counted by how they came out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Actions, taken or only said, on machines that had failed.
    pub right: u32,
    /// Actions, taken or only said, on machines that were well again without them.
    pub wrong: u32,
    /// Cases of which too little is known yet.
    pub open: u32,
    /// Machines that had failed, and a rule held all the same.
    pub missed: u32,
    /// Machines that were well again by themselves and escaped an action by one rule.
    pub near_misses: u32,
    /// Machines that were well again by themselves and that no action was near to.
    pub spared: u32,
    /// How many of the actions were right, 0 to 1; `null` where there were none.
    pub precision: Option<f64>,
    /// For how many of the failed machines there was an action, 0 to 1; `null` where none failed.
    pub recall: Option<f64>,
    /// How long healing took.
    pub time_to_heal: TimeToHeal,
}

/// How long it took from the first sign of a failure until what was ordered was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeToHeal {
    /// How many were healed.
    pub count: u32,
    /// Half of them within this time, in milliseconds; `null` where there were none.
    pub p50_ms: Option<u64>,
    /// Nine of ten within this time, in milliseconds.
    pub p90_ms: Option<u64>,
    /// All of them within this time, in milliseconds.
    pub max_ms: Option<u64>,
}

/// One group's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its ID.
    pub id: String,
    /// How far healing may go without a person, today.
    pub heal_mode: HealMode,
    /// Its cases.
    #[serde(flatten)]
    pub figures: Figures,
    /// What healing may still spend.
    pub budget: BudgetRow,
}

/// How often one rule held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRow {
    /// The rule.
    pub rule: String,
    /// How often that was put on record.
    pub times: u32,
    /// How many such holds stand today.
    pub standing: u32,
}

/// One machine's trouble from the first decision to the end, and how what was decided came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseRow {
    /// The decision that the case is judged by: what `explain` takes.
    pub decision: u64,
    /// When it was made, as RFC 3339 text.
    pub at: String,
    /// When it was made, in milliseconds since 1970.
    pub at_ms: u64,
    /// The machine.
    pub machine: String,
    /// Its group.
    pub group: Option<String>,
    /// What was the matter, as the decision saw it.
    pub diagnosis: String,
    /// What was decided: `acted`, `asked`, `observed`, or `held`.
    pub decided: Decided,
    /// What was, or would have been, done; `null` where a rule held.
    pub action: Option<String>,
    /// The rule that held; `null` where none did.
    pub rule: Option<String>,
    /// How that came out.
    pub mark: Mark,
    /// How that is known, in words.
    pub why: String,
}

/// What was decided in a case, at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// To act.
    Acted,
    /// To act if a person approves, who did not.
    Asked,
    /// Only to say so.
    Observed,
    /// Not to act, because a rule held.
    Held,
}

/// How a case came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The machine had failed, and there was an action.
    Right,
    /// The machine was well again without the action.
    Wrong,
    /// Not known yet.
    Open,
    /// The machine had failed, and there was no action.
    Missed,
    /// The machine was well again by itself; one rule stood between it and an action.
    NearMiss,
    /// The machine was well again by itself, and no action was near.
    Spared,
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Acted => "acted",
            Self::Asked => "asked",
            Self::Observed => "observed",
            Self::Held => "held",
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Open => "open",
            Self::Missed => "missed",
            Self::NearMiss => "near miss",
            Self::Spared => "spared",
        })
    }
}
