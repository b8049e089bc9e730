//! What would have changed a decision: for each rule that let it pass what would have made it hold, and for each that
//! held what would have let it pass.

use crate::fleet::{Check, Decision, Diagnosis, Mandate, Rule};

/// What would have turned one rule's verdict, as a sentence without its full stop.
pub(super) fn otherwise(decision: &Decision, check: &Check) -> String {
    if check.holds() {
        let_pass(check.rule, &decision.proposal.mandate)
    } else {
        held_up(check.rule, decision)
    }
}

/// What would have made it pass.
fn let_pass(rule: Rule, mandate: &Mandate) -> String {
    let words = match rule {
        Rule::Evidence => {
            "no answer to any witness, or its provisioner's word that it is off, would have let it pass"
        }
        Rule::Ladder => {
            "a diagnosis that its provisioner or flavor has a remedy for would have let it pass"
        }
        Rule::Paused => "without the pause it would have passed",
        Rule::Cordoned => "without the cordon it would have passed",
        Rule::Mode => "mode `auto`, or `approve` and a person's approval, would have let it pass",
        Rule::Quorum => return more_support(mandate),
        Rule::Settled => "the same, found when nothing had moved for a while, would have passed",
        Rule::Grace => "the same silence, lasting longer, would have passed",
        Rule::Backoff => "without the operations that had failed it would have passed",
        Rule::Budget => {
            "fewer repairs before it, or a larger `heal.budget`, would have let it pass"
        }
        Rule::Correlation => "failures that have less in common would have passed",
        Rule::WorkloadQuorum => "more members that are well would have let it pass",
        Rule::LastGoodReplica => "another machine of the group that is well would have let it pass",
        Rule::Fence => "a provisioner that proves the old machine off would have let it pass",
    };
    words.to_owned()
}

fn more_support(mandate: &Mandate) -> String {
    let missing = mandate.needed().saturating_sub(mandate.acks);
    match (missing, mandate.quorum_confirmed) {
        (0, _) => {
            "a quorum of coordinators that confirms the leader would have let it pass".to_owned()
        }
        (missing, confirmed) => {
            let also = if confirmed {
                ""
            } else {
                ", and a quorum of coordinators that confirms the leader,"
            };
            format!("{missing} more of the machines behind the leader{also} would have let it pass")
        }
    }
}

/// What would have made it hold.
fn held_up(rule: Rule, decision: &Decision) -> String {
    let words = match rule {
        Rule::Evidence => "an answer from the machine to anybody would have held it",
        Rule::Ladder => "a diagnosis without a remedy would have held it",
        Rule::Paused => "a pause would have held it",
        Rule::Cordoned => "a cordon would have held it",
        Rule::Mode => "mode `observe` or `approve` would have held it",
        Rule::Quorum => return less_support(&decision.proposal.mandate),
        Rule::Settled => "a new leader, or a crowd that falls silent together, would have held it",
        Rule::Grace if is_proved(decision) => {
            "without the proof, the time that a boot or a hiccup may take would have held it"
        }
        Rule::Grace => {
            "a shorter silence, or a boot or a change of the spec shortly before, would have held it"
        }
        Rule::Backoff => {
            "an operation of the group that had failed shortly before would have held it"
        }
        Rule::Budget => {
            "as many repairs at once, or within the hour, as are allowed would have held it"
        }
        Rule::Correlation => "more failures that have something in common would have held it",
        Rule::WorkloadQuorum => "fewer members that are well would have held it",
        Rule::LastGoodReplica => {
            "if it still served, and no other machine of the group were well, that would have held it"
        }
        Rule::Fence => {
            "for a pet, a provisioner that can't prove the old machine off would have held it"
        }
    };
    words.to_owned()
}

fn less_support(mandate: &Mandate) -> String {
    let spare = mandate.acks.saturating_sub(mandate.needed()) + 1;
    format!(
        "{spare} fewer of the machines behind the leader, or of most coordinators, would have held it"
    )
}

/// Whether its provisioner had proved the machine off, or knew that it never came.
fn is_proved(decision: &Decision) -> bool {
    let diagnosis = decision.proposal.cause.diagnosis();
    matches!(diagnosis, Some(Diagnosis::Gone | Diagnosis::NeverJoined))
}
