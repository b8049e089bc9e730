//! `muster explain`, `decisions` and `events`.

use super::super::grid::{Grid, bold, dim, maybe, plain};
use super::super::output::{Output, Tone};
use super::super::time;
use super::{answered, diagnosis_tone, heading, pairs};
use crate::api::types::{
    CheckRow, CheckVerdict, DecisionRow, EventRow, Explanation, Listed, Outcome, OutcomeKind,
};

/// So many decisions are explained in full, the latest; `explain` with its number does it for any other.
const SHOWN_IN_FULL: usize = 3;

/// The last decisions.
pub(in crate::cli) fn decisions(decisions: &Listed<DecisionRow>, out: &Output) -> String {
    table(&decisions.items, out) + &answered(&decisions.as_of, out)
}

pub(super) fn table(decisions: &[DecisionRow], out: &Output) -> String {
    let headings = [
        "DECISION",
        "AGO",
        "GROUP",
        "MACHINE",
        "DIAGNOSIS",
        "OUTCOME",
    ];
    let mut grid = Grid::new(out.paint, &headings);
    for decision in decisions {
        let (tone, outcome) = outcome(&decision.outcome);
        grid.row([
            plain(decision.id),
            dim(time::age(decision.at_ms, out.now_ms)),
            maybe(decision.group.as_ref()),
            decision.machine.as_ref().map_or(dim("-"), bold),
            (
                diagnosis_tone(&decision.diagnosis),
                decision.diagnosis.clone(),
            ),
            (tone, outcome),
        ]);
    }
    grid.render("nothing had to be decided yet")
}

/// What came of a decision, in one line.
pub(crate) fn outcome(outcome: &Outcome) -> (Tone, String) {
    let action = outcome.action.as_deref().unwrap_or("nothing");
    let (tone, text) = match outcome.kind {
        OutcomeKind::Act => (Tone::Good, action.to_owned()),
        OutcomeKind::Hold => {
            let rule = outcome.rule.as_deref().unwrap_or("a rule");
            (Tone::Bad, format!("held by {rule}"))
        }
        OutcomeKind::Observe => (Tone::Warn, format!("would {action}, and only observes")),
        OutcomeKind::AwaitApproval => (Tone::Warn, format!("waits for approval to {action}")),
        OutcomeKind::Clear => (Tone::Good, "over".to_owned()),
    };
    let text = if outcome.detail.is_empty() {
        text
    } else {
        format!("{text}: {}", outcome.detail)
    };
    (tone, text)
}

/// Why something was done or wasn't.
pub(in crate::cli) fn explanation(explanation: &Explanation, out: &Output) -> String {
    let mut text = format!("{}\n", out.paint.tone(Tone::Bold, &explanation.summary));
    let (full, earlier) = explanation
        .decisions
        .split_at(explanation.decisions.len().min(SHOWN_IN_FULL));
    for (index, decision) in full.iter().enumerate() {
        text += &one(decision, out);
        // Of the older ones, JSON has it.
        if index == 0 {
            text += &what_would_have_changed(decision, out);
        }
    }
    if !earlier.is_empty() {
        text += &heading("EARLIER DECISIONS", out);
        text += &table(earlier, out);
    }
    if !explanation.events.is_empty() {
        text += &heading("EVENTS", out);
        for row in &explanation.events {
            text += &format!("{}\n", event(row, out));
        }
    }
    text.push('\n');
    text += &answered(&explanation.answer, out);
    out.paint.fold(&text)
}

