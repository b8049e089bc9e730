//! `evidence` and `ladder`: does the diagnosis lead to an action at all, and to this one?

use super::Question;
use crate::fleet::{Diagnosis, Machine, MemberStatus, Phase, Rule, Turn};
use crate::heal::Finding;
use crate::heal::gate::Gate;

/// Slow is not dead: while anyone gets an answer from a machine, nothing destroys it.
pub(super) fn evidence(question: &Question<'_>) -> Gate {
    let Some((machine, finding)) = question.machine else {
        return Gate::pass(Rule::Evidence, "no machine is taken away");
    };
    match finding.diagnosis {
        Diagnosis::Slow | Diagnosis::Partitioned => {
            let margin = format!("{}; slow is not dead", finding.summary);
            Gate::hold(Rule::Evidence, margin).turned_by(Turn::NoAnswer)
        }
        // Where nobody has been asked yet, somebody may get an answer.
        Diagnosis::Suspected if is_unheard(question, machine) => Gate::hold(
            Rule::Evidence,
            format!(
                "{}; whether anybody gets an answer is not known yet",
                finding.summary
            ),
        )
        .turned_by(Turn::LookedInto),
        Diagnosis::Left if answers(question, machine) => Gate::hold(
            Rule::Evidence,
            "it said goodbye for good and answers all the same",
        )
        .turned_by(Turn::Quiet),
        _ => {
            let gate = Gate::pass(Rule::Evidence, finding.summary.clone());
            match what_turns(question, machine, finding) {
                Some(turn) => gate.turned_by(turn),
                None => gate,
            }
        }
    }
}

/// What would have held it; `None` where nothing that is seen of the machine would have.
fn what_turns(question: &Question<'_>, machine: &Machine, finding: &Finding) -> Option<Turn> {
    let by_hand = question.cure.is_none_or(|cure| cure.by_hand);
    let given_up = matches!(machine.phase, Phase::Lost { .. });
    match finding.diagnosis {
        Diagnosis::NeverJoined => Some(Turn::Joining),
        Diagnosis::Gone | Diagnosis::Unreachable | Diagnosis::AgentDown => {
            (!given_up).then_some(Turn::AnyAnswer)
        }
        Diagnosis::WorkloadFailed if !by_hand => Some(Turn::WorksAgain),
        Diagnosis::Left => (!machine.condemned).then_some(Turn::Quiet),
        Diagnosis::WorkloadFailed | Diagnosis::Healthy | Diagnosis::Suspected => {
            Some(Turn::Unheard)
        }
        Diagnosis::Rebooting | Diagnosis::Starting | Diagnosis::Slow | Diagnosis::Partitioned => {
            None
        }
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
    let Some(cure) = question.cure else {
        return Gate::pass(Rule::Ladder, "no machine has failed");
    };
    let gate = match cure.would {
        Some(_) => Gate::pass(Rule::Ladder, cure.why.clone()),
        None => Gate::hold(Rule::Ladder, cure.why.clone()),
    };
    match cure.turn {
        Some(turn) => gate.turned_by(turn),
        None => gate,
    }
}
