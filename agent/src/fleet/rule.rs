//! The rules that every decision passes through, in their order.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::limits::HOLD_RENEWED_MS_MIN;
use super::text::Text;
use super::turn::Turn;

/// A rule that can stop an action. The order of the variants is the order of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The diagnosis is one that may lead to this action. *Slow is not dead.*
    Evidence,
    /// There is a rung of the ladder for this diagnosis that provisioner and flavor can do.
    Ladder,
    /// Nobody paused the group or the fleet.
    Paused,
    /// Nobody cordoned the machine.
    Cordoned,
    /// The group's mode lets us act.
    Mode,
    /// A quorum of coordinators, and more than half of the roster, stand behind the leader.
    Quorum,
    /// Leadership and membership have stood still for a moment.
    Settled,
    /// The machine has had the time it may take after its boot or a change.
    Grace,
    /// Earlier tries did not fail just now.
    Backoff,
    /// The group's budget has something left.
    Budget,
    /// The failures are not one event with one cause.
    Correlation,
    /// The workload can do without the machine, as far as its flavor knows.
    WorkloadQuorum,
    /// The machine is not the last good one of its group.
    LastGoodReplica,
    /// A pet's old machine is off, or can be made so provably.
    Fence,
}

impl Rule {
    /// All rules, in their order.
    pub const ORDER: [Self; 14] = [
        Self::Evidence,
        Self::Ladder,
        Self::Paused,
        Self::Cordoned,
        Self::Mode,
        Self::Quorum,
        Self::Settled,
        Self::Grace,
        Self::Backoff,
        Self::Budget,
        Self::Correlation,
        Self::WorkloadQuorum,
        Self::LastGoodReplica,
        Self::Fence,
    ];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Ladder => "ladder",
            Self::Paused => "paused",
            Self::Cordoned => "cordoned",
            Self::Mode => "mode",
            Self::Quorum => "quorum",
            Self::Settled => "settled",
            Self::Grace => "grace",
            Self::Backoff => "backoff",
            Self::Budget => "budget",
            Self::Correlation => "correlation",
            Self::WorkloadQuorum => "workload-quorum",
            Self::LastGoodReplica => "last-good-replica",
            Self::Fence => "fence",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whether the words of a hold have stood for so long that others may take their place: after a while, and again
/// whenever it has lasted twice as long. So what stands on record is never far from the truth, and the log does not grow
/// with mere waiting.
pub(super) fn is_outdated(since_ms: u64, recorded_ms: u64, now_ms: u64) -> bool {
    let lasted_ms = recorded_ms.saturating_sub(since_ms);
    let stood_ms = now_ms.saturating_sub(recorded_ms);
    stood_ms >= lasted_ms.max(HOLD_RENEWED_MS_MIN)
}

/// What a rule said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Pass,
    /// Don't.
    Hold,
    /// Don't; but a person typed the rule's name to have it done all the same.
    Forced,
}

/// What a rule said about one decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The rule.
    pub rule: Rule,
    /// What it said.
    pub verdict: Verdict,
    /// By how much, in plain words with numbers.
    pub margin: Text,
    /// Until when it will go on holding if nothing else changes, in milliseconds since 1970; `None` where time alone
    /// changes nothing. The words say no remaining time, which would be wrong a moment later.
    pub until_ms: Option<u64>,
    /// What alone would have turned it; `None` where nothing that the rule looks at would have.
    pub turn: Option<Turn>,
}

impl Check {
    /// The rule lets it pass.
    pub fn pass(rule: Rule, margin: impl Into<Text>) -> Self {
        Self {
            rule,
            verdict: Verdict::Pass,
            margin: margin.into(),
            until_ms: None,
            turn: None,
        }
    }

    /// The rule forbids it.
    pub fn hold(rule: Rule, margin: impl Into<Text>) -> Self {
        Self {
            rule,
            verdict: Verdict::Hold,
            margin: margin.into(),
            until_ms: None,
            turn: None,
        }
    }

    /// Whether the rule forbids it.
    pub fn holds(&self) -> bool {
        self.verdict == Verdict::Hold
    }
}
