//! Invariant 10: everything has a limit.

use muster_mesh::identity::MachineId;

use super::{Invariant, Sight};
use crate::fleet::limits::{
    DECISIONS_MAX, DEMANDS_ENDED_MAX, DEMANDS_OPEN_MAX, EVENTS_MAX, INTENTS_ENDED_MAX,
    INTENTS_OPEN_MAX, MACHINES_MAX, PROPOSALS_MAX,
};
use crate::fleet::{Demand, DemandState, FleetState};

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
            Sight::Applied { state, .. } => self.sound(state),
            _ => Ok(()),
        }
    }

    fn sound(&self, state: &FleetState) -> Result<(), String> {
        at_most("events", state.events.len(), EVENTS_MAX)?;
        at_most("decisions", state.decisions.len(), DECISIONS_MAX)?;
        at_most("machines", state.machines.len(), MACHINES_MAX)?;
        at_most(
            "intents",
            state.intents.len(),
            INTENTS_OPEN_MAX + INTENTS_ENDED_MAX,
        )?;
        let subjects = state.machines.len() + state.groups.len();
        at_most("concerns", state.concerns.len(), subjects)?;
        let demands = DEMANDS_OPEN_MAX + DEMANDS_ENDED_MAX;
        at_most("orders by hand", state.demands.len(), demands)?;
        at_most("cordons", state.cordons.len(), state.machines.len())?;
        about_somebody(state)
    }
}

/// What people asked for, and what they cordoned, is there.
fn about_somebody(state: &FleetState) -> Result<(), String> {
    let there = |id: &MachineId| state.machines.contains_key(id);
    let lost = |demand: &&Demand| {
        let under_way = matches!(demand.state, DemandState::UnderWay { .. });
        demand.is_open() && !under_way && !there(&demand.machine)
    };
    if let Some(demand) = state.demands.values().find(lost) {
        return Err(format!(
            "something is asked for about {}, who is gone",
            demand.name
        ));
    }
    match state.cordons.keys().find(|id| !there(id)) {
        Some(id) => Err(format!("{id} is cordoned and gone")),
        None => Ok(()),
    }
}

fn at_most(what: &str, count: usize, most: usize) -> Result<(), String> {
    if count <= most {
        Ok(())
    } else {
        Err(format!("{count} {what}, and {most} are the most"))
    }
}
