//! `muster group list` and `show`.

use super::super::grid::{Grid, bold, maybe, plain};
use super::super::output::{Output, Tone};
use super::super::time;
use super::{answered, group_tone, heading, holds, not_healable, orphans, pairs};
use crate::api::types::{GroupDetail, GroupStatus, HealMode, IntentRow, Listed};
use crate::spec;

/// All groups.
pub(in crate::cli) fn groups(groups: &Listed<GroupStatus>, out: &Output) -> String {
    let mut text = table(&groups.items, out);
    for group in &groups.items {
        text += &failed(group, out);
        text += &holds(&group.id, &group.holds, out);
    }
    text + &answered(&groups.as_of, out)
}

pub(super) fn table(groups: &[GroupStatus], out: &Output) -> String {
    let headings = [
        "GROUP", "KIND", "RUNNING", "STATE", "HEALS", "REVISION", "HOLDS",
    ];
    let mut grid = Grid::new(out.paint, &headings);
    for group in groups {
        let running = (
            running_tone(group),
            format!("{}/{}", group.running, group.desired),
        );
        let mode = match group.heal_mode {
            HealMode::Auto => Tone::Plain,
            HealMode::Approve | HealMode::Observe => Tone::Warn,
        };
        grid.row([
            bold(&group.id),
            plain(group.kind),
            running,
            (group_tone(group.state), group.state.to_string()),
            (mode, group.heal_mode.to_string()),
            plain(group.revision),
            (Tone::Bad, rules(group)),
        ]);
    }
    grid.render("no groups yet: declare some with `muster apply -f FILE`")
}

/// The rules that hold, each once with how often: `mode, grace 4x`.
fn rules(group: &GroupStatus) -> String {
    let mut rules: Vec<(&str, usize)> = Vec::new();
    for hold in &group.holds {
        match rules.iter_mut().find(|(rule, _)| *rule == hold.rule) {
            Some((_, times)) => *times += 1,
            None => rules.push((&hold.rule, 1)),
        }
    }
    let words = rules.into_iter().map(|(rule, times)| match times {
        1 => rule.to_owned(),
        times => format!("{rule} {times}x"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// That a group has failed, if it has.
pub(super) fn failed(group: &GroupStatus, out: &Output) -> String {
    let Some(failed) = &group.failed else {
        return String::new();
    };
    let what = out
        .paint
        .tone(Tone::Bad, format!("{} has FAILED:", group.id));
    format!("{what} {}\n", out.paint.tone(Tone::Plain, &failed.detail))
}

fn running_tone(group: &GroupStatus) -> Tone {
    if group.running == group.desired {
        Tone::Plain
    } else {
        Tone::Warn
    }
}

/// One group in full.
pub(in crate::cli) fn group(detail: &GroupDetail, out: &Output) -> String {
    let budget = &detail.budget;
    let revisions: Vec<_> = detail
        .revisions
        .iter()
        .map(|used| format!("{} on revision {}", used.machines, used.revision))
        .collect();
    let mut facts = vec![
        (
            "repairs",
            format!(
                "{} of {} at once; {:.1} of {:.0} left, {:.0} more an hour",
                budget.in_repair,
                budget.at_once,
                budget.available,
                budget.capacity,
                budget.per_hour
            ),
        ),
        (
            "machines",
            if revisions.is_empty() {
                "none".to_owned()
            } else {
                revisions.join(", ")
            },
        ),
    ];
    if let Some(reason) = &detail.paused {
        facts.push(("paused", out.paint.tone(Tone::Bad, reason)));
    }
    let mut text = table(std::slice::from_ref(&detail.group), out);
    text += &failed(&detail.group, out);
    text += &holds(&detail.group.id, &detail.group.holds, out);
    text += &not_healable(&detail.machines, out);
    text += &orphans(&detail.orphans, out);
    if !detail.without_lease.is_empty() {
        let what = format!("without a lease {}:", detail.without_lease.join(", "));
        let why = "its spec asks for one; a machine that was made without `start` and `stop` runs without until its member is \
                   taken out of the spec and put back";
        text += &format!(
            "{} {}\n",
            out.paint.tone(Tone::Warn, what),
            out.paint.tone(Tone::Plain, why)
        );
    }
    text.push('\n');
    text += &pairs(&facts);
    text += &intents(&detail.intents, out);
    text += &heading("MACHINES", out);
    text += &super::status::machines(&detail.machines, out);
    text += &heading("SPEC", out);
    text += &spec::to_toml(&detail.spec);
    text.push('\n');
    text + &answered(&detail.answer, out)
}

/// What is being done; nothing where there is nothing.
pub(super) fn intents<'a>(
    intents: impl IntoIterator<Item = &'a IntentRow>,
    out: &Output,
) -> String {
    let mut grid = Grid::new(
        out.paint,
        &["DOING", "MACHINE", "STEP", "TRIES", "NEXT", "LAST ERROR"],
    );
    for intent in intents {
        grid.row([
            bold(&intent.action),
            plain(&intent.machine),
            plain(&intent.step),
            plain(intent.attempts),
            maybe(
                intent
                    .next_attempt_ms
                    .map(|at_ms| time::until(at_ms, out.now_ms)),
            ),
            (Tone::Bad, intent.last_error.clone().unwrap_or_default()),
        ]);
    }
    if grid.is_empty() {
        String::new()
    } else {
        format!("\n{}", grid.render(""))
    }
}
