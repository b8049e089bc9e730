//! Why something was done, or was not.

use super::census::held_words;
use super::decisions::{decision_row, involves, is_of, machine_name, stands};
use super::events::log_row;
use super::group::{pause_words, reboot_words};
use super::intents::{action_words, progress_words};
use super::machine::is_about;
use super::remedy::what_ends;
use super::rows::{Condition, condition, machine_row};
use super::snapshot::{Snapshot, shorten};
use crate::api::ApiError;
use crate::api::types::{Explanation, MachineState};
use crate::fleet::{
    Decision, DecisionId, Event, Group, GroupId, Machine, MachineName, Orphan, Outcome, Phase,
    Subject, count, span,
};

/// So many decisions are explained at once, the latest.
const DECISIONS_SHOWN: usize = 20;

/// So many events go with them, the latest.
const EVENTS_SHOWN: usize = 50;

/// Explains a machine (by name or ID, past ones included), a group, or a decision (by number, with or without `#`).
/// Names go before numbers.
///
/// # Errors
/// `not_found` when nothing on the roster or on record goes by that.
pub fn explain(snapshot: &Snapshot<'_>, subject: &str) -> Result<Explanation, ApiError> {
    if let Some(machine) = snapshot.find_machine(subject) {
        return Ok(explain_machine(snapshot, subject, machine));
    }
    if let Some((id, group)) = snapshot.state.groups.get_key_value(subject) {
        return Ok(explain_group(snapshot, id, group));
    }
    let number = subject.strip_prefix('#').unwrap_or(subject).parse();
    if let Ok(number) = number {
        return explain_decision(snapshot, DecisionId(number));
    }
    explain_past(snapshot, subject)
}

/// Gathers what goes with a summary.
fn explanation<'a>(
    snapshot: &Snapshot<'a>,
    subject: &str,
    summary: String,
    is_relevant: impl Fn(&Decision) -> bool,
    happened: impl Fn(&Event) -> bool,
) -> Explanation {
    let decisions = snapshot.state.decisions.iter().rev();
    let events = snapshot.state.events.iter().rev();
    let mut events: Vec<_> = events
        .filter(|event| happened(event))
        .take(EVENTS_SHOWN)
        .map(|event| log_row(snapshot, event))
        .collect();
    events.reverse();
    Explanation {
        answer: snapshot.as_of(),
        subject: shorten(subject),
        summary,
        machine: None,
        decisions: decisions
            .filter(|decision| is_relevant(decision))
            .take(DECISIONS_SHOWN)
            .map(|decision| decision_row(snapshot, decision))
            .collect(),
        events,
    }
}

// === machines ===

fn explain_machine(snapshot: &Snapshot<'_>, subject: &str, machine: &Machine) -> Explanation {
    let is_relevant = |decision: &Decision| {
        involves(decision, machine.id) || decision.name.as_ref() == Some(&machine.name)
    };
    let condition = condition(snapshot, machine);
    let mut sentences = vec![condition_words(snapshot, machine, condition)];
    sentences.extend(own_words(snapshot, machine));
    sentences.push(verdict_words(snapshot, machine, condition));
    sentences.extend(namesakes(snapshot, machine));
    let summary = sentences.join(" ");
    let mut explanation = explanation(snapshot, subject, summary, is_relevant, |event| {
        is_about(event, machine)
    });
    explanation.machine = Some(machine_row(snapshot, machine));
    explanation
}

/// How the others are that have its name: one that takes its place, or whose place it takes.
fn namesakes<'a>(
    snapshot: &'a Snapshot<'a>,
    machine: &'a Machine,
) -> impl Iterator<Item = String> + 'a {
    let roster = snapshot.state.machines.values();
    let others = roster.filter(|other| other.id != machine.id && other.name == machine.name);
    others.map(|other| {
        let answers = match snapshot.world.is_active(other.id) {
            true => "it still answers",
            false => "it does not answer",
        };
        let how = condition_words(snapshot, other, condition(snapshot, other));
        format!(
            "There is another of that name, machine {}: {answers}. {how}",
            other.id
        )
    })
}

