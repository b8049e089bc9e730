//! Pauses: someone said not to act.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::GroupId;
use super::text::Text;

/// What a pause covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseScope {
    /// Everything.
    Fleet,
    /// One group.
    Group(GroupId),
}

impl fmt::Display for PauseScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("the fleet"),
            Self::Group(group) => write!(f, "group {group}"),
        }
    }
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Why, in the words of who set it.
    pub reason: Text,
    /// Who set it, as far as known.
    pub by: Option<Text>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Until when, in milliseconds since 1970; `None` until it is ended by hand.
    pub until_ms: Option<u64>,
}

impl Pause {
    /// Whether it is in effect.
    pub fn is_on(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until_ms| now_ms < until_ms)
    }
}
