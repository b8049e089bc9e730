//! Answers as text for people. Pure: from data to text.

mod decision;
mod group;
mod hand;
mod last_words;
mod lint;
mod machine;
mod pauses;
mod plan;
mod recovery;
mod replay;
mod report;
mod secrets;
mod simulate;
mod status;

pub(super) use decision::{decisions, explanation};
pub(crate) use decision::{event, event_tone, outcome};
pub(super) use group::{group, groups};
pub(super) use hand::{order, progress};
pub(super) use last_words::last_words;
pub(super) use lint::linted;
pub(super) use machine::{coordinators, health, machine, members};
pub(super) use pauses::pauses;
pub(super) use plan::plan;
pub(super) use recovery::{recovered, recovery};
pub(super) use replay::replayed;
pub(super) use report::report;
pub(super) use secrets::{operators, tokens};
pub(super) use simulate::{hunt, simulation};
pub(super) use status::status;

use super::output::{Output, Tone};
use super::time;
use crate::api::types::{
    AsOf, GroupState, GroupStatus, HealthLevel, Hold, MachineRow, MachineState, OrphanRow,
    QuarantineRow,
};

#[cfg(test)]
mod tests;

/// How a machine's state is meant.
pub(crate) fn state_tone(state: MachineState) -> Tone {
    match state {
        MachineState::Alive | MachineState::Adopted => Tone::Good,
        MachineState::Suspect | MachineState::Provisioning | MachineState::Destroying => Tone::Warn,
        MachineState::Down => Tone::Bad,
        MachineState::Left => Tone::Dim,
    }
}

/// How a group's state is meant.
pub(crate) fn group_tone(state: GroupState) -> Tone {
    match state {
        GroupState::Converged => Tone::Good,
        GroupState::Provisioning | GroupState::Healing | GroupState::Updating => Tone::Warn,
        GroupState::Holding | GroupState::Paused => Tone::Bad,
    }
}

/// How a machine's health is meant.
pub(crate) fn health_tone(health: HealthLevel) -> Tone {
    match health {
        HealthLevel::Ok => Tone::Good,
        HealthLevel::Warning => Tone::Warn,
        HealthLevel::Critical => Tone::Bad,
    }
}

/// How a diagnosis is meant.
pub(crate) fn diagnosis_tone(diagnosis: &str) -> Tone {
    match diagnosis {
        "healthy" => Tone::Plain,
        "left" | "rebooting" | "starting" | "suspected" | "too few" | "too many" => Tone::Warn,
        _ => Tone::Bad,
    }
}

/// Who answered, and how old the answer is; loudly where it is too old.
fn answered(as_of: &AsOf, out: &Output) -> String {
    if as_of.stale {
        return out.paint.tone(Tone::Bad, old_copy(as_of));
    }
    let text = format!(
        "answered by {}, {} old",
        as_of.answered_by,
        time::precise(as_of.age_ms)
    );
    out.paint.tone(Tone::Dim, text)
}

/// That an answer is too old to be taken for the present.
pub(crate) fn old_copy(as_of: &AsOf) -> String {
    format!(
        "OLD: {} has not heard for {} that its copy is complete; what happened since is missing here",
        as_of.answered_by,
        time::precise(as_of.age_ms)
    )
}

/// The group's holds that aren't only the whole fleet's said again.
pub(crate) fn own_holds<'a>(
    group: &'a GroupStatus,
    fleet: &'a [Hold],
) -> impl Iterator<Item = &'a Hold> {
    group.holds.iter().filter(|hold| !fleet.contains(hold))
}

/// What isn't done, and which rule stops it; one line each.
fn holds<'a>(of: &str, holds: impl IntoIterator<Item = &'a Hold>, out: &Output) -> String {
    holds
        .into_iter()
        .map(|hold| {
            let rule = out
                .paint
                .tone(Tone::Bad, format!("{of} holds, {}:", hold.rule));
            format!("{rule} {}\n", out.paint.tone(Tone::Plain, &hold.detail))
        })
        .collect()
}

/// Instances that nobody runs on; one line each.
fn orphans(orphans: &[OrphanRow], out: &Output) -> String {
    let line = |orphan: &OrphanRow| {
        let what = out.paint.tone(Tone::Bad, format!("orphan {}:", orphan.id));
        let of = orphan.group.as_deref().unwrap_or("no group");
        let since = time::age(orphan.since_ms, out.now_ms);
        let detail = format!(
            "an instance of {}, tagged for {of}, that no machine has run on for {since}; it is left alone",
            orphan.provisioner
        );
        format!("{what} {}\n", out.paint.tone(Tone::Plain, detail))
    };
    orphans.iter().map(line).collect()
}

/// Hardware in quarantine; one line each.
fn quarantine(rows: &[QuarantineRow], out: &Output) -> String {
    let line = |row: &QuarantineRow| {
        let what = format!("quarantine {}:", row.hardware);
        let of = row
            .machine
            .as_ref()
            .map_or_else(String::new, |name| format!(", where {name} failed"));
        let since = time::age(row.since_ms, out.now_ms);
        let end = match row.released_ms {
            Some(_) => "it is being released".to_owned(),
            None => format!("`muster release {}` ends it", row.hardware),
        };
        let detail = format!(
            "hardware of {}{of} {since} ago ({}); {end}",
            row.provisioner, row.why
        );
        format!(
            "{} {}\n",
            out.paint.tone(Tone::Bad, what),
            out.paint.tone(Tone::Plain, detail)
        )
    };
    rows.iter().map(line).collect()
}

/// Pets whose successors could not be started safely; one line each.
fn not_healable(machines: &[MachineRow], out: &Output) -> String {
    let line = |machine: &MachineRow| {
        let why = machine.not_healable.as_ref()?;
        let what = format!("not healable {}:", machine.name);
        let what = out.paint.tone(Tone::Bad, what);
        Some(format!("{what} {}\n", out.paint.tone(Tone::Plain, why)))
    };
    machines.iter().filter_map(line).collect()
}

/// Machines that nobody can account for; one line each.
fn unaccounted(machines: &[MachineRow], out: &Output) -> String {
    let line = |machine: &MachineRow| {
        let since = time::age(machine.unaccounted_ms?, out.now_ms);
        let what = out
            .paint
            .tone(Tone::Bad, format!("unaccounted {}:", machine.name));
        let why =
            format!("was not there {since} ago, when the log was recovered, and has not been back");
        Some(format!("{what} {}\n", out.paint.tone(Tone::Plain, why)))
    };
    machines.iter().filter_map(line).collect()
}

/// A heading before a table.
fn heading(text: &str, out: &Output) -> String {
    format!("\n{}\n", out.paint.tone(Tone::Bold, text))
}

/// Lines of a name and a value, with the values lined up.
fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    pairs
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"))
        .collect()
}
