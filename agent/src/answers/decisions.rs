//! Decisions as people read them.

use muster_mesh::identity::MachineId;

use super::census::{held_words, would_words};
use super::intents::{action_words, concerns};
use super::otherwise::otherwise;
use super::snapshot::{Snapshot, at};
use crate::api::types::{
    CheckRow, CheckVerdict, DecisionRow, EvidenceRow, Listed, Outcome, OutcomeKind,
};
use crate::api::{ApiError, Request};
use crate::fleet::{self, Cause, Decision, Evidence, GroupId, Subject, Verdict, count, span};

/// So many decisions are listed unless the asker wants another number.
const LISTED: u32 = 20;

/// The latest decisions, newest first, of all or about one machine or group.
pub(super) fn decisions(
    snapshot: &Snapshot<'_>,
    machine: Option<&str>,
    group: Option<&str>,
    limit: Option<u32>,
) -> Result<Listed<DecisionRow>, ApiError> {
    let limit = limit.unwrap_or(LISTED).min(Request::EVENTS_MAX) as usize;
    let about_machine =
        |decision: &&Decision| machine.is_none_or(|name| is_about(snapshot, decision, name));
    let about_group = |decision: &&Decision| {
        group.is_none_or(|id| {
            decision
                .proposal
                .group
                .as_ref()
                .is_some_and(|of| of.as_str() == id)
        })
    };
    let items: Vec<_> = snapshot
        .state
        .decisions
        .iter()
        .rev()
        .filter(about_machine)
        .filter(about_group)
        .take(limit)
        .map(|decision| decision_row(snapshot, decision))
        .collect();
    if items.is_empty() {
        // An empty list about something that isn't there would say that all is well with it.
        if let Some(id) = group {
            snapshot.find_group(id)?;
        }
        if let Some(name) = machine
            && snapshot.find_machine(name).is_none()
        {
            return Err(super::machine::no_machine(name));
        }
    }
    Ok(Listed {
        as_of: snapshot.as_of(),
        items,
    })
}

/// Whether a decision is about the machine of this name or ID, as the one that is judged, made or taken away.
fn is_about(snapshot: &Snapshot<'_>, decision: &Decision, text: &str) -> bool {
    let named = decision
        .name
        .as_ref()
        .is_some_and(|name| name.as_str() == text);
    let id = match text.parse::<MachineId>() {
        Ok(id) => Some(id),
        Err(_) => snapshot.find_machine(text).map(|machine| machine.id),
    };
    named || id.is_some_and(|id| involves(decision, id))
}

/// Whether a decision judges, makes or takes away a machine.
pub(super) fn involves(decision: &Decision, machine: MachineId) -> bool {
    decision.proposal.subject == Subject::Machine(machine)
        || matches!(decision.proposal.outcome, fleet::Outcome::Act { action, .. } if concerns(action, machine))
}

/// Whether a decision is what is on record about its subject today.
pub(super) fn stands(snapshot: &Snapshot<'_>, decision: &Decision) -> bool {
    let concern = snapshot.state.concerns.get(&decision.proposal.subject);
    concern.is_some_and(|concern| concern.decision == decision.id)
}

/// Whether a decision is about a group or one of its machines.
pub(super) fn is_of(decision: &Decision, group: &GroupId) -> bool {
    decision.proposal.group.as_ref() == Some(group)
}

/// One decision with all it was made from.
pub(super) fn decision_row(snapshot: &Snapshot<'_>, decision: &Decision) -> DecisionRow {
    let proposal = &decision.proposal;
    let evidence = proposal.evidence.iter();
    let checks = proposal.checks.iter();
    DecisionRow {
        id: decision.id.0,
        at: at(decision.at_ms),
        at_ms: decision.at_ms,
        leader: snapshot.name_of(decision.leader),
        term: decision.term,
        group: proposal.group.as_ref().map(ToString::to_string),
        machine: machine_name(snapshot, decision),
        diagnosis: diagnosis_word(&proposal.cause),
        evidence: evidence
            .map(|evidence| evidence_row(snapshot, decision, evidence))
            .collect(),
        checks: checks
            .map(|check| CheckRow {
                rule: check.rule.to_string(),
                verdict: match check.verdict {
                    Verdict::Pass => CheckVerdict::Pass,
                    Verdict::Hold => CheckVerdict::Hold,
                    Verdict::Forced => CheckVerdict::Forced,
                },
                margin: check.margin.to_string(),
                otherwise: otherwise(decision, check),
            })
            .collect(),
        outcome: outcome(snapshot, decision),
    }
}

