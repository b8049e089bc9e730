//! Machines that are to be taken away although they did not hand over their duties.
//!
//! It was decided while they were well. One that can't be asked any more may have failed since, and may as well be slow, or
//! out of reach of the leader alone. So the rule `evidence` is asked once more, for as long as the machine is there.

use std::collections::BTreeMap;

use super::diagnose::diagnose;
use super::situation::Situation;
use crate::fleet::{
    Check, Diagnosis, FleetState, Intent, MemberStatus, OperationId, Phase, Rule, Step,
};

/// The intents that must not take their machine away yet, since somebody gets an answer from it and the mesh does not, or
/// nobody has been asked; with what the rule `evidence` says.
pub fn undrained(state: &FleetState, situation: &Situation) -> BTreeMap<OperationId, Check> {
    let doubtful: Vec<&Intent> = state
        .open_intents()
        .filter(|intent| is_doubtful(state, intent))
        .collect();
    if doubtful.is_empty() {
        return BTreeMap::new();
    }
    let situation = &situation.later_by(state.clock_ms.saturating_sub(situation.now_ms));
    let member = |machine| {
        situation
            .machines
            .get(&machine)
            .and_then(|seen| seen.member)
    };
    let is_alive =
        |machine| member(machine).is_some_and(|member| member.status == MemberStatus::Alive);
    let alive = state
        .electors()
        .filter(|machine| is_alive(machine.id))
        .count();
    let held = doubtful.into_iter().filter_map(|intent| {
        let machine = state.machines.get(&intent.action.removes()?)?;
        let finding = diagnose(machine, situation, alive);
        let why = match finding.diagnosis {
            Diagnosis::Slow | Diagnosis::Partitioned => "slow is not dead",
            Diagnosis::Suspected if !is_alive(machine.id) => {
                "whether anybody gets an answer is not known yet"
            }
            _ => return None,
        };
        let margin = format!("it was not drained, and {}; {why}", finding.summary);
        Some((intent.op.clone(), Check::hold(Rule::Evidence, margin)))
    });
    held.collect()
}

/// Whether an intent is about to take a machine away that was well when that was decided, and that was not drained. What
/// everybody refuses already is past that, and a group that is destroyed goes whole.
fn is_doubtful(state: &FleetState, intent: &Intent) -> bool {
    let group = state.groups.get(&intent.group);
    let removes = intent
        .current()
        .is_some_and(|record| matches!(record.step, Step::Fence | Step::Destroy | Step::Reimage));
    let machine = intent
        .action
        .removes()
        .and_then(|id| state.machines.get(&id));
    intent.undrained
        && removes
        && intent.was == Some(Phase::Joined)
        && group.is_some_and(|group| !group.destroying)
        && machine.is_some_and(|machine| !machine.condemned)
}
