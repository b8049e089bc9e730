//! Invariant 6: doubt holds, loudly. Whatever is the matter is acted on, or on record with the rule that holds.

use super::{Invariant, Sight};
use crate::answers::{Snapshot, status};
use crate::api::types::{MachineRow, MachineState};
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{
    Allocation, Command, FleetState, Group, Machine, Outcome, Phase, Proposal, Rule, Subject,
};
use crate::heal::Plan;

/// Whoever is asked knows that nobody leads when nobody has for so long, in milliseconds.
const STANDSTILL_MS: u64 = 25 * SECOND_MS;

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
            Sight::Answered {
                snapshot,
                leaderless_ms: Some(ms),
                ..
            } if *ms >= STANDSTILL_MS => says_that_nobody_leads(snapshot, *ms),
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

/// Without a leader nothing gets on record: whoever is asked says that the fleet can't act, and so for each group in which a
/// machine is missing.
fn says_that_nobody_leads(snapshot: &Snapshot<'_>, ms: u64) -> Result<(), String> {
    let status = status(snapshot).map_err(|error| error.to_string())?;
    let silent = |what: &str| {
        let name = snapshot.name;
        Err(format!("nobody has led for {ms} ms, and {name} {what}"))
    };
    if status.quorum || status.holds.is_empty() {
        return silent("says that the fleet can act");
    }
    for group in status.groups.iter().filter(|group| group.holds.is_empty()) {
        let down = |machine: &&MachineRow| machine.status == MachineState::Down;
        let of_group = |machine: &&MachineRow| machine.group.as_ref() == Some(&group.id);
        let mut machines = status.machines.iter().filter(of_group);
        if let Some(machine) = machines.find(down) {
            let what = format!(
                "says no hold of {}, where {} is down",
                group.id, machine.name
            );
            return silent(&what);
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
