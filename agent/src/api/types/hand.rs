//! Orders by hand, and cordons.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AsOf, DecisionRow, IntentRow};

/// What can be asked to have done to one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// Its agent stops its workload and starts it again.
    Restart,
    /// Its provisioner restarts it through its operating system.
    Reboot,
    /// Its provisioner takes its power away and gives it back.
    PowerCycle,
    /// It is drained, and its provisioner writes its system anew.
    Reimage,
    /// Its workload hands over its duties, another machine gets its coordinator's seat, and it stays cordoned.
    Drain,
    /// It is drained and destroyed, and another one is made in its place.
    Replace,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restart => "restart",
            Self::Reboot => "reboot",
            Self::PowerCycle => "power-cycle",
            Self::Reimage => "reimage",
            Self::Drain => "drain",
            Self::Replace => "replace",
        })
    }
}

/// What a person asks to have done to one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskRequest {
    /// The machine's name or its machine ID.
    pub name: String,
    /// What is to be done.
    pub what: Deed,
    /// Why, for those who come later; may be empty.
    #[serde(default)]
    pub reason: String,
    /// For how long it stands while a rule holds it, in milliseconds; 10 min when absent.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// The names of rules that are not to stop it.
    #[serde(default)]
    pub force: Vec<String>,
}

/// How far an order by hand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// A rule holds it.
    Waits,
    /// It is being carried out.
    UnderWay,
    /// It was carried out.
    Done,
    /// It was tried, and failed.
    Failed,
    /// No rule let it pass in time.
    Expired,
    /// Somebody took it back.
    Withdrawn,
    /// Something else was done to the machine first, or it went off the roster.
    Overtaken,
}

impl OrderState {
    /// Whether nothing more will come of it.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Waits | Self::UnderWay)
    }
}

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waits => "waits",
            Self::UnderWay => "under way",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Withdrawn => "taken back",
            Self::Overtaken => "overtaken",
        })
    }
}

/// An order by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    /// Its number; what `cancel` takes.
    pub order: u64,
    /// The machine's name.
    pub machine: String,
    /// Its group.
    pub group: String,
    /// What is to be done: `restart`, `reboot`, `power-cycle`, `reimage`, `drain` or `replace`.
    pub what: String,
    /// Why, in the words of who asked; may be empty.
    pub reason: String,
    /// Who asked, as far as known.
    pub by: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Until when it stands, in milliseconds since 1970.
    pub until_ms: u64,
    /// The rules that are not to stop it.
    pub forced: Vec<String>,
    /// How far it is.
    pub state: OrderState,
    /// The rule that holds it, the step that it is at, or how it ended, in words.
    pub detail: String,
}

/// All about one order by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderDetail {
    /// Who answers, and how old the answer is.
    #[serde(flatten)]
    pub answer: AsOf,
    /// The order.
    pub order: OrderRow,
    /// The last decision about it, with what every rule said; `null` before there is one.
    pub decision: Option<DecisionRow>,
    /// What is being done, or was; `null` before it is.
    pub intent: Option<IntentRow>,
}

/// Why a machine is left to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CordonRow {
    /// Why, in the words of who set it; may be empty.
    pub reason: String,
    /// Who set it, as far as known.
    pub by: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// When its workload handed over its duties, in milliseconds since 1970; `null` if it has not.
    pub drained_ms: Option<u64>,
}
