//! Machines that something is about to be done to: is it still right?
//!
//! Between the decision and the step that ends or treats a machine there may be minutes in which its provisioner fails. It may be
//! back by then, or slow, or out of reach of the leader alone, or somebody has paused it. So the rules `paused` and `evidence`
//! are asked once more before each try, for as long as nothing was done to it.

use std::collections::BTreeMap;

use super::diagnose::{Finding, diagnose};
use super::gates::paused_by;
use super::situation::Situation;
use super::timing::HELD_MS_MAX;
use crate::fleet::{
    Check, Diagnosis, FleetState, Intent, Machine, MemberStatus, OperationId, Phase, Rule, Step,
    Text, span,
};

/// Why nothing is done to a machine at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spared {
    /// A rule holds: somebody gets an answer from it and the mesh does not, nobody has been asked, or it was paused.
    Held(Check),
    /// The intent is to be given up, in these words: what was the matter with it is over, or a rule has held for too long.
    GivenUp(Text),
}

/// The intents that must not touch their machine as things stand.
pub fn spared(state: &FleetState, situation: &Situation) -> BTreeMap<OperationId, Spared> {
    let about: Vec<&Intent> = state
        .open_intents()
        .filter(|intent| may_be_spared(state, intent))
        .collect();
    if about.is_empty() {
        return BTreeMap::new();
    }
    let situation = &situation.dated_by(situation.now_ms.max(state.clock_ms));
    let alive = state
        .electors()
        .filter(|machine| answers(situation, machine))
        .count();
    let spared = about.into_iter().filter_map(|intent| {
        let machine = state.machines.get(&intent.action.finds()?)?;
        let finding = diagnose(machine, situation, alive);
        let is_back = answers(situation, machine) && is_over(state, intent, finding.diagnosis);
        let spared = if is_back && !has_begun(intent) {
            Spared::GivenUp(format!("it is back: {}", finding.summary).into())
        } else {
            let check = match is_back {
                true => half_done(&finding),
                false => held(state, situation, intent, machine, &finding)?,
            };
            match held_too_long(state, intent, &check, situation.now_ms) {
                Some(why) => Spared::GivenUp(why),
                None => Spared::Held(check),
            }
        };
        Some((intent.op.clone(), spared))
    });
    spared.collect()
}

/// Whether an intent's next step does something to a machine that was in the mesh when that was decided, and to which nothing
/// was done yet. What everybody refuses already is past that, and a group that is destroyed goes whole.
pub fn may_be_spared(state: &FleetState, intent: &Intent) -> bool {
    let group = state.groups.get(&intent.group);
    let touches = intent.current().is_some_and(|record| match record.step {
        // What a person asks for in its place is well from the beginning.
        Step::RestartWorkload | Step::Reboot | Step::PowerCycle => intent.asked.is_none(),
        // Another machine may come of it, whatever still answers.
        Step::Reimage => record.begun.is_none(),
        step => step.touches(),
    });
    let machine = intent.action.finds().and_then(|id| state.machines.get(&id));
    touches
        && intent.was == Some(Phase::Joined)
        && group.is_some_and(|group| !group.destroying)
        && machine.is_some_and(|machine| !machine.condemned)
}

/// Whether the call that ends its machine may have been made.
fn has_begun(intent: &Intent) -> bool {
    intent
        .current()
        .is_some_and(|record| record.begun.is_some())
}

/// What answers is not destroyed, whatever was begun: if its provider was told to end it, it will fall silent by itself.
fn half_done(finding: &Finding) -> Check {
    let margin = format!(
        "{}; what would end it may have been asked for, and it is waited whether it goes",
        finding.summary
    );
    Check::hold(Rule::Evidence, margin)
}

fn answers(situation: &Situation, machine: &Machine) -> bool {
    let seen = situation.machines.get(&machine.id);
    let member = seen.and_then(|seen| seen.member);
    member.is_some_and(|member| member.status == MemberStatus::Alive)
}

/// The rule that holds a step at this moment.
fn held(
    state: &FleetState,
    situation: &Situation,
    intent: &Intent,
    machine: &Machine,
    finding: &Finding,
) -> Option<Check> {
    let pause = state.paused_in(&intent.group, Some(machine), None, situation.now_ms);
    if let Some((key, pause)) = pause.filter(|_| intent.asked.is_none()) {
        return Some(paused_by(key, pause).check);
    }
    let why = match finding.diagnosis {
        Diagnosis::Slow | Diagnosis::Partitioned => "slow is not dead",
        Diagnosis::Suspected if !answers(situation, machine) => {
            "whether anybody gets an answer is not known yet"
        }
        Diagnosis::Rebooting => "it is waited for",
        _ => return None,
    };
    let margin = format!("{}; {why}", finding.summary);
    Some(Check::hold(Rule::Evidence, margin))
}

/// Why an intent is not waited for any longer: the rule that holds it has done so for so long that what it would do is to be
/// decided anew, without its place in the budget. An order by hand has the time that it was given besides.
fn held_too_long(state: &FleetState, intent: &Intent, check: &Check, now_ms: u64) -> Option<Text> {
    let held = intent.current()?.held.as_ref()?;
    let long_ms = now_ms.saturating_sub(held.since_ms);
    let asked = intent.asked.and_then(|id| state.demands.get(&id));
    let in_time = asked.is_some_and(|demand| now_ms < demand.until_ms);
    let is_over = held.rule == check.rule && long_ms >= HELD_MS_MAX && !in_time;
    is_over.then(|| {
        let long = span(long_ms);
        format!("`{}` has held it for {long}: {}", check.rule, check.margin).into()
    })
}

/// Whether a machine that answers is to be treated or replaced for something that is over: for its silence, or for a workload
/// that works again. What a person asks for, and what is one too many, was well from the beginning.
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
