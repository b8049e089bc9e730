//! Pauses: someone said not to act.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::names::{GroupId, MachineName};
use super::text::Text;

/// What a pause covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseScope {
    /// Everything.
    Fleet,
    /// One group.
    Group(GroupId),
    /// The machines of one zone; and none is made there.
    Zone(String),
    /// One machine, and whatever takes its name.
    Machine(MachineName),
}

impl PauseScope {
    /// Whether it covers something that concerns a group; and, where they are given, a machine of it and a zone.
    pub fn covers(&self, id: &GroupId, machine: Option<&Machine>, zone: Option<&str>) -> bool {
        match self {
            Self::Fleet => true,
            Self::Group(group) => group == id,
            Self::Zone(paused) => {
                let of_machine = machine.and_then(Machine::known_zone);
                zone == Some(paused) || of_machine.is_some_and(|zone| zone == paused)
            }
            Self::Machine(name) => machine.is_some_and(|machine| machine.name == *name),
        }
    }
}

impl fmt::Display for PauseScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("the fleet"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Zone(zone) => write!(f, "zone {zone}"),
            Self::Machine(name) => write!(f, "machine {name}"),
        }
    }
}

/// What tells pauses apart: several may cover the same, under names of their own. One without a name takes the place of
/// the one without a name before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PauseKey {
    /// What it covers.
    pub scope: PauseScope,
    /// Its name, by which it can be ended; in use once in the fleet.
    pub name: Option<MachineName>,
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