/// How it is, as this machine sees it.
fn condition_words(snapshot: &Snapshot<'_>, machine: &Machine, condition: Condition) -> String {
    let name = &machine.name;
    let lasting = span(snapshot.now_ms.saturating_sub(condition.since_ms));
    match condition.state {
        MachineState::Alive => format!("{name} has been alive for {lasting}."),
        MachineState::Suspect => {
            format!(
                "{name} has not answered for {lasting} and may still object to being called down."
            )
        }
        MachineState::Down if unheard(snapshot, machine) => {
            let words = format!("{} has heard nothing of {name}", snapshot.name);
            match snapshot.state.concern(machine.id) {
                Some(_) => {
                    format!("{words}, which has been missing for {lasting} by what is on record.")
                }
                None => format!(
                    "{words} in the last {lasting}, since it began to listen or that one joined."
                ),
            }
        }
        MachineState::Down if condition.reboots => {
            format!(
                "{name} said {lasting} ago that it restarts; {}.",
                reboot_words(snapshot, machine)
            )
        }
        MachineState::Down => {
            let seen = snapshot.world.members.get(&machine.id);
            let how = seen.map(|seen| seen.how).filter(|how| !how.is_empty());
            let how = how.map_or_else(String::new, |how| format!(" ({how})"));
            format!(
                "{name} has been down for {lasting}{how}, as {} sees it.",
                snapshot.name
            )
        }
        MachineState::Left => format!("{name} left {lasting} ago."),
        MachineState::Provisioning => {
            format!("{name} was ordered {lasting} ago and has not joined yet.")
        }
        MachineState::Destroying => format!("{name} has been on its way out for {lasting}."),
        MachineState::Adopted => {
            format!("{name} was adopted {lasting} ago; no agent of it has joined yet.")
        }
    }
}

/// Whether the mesh here knows nothing of a machine that joined.
fn unheard(snapshot: &Snapshot<'_>, machine: &Machine) -> bool {
    machine.phase == Phase::Joined && !snapshot.world.members.contains_key(&machine.id)
}

/// What it last said of itself, unless all was well.
fn own_words(snapshot: &Snapshot<'_>, machine: &Machine) -> Option<String> {
    let said = snapshot.world.members.get(&machine.id)?.said.as_ref()?;
    if said.reasons.is_empty() {
        return None;
    }
    let ago = span(snapshot.now_ms.saturating_sub(said.received_ms));
    Some(format!(
        "It said {ago} ago that its health is {}: {}.",
        said.health,
        said.reasons.join(", ")
    ))
}

/// What stands on record about it or is being done to it. Where that is nothing: why, and what was decided last.
fn verdict_words(snapshot: &Snapshot<'_>, machine: &Machine, condition: Condition) -> String {
    let state = snapshot.state;
    let concern = state.concerns.get(&Subject::Machine(machine.id));
    let standing = concern.map(|concern| concern.decision);
    let under_way = || Some(state.intents.get(machine.intent.as_ref()?)?.decision);
    let current = standing.or_else(under_way);
    if let Some(decision) = current.and_then(|id| snapshot.decision(id)) {
        return decision_words(snapshot, decision);
    }
    let nothing = nothing_decided(snapshot, machine, condition);
    let mut latest = state.decisions.iter().rev();
    match latest.find(|decision| involves(decision, machine.id)) {
        Some(last) => format!(
            "{nothing} The last about it: {}",
            decision_words(snapshot, last)
        ),
        None => nothing,
    }
}

fn nothing_decided(snapshot: &Snapshot<'_>, machine: &Machine, condition: Condition) -> String {
    let reason = match condition.state {
        MachineState::Alive => return "Nothing is the matter with it.".to_owned(),
        MachineState::Suspect => {
            "a suspicion is no evidence yet, and ends within seconds, one way or the other"
                .to_owned()
        }
        MachineState::Left if machine.place.is_none() => {
            "it said goodbye, and belongs to no group that would miss it".to_owned()
        }
        MachineState::Provisioning => "it is still within the time that it may take".to_owned(),
        MachineState::Down if condition.reboots => {
            "it may take its time until then, and what follows is decided after that".to_owned()
        }
        MachineState::Destroying => "what ordered that is no longer on record".to_owned(),
        MachineState::Adopted => "its provisioner has not said that it is gone".to_owned(),
        MachineState::Down | MachineState::Left => why_no_decision(snapshot, machine),
    };
    format!("Nothing is decided about it at present: {reason}.")
}

