//! Invariant 8: limits are right by default. When nothing goes wrong any more, the fleet becomes what was declared, or
//! says which rule keeps it from that.

use super::{Invariant, Sight};
use crate::fleet::limits::{HOUR_MS, MINUTE_MS};
use crate::fleet::{FleetState, Subject};

/// What a mesh, a leader and a boot may take after the last fault, besides what the budget makes wait.
const ALLOWANCE_MS: u64 = 30 * MINUTE_MS;

pub(super) struct LimitsAreRight;

impl Invariant for LimitsAreRight {
    fn title(&self) -> &'static str {
        "the fleet comes to rest"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Ended {
            state,
            calm_ms,
            broken,
            now_ms,
        } = sight
        else {
            return Ok(());
        };
        let slowest_ms = state
            .groups
            .values()
            .map(|group| group.spec.heal.boot_grace_ms)
            .max();
        if *calm_ms < ALLOWANCE_MS + 2 * slowest_ms.unwrap_or(0) {
            return Ok(());
        }
        for machine in *broken {
            let told = state.concerns.contains_key(&Subject::Machine(*machine))
                || explained(state, *now_ms);
            let busy = state
                .machines
                .get(machine)
                .is_some_and(|known| known.intent.is_some());
            let declared = state
                .machines
                .get(machine)
                .and_then(|known| known.group())
                .is_some_and(|group| state.groups.contains_key(group));
            if declared && !told && !busy {
                return Err(format!("{machine} does not work, and nobody says so"));
            }
        }
        for intent in state.open_intents() {
            if now_ms.saturating_sub(intent.opened_ms) > 2 * HOUR_MS {
                return Err(format!(
                    "{} has been under way for more than two hours",
                    intent.op
                ));
            }
        }
        for (id, group) in &state.groups {
            let told = state.concerns.contains_key(&Subject::Group(id.clone()))
                || explained(state, *now_ms);
            let busy = state.group_intents(id).next().is_some();
            if state.existing(id) != group.desired() && !told && !busy {
                return Err(format!(
                    "{id} has {} of {} machines, and nobody says why",
                    state.existing(id),
                    group.desired()
                ));
            }
        }
        Ok(())
    }
}

/// Whether a group waits because its orders failed.
fn explained(state: &FleetState, now_ms: u64) -> bool {
    state
        .groups
        .values()
        .any(|group| group.backoff(now_ms).is_some())
}
