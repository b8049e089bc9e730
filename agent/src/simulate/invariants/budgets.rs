//! Invariant 7: spending is conserved. Never more than the budget, in any hour and at any moment, whoever leads.

use std::collections::BTreeMap;

use super::{Invariant, Sight};
use crate::fleet::limits::HOUR_MS;
use crate::fleet::{Command, FleetState, Group, GroupId, Intent, Outcome, Reply, Rule};

/// One replacement, in the units of a leaking bucket: at `n` an hour, `n` units leak in a millisecond.
const ONE: u64 = HOUR_MS;

#[derive(Default)]
pub(super) struct SpendingIsConserved {
    /// What each group has spent and not yet earned again, as of when.
    spent: BTreeMap<GroupId, (u64, u64)>,
    /// Most removals under way that a change of the spec left over.
    allowed: BTreeMap<GroupId, usize>,
}

impl Invariant for SpendingIsConserved {
    fn title(&self) -> &'static str {
        "spending is conserved"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Applied {
            before,
            state,
            envelope,
            reply,
            ..
        } = sight
        else {
            return Ok(());
        };
        match (&envelope.command, reply) {
            (Command::Decide(proposals), Reply::Decided(results)) => {
                for (proposal, result) in proposals.iter().zip(results) {
                    let Outcome::Act { op, .. } = &proposal.outcome else {
                        continue;
                    };
                    let intent = state.intents.get(op).filter(|_| result.is_ok());
                    if let Some(intent) = intent.filter(|intent| intent.paid)
                        && let Some(group) = state.groups.get(&intent.group)
                    {
                        self.pays(group, intent.opened_ms, is_forced(state, intent))?;
                    }
                }
                let groups = || state.groups.values();
                groups().try_for_each(|group| self.at_once(*before, state, group))
            }
            (
                Command::ApplySpecs(_)
                | Command::ScaleGroup { .. }
                | Command::DestroyGroup { .. }
                | Command::FreeGroup { .. },
                _,
            ) => {
                // A group that was let go and declared anew starts anew.
                self.spent.retain(|id, _| state.groups.contains_key(id));
                for id in state.groups.keys() {
                    self.allowed.insert(id.clone(), state.removals(id));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl SpendingIsConserved {
    /// A bucket that holds an hour's budget and leaks as fast as it is earned must never overflow. What a person forced fills it
    /// to the brim at most: it counts, and is not owed.
    fn pays(&mut self, group: &Group, at_ms: u64, forced: bool) -> Result<(), String> {
        let per_hour = u64::from(group.per_hour());
        let full = per_hour * ONE;
        let (spent, as_of_ms) = self
            .spent
            .get(&group.spec.id)
            .copied()
            .unwrap_or((0, at_ms));
        let earned = at_ms.saturating_sub(as_of_ms).saturating_mul(per_hour);
        let spent = spent.saturating_sub(earned) + ONE;
        let spent = if forced { spent.min(full) } else { spent };
        self.spent
            .insert(group.spec.id.clone(), (spent, at_ms.max(as_of_ms)));
        if spent > full {
            return Err(format!(
                "{} spent more than {per_hour} an hour",
                group.spec.id
            ));
        }
        Ok(())
    }

    fn at_once(
        &self,
        before: Option<&FleetState>,
        state: &FleetState,
        group: &Group,
    ) -> Result<(), String> {
        let id = &group.spec.id;
        let intents = state.group_intents(id);
        let forced = intents.filter(|intent| is_forced(state, intent)).count();
        let removals = state.removals(id).saturating_sub(forced);
        let was = before.map_or(0, |before| before.removals(id));
        let left_over = self.allowed.get(id).copied().unwrap_or(0).max(was);
        let at_once = group.at_once().max(left_over);
        if removals > at_once && !group.destroying {
            return Err(format!(
                "{removals} machines of {id} are being removed, and {at_once} may be"
            ));
        }
        Ok(())
    }
}

/// Whether a person had it done past the budget.
fn is_forced(state: &FleetState, intent: &Intent) -> bool {
    let demand = intent.asked.and_then(|id| state.demands.get(&id));
    demand.is_some_and(|demand| demand.forced.contains(&Rule::Budget))
}