/// Why nothing is decided about a machine that is missing.
fn why_no_decision(snapshot: &Snapshot<'_>, machine: &Machine) -> String {
    if !snapshot.quorum.ok {
        return format!(
            "without a quorum no leader can put a decision on record ({})",
            snapshot.quorum.detail
        );
    }
    if let Some((key, pause)) = snapshot.pause_over(machine) {
        return pause_words(key, pause, snapshot.now_ms);
    }
    if machine.place.is_none() {
        return "it joined by hand and belongs to no group, so the fleet has nothing to replace it with".to_owned();
    }
    match snapshot.leader {
        None => "nobody leads at the moment".to_owned(),
        Some(leader) => format!(
            "{} leads and decides within seconds",
            snapshot.name_of(leader)
        ),
    }
}

/// A machine that is no longer on the roster, or a group that is not declared any more, but on record.
fn explain_past(snapshot: &Snapshot<'_>, subject: &str) -> Result<Explanation, ApiError> {
    let id = subject.parse().ok();
    let is_group = |group: Option<&GroupId>| group.is_some_and(|group| group.as_str() == subject);
    let named = |name: Option<&MachineName>| name.is_some_and(|name| name.as_str() == subject);
    let is_relevant = |decision: &Decision| {
        named(decision.name.as_ref())
            || id.is_some_and(|id| involves(decision, id))
            || is_group(decision.proposal.group.as_ref())
    };
    let happened = |event: &Event| {
        named(event.name.as_ref())
            || (id.is_some() && event.machine == id)
            || is_group(event.group.as_ref())
    };
    let mut found = explanation(snapshot, subject, String::new(), is_relevant, happened);
    let orphan = snapshot.state.orphans.iter();
    let mut orphan = orphan.filter(|orphan| orphan.id.as_str() == subject);
    if let Some(orphan) = orphan.next() {
        found.summary = orphan_words(snapshot, orphan);
        return Ok(found);
    }
    if found.decisions.is_empty() && found.events.is_empty() {
        return Err(ApiError::not_found(format!(
            "no machine, group or decision on record goes by `{}`",
            shorten(subject)
        ))
        .remedy(
            "`muster status` shows machines and groups, `muster events` what happened lately",
        ));
    }
    let mut decisions = snapshot.state.decisions.iter().rev();
    let last = decisions.find(|decision| is_relevant(decision));
    let roster = snapshot.state.machines.values();
    let left = roster.filter(|machine| is_group(machine.group())).count();
    found.summary = match left {
        0 => format!("{} is no longer on the roster.", shorten(subject)),
        left => format!(
            "Group {subject} is not declared any more; {} of it left as they are.",
            count(left, "machine")
        ),
    };
    if let Some(decision) = last {
        found.summary.push(' ');
        found.summary.push_str(&decision_words(snapshot, decision));
    }
    Ok(found)
}

fn orphan_words(snapshot: &Snapshot<'_>, orphan: &Orphan) -> String {
    let since = span(snapshot.now_ms.saturating_sub(orphan.since_ms));
    let of_group = orphan.group.as_ref();
    let of_group = of_group.map_or_else(String::new, |group| format!(" of group {group}"));
    let made_by = orphan.op.as_ref();
    let made_by = made_by.map_or_else(String::new, |op| format!(", was made by operation {op}"));
    format!(
        "Instance {} of {} carries the tags of this fleet{of_group}{made_by}, and no machine has run on it since it was seen \
         {since} ago: it is an orphan. It is left alone, since it may hold what is nowhere else; destroy it by hand when it \
         is not needed. Orphans are looked for every few minutes, so it stays on show for a while after it is gone.",
        orphan.id, orphan.provisioner
    )
}

// === groups ===

