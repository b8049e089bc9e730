//! `evidence` and `ladder`: does the diagnosis lead to an action at all, and to this one?

use super::Question;
use crate::fleet::{Diagnosis, Rule};
use crate::heal::gate::Gate;

/// Slow is not dead: while anyone gets an answer from a machine, nothing destroys it.
pub(super) fn evidence(question: &Question<'_>) -> Gate {
    let Some((_, finding)) = question.machine else {
        return Gate::pass(Rule::Evidence, "no machine is taken away");
    };
    match finding.diagnosis {
        Diagnosis::Slow | Diagnosis::Partitioned => {
            let margin = format!("{}; slow is not dead", finding.summary);
            Gate::hold(Rule::Evidence, margin)
        }
        _ => Gate::pass(Rule::Evidence, finding.summary.clone()),
    }
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
