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
}

impl Invariant for OneFailureOneAction {
    fn title(&self) -> &'static str {
        "one failure, one action"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Applied {
                state,
                envelope,
                reply,
                ..
            } => {
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
}

impl OneFailureOneAction {
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
