//! How well healing went: every failure on record, what was decided about it, and how that came out.
//!
//! Computed from the decisions and events that the fleet remembers, so any machine gives the same report.

mod case;
mod verdict;

use std::collections::BTreeMap;

use super::census::would_words;
use super::decisions::diagnosis_word;
use super::group::{budget, heal_mode};
use super::intents::action_words;
use super::snapshot::{Snapshot, at, number};
use crate::api::types::{CaseRow, Figures, GroupReport, HeldRow, Mark, Report, TimeToHeal};
use crate::fleet::limits::DECISIONS_MAX;
use crate::fleet::{Cause, Decision, DecisionId, Diagnosis, EventKind, GroupId, Outcome, Rule};

use case::Case;
use verdict::{Verdict, judge};

/// What came of all that was decided since a time, in milliseconds since 1970.
pub(super) fn report(snapshot: &Snapshot<'_>, since_ms: u64) -> Report {
    let cases = Case::all(snapshot.state);
    let cases = cases
        .iter()
        .filter(|case| case.last_ms(snapshot.now_ms) >= since_ms);
    let judged: Vec<_> = cases
        .map(|case| (case.group, row(snapshot, case, judge(snapshot, case))))
        .collect();
    let heals = heals(snapshot, since_ms);
    let figures = |of: &dyn Fn(Option<&GroupId>) -> bool| {
        let marks = judged.iter().filter(|(group, _)| of(*group));
        let times = heals.iter().filter(|(group, _)| of(*group));
        figures(
            marks.map(|(_, row)| row.mark),
            times.map(|(_, ms)| *ms).collect(),
        )
    };
    let groups = snapshot.state.groups.iter();
    Report {
        answer: snapshot.as_of(),
        since_ms,
        complete_since_ms: complete_since(snapshot),
        fleet: figures(&|_| true),
        groups: groups
            .map(|(id, group)| GroupReport {
                id: id.to_string(),
                heal_mode: heal_mode(group.spec.heal.mode),
                figures: figures(&|of| of == Some(id)),
                budget: budget(snapshot, id, group),
            })
            .collect(),
        held: held(snapshot, since_ms),
        cases: judged.into_iter().map(|(_, row)| row).collect(),
    }
}

/// Since when every decision is on record: as long as none had to be forgotten, since the fleet began.
fn complete_since(snapshot: &Snapshot<'_>) -> u64 {
    let state = snapshot.state;
    let founded_ms = state
        .cluster
        .as_ref()
        .map_or(0, |cluster| cluster.founded_ms);
    if state.decisions.len() < DECISIONS_MAX {
        return founded_ms;
    }
    // Those that something standing rests on are kept longer than others, and come first.
    let numbers = state.decisions.iter().zip(state.decisions.iter().skip(1));
    let mut gaps = numbers.filter(|(one, next)| next.id.0 != one.id.0 + 1);
    let first = gaps.next_back().map(|(_, next)| next);
    let first = first.or(state.decisions.front());
    first.map_or(founded_ms, |decision| decision.at_ms)
}

fn row(snapshot: &Snapshot<'_>, case: &Case<'_>, verdict: Verdict) -> CaseRow {
    let decision = case.decisive();
    let name = case.name(snapshot);
    let (action, rule) = match &decision.proposal.outcome {
        Outcome::Act { action, .. } => (Some(action_words(snapshot, *action)), None),
        Outcome::Observe { would } | Outcome::AwaitApproval { would } => {
            (Some(would_words(*would, &name)), None)
        }
        Outcome::Hold { rule, .. } => (None, Some(rule.to_string())),
        Outcome::Clear => (None, None),
    };
    CaseRow {
        decision: decision.id.0,
        at: at(decision.at_ms),
        at_ms: decision.at_ms,
        machine: name,
        group: case.group.map(ToString::to_string),
        diagnosis: diagnosis_word(&decision.proposal.cause),
        decided: case.decided(),
        action,
        rule,
        mark: verdict.mark,
        why: verdict.why,
    }
}

fn figures(marks: impl Iterator<Item = Mark>, times: Vec<u64>) -> Figures {
    let mut figures = Figures::default();
    for mark in marks {
        let counter = match mark {
            Mark::Right => &mut figures.right,
            Mark::Wrong => &mut figures.wrong,
            Mark::Open => &mut figures.open,
            Mark::Missed => &mut figures.missed,
            Mark::NearMiss => &mut figures.near_misses,
            Mark::Spared => &mut figures.spared,
        };
        *counter += 1;
    }
    let of = |part: u32, rest: u32| {
        let all = part + rest;
        (all > 0).then(|| f64::from(part) / f64::from(all))
    };
    figures.precision = of(figures.right, figures.wrong);
    figures.recall = of(figures.right, figures.missed);
    figures.time_to_heal = time_to_heal(times);
    figures
}

// === time to heal ===

/// How long each repair that is done took, from the first sign of the failure, with its group.
fn heals<'a>(snapshot: &Snapshot<'a>, since_ms: u64) -> Vec<(Option<&'a GroupId>, u64)> {
    let done: BTreeMap<DecisionId, u64> = snapshot
        .state
        .events
        .iter()
        .filter(|event| event.kind == EventKind::Done && event.at_ms >= since_ms)
        .filter_map(|event| Some((event.decision?, event.at_ms)))
        .collect();
    let took = |decision: &'a Decision| {
        let proposal = &decision.proposal;
        let Cause::Diagnosed {
            diagnosis,
            since_ms,
            ..
        } = &proposal.cause
        else {
            return None;
        };
        let at_ms = done.get(&decision.id)?;
        let heals = *diagnosis != Diagnosis::Left;
        heals.then(|| (proposal.group.as_ref(), at_ms.saturating_sub(*since_ms)))
    };
    snapshot.state.decisions.iter().filter_map(took).collect()
}

fn time_to_heal(mut times: Vec<u64>) -> TimeToHeal {
    times.sort_unstable();
    // The smallest time within which so many of ten are done.
    let within = |tenths: usize| {
        let rank = (times.len() * tenths).div_ceil(10).max(1);
        times.get(rank - 1).copied()
    };
    TimeToHeal {
        count: number(times.len()),
        p50_ms: within(5),
        p90_ms: within(9),
        max_ms: within(10),
    }
}

// === holds ===

fn held(snapshot: &Snapshot<'_>, since_ms: u64) -> Vec<HeldRow> {
    let state = snapshot.state;
    let lately = state
        .decisions
        .iter()
        .filter(|decision| decision.at_ms >= since_ms)
        .filter_map(|decision| rule_of(&decision.proposal.outcome));
    let mut counts = BTreeMap::<Rule, (u32, u32)>::new();
    for rule in lately {
        counts.entry(rule).or_default().0 += 1;
    }
    let standing = state.concerns.values();
    for rule in standing.filter_map(|concern| rule_of(&concern.outcome)) {
        counts.entry(rule).or_default().1 += 1;
    }
    let rows = counts.into_iter();
    rows.map(|(rule, (times, standing))| HeldRow {
        rule: rule.to_string(),
        times,
        standing,
    })
    .collect()
}

fn rule_of(outcome: &Outcome) -> Option<Rule> {
    match outcome {
        Outcome::Hold { rule, .. } => Some(*rule),
        Outcome::Observe { .. } | Outcome::AwaitApproval { .. } => Some(Rule::Mode),
        Outcome::Act { .. } | Outcome::Clear => None,
    }
}
