//! How a case came out: what was decided, against what happened.
//!
//! A machine *had failed* if its provisioner proved it, if somebody took it off the roster, or if nothing was heard of
//! it for [`SILENT_MS`]. It *was well again* if it answered the mesh once more before anything of that. Until one or
//! the other is so, the case is open.

use super::case::{Case, is_failure};
use crate::answers::snapshot::Snapshot;
use crate::api::types::{Decided, Mark};
use crate::fleet::limits::MINUTE_MS;
use crate::fleet::{
    Action, Cause, Decision, Diagnosis, Intent, IntentState, Outcome, Rule, Subject, span,
};

/// A machine that has not answered for so long had failed, whatever it was, in milliseconds: longer than any boot or
/// hiccup that a person would rather have waited out.
const SILENT_MS: u64 = 10 * MINUTE_MS;

/// How a case came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) mark: Mark,
    /// How that is known.
    pub(super) why: String,
}

/// What is known of the machine by now.
enum Truth {
    Failed(String),
    Well(String),
    Unknown(String),
}

/// Judges a case by what is known today.
pub(super) fn judge(snapshot: &Snapshot<'_>, case: &Case<'_>) -> Verdict {
    let decision = case.decisive();
    if let Outcome::Act { op, action } = &decision.proposal.outcome {
        return judge_action(snapshot, case, *action, snapshot.state.intents.get(op));
    }
    let truth = truth(snapshot, case);
    let lasting_ms = snapshot.now_ms.saturating_sub(case.began_ms());
    let may_let_go = case.stands(snapshot.state) && lasting_ms < SILENT_MS;
    let (mark, why) = match (case.decided(), truth) {
        // A rule that held for a moment did what it is for.
        (Decided::Held, Truth::Failed(why)) if may_let_go => (Mark::Open, why),
        (Decided::Held, Truth::Failed(why)) => (Mark::Missed, why),
        (Decided::Held, Truth::Well(why)) if was_near(decision) => (Mark::NearMiss, why),
        (Decided::Held, Truth::Well(why)) => (Mark::Spared, why),
        (_, Truth::Failed(why)) => (Mark::Right, why),
        (_, Truth::Well(why)) => (Mark::Wrong, why),
        (_, Truth::Unknown(why)) => (Mark::Open, why),
    };
    Verdict { mark, why }
}

/// What was done changed what happened, so it is judged by what was known when it was done, and by its success.
fn judge_action(
    snapshot: &Snapshot<'_>,
    case: &Case<'_>,
    action: Action,
    intent: Option<&Intent>,
) -> Verdict {
    let state = intent.map(|intent| &intent.state);
    let takes_away = action.removes().is_some();
    let proof = case.proof();
    // What became of it later is another trouble than the one that something was to be done about in its place.
    let proof = proof.filter(|proof| takes_away || proof.id <= case.decisive().id);
    let (mark, why) = match (proof, case.cleared_ms, state) {
        // Whatever was taken for a proof.
        (_, Some(_), Some(IntentState::Failed { error, .. })) if takes_away => (
            Mark::Wrong,
            format!("it came to nothing ({error}), and the machine was well again without it"),
        ),
        (Some(proof), _, _) => (Mark::Right, proof_words(proof)),
        (None, Some(_), Some(IntentState::Failed { error, spared: true, .. })) => (
            Mark::Wrong,
            format!("nothing was done ({error}), and the machine was well again without it"),
        ),
        (None, Some(_), Some(IntentState::Failed { at_ms, .. }))
            if !takes_away && was_ill(snapshot, case, *at_ms) =>
        {
            (
                Mark::Right,
                "the machine was not well when that had ended, so something had to be done; it did not help".to_owned(),
            )
        }
        (None, Some(_), Some(IntentState::Failed { .. })) => (
            Mark::Wrong,
            "what was ordered failed, and the machine was well again without it".to_owned(),
        ),
        (None, Some(cleared_ms), _) if takes_away => (Mark::Wrong, well_words(case, cleared_ms)),
        (None, Some(cleared_ms), _) => {
            let took = span(cleared_ms.saturating_sub(case.decisive().at_ms));
            (Mark::Right, format!("it was well again {took} after"))
        }
        (None, None, Some(IntentState::Open)) => (Mark::Open, "it is under way".to_owned()),
        (None, None, _) if takes_away && !is_on_roster(snapshot, case) => (
            Mark::Right,
            format!(
                "no witness had got an answer for {}, and it was not seen again",
                span(silent_ms(case.decisive()))
            ),
        ),
        (None, None, _) => (Mark::Open, "the machine is not well yet".to_owned()),
    };
    Verdict { mark, why }
}

/// Whether something was the matter with the machine at a time after it was treated: it was not yet cleared, or had been,
/// and failed again.
fn was_ill(snapshot: &Snapshot<'_>, case: &Case<'_>, at_ms: u64) -> bool {
    let Some(cleared_ms) = case.cleared_ms.filter(|cleared_ms| *cleared_ms <= at_ms) else {
        return true;
    };
    let mut decisions = snapshot.state.decisions.iter();
    decisions.any(|decision| {
        decision.proposal.subject == Subject::Machine(case.machine)
            && (cleared_ms..=at_ms).contains(&decision.at_ms)
            && is_failure(decision)
    })
}

fn truth(snapshot: &Snapshot<'_>, case: &Case<'_>) -> Truth {
    if let Some(proof) = case.proof() {
        return Truth::Failed(proof_words(proof));
    }
    if let Some(cleared_ms) = case.cleared_ms {
        return Truth::Well(well_words(case, cleared_ms));
    }
    if case.withdrawn_ms.is_some() {
        return Truth::Unknown("it was to be taken away for another reason".to_owned());
    }
    if !is_on_roster(snapshot, case) {
        return Truth::Failed(
            "it was taken off the roster without having answered again".to_owned(),
        );
    }
    let lasting_ms = snapshot.now_ms.saturating_sub(case.began_ms());
    let lasting = span(lasting_ms);
    let diagnosis = case.latest().proposal.cause.diagnosis();
    // What answers somebody has not failed, however long that lasts.
    let answers = matches!(diagnosis, Some(Diagnosis::Slow | Diagnosis::Partitioned));
    if lasting_ms >= SILENT_MS && !answers {
        return Truth::Failed(format!("it has not been well for {lasting}"));
    }
    Truth::Unknown(format!(
        "it has not been well for {lasting}, which proves nothing yet"
    ))
}

fn is_on_roster(snapshot: &Snapshot<'_>, case: &Case<'_>) -> bool {
    snapshot.state.machines.contains_key(&case.machine)
}

/// Whether only a rule stood between the machine and an action: the evidence would have allowed one, and there was one
/// to take.
fn was_near(decision: &Decision) -> bool {
    match &decision.proposal.outcome {
        Outcome::Hold { rule, .. } => *rule > Rule::Ladder,
        _ => false,
    }
}

fn silent_ms(decision: &Decision) -> u64 {
    match &decision.proposal.cause {
        Cause::Diagnosed { since_ms, .. } => decision.at_ms.saturating_sub(*since_ms),
        _ => 0,
    }
}

fn proof_words(proof: &Decision) -> String {
    match &proof.proposal.cause {
        Cause::Diagnosed { summary, .. } => summary.to_string(),
        cause => cause.to_string(),
    }
}

fn well_words(case: &Case<'_>, cleared_ms: u64) -> String {
    let after = span(cleared_ms.saturating_sub(case.began_ms()));
    format!("it was well again by itself, {after} after the first decision")
}
