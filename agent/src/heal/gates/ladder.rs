//! `evidence` and `ladder`: does the diagnosis lead to an action at all, and to this one?

use super::Question;
use crate::fleet::{Diagnosis, Machine, MemberStatus, Rule};
use crate::heal::gate::Gate;

/// Slow is not dead: while anyone gets an answer from a machine, nothing destroys it.
pub(super) fn evidence(question: &Question<'_>) -> Gate {
    let Some((machine, finding)) = question.machine else {
        return Gate::pass(Rule::Evidence, "no machine is taken away");
    };
    match finding.diagnosis {
        Diagnosis::Slow | Diagnosis::Partitioned => {
            let margin = format!("{}; slow is not dead", finding.summary);
            Gate::hold(Rule::Evidence, margin)
        }
        // Where nobody has been asked yet, somebody may get an answer.
        Diagnosis::Suspected if is_unheard(question, machine) => Gate::hold(
            Rule::Evidence,
            format!(
                "{}; whether anybody gets an answer is not known yet",
                finding.summary
            ),
        ),
        Diagnosis::Left if answers(question, machine) => Gate::hold(
            Rule::Evidence,
            "it said goodbye for good and answers all the same",
        ),
        _ => Gate::pass(Rule::Evidence, finding.summary.clone()),
    }
}

/// Whether the mesh hears from a machine that nobody has shut out.
fn answers(question: &Question<'_>, machine: &Machine) -> bool {
    let seen = question.board.situation.machines.get(&machine.id);
    let member = seen.and_then(|seen| seen.member);
    !machine.condemned && member.is_some_and(|member| member.status == MemberStatus::Alive)
}

/// Whether the mesh does not hear from a machine.
fn is_unheard(question: &Question<'_>, machine: &Machine) -> bool {
    let seen = question.board.situation.machines.get(&machine.id);
    let member = seen.and_then(|seen| seen.member);
    member.is_none_or(|member| member.status != MemberStatus::Alive)
}

/// Whether there is a rung for the machine, and which.
pub(super) fn ladder(question: &Question<'_>) -> Gate {
    match question.cure {
        None => Gate::pass(Rule::Ladder, "no machine has failed"),
        Some(cure) if cure.would.is_some() => Gate::pass(Rule::Ladder, cure.why.clone()),
        Some(cure) => Gate::hold(Rule::Ladder, cure.why.clone()),
    }
}
