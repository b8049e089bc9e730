//! What people decide is theirs: nothing is done to what they only want watched, or cordoned, and only what they approved to what
//! they want to be asked about; and what is done by hand was asked for, and is held by every rule that nobody forced.

use muster_mesh::identity::MachineId;

use super::{Invariant, Sight};
use crate::fleet::{
    Action, DemandId, FleetState, HealMode, Outcome, Proposal, Verdict, Would, unforcible,
};

pub(super) struct PeoplePermit;

impl Invariant for PeoplePermit {
    fn title(&self) -> &'static str {
        "people permit it"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Decided {
            state,
            plan,
            left_out: None,
            ..
        } = sight
        else {
            return Ok(());
        };
        for proposal in &plan.proposals {
            let Outcome::Act { action, .. } = &proposal.outcome else {
                continue;
            };
            let treated = action.treats().or(match action {
                Action::Replace { old, .. } | Action::Reimage { old, .. } => Some(*old),
                _ => None,
            });
            match (proposal.cause.demand(), treated) {
                (Some(demand), Some(machine)) => asked_for(state, demand, machine, proposal)?,
                (None, Some(machine)) => permitted(state, machine, *action, proposal)?,
                (_, None) => {}
            }
        }
        Ok(())
    }
}

/// What is done by hand was asked for, about this machine, and stands; and only what may be forced was.
fn asked_for(
    state: &FleetState,
    id: DemandId,
    machine: MachineId,
    proposal: &Proposal,
) -> Result<(), String> {
    let demand = state.demands.get(&id);
    let Some(demand) = demand.filter(|demand| demand.waits() && demand.machine == machine) else {
        return Err(format!(
            "order {id} about {machine} is carried out, and does not stand"
        ));
    };
    let forced = |check: &&crate::fleet::Check| check.verdict == Verdict::Forced;
    for check in proposal.checks.iter().filter(forced) {
        let may = unforcible(check.rule, demand.what).is_none();
        if !may || !demand.forced.contains(&check.rule) {
            return Err(format!(
                "order {id} forces `{}`, which nobody asked for",
                check.rule
            ));
        }
    }
    Ok(())
}

/// What the fleet does by itself is what it may do by itself.
fn permitted(
    state: &FleetState,
    id: MachineId,
    action: Action,
    proposal: &Proposal,
) -> Result<(), String> {
    let machine = state.machines.get(&id);
    let group = machine.and_then(|machine| state.groups.get(machine.group()?));
    let mode = group.map(|group| group.spec.heal.mode);
    let permitted = match mode {
        Some(HealMode::Auto) => true,
        Some(HealMode::Approve) => state.approvals.get(&id).is_some_and(|approval| {
            let would = action.rung().map_or(Would::Replace, Would::Treat);
            approval.would == would && approval.diagnosis == proposal.cause.diagnosis()
        }),
        Some(HealMode::Observe) | None => false,
    };
    if !permitted {
        return Err(format!(
            "{id} is treated without permission: its mode is {mode:?}"
        ));
    }
    if state.cordons.contains_key(&id) {
        return Err(format!("{id} is treated, and is cordoned"));
    }
    Ok(())
}
