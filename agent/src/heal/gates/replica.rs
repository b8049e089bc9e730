//! `last-good-replica`: never take away the last machine that is well while others are not.

use super::Question;
use super::workload::{is_only_treated, serves};
use crate::fleet::{Rule, Turn};
use crate::heal::gate::Gate;

pub(super) fn last_good_replica(question: &Question<'_>) -> Gate {
    let rule = Rule::LastGoodReplica;
    let Some((machine, finding)) = question.machine else {
        return Gate::pass(rule, "no machine is taken away");
    };
    if is_only_treated(question, finding) {
        return Gate::pass(rule, "its workload does not work as it is");
    }
    if question.state.is_drained(machine.id) {
        return Gate::pass(rule, "its workload has handed over its duties");
    }
    if !finding.diagnosis.may_serve() {
        return Gate::pass(rule, "it serves nobody");
    }
    if question.group.desired() == 0 {
        return Gate::pass(rule, "the group is to have no machines");
    }
    let id = &question.group.spec.id;
    let others: Vec<_> = question
        .state
        .group_machines(id)
        .filter(|other| other.id != machine.id && other.fills_its_slot())
        .collect();
    let well = others
        .iter()
        .filter(|other| serves(question, other))
        .count();
    match (well, others.len()) {
        (0, 0) => Gate::pass(rule, "it has no others"),
        (0, 1) => Gate::hold(rule, "the other machine of its group is not well")
            .turned_by(Turn::OtherWell),
        (0, others) => Gate::hold(rule, format!("none of the {others} others is well"))
            .turned_by(Turn::OtherWell),
        (well, others) => Gate::pass(rule, format!("{well} of {others} others are well"))
            .turned_by(Turn::NoOtherWell),
    }
}
