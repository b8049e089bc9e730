//! Invariant 8: limits are right by default. When nothing goes wrong any more, the fleet becomes what was declared, or
//! says which rule keeps it from that.

use std::collections::BTreeSet;

use super::{Invariant, Leaderless, Sight};
use crate::fleet::limits::{HOUR_MS, MINUTE_MS};
use crate::fleet::{FleetState, Group, GroupId, Machine, Phase, Subject};

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
            leaderless,
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
        let Some(waits) = groups_that_wait(leaderless.as_ref())? else {
            return Ok(());
        };
        let waits = |id: &GroupId| waits.contains(id.as_str());
        for machine in *broken {
            let group = state.machines.get(machine).and_then(Machine::group);
            let told = group.is_some_and(waits)
                || state.concerns.contains_key(&Subject::Machine(*machine))
                || explained(state, *now_ms);
            let busy = state
                .machines
                .get(machine)
                .is_some_and(|known| known.intent.is_some());
            let declared = group.is_some_and(|group| state.groups.contains_key(group));
            if declared && !told && !busy {
                return Err(format!("{machine} does not work, and nobody says so"));
            }
        }
        // What is under way waits for a leader, too.
        let open = state.open_intents().filter(|_| leaderless.is_none());
        for intent in open {
            if now_ms.saturating_sub(intent.opened_ms) > 2 * HOUR_MS {
                return Err(format!(
                    "{} has been under way for more than two hours",
                    intent.op
                ));
            }
        }
        for (id, group) in &state.groups {
            let told = waits(id)
                || state.concerns.contains_key(&Subject::Group(id.clone()))
                || explained(state, *now_ms);
            let busy = state.group_intents(id).next().is_some();
            let (existing, desired) = (state.existing(id), group.desired());
            let right = existing <= desired && existing + kept(state, group) >= desired;
            if !right && !told && !busy {
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

/// The groups that wait because nobody leads, in the words of a machine that runs; `None` where no machine is left to say it.
///
/// # Errors
/// When somebody could lead, or nobody says why nobody does.
fn groups_that_wait<'a>(
    leaderless: Option<&Leaderless<'a>>,
) -> Result<Option<BTreeSet<&'a str>>, String> {
    let Some(Leaderless { said, company }) = leaderless else {
        return Ok(Some(BTreeSet::new()));
    };
    let (heard, of) = company;
    if heard * 2 > *of {
        return Err(format!(
            "{heard} of {of} machines hear a former coordinator, and nobody leads"
        ));
    }
    let Some(said) = said else { return Ok(None) };
    if said.quorum || said.holds.is_empty() {
        return Err("nobody leads, and nobody says so".to_owned());
    }
    let waiting = said.groups.iter().filter(|group| !group.holds.is_empty());
    Ok(Some(waiting.map(|group| group.id.as_str()).collect()))
}

/// How many members of a group have a machine that left and is still to be cleared away: none is made for them before that, and
/// what keeps it is said of the machine.
fn kept(state: &FleetState, group: &Group) -> usize {
    let keeps = |machine: &&Machine| {
        let told = state.concerns.contains_key(&Subject::Machine(machine.id));
        machine.is_pet() && matches!(machine.phase, Phase::Left { .. }) && told
    };
    state.group_machines(&group.spec.id).filter(keeps).count()
}

/// Whether a group waits because its orders failed.
fn explained(state: &FleetState, now_ms: u64) -> bool {
    state
        .groups
        .values()
        .any(|group| group.backoff(now_ms).is_some())
}
