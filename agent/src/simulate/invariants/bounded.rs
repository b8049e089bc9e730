//! Invariant 10: everything has a limit.

use super::{Invariant, Sight};
use crate::fleet::limits::{
    DECISIONS_MAX, EVENTS_MAX, INTENTS_ENDED_MAX, INTENTS_OPEN_MAX, MACHINES_MAX, PROPOSALS_MAX,
};

pub(super) struct EverythingIsBounded;

impl Invariant for EverythingIsBounded {
    fn title(&self) -> &'static str {
        "everything is bounded"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Decided { plan, .. } => {
                at_most("proposals", plan.proposals.len(), PROPOSALS_MAX)
            }
            Sight::Applied { state, .. } => {
                at_most("events", state.events.len(), EVENTS_MAX)?;
                at_most("decisions", state.decisions.len(), DECISIONS_MAX)?;
                at_most("machines", state.machines.len(), MACHINES_MAX)?;
                at_most(
                    "intents",
                    state.intents.len(),
                    INTENTS_OPEN_MAX + INTENTS_ENDED_MAX,
                )?;
                let subjects = state.machines.len() + state.groups.len();
                at_most("concerns", state.concerns.len(), subjects)
            }
            _ => Ok(()),
        }
    }
}

fn at_most(what: &str, count: usize, most: usize) -> Result<(), String> {
    if count <= most {
        Ok(())
    } else {
        Err(format!("{count} {what}, and {most} are the most"))
    }
}
