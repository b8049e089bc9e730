//! `workload-quorum` for workloads that are ensembles: what counts is what their members say, not how many there should be.

use muster_flavors::{Part, Role, majority};
use muster_mesh::identity::MachineId;

use super::Question;
use super::workload::serves;
use crate::fleet::{Diagnosis, Machine, Rule, Turn};
use crate::heal::diagnose::Finding;
use crate::heal::gate::Gate;
use crate::heal::scale;

/// Takes the machine away in thought: one after the other, never one without whom those that are left would be no majority of
/// the voters, and the one that leads last.
pub(super) fn quorum(question: &Question<'_>, machine: &Machine, finding: &Finding) -> Gate {
    let rule = Rule::WorkloadQuorum;
    if let Some(words) = under_way(question, machine) {
        let margin = format!("one at a time goes in an ensemble, and {words} is under way");
        return Gate::hold(rule, margin).turned_by(Turn::Predecessor);
    }
    let state = question.state;
    let members = || {
        let all = state.group_machines(&question.group.spec.id);
        all.filter_map(|one| Some((one, question.board.part(one.id)?)))
    };
    let voters = members()
        .filter(|(_, part)| part.votes())
        .map(|(_, part)| usize::from(part.voters))
        .max()
        // Who says that it votes, and not of how many, knows less than the spec.
        .map(|said| {
            if said == 0 {
                question.group.desired()
            } else {
                said
            }
        })
        .map(|said| said.max(members().filter(|(_, part)| part.votes()).count()));
    let Some(voters) = voters else {
        let margin =
            "none of its members says that they have a leader, so nobody knows who can be missed";
        return Gate::hold(rule, margin).turned_by(Turn::MoreWell(1));
    };
    if question.board.part(machine.id).is_some_and(has_no_vote) {
        return Gate::pass(rule, "it has no vote in its ensemble");
    }
    let left = members()
        .filter(|(one, part)| one.id != machine.id && part.votes() && serves(question, one))
        .count();
    let needed = majority(voters);
    let margin = format!("without it {left} of {voters} voters are at work; {needed} are needed");
    let by = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    if left < needed {
        return Gate::hold(rule, margin).turned_by(Turn::MoreWell(by(needed - left)));
    }
    if let Some(other) = leads_before(question, machine, finding) {
        let margin = format!("{margin}; it leads, so it goes last, after {}", other.name);
        return Gate::hold(rule, margin).turned_by(Turn::Predecessor);
    }
    Gate::pass(rule, margin).turned_by(Turn::FewerWell(by(left - needed + 1)))
}

fn has_no_vote(part: Part) -> bool {
    part.role == Role::Learner
}

/// What is being done to another member, in words.
fn under_way(question: &Question<'_>, machine: &Machine) -> Option<String> {
    let mut open = question.state.group_intents(&question.group.spec.id);
    let other = open.find(|intent| {
        intent.is_open() && intent.action.finds().is_some_and(|id| id != machine.id)
    });
    other.map(|intent| intent.words())
}

/// A machine that is to go as well, and goes before this one, which is well and leads.
fn leads_before<'a>(
    question: &Question<'a>,
    machine: &Machine,
    finding: &Finding,
) -> Option<&'a Machine> {
    let leads = question
        .board
        .part(machine.id)
        .is_some_and(|part| part.role == Role::Leader);
    if !leads || finding.diagnosis != Diagnosis::Healthy {
        return None;
    }
    let (state, group) = (question.state, question.group);
    let surplus = scale::surplus(state, question.board, group);
    let is_asked = |id: MachineId| {
        let demand = state.demand_on(id);
        demand.is_some_and(|(_, demand)| demand.stands(question.board.now_ms))
    };
    let mut others = state.group_machines(&group.spec.id);
    others.find(|other| {
        let goes = surplus.contains(&other.id) || is_asked(other.id);
        other.id != machine.id && other.intent.is_none() && goes
    })
}