fn explain_group(snapshot: &Snapshot<'_>, id: &GroupId, group: &Group) -> Explanation {
    let census = super::census::Census::of(snapshot);
    let row = super::group::group_status(snapshot, &census, id, group);
    let mut sentences = vec![format!(
        "Group {id} is {}: {} of {} running.",
        row.state,
        row.running,
        count(group.desired(), "machine"),
    )];
    if group.destroying {
        sentences.push("It is being destroyed.".to_owned());
    }
    if !snapshot.quorum.ok && row.holds.is_empty() {
        sentences.push(format!(
            "Should anything happen to it now, nothing can be decided: {}.",
            snapshot.quorum.detail
        ));
    }
    for orphan in super::status::orphans(snapshot, |group| group == Some(id.as_str())) {
        sentences.push(format!(
            "Instance {} of {} carries its tags, and no machine runs on it: it is an orphan, and left alone.",
            orphan.id, orphan.provisioner
        ));
    }
    for hold in &row.holds {
        sentences.push(format!("Rule `{}` holds: {}.", hold.rule, hold.detail));
    }
    if let Some(concern) = snapshot.state.concerns.get(&Subject::Group(id.clone()))
        && let Some(decision) = snapshot.decision(concern.decision)
    {
        sentences.push(decision_words(snapshot, decision));
    }
    let is_relevant = |decision: &Decision| is_of(decision, id);
    if row.holds.is_empty() && !snapshot.state.decisions.iter().any(is_relevant) {
        sentences.push("Nothing on record was decided about it.".to_owned());
    }
    explanation(
        snapshot,
        id.as_str(),
        sentences.join(" "),
        is_relevant,
        |event| event.group.as_ref() == Some(id),
    )
}

// === decisions ===

fn explain_decision(snapshot: &Snapshot<'_>, id: DecisionId) -> Result<Explanation, ApiError> {
    let decision = snapshot
        .decision(id)
        .ok_or_else(|| forgotten(snapshot, id))?;
    let summary = decision_words(snapshot, decision);
    let mut explanation = explanation(
        snapshot,
        &id.to_string(),
        summary,
        |other| other.id == id,
        |event| event.decision == Some(id),
    );
    explanation.machine = match &decision.proposal.subject {
        Subject::Machine(machine) => {
            let machine = snapshot.state.machines.get(machine);
            machine.map(|machine| machine_row(snapshot, machine))
        }
        Subject::Group(_) => None,
    };
    Ok(explanation)
}

fn forgotten(snapshot: &Snapshot<'_>, id: DecisionId) -> ApiError {
    let decisions = &snapshot.state.decisions;
    let kept = match (decisions.front(), decisions.back()) {
        (Some(first), Some(last)) => format!("decisions {} to {} are on record", first.id, last.id),
        _ => "no decisions are on record".to_owned(),
    };
    ApiError::not_found(format!("there is no decision {id} on record"))
        .remedy(format!("{kept}; `muster events` shows their numbers"))
}

/// A decision in a few sentences: what about, why, what follows, how far that is, what would change it.
fn decision_words(snapshot: &Snapshot<'_>, decision: &Decision) -> String {
    let proposal = &decision.proposal;
    let subject = match &proposal.subject {
        Subject::Machine(_) => machine_name(snapshot, decision).unwrap_or_default(),
        Subject::Group(group) => format!("group {group}"),
    };
    let ago = span(snapshot.now_ms.saturating_sub(decision.at_ms));
    let stands = stands(snapshot, decision);
    let mut words = format!(
        "Decision {} of {}, {ago} ago, about {subject}: {}.",
        decision.id,
        snapshot.name_of(decision.leader),
        proposal.cause,
    );
    match &proposal.outcome {
        Outcome::Act { op, action } => {
            words.push_str(&format!(
                " It passed every rule and ordered: {}",
                action_words(snapshot, *action)
            ));
            if let Some(intent) = snapshot.state.intents.get(op) {
                words.push_str(&format!("; {}", progress_words(intent)));
            }
            words.push('.');
        }
        Outcome::Hold { rule, detail, .. } => {
            let left = stands.then(|| proposal.outcome.until_ms());
            let detail = held_words(detail, left.flatten(), snapshot.now_ms);
            words.push_str(&if stands {
                format!(" Nothing is done, because rule `{rule}` holds: {detail}.")
            } else {
                format!(" Nothing was done then, because rule `{rule}` held: {detail}.")
            });
        }
        Outcome::Observe { would } => {
            let said = if stands { "is" } else { "was" };
            words.push_str(&format!(
                " In mode `observe` it {said} only said that this would {}.",
                would.of_it()
            ));
        }
        Outcome::AwaitApproval { would } => {
            let waits = if stands { "waits" } else { "waited" };
            words.push_str(&format!(
                " It {waits} for a person's approval to {}.",
                would.of_it()
            ));
        }
        Outcome::Clear => words.push_str(" What stood on record about it before is over."),
    }
    if stands {
        let end = what_ends(snapshot, decision);
        if !end.is_empty() {
            words.push_str(&format!(" {end}"));
        }
    }
    words
}
