//! Invariant 6: doubt holds, loudly. Whatever is the matter is acted on, or on record with the rule that holds.

use super::{Invariant, Sight};
use crate::fleet::{
    Allocation, Command, FleetState, Group, Machine, Outcome, Phase, Proposal, Rule, Subject,
};
use crate::heal::Plan;

pub(super) struct DoubtHoldsLoudly;

impl Invariant for DoubtHoldsLoudly {
    fn title(&self) -> &'static str {
        "doubt holds, loudly"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Decided { state, plan, .. } => {
                plan.proposals.iter().try_for_each(explains_itself)?;
                nothing_is_passed_over(state, plan)
            }
            _ => Ok(()),
        }
    }
}

/// A decision's checks lead to its outcome.
fn explains_itself(proposal: &Proposal) -> Result<(), String> {
    let holding = || proposal.checks.iter().filter(|check| check.holds());
    let first = holding()
        .find(|check| check.rule != Rule::Mode)
        .or(holding().next());
    let subject = &proposal.subject;
    if !proposal.checks.is_sorted_by(|one, two| one.rule < two.rule) {
        return Err(format!("the rules are out of order: {subject:?}"));
    }
    if proposal.checks.iter().any(|check| check.margin.is_empty()) {
        return Err(format!("a rule says nothing about its margin: {subject:?}"));
    }
    match (&proposal.outcome, first) {
        (Outcome::Act { .. } | Outcome::Clear, None) => Ok(()),
        (Outcome::Hold { rule, detail, .. }, Some(check))
            if (*rule, detail) == (check.rule, &check.margin) =>
        {
            Ok(())
        }
        (Outcome::Observe { .. } | Outcome::AwaitApproval { .. }, Some(check))
            if check.rule == Rule::Mode =>
        {
            Ok(())
        }
        (outcome, first) => Err(format!(
            "{outcome:?} about {subject:?} does not follow from {first:?}"
        )),
    }
}

/// Every machine of a declared group that something is the matter with has an intent, a concern or a proposal. What did
/// not fit into this round comes with the next.
fn nothing_is_passed_over(state: &FleetState, plan: &Plan) -> Result<(), String> {
    if plan.next_look_ms.is_some() && plan.proposals.len() >= crate::fleet::limits::PROPOSALS_MAX {
        return Ok(());
    }
    for (id, finding) in plan
        .findings
        .iter()
        .filter(|(_, finding)| !finding.diagnosis.is_calm())
    {
        let Some(machine) = state.machines.get(id) else {
            continue;
        };
        let waits = matches!(machine.phase, Phase::Left { .. });
        if waits || machine.intent.is_some() {
            continue;
        }
        let subject = Subject::Machine(*id);
        let told = state.concerns.contains_key(&subject)
            || plan
                .proposals
                .iter()
                .any(|proposal| proposal.subject == subject)
            || plan
                .facts
                .iter()
                .any(|fact| matches!(fact, Command::MachineLeft { machine, .. } if machine == id));
        // Counted last: it takes a walk through the roster.
        let declared = || {
            machine
                .group()
                .and_then(|group| state.groups.get(group))
                .is_some_and(|group| !group.destroying && is_wanted(state, group, machine))
        };
        if !told && declared() {
            return Err(format!(
                "{} is {} and nobody says why nothing is done",
                machine.name, finding.diagnosis
            ));
        }
    }
    Ok(())
}

/// Whether a machine is none too many: those that are go one after the other, which is no news.
fn is_wanted(state: &FleetState, group: &Group, machine: &Machine) -> bool {
    match &group.spec.allocation {
        Allocation::Cattle { .. } => state.existing(&group.spec.id) <= group.desired(),
        Allocation::Pets { members } => members.contains_key(&machine.name),
    }
}
