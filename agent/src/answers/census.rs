//! The fleet sorted by group, in one pass: what belongs to each, what is under way there, what stops there.

use std::collections::BTreeMap;

use super::rows::{Condition, condition};
use super::snapshot::Snapshot;
use crate::api::types::Hold;
use crate::fleet::{Concern, GroupId, Intent, Machine, Outcome, Rule, Subject, Would, span};

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
            tally.holds.extend(held_step(intent));
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

/// What keeps the step that an intent is at from being tried.
fn held_step(intent: &Intent) -> Option<(Rule, Hold)> {
    let record = intent.current()?;
    let held = record.held.as_ref()?;
    let (what, step) = (intent.words(), record.step.word());
    let detail = format!("{what} waits at `{step}`: {}", held.detail);
    let rule = held.rule.to_string();
    Some((held.rule, Hold { rule, detail }))
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
    let about = match (subject, concern.cause.diagnosis()) {
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
    Some((
        rule,
        Hold {
            rule: rule.to_string(),
            detail,
        },
    ))
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
