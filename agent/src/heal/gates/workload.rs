//! `workload-quorum`: the workload never loses its quorum by our hand.

use super::{Question, ensemble};
use crate::fleet::{Diagnosis, Machine, Rule, Rung, Turn, Would};
use crate::heal::Finding;
use crate::heal::gate::Gate;
use crate::heal::ladder;

/// Takes the machine away in thought, and asks the flavor whether those that are well are enough.
pub(super) fn workload_quorum(question: &Question<'_>) -> Gate {
    let rule = Rule::WorkloadQuorum;
    let Some((machine, finding)) = question.machine else {
        return Gate::pass(rule, "no machine is taken away");
    };
    if !finding.diagnosis.may_serve() {
        return Gate::pass(rule, "the workload does without it already");
    }
    if is_only_treated(question, finding) {
        return Gate::pass(rule, "its workload does not work as it is");
    }
    let (group, members) = (question.group, question.group.desired());
    let Some(flavor) = group
        .templates
        .get(&group.template)
        .and_then(|template| ladder::flavor(group, template))
    else {
        let name = &group.spec.flavor.name;
        return Gate::hold(
            rule,
            format!("flavor `{name}` is unknown here, and so is what the workload needs"),
        )
        .turned_by(Turn::Flavor);
    };
    if flavor.is_ensemble() {
        return ensemble::quorum(question, machine, finding);
    }
    if question.state.is_drained(machine.id) {
        return Gate::pass(rule, "its workload has handed over its duties");
    }
    let needed = members.saturating_sub(flavor.may_be_missing(members));
    if needed == 0 {
        return Gate::pass(rule, "its flavor knows of no quorum");
    }
    let others = question.state.group_machines(&group.spec.id);
    let well = others
        .filter(|other| other.id != machine.id && other.fills_its_slot() && serves(question, other))
        .count();
    let margin = format!("without it {well} of {members} members are well; {needed} are needed");
    let by = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    if well >= needed {
        Gate::pass(rule, margin).turned_by(Turn::FewerWell(by(well - needed + 1)))
    } else {
        Gate::hold(rule, margin).turned_by(Turn::MoreWell(by(needed - well)))
    }
}

/// Whether a machine is well, does its work and has not handed over its duties.
pub(super) fn serves(question: &Question<'_>, machine: &Machine) -> bool {
    question.board.does_its_work(machine.id) && !question.state.is_drained(machine.id)
}

/// Whether a workload that has failed is mended in its place, with what is on the machine left there.
pub(super) fn is_only_treated(question: &Question<'_>, finding: &Finding) -> bool {
    let would = question.cure.and_then(|cure| cure.would);
    matches!(would, Some(Would::Treat(rung)) if rung != Rung::Reimage)
        && finding.diagnosis == Diagnosis::WorkloadFailed
}
