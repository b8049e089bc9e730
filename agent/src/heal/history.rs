//! What happened to a machine within the last hour: a machine that comes and goes is another case than one that was well.

use super::situation::Situation;
use crate::fleet::limits::HOUR_MS;
use crate::fleet::{
    Action, FleetState, GroupId, HistoryEvidence, Intent, Machine, Member, Outcome, Subject,
};

/// What happened to a machine within the last hour; `None` where there is nothing but its present trouble.
pub(super) fn history(
    state: &FleetState,
    machine: &Machine,
    situation: &Situation,
) -> Option<HistoryEvidence> {
    let lately = |at_ms: u64| situation.now_ms.saturating_sub(at_ms) < HOUR_MS;
    let cleared = state.decisions.iter().filter(|decision| {
        lately(decision.at_ms)
            && decision.proposal.subject == Subject::Machine(machine.id)
            && decision.proposal.outcome == Outcome::Clear
    });
    let place = machine.place.as_ref();
    let in_its_place = |group: &GroupId, member: &Member| {
        place.is_some_and(|place| place.group == *group && place.member == *member)
    };
    let intents = || {
        state
            .intents
            .values()
            .filter(|intent| lately(intent.opened_ms))
    };
    let is_treatment = |intent: &&Intent| match intent.action {
        Action::Reimage { new, .. } => new == machine.id,
        action => action.treats() == Some(machine.id),
    };
    let treated = intents().filter(is_treatment);
    let replaced = intents().filter(|intent| {
        matches!(intent.action, Action::Replace { .. })
            && in_its_place(&intent.group, &intent.member)
            && intent.action.finds() != Some(machine.id)
    });
    let seen = situation.machines.get(&machine.id);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let history = HistoryEvidence {
        silences: seen.map_or(0, |seen| seen.silences),
        recoveries: number(cleared.count()),
        treatments: number(treated.count()),
        replacements: number(replaced.count()),
    };
    (!history.is_uneventful()).then_some(history)
}
