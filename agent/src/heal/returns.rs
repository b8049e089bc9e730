//! Machines that are about to be taken away: is it still right to?
//!
//! Between the decision and the step that ends a machine there may be minutes in which its provisioner fails. It may be back
//! by then, or slow, or out of reach of the leader alone. So the rule `evidence` is asked once more before each try, for as
//! long as the machine is not refused by everyone anyway.

use std::collections::BTreeMap;

use super::diagnose::diagnose;
use super::situation::Situation;
use crate::fleet::{
    Check, Diagnosis, FleetState, Intent, MemberStatus, OperationId, Phase, Rule, Step, Text,
};

/// Why a machine is not taken away at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spared {
    /// Somebody gets an answer from it and the mesh does not, or nobody has been asked: what the rule `evidence` says.
    Held(Check),
    /// What was the matter with it is over: the intent is to be given up, in these words.
    Back(Text),
}

/// The intents that must not take their machine away as things stand.
pub fn spared(state: &FleetState, situation: &Situation) -> BTreeMap<OperationId, Spared> {
    let about: Vec<&Intent> = state
        .open_intents()
        .filter(|intent| ends_one(state, intent))
        .collect();
    if about.is_empty() {
        return BTreeMap::new();
    }
    let situation = &situation.dated_by(situation.now_ms.max(state.clock_ms));
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
    let spared = about.into_iter().filter_map(|intent| {
        let machine = state.machines.get(&intent.action.removes()?)?;
        let finding = diagnose(machine, situation, alive);
        let answers = is_alive(machine.id);
        let held = |why: &str| {
            let margin = format!("{}; {why}", finding.summary);
            Spared::Held(Check::hold(Rule::Evidence, margin))
        };
        let spared = match finding.diagnosis {
            Diagnosis::Slow | Diagnosis::Partitioned => held("slow is not dead"),
            Diagnosis::Suspected if !answers => {
                held("whether anybody gets an answer is not known yet")
            }
            Diagnosis::Rebooting => held("it is waited for"),
            _ if answers && is_over(state, intent, finding.diagnosis) => {
                Spared::Back(format!("it is back: {}", finding.summary).into())
            }
            _ => return None,
        };
        Some((intent.op.clone(), spared))
    });
    spared.collect()
}

/// Whether an intent's next step ends a machine that was in the mesh when that was decided. What everybody refuses already is
/// past that, and a group that is destroyed goes whole.
pub fn ends_one(state: &FleetState, intent: &Intent) -> bool {
    let group = state.groups.get(&intent.group);
    let ends = intent.current().is_some_and(|record| match record.step {
        Step::Fence | Step::Destroy => true,
        // Where it was tried another machine may come of it, whatever still answers.
        Step::Reimage => record.attempts == 0,
        _ => false,
    });
    let machine = intent
        .action
        .removes()
        .and_then(|id| state.machines.get(&id));
    ends && intent.was == Some(Phase::Joined)
        && group.is_some_and(|group| !group.destroying)
        && machine.is_some_and(|machine| !machine.condemned)
}

/// Whether a machine that answers is to be replaced for something that is over: for its silence, or for a workload that
/// works again. What a person asks for, and what is one too many, was well from the beginning.
fn is_over(state: &FleetState, intent: &Intent, now: Diagnosis) -> bool {
    let decision = state.decision(intent.decision);
    let then = decision.and_then(|decision| decision.proposal.cause.diagnosis());
    intent.action.heals()
        && intent.asked.is_none()
        && !matches!(
            (then, now),
            // A new leader counts anew for how long it has failed.
            (
                Some(Diagnosis::WorkloadFailed),
                Diagnosis::WorkloadFailed | Diagnosis::Suspected
            )
        )
}