/// One decision in full.
fn one(decision: &DecisionRow, out: &Output) -> String {
    let paint = out.paint;
    let subject = decision.machine.as_ref().or(decision.group.as_ref());
    let subject = subject.map_or_else(String::new, |subject| format!(" on {subject}"));
    let mut text = heading(&format!("DECISION {}{subject}", decision.id), out);
    let (tone, outcome) = outcome(&decision.outcome);
    let ago = time::age(decision.at_ms, out.now_ms);
    text += &pairs(&[
        (
            "when",
            format!("{} ({ago} ago)", time::date_and_clock(decision.at_ms)),
        ),
        (
            "by",
            paint.tone(
                Tone::Plain,
                format!("{}, leader in term {}", decision.leader, decision.term),
            ),
        ),
        (
            "diagnosis",
            paint.tone(diagnosis_tone(&decision.diagnosis), &decision.diagnosis),
        ),
        ("outcome", paint.tone(tone, outcome)),
    ]);
    if !decision.evidence.is_empty() {
        let mut grid = Grid::new(paint, &["EVIDENCE FROM", "AGO", "WHAT"]);
        for evidence in &decision.evidence {
            grid.row([
                plain(&evidence.source),
                // Ages count from the decision: what it knew then.
                maybe(evidence.at_ms.map(|at_ms| time::age(at_ms, decision.at_ms))),
                plain(&evidence.detail),
            ]);
        }
        text += &grid.render("");
    }
    text + &rules(decision, out)
}

/// What every rule said.
pub(super) fn rules(decision: &DecisionRow, out: &Output) -> String {
    if decision.checks.is_empty() {
        return String::new();
    }
    let mut grid = Grid::new(out.paint, &["RULE", "", "MARGIN"]);
    for check in &decision.checks {
        let verdict = match check.verdict {
            CheckVerdict::Pass => (Tone::Good, "pass".to_owned()),
            CheckVerdict::Hold => (Tone::Bad, "HOLD".to_owned()),
            CheckVerdict::Forced => (Tone::Warn, "forced".to_owned()),
        };
        grid.row([bold(&check.rule), verdict, plain(&check.margin)]);
    }
    grid.render("")
}

/// What would have turned the decision: the rules that held, all of them; or, where none did, any one of the others.
fn what_would_have_changed(decision: &DecisionRow, out: &Output) -> String {
    let holds = |check: &&CheckRow| check.verdict == CheckVerdict::Hold;
    let held: Vec<_> = decision.checks.iter().filter(holds).collect();
    let (how, rows) = match (held.len(), decision.outcome.kind) {
        (1, _) => ("THIS WOULD HAVE CHANGED IT", held),
        (2.., _) => ("ALL OF THIS TOGETHER WOULD HAVE CHANGED IT", held),
        (0, OutcomeKind::Act) => (
            "ANY OF THIS WOULD HAVE CHANGED IT",
            decision.checks.iter().collect(),
        ),
        (0, _) => return String::new(),
    };
    // What nothing would have turned goes without saying.
    let told = |check: &&&CheckRow| !check.otherwise.is_empty();
    let rows: Vec<_> = rows.iter().filter(told).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut grid = Grid::new(out.paint, &["RULE", how]);
    for check in rows {
        grid.row([bold(&check.rule), plain(&check.otherwise)]);
    }
    grid.render("")
}

/// One event on one line.
pub(crate) fn event(event: &EventRow, out: &Output) -> String {
    let paint = out.paint;
    let subject = event
        .machine
        .as_ref()
        .or(event.group.as_ref())
        .map_or("-", String::as_str);
    let decision = event
        .decision
        .map(|decision| format!("(decision {decision})"));
    let detail = paint.tone(Tone::Plain, &event.detail);
    let decision = decision.map(|decision| paint.tone(Tone::Dim, decision));
    let rest: Vec<_> = [Some(detail), decision]
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    let line = format!(
        "{}  {}  {}  {}",
        paint.tone(Tone::Dim, time::clock(event.at_ms)),
        paint.tone(Tone::Bold, format!("{subject:<12}")),
        paint.tone(event_tone(&event.kind), format!("{:<17}", event.kind)),
        rest.join(" "),
    );
    line.trim_end().to_owned()
}

/// How an event is meant, by its kind.
pub(crate) fn event_tone(kind: &str) -> Tone {
    match kind {
        "failed" | "held" | "revoked" | "retrying" | "orphan_found" | "quarantined" | "expired"
        | "group_failed" => Tone::Bad,
        "joined" | "done" | "cleared" | "returned" | "founded" | "approved" | "uncordoned" => {
            Tone::Good
        }
        "ordered" | "replacing" | "retiring" | "observed" | "awaiting_approval" | "paused"
        | "left" | "asked" | "withdrawn" | "cordoned" | "draining" => Tone::Warn,
        _ => Tone::Plain,
    }
}
