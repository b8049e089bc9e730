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

/// Which rungs there are: so far the only one is to replace, which is for machines that do not answer.
pub(super) fn ladder(question: &Question<'_>) -> Gate {
    let Some((_, finding)) = question.machine else {
        return Gate::pass(Rule::Ladder, "no machine is taken away");
    };
    match finding.diagnosis {
        Diagnosis::AgentDown => Gate::hold(
            Rule::Ladder,
            "its host is up, so its agent is for its supervisor to restart; replacing would be too much",
        ),
        Diagnosis::WorkloadFailed => Gate::hold(
            Rule::Ladder,
            "its agent is well, so its workload is for its supervisor to restart; replacing would be too much",
        ),
        diagnosis => Gate::pass(
            Rule::Ladder,
            format!("`replace` is for machines that are {diagnosis}"),
        ),
    }
}
