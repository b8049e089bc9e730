//! The fleet sorted by group, in one pass: what belongs to each, what is under way there, what stops there.

use std::collections::BTreeMap;

use super::rows::{Condition, condition};
use super::snapshot::Snapshot;
use crate::api::types::Hold;
use crate::fleet::{
    Concern, GroupId, Intent, Machine, Outcome, Rule, Step, Subject, Would, count, span,
};

/// The fleet sorted by group.
#[derive(Debug, Default)]
pub(super) struct Census<'a> {
    groups: BTreeMap<&'a GroupId, Tally<'a>>,
}

/// What belongs to one group.
#[derive(Debug, Default)]
pub(super) struct Tally<'a> {
    /// Its machines, with how they are.
    pub(super) machines: Vec<(&'a Machine, Condition)>,
    /// What is under way.
    pub(super) intents: Vec<&'a Intent>,
    /// What isn't done, and why.
    pub(super) holds: Vec<(Rule, Hold)>,
}

impl<'a> Census<'a> {
    /// Goes through the whole state.
    pub(super) fn of(snapshot: &Snapshot<'a>) -> Self {
        let mut census = Self::default();
        for machine in snapshot.state.machines.values() {
            if let Some(group) = machine.group() {
                let seen = (machine, condition(snapshot, machine));
                census.tally(group).machines.push(seen);
            }
        }
        for intent in snapshot
            .state
            .intents
            .values()
            .filter(|intent| intent.is_open())
        {
            let tally = census.tally(&intent.group);
            tally.intents.push(intent);
            tally.holds.extend(held_step(snapshot, intent));
        }
        for (subject, concern) in &snapshot.state.concerns {
            let group = match subject {
                Subject::Group(group) => Some(group),
                Subject::Machine(id) => snapshot.state.machines.get(id).and_then(Machine::group),
            };
            if let Some(group) = group
                && let Some(hold) = hold(snapshot, subject, concern)
            {
                census.tally(group).holds.push(hold);
            }
        }
        census
    }

    /// What belongs to a group.
    pub(super) fn group(&self, group: &GroupId) -> Option<&Tally<'a>> {
        self.groups.get(group)
    }

    fn tally(&mut self, group: &'a GroupId) -> &mut Tally<'a> {
        self.groups.entry(group).or_default()
    }
}

/// How often a step must have failed to be stuck: once may be chance.
const STUCK_MIN: u32 = 2;

/// What keeps the step that an intent is at from being tried, or from being done.
fn held_step(snapshot: &Snapshot<'_>, intent: &Intent) -> Option<(Rule, Hold)> {
    let record = intent.current()?;
    let (what, step) = (intent.words(), record.step.word());
    let Some(held) = &record.held else {
        let error = record.last_error.as_ref();
        let error = error.filter(|_| record.attempts >= STUCK_MIN)?;
        let rule = match record.step {
            Step::Fence => Rule::Fence,
            _ => Rule::Backoff,
        };
        let times = count(record.attempts as usize, "time");
        let wait_ms = record.next_attempt_ms.saturating_sub(snapshot.now_ms);
        let next = match wait_ms {
            0 => "it is being tried again".to_owned(),
            _ => format!("next try in {}", span(wait_ms)),
        };
        let detail =
            format!("{what} is stuck at `{step}`, which has failed {times}: {error}; {next}");
        return Some((rule, hold_by(rule, detail)));
    };
    let detail = format!("{what} waits at `{step}`: {}", held.detail);
    Some((held.rule, hold_by(held.rule, detail)))
}

fn hold_by(rule: Rule, detail: String) -> Hold {
    Hold {
        rule: rule.to_string(),
        detail,
    }
}

/// What a concern says isn't done, if it does.
pub(super) fn hold(
    snapshot: &Snapshot<'_>,
    subject: &Subject,
    concern: &Concern,
) -> Option<(Rule, Hold)> {
    let subject_name = match subject {
        Subject::Machine(id) => snapshot.name_of(*id),
        Subject::Group(_) => String::new(),
    };
    let about = match (subject, concern.cause.found()) {
        (Subject::Machine(_), Some(diagnosis)) => format!("{subject_name} ({diagnosis}): "),
        (Subject::Machine(_), None) => format!("{subject_name}: "),
        (Subject::Group(_), _) => String::new(),
    };
    let (rule, words) = match &concern.outcome {
        Outcome::Hold { rule, detail, .. } => (
            *rule,
            held_words(detail, concern.outcome.until_ms(), snapshot.now_ms),
        ),
        Outcome::Observe { would } => {
            let would = would_words(*would, &subject_name);
            (
                Rule::Mode,
                format!("would {would}, but in mode `observe` that is only said"),
            )
        }
        Outcome::AwaitApproval { would } => {
            let would = would_words(*would, &subject_name);
            (
                Rule::Mode,
                format!(
                    "decision {} waits for approval to {would}",
                    concern.decision
                ),
            )
        }
        Outcome::Act { .. } | Outcome::Clear => return None,
    };
    let detail = format!("{about}{words}");
    Some((rule, hold_by(rule, detail)))
}

/// Why a rule holds, with the time that is left now: `it waits for 6 s (4 s left)`.
pub(super) fn held_words(detail: &str, until_ms: Option<u64>, now_ms: u64) -> String {
    match until_ms.filter(|until_ms| *until_ms > now_ms) {
        Some(until_ms) => format!("{detail} ({} left)", span(until_ms - now_ms)),
        None => detail.to_owned(),
    }
}

/// What would be done to whom, such as `replace web-2`.
pub(super) fn would_words(would: Would, name: &str) -> String {
    match name {
        "" => format!("{would} a machine"),
        name => format!("{would} {name}"),
    }
}
