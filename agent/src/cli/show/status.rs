//! `muster status`.

use super::super::grid::{Grid, bold, dim, maybe};
use super::super::output::{Output, Tone};
use super::super::time;
use super::hand::{cordons, drained, orders};
use super::{
    answered, diagnosis_tone, health_tone, holds, not_healable, orphans, own_holds, pairs,
    quarantine, state_tone, unaccounted,
};
use crate::api::types::{MachineRow, MemberCounts, Status};

/// The fleet at a glance.
pub(in crate::cli) fn status(status: &Status, out: &Output) -> String {
    let paint = out.paint;
    let quorum = if status.quorum {
        paint.tone(Tone::Good, "yes")
    } else {
        paint.tone(Tone::Bad, "no: nothing can be decided")
    };
    let leader = match &status.leader {
        Some(leader) => paint.tone(Tone::Plain, leader),
        None => paint.tone(Tone::Bad, "nobody"),
    };
    let name = paint.tone(Tone::Bold, &status.cluster.name);
    let mut text = pairs(&[
        (
            "cluster",
            format!(
                "{name} {}",
                paint.tone(Tone::Dim, status.cluster.id.to_string())
            ),
        ),
        ("leader", leader),
        (
            "coordinators",
            paint.tone(Tone::Plain, status.coordinators.join(", ")),
        ),
        ("quorum", quorum),
        ("members", members(status.members, out)),
    ]);
    text += &holds("the fleet", &status.holds, out);
    if status.as_of.stale {
        text += &paint.tone(Tone::Bad, super::old_copy(&status.as_of));
        text.push('\n');
    }
    text.push('\n');
    text += &super::group::table(&status.groups, out);
    text.push('\n');
    text += &machines(&status.machines, out);
    text.push('\n');
    for group in &status.groups {
        text += &super::group::failed(group, out);
        text += &holds(&group.id, own_holds(group, &status.holds), out);
    }
    text += &cordons(&status.machines, out);
    text += &drained(&status.machines, out);
    text += &orders(&status.orders, out);
    text += &not_healable(&status.machines, out);
    text += &unaccounted(&status.machines, out);
    text += &orphans(&status.orphans, out);
    text += &quarantine(&status.quarantine, out);
    text += &answered(&status.as_of, out);
    out.paint.fold(&text)
}

fn members(counts: MemberCounts, out: &Output) -> String {
    let parts = [
        (counts.alive, "alive", Tone::Good),
        (counts.suspect, "suspect", Tone::Warn),
        (counts.down, "down", Tone::Bad),
        (counts.left, "left", Tone::Dim),
    ];
    let shown: Vec<_> = parts
        .iter()
        .filter(|(count, word, _)| *count > 0 || *word == "alive")
        .map(|(count, word, tone)| out.paint.tone(*tone, format!("{count} {word}")))
        .collect();
    shown.join(", ")
}

/// Machines, one a line.
pub(super) fn machines(machines: &[MachineRow], out: &Output) -> String {
    let headings = [
        "MACHINE",
        "GROUP",
        "STATUS",
        "FOR",
        "DIAGNOSIS",
        "HEALTH",
        "ADDRESS",
        "SEEN",
    ];
    let mut grid = Grid::new(out.paint, &headings);
    for machine in machines {
        let diagnosis = machine.diagnosis.as_deref();
        grid.row([
            bold(&machine.name),
            maybe(machine.group.as_ref()),
            (state_tone(machine.status), machine.status.to_string()),
            dim(time::age(machine.since_ms, out.now_ms)),
            diagnosis.map_or(dim("-"), |word| (diagnosis_tone(word), word.to_owned())),
            machine
                .health
                .map_or(dim("-"), |health| (health_tone(health), health.to_string())),
            maybe(machine.address),
            dim(time::age(machine.as_of_ms, out.now_ms)),
        ]);
    }
    grid.render("no machines yet")
}
