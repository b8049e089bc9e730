//! The rules and the state machine agree: what the rules let pass, the state takes. Both look at majorities, budgets, pauses,
//! modes and open intents (invariants 2, 3 and 7), each by itself, so a rule that is broken shows here.

use super::{Invariant, Sight};

pub(super) struct RulesAndStateAgree;

impl Invariant for RulesAndStateAgree {
    fn title(&self) -> &'static str {
        "the rules and the state agree"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Decided { plan, .. } => match plan.refused.first() {
                Some(refusal) => Err(format!(
                    "the rules let it pass, and the state not: {refusal}"
                )),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
