//! Invariant 3: one failure, one action.

use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::identity::MachineId;

use super::{Invariant, Sight};
use crate::fleet::{Command, FleetState, Outcome, Phase, Reply};

/// Remembers which machine was replaced by which.
#[derive(Default)]
pub(super) struct OneFailureOneAction {
    /// The successors that were ordered for a machine and are not known to have failed.
    successors: BTreeMap<MachineId, MachineId>,
    /// The machine IDs and seats that were given out.
    ids: BTreeSet<MachineId>,
    seats: BTreeSet<u64>,
}

impl Invariant for OneFailureOneAction {
    fn title(&self) -> &'static str {
        "one failure, one action"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Applied {
                before,
                state,
                envelope,
                reply,
                ..
            } => {
                if let Some(before) = before {
                    self.new_numbers(before, state)?;
                    self.sound(state)?;
                }
                if let (Command::Decide(proposals), Reply::Decided(results)) =
                    (&envelope.command, reply)
                {
                    for (proposal, result) in proposals.iter().zip(results) {
                        if let (Outcome::Act { action, .. }, Ok(_)) = (&proposal.outcome, result) {
                            self.acts(state, action.removes(), action.makes())?;
                        }
                    }
                    one_intent_for_each(state)?;
                }
                Ok(())
            }
            Sight::Called(call) if call.made_again => {
                Err(format!("{} made a second instance", call.op))
            }
            _ => Ok(()),
        }
    }

    fn sound(&self, state: &FleetState) -> Result<(), String> {
        one_intent_for_each(state)?;
        whoever_is_busy_is_busy_with_something(state)
    }
}

impl OneFailureOneAction {
    /// No machine ID and no seat is given out twice.
    fn new_numbers(&mut self, before: &FleetState, after: &FleetState) -> Result<(), String> {
        let is_new = |id: &&MachineId| !before.machines.contains_key(id);
        for id in after.machines.keys().filter(is_new) {
            if !self.ids.insert(*id) {
                return Err(format!("machine ID {id} is given out twice"));
            }
        }
        for seat in after.seats.keys() {
            if !before.seats.contains_key(seat) && !self.seats.insert(seat.0) {
                return Err(format!("seat {seat} is given out twice"));
            }
        }
        Ok(())
    }

    fn acts(
        &mut self,
        state: &FleetState,
        old: Option<MachineId>,
        new: Option<MachineId>,
    ) -> Result<(), String> {
        let (Some(old), Some(new)) = (old, new) else {
            return Ok(());
        };
        let before = self.successors.insert(old, new);
        let stands = before.filter(|before| {
            let machine = state.machines.get(before);
            machine.is_some_and(|machine| {
                !matches!(machine.phase, Phase::Lost { .. } | Phase::Left { .. })
            })
        });
        match stands {
            Some(before) => Err(format!(
                "{old} is replaced by {new}, and was by {before} before"
            )),
            None => Ok(()),
        }
    }
}

fn one_intent_for_each(state: &FleetState) -> Result<(), String> {
    let mut machines = BTreeSet::new();
    let mut members = BTreeSet::new();
    for intent in state.open_intents() {
        for machine in [intent.action.makes(), intent.action.removes()]
            .into_iter()
            .flatten()
        {
            if !machines.insert(machine) {
                return Err(format!("two intents are about machine {machine}"));
            }
        }
        if !members.insert((&intent.group, &intent.member)) {
            return Err(format!(
                "two intents are about member {} of {}",
                intent.member, intent.group
            ));
        }
    }
    Ok(())
}

/// Whoever an open intent is about knows it, and whoever is busy is so with an open one.
fn whoever_is_busy_is_busy_with_something(state: &FleetState) -> Result<(), String> {
    for intent in state.open_intents() {
        if intent.current().is_none() {
            return Err(format!("{} is open and has no step", intent.op));
        }
        let about = [intent.action.makes(), intent.action.finds()];
        for id in about.into_iter().flatten() {
            // The old machine goes before the intent ends.
            let machine = state.machines.get(&id);
            if machine.is_some_and(|machine| machine.intent.as_ref() != Some(&intent.op)) {
                return Err(format!("{id} does not know of {}", intent.op));
            }
        }
    }
    for machine in state.machines.values() {
        let open = machine.intent.as_ref().map(|op| {
            let intent = state.intents.get(op);
            intent.is_some_and(crate::fleet::Intent::is_open)
        });
        let busy = matches!(machine.phase, Phase::Ordered | Phase::Retiring);
        if open == Some(false) || busy && open.is_none() {
            return Err(format!("{} is {} for ever", machine.name, machine.phase));
        }
    }
    Ok(())
}
