//! What would have changed a decision: for each rule that let it pass what would have made it hold, and for each that
//! held what would have let it pass.

use crate::fleet::{Check, Decision, Mandate, Turn, Verdict, count};

/// What would have turned one rule's verdict, as a sentence without its full stop; empty where nothing that the rule
/// looks at would have.
pub(super) fn otherwise(decision: &Decision, check: &Check) -> String {
    let Some(turn) = check.turn else {
        return String::new();
    };
    let mandate = &decision.proposal.mandate;
    match check.verdict {
        Verdict::Pass => held_up(turn, mandate),
        // What was forced was held.
        Verdict::Hold | Verdict::Forced => let_pass(turn, mandate),
    }
}

/// What would have made it hold, or left nothing to decide.
fn held_up(turn: Turn, mandate: &Mandate) -> String {
    match turn {
        Turn::InVain(rung) => format!(
            "had `{rung}` been in vain within the hour before, something else would have been next"
        ),
        Turn::Way(rung) => {
            format!("had nothing there been able to do `{rung}`, that would have held it")
        }
        Turn::Support => less_support(mandate),
        Turn::Company(missing) => format!(
            "had {} more failed with it that it has something in common with, and one of them been healed already, \
             that would have held it",
            count(missing as usize, "machine"),
        ),
        Turn::FewerWell(fewer) => {
            let members = count(fewer as usize, "member");
            format!("had {members} fewer been well, that would have held it")
        }
        other => held_up_by(other).to_owned(),
    }
}

/// The same, where there is nothing to fill in; empty for what turns only what was held.
fn held_up_by(turn: Turn) -> &'static str {
    match turn {
        Turn::AnyAnswer => "an answer from the machine to anybody would have held it",
        Turn::Unheard => {
            "its silence would have held it, until witnesses had tried it and got no answer"
        }
        Turn::Joining => "had it joined in time, there would have been nothing to decide",
        Turn::WorksAgain => "had its workload worked, there would have been nothing to decide",
        Turn::Quiet => "had it answered the mesh, that would have held it",
        Turn::Made => "had no provisioner made the machine, that would have held it",
        Turn::Pause => "a pause would have held it",
        Turn::Cordon => "a cordon would have held it",
        Turn::Mode => "mode `observe` or `approve` would have held it",
        Turn::Approval => "without that approval it would have waited for one",
        Turn::Unrest => {
            "a leader that had only begun to watch, or others that fell silent at that moment, would have held it"
        }
        Turn::Unproved => {
            "without the proof, the time that a boot or a hiccup may take would have held it"
        }
        Turn::Sooner => {
            "had it not lasted so long, or had the machine joined or its group been changed shortly before, that would \
             have held it"
        }
        Turn::Failure => {
            "an operation of the group that had failed shortly before would have held it"
        }
        Turn::Spending => {
            "as many repairs at once, or within the hour, as are allowed would have held it"
        }
        Turn::Removals => "as many under way at once as are allowed would have held it",
        Turn::OtherCanary => {
            "had another of them been healed first, it would have been held until that one was well"
        }
        Turn::CanaryOnTrial => "had that one not yet proved to be well, that would have held it",
        Turn::NoOtherWell => "had none of the others been well, that would have held it",
        Turn::NoProof => {
            "a provisioner that neither proved the old machine off nor could would have held it"
        }
        Turn::NoLease => "without its lease it would have been held",
        _ => "",
    }
}

/// What would have let it pass.
fn let_pass(turn: Turn, mandate: &Mandate) -> String {
    match turn {
        Turn::Way(rung) => {
            format!("had its provisioner or its flavor `{rung}`, it would have passed")
        }
        Turn::Support => more_support(mandate),
        Turn::MoreWell(more) => {
            let members = count(more as usize, "member");
            format!("had {members} more been well, it would have passed")
        }
        other => let_pass_by(other).to_owned(),
    }
}

/// The same, where there is nothing to fill in; empty for what turns only what passed.
fn let_pass_by(turn: Turn) -> &'static str {
    match turn {
        Turn::NoAnswer => "no answer to anybody would have let it pass",
        Turn::LookedInto => {
            "an answer to the mesh, or witnesses that had tried it and got none, would have let it pass"
        }
        Turn::Quiet => "had it not answered the mesh, it would have passed",
        Turn::Made => "a machine that a provisioner made would have passed",
        Turn::Pause => "without the pause it would have passed",
        Turn::Cordon => "without the cordon it would have passed",
        Turn::Mode => "mode `auto`, or `approve` and a person's approval, would have let it pass",
        Turn::Approval => "a person's approval, or mode `auto`, would have let it pass",
        Turn::Rest => "the same, found when nothing had moved for a while, would have passed",
        Turn::Later(_) => "the same, after that time, would have passed",
        Turn::Retry => "without the operations that had failed it would have passed",
        Turn::Disk => "had it not died so often, it would have passed",
        Turn::Ended => "fewer repairs under way, or a larger `heal.budget`, would have let it pass",
        Turn::Predecessor => "without the other member that goes first it would have passed",
        Turn::EndedElsewhere => "fewer repairs under way there would have let it pass",
        Turn::Income => {
            "fewer repairs within the hour before, or a larger `heal.budget`, would have let it pass"
        }
        Turn::IncomeElsewhere => {
            "fewer repairs there within the hour before would have let it pass"
        }
        Turn::Allowance => "a `heal.budget` of more than nothing would have let it pass",
        Turn::CanaryWell => "had that one proved to be well, it would have passed",
        Turn::Flavor => "a flavor that this version knows would have let it pass",
        Turn::OtherWell => "another machine of the group that is well would have let it pass",
        Turn::Proof => "a provisioner that can prove the old machine off would have let it pass",
        Turn::ProofOrLease => {
            "a provisioner that can prove the old machine off, or a lease that it runs under, would have let it pass"
        }
        Turn::Forgetting => {
            "a machine that a provisioner made, and can prove off, would have passed"
        }
        _ => "",
    }
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

/// The leader asks only as many machines as it needs, so how many did answer says nothing of how many would have.
fn less_support(mandate: &Mandate) -> String {
    let machines = mandate.roster.saturating_sub(mandate.proven_gone);
    format!(
        "answers from fewer than {} of the {}, or from no quorum of coordinators, would have held it",
        mandate.needed(),
        count(machines as usize, "machine"),
    )
}