/// The machine that a decision is about: the one that is judged, else the one that it makes or takes away.
pub(super) fn machine_name(snapshot: &Snapshot<'_>, decision: &Decision) -> Option<String> {
    if let Some(name) = &decision.name {
        return Some(name.to_string());
    }
    match (&decision.proposal.subject, &decision.proposal.outcome) {
        (Subject::Machine(id), _) => Some(snapshot.name_of(*id)),
        (_, fleet::Outcome::Act { action, .. }) => {
            Some(snapshot.name_of(action.makes().or(action.finds())?))
        }
        _ => None,
    }
}

/// What was made of the evidence, in a word or two.
pub(super) fn diagnosis_word(cause: &Cause) -> String {
    match cause {
        Cause::Diagnosed { diagnosis, .. } => diagnosis.to_string(),
        Cause::TooFew { .. } => "too few".to_owned(),
        Cause::TooMany { .. } => "too many".to_owned(),
        Cause::Destroyed => "destroyed".to_owned(),
        Cause::Asked { .. } => "asked".to_owned(),
        Cause::Complete => "complete".to_owned(),
    }
}

fn outcome(snapshot: &Snapshot<'_>, decision: &Decision) -> Outcome {
    let cause = &decision.proposal.cause;
    let name = machine_name(snapshot, decision).unwrap_or_default();
    let mut outcome = Outcome {
        kind: OutcomeKind::Clear,
        action: None,
        op: None,
        rule: None,
        detail: cause.to_string(),
    };
    match &decision.proposal.outcome {
        fleet::Outcome::Act { op, action } => {
            outcome.kind = OutcomeKind::Act;
            outcome.action = Some(action_words(snapshot, *action));
            outcome.op = Some(op.to_string());
        }
        fleet::Outcome::Hold { rule, detail, .. } => {
            outcome.kind = OutcomeKind::Hold;
            outcome.rule = Some(rule.to_string());
            let left = stands(snapshot, decision).then(|| decision.proposal.outcome.until_ms());
            outcome.detail = held_words(detail, left.flatten(), snapshot.now_ms);
        }
        fleet::Outcome::Observe { would } => {
            outcome.kind = OutcomeKind::Observe;
            outcome.action = Some(would_words(*would, &name));
        }
        fleet::Outcome::AwaitApproval { would } => {
            outcome.kind = OutcomeKind::AwaitApproval;
            outcome.action = Some(would_words(*would, &name));
        }
        fleet::Outcome::Clear => {}
    }
    outcome
}

// === evidence ===

fn evidence_row(snapshot: &Snapshot<'_>, decision: &Decision, evidence: &Evidence) -> EvidenceRow {
    let before = |at_ms: u64| span(decision.at_ms.saturating_sub(at_ms));
    let (source, detail, at_ms) = match evidence {
        Evidence::Member(seen) => {
            let detail = format!("{} for {}", seen.status, before(seen.since_ms));
            ("mesh".to_owned(), detail, Some(seen.since_ms))
        }
        Evidence::Record(said) => (
            "record".to_owned(),
            record_words(said, decision.at_ms),
            Some(said.as_of_ms),
        ),
        Evidence::Witness(witness) => (
            snapshot.name_of(witness.by),
            witness_words(witness),
            Some(witness.at_ms),
        ),
        Evidence::Provider(provider) => (
            provisioner(snapshot, decision),
            format!("the instance is {}", provider_words(&provider.word)),
            Some(provider.at_ms),
        ),
        Evidence::Roster(roster) => {
            let mut detail = format!(
                "{}, ordered {} before",
                roster.phase,
                before(roster.ordered_ms)
            );
            if let Some(joined_ms) = roster.joined_ms {
                detail.push_str(&format!(", joined {} before", before(joined_ms)));
            }
            ("roster".to_owned(), detail, None)
        }
        Evidence::History(lately) => ("history".to_owned(), history_words(lately), None),
        Evidence::Count { desired, existing } => {
            let machines = count(*existing as usize, "machine");
            (
                "roster".to_owned(),
                format!("{machines} where {desired} are wanted"),
                None,
            )
        }
    };
    EvidenceRow {
        source,
        detail,
        at_ms,
    }
}

