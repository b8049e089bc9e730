//! What a rule says, and until when.

use crate::fleet::{Check, Rule, Text, Turn};

/// What a rule says, and until when it will go on saying so if nothing else changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// What it says.
    pub check: Check,
    /// When to ask again, in milliseconds since 1970; `None` when only news can change it.
    pub until_ms: Option<u64>,
}

impl Gate {
    pub(super) fn pass(rule: Rule, margin: impl Into<Text>) -> Self {
        Self {
            check: Check::pass(rule, margin),
            until_ms: None,
        }
    }

    pub(super) fn hold(rule: Rule, margin: impl Into<Text>) -> Self {
        Self {
            check: Check::hold(rule, margin),
            until_ms: None,
        }
    }

    /// It holds until then.
    pub(super) fn hold_until(rule: Rule, margin: impl Into<Text>, until_ms: u64) -> Self {
        let mut gate = Self::hold_and_look(rule, margin, until_ms);
        gate.check.until_ms = Some(until_ms);
        gate
    }

    /// What would have turned it.
    pub(super) fn turned_by(mut self, turn: Turn) -> Self {
        self.check.turn = Some(turn);
        self
    }

    /// It may hold for longer than that, but is to be asked again then.
    pub(super) fn hold_and_look(rule: Rule, margin: impl Into<Text>, at_ms: u64) -> Self {
        Self {
            check: Check::hold(rule, margin),
            until_ms: Some(at_ms),
        }
    }
}
