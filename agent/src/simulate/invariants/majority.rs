//! Invariant 2: a minority never acts. More than half of the roster stands behind whoever decides.

use std::collections::BTreeSet;

use muster_mesh::identity::MachineId;

use super::{Invariant, Sight};
use crate::fleet::Outcome;
use crate::heal::timing::PROOF_STANDS_MS;

pub(super) struct AMinorityNeverActs;

impl Invariant for AMinorityNeverActs {
    fn title(&self) -> &'static str {
        "a minority never acts"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Decided {
                state,
                situation,
                plan,
                ..
            } => {
                let acts = |outcome: &Outcome| matches!(outcome, Outcome::Act { .. });
                if !plan
                    .proposals
                    .iter()
                    .any(|proposal| acts(&proposal.outcome))
                {
                    return Ok(());
                }
                let authority = &situation.authority;
                let roster: BTreeSet<MachineId> =
                    state.electors().map(|machine| machine.id).collect();
                let heard = roster.intersection(&authority.acknowledged).count();
                let gone = |id: &&MachineId| {
                    let since_ms = authority.proven_gone.get(*id);
                    let stood = since_ms.map(|at_ms| situation.now_ms.saturating_sub(*at_ms));
                    !authority.acknowledged.contains(*id)
                        && stood.is_some_and(|ms| ms >= PROOF_STANDS_MS)
                };
                let counted = roster.iter().filter(|id| !gone(id)).count();
                enough(heard, counted, "decides")?;
                if authority.quorum_confirmed {
                    Ok(())
                } else {
                    Err("a leader acts that its coordinators did not confirm".to_owned())
                }
            }
            Sight::Called(call) => enough(call.hears.0, call.hears.1, "calls the provider"),
            _ => Ok(()),
        }
    }
}

fn enough(heard: usize, counted: usize, what: &str) -> Result<(), String> {
    if heard * 2 > counted {
        Ok(())
    } else {
        Err(format!(
            "a leader {what} that {heard} of {counted} machines stand behind"
        ))
    }
}