fn provider_words(word: &fleet::ProviderWord) -> String {
    match word {
        fleet::ProviderWord::Unknown => "unknown to it: there is no such instance".to_owned(),
        fleet::ProviderWord::CannotSay { why } => {
            format!("in a condition that it can't tell ({why})")
        }
        word => word.to_string(),
    }
}

fn witness_words(witness: &fleet::WitnessEvidence) -> String {
    let path = match witness.path {
        fleet::Path::Probe => "a fresh probe of its port",
        fleet::Path::Handshake => "a handshake on a new connection",
    };
    let place = |word: &str, name: &Option<fleet::Text>| {
        let name = name.as_ref();
        name.map_or_else(String::new, |name| format!(" from {word} {name}"))
    };
    let from = place("zone", &witness.zone) + &place("rack", &witness.rack);
    format!("{path}{from} got {}", witness.answer)
}

fn record_words(said: &fleet::RecordEvidence, decided_ms: u64) -> String {
    let mut words = format!("health {}", said.health);
    for (index, reason) in said.reasons.iter().enumerate() {
        words.push_str(if index == 0 { ": " } else { ", " });
        words.push_str(reason);
    }
    match &said.workload {
        Some(fleet::Workload::Unleased) => {
            words.push_str("; its workload is stopped for want of a lease");
        }
        Some(fleet::Workload::Failed { detail, .. }) => {
            words.push_str(&format!("; workload failed: {detail}"));
        }
        None => {}
    }
    if let Some(version) = &said.version {
        words.push_str(&format!("; agent {version}"));
    }
    match said.leaving {
        Some(fleet::Leaving::ForGood) => words.push_str("; it said goodbye for good"),
        Some(fleet::Leaving::Rebooting { until_ms }) => {
            let left_ms = until_ms.saturating_sub(decided_ms);
            words.push_str(&format!(
                "; it reboots and wanted to be back within {}",
                span(left_ms)
            ));
        }
        None => {}
    }
    words
}

/// What happened within the last hour, only what did.
fn history_words(lately: &fleet::HistoryEvidence) -> String {
    let times = |count: u32| match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    };
    let parts = [
        (lately.silences, "fell silent"),
        (lately.recoveries, "was in trouble and recovered"),
        (lately.treatments, "was treated in its place"),
        (lately.replacements, "its place got another machine"),
    ];
    let happened = parts.into_iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = happened
        .map(|(count, what)| format!("{what} {}", times(count)))
        .collect();
    format!("within the last hour: {}", words.join(", "))
}

/// Who spoke for the provider: its name where the machine is still known, else what it is.
fn provisioner(snapshot: &Snapshot<'_>, decision: &Decision) -> String {
    let of_machine = || {
        let Subject::Machine(id) = decision.proposal.subject else {
            return None;
        };
        let instance = snapshot.state.machines.get(&id)?.instance.as_ref()?;
        Some(instance.provisioner.clone())
    };
    let of_group = || {
        let group = snapshot
            .state
            .groups
            .get(decision.proposal.group.as_ref()?)?;
        Some(group.spec.instance.provisioner.clone())
    };
    of_machine()
        .or_else(of_group)
        .unwrap_or_else(|| "provisioner".to_owned())
}
