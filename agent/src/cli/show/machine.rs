//! `muster members`, `machine`, `health` and `coordinators`.

use super::super::grid::{Grid, bold, dim, maybe, plain};
use super::super::output::{Output, Tone};
use super::super::time;
use super::{
    answered, decision, diagnosis_tone, group, heading, health_tone, pairs, quarantine, state_tone,
};
use crate::api::types::{CoordinatorRow, HealthRow, Listed, MachineDetail, MachineRow, MemberRow};

/// The mesh as one machine sees it.
pub(in crate::cli) fn members(members: &Listed<MemberRow>, out: &Output) -> String {
    let headings = [
        "MEMBER",
        "MACHINE ID",
        "STATUS",
        "FOR",
        "ADDRESS",
        "RTT",
        "VERSION",
        "LABELS",
        "SEEN",
    ];
    let mut grid = Grid::new(out.paint, &headings).right(5);
    for member in &members.items {
        grid.row([
            member.name.as_ref().map_or(dim("?"), bold),
            dim(member.machine_id),
            (state_tone(member.status), member.status.to_string()),
            dim(time::age(member.since_ms, out.now_ms)),
            plain(member.address),
            maybe(member.rtt_ms.map(|rtt_ms| format!("{rtt_ms:.1} ms"))),
            maybe(member.version.as_ref()),
            plain(labels(&member.labels)),
            dim(time::age(member.as_of_ms, out.now_ms)),
        ]);
    }
    grid.render("this machine knows of nobody") + &answered(&members.as_of, out)
}

fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// How every machine feels.
pub(in crate::cli) fn health(health: &Listed<HealthRow>, out: &Output) -> String {
    let headings = [
        "MACHINE", "HEALTH", "WORKLOAD", "CPU", "MEMORY", "DISK", "LOAD", "SEEN", "REASONS",
    ];
    let mut grid = Grid::new(out.paint, &headings);
    for row in &health.items {
        let percent =
            |name: &str| maybe(row.readings.get(name).map(|value| format!("{value:.0} %")));
        grid.row([
            bold(&row.name),
            row.health
                .map_or(dim("-"), |level| (health_tone(level), level.to_string())),
            maybe(row.workload.as_ref()),
            percent("cpu_busy_percent"),
            percent("memory_used_percent"),
            percent("disk_used_percent"),
            maybe(
                row.readings
                    .get("load_per_cpu")
                    .map(|load| format!("{load:.1}")),
            ),
            dim(time::age(row.as_of_ms, out.now_ms)),
            plain(row.reasons.join("; ")),
        ]);
    }
    grid.render("nobody has said how it feels yet") + &answered(&health.as_of, out)
}

/// Who coordinates.
pub(in crate::cli) fn coordinators(rows: &Listed<CoordinatorRow>, out: &Output) -> String {
    let mut grid = Grid::new(
        out.paint,
        &["SEAT", "MACHINE", "ROLE", "TERM", "LOG", "LAG"],
    );
    for row in &rows.items {
        grid.row([
            plain(row.seat),
            bold(&row.name),
            plain(&row.role),
            plain(row.term),
            maybe(row.log_index),
            maybe(row.lag),
        ]);
    }
    let mut text = grid.render("nobody coordinates");
    // How far the others are is known to the leader alone.
    let leader = rows.items.iter().find(|row| row.role == "leader");
    let is_blank = rows.items.iter().any(|row| row.log_index.is_none());
    if let Some(leader) = leader.filter(|_| is_blank) {
        let name = out.paint.tone(Tone::Bold, &leader.name);
        text += &format!("LOG and LAG are known to the leader; ask {name}\n");
    }
    text + &answered(&rows.as_of, out)
}

/// One machine in full.
pub(in crate::cli) fn machine(detail: &MachineDetail, out: &Output) -> String {
    let mut text = pairs(&facts(detail, out));
    if let Some(health) = &detail.health {
        for reason in &health.reasons {
            text += &format!("  {}\n", out.paint.tone(Tone::Warn, reason));
        }
        text += &readings(health);
    }
    text += &group::intents(&detail.intents, out);
    text += &quarantine(&detail.quarantine, out);
    if !detail.decisions.is_empty() {
        text += &heading("DECISIONS", out);
        text += &decision::table(&detail.decisions, out);
    }
    if !detail.events.is_empty() {
        text += &heading("EVENTS", out);
        // As everywhere, the latest last.
        for event in detail.events.iter().rev() {
            text += &format!("{}\n", decision::event(event, out));
        }
    }
    text.push('\n');
    text + &answered(&detail.answer, out)
}

type Fact = (&'static str, String);

fn facts(detail: &MachineDetail, out: &Output) -> Vec<Fact> {
    let mut facts = identity(&detail.machine, out);
    facts.extend(whereabouts(&detail.machine, out));
    facts.extend(history(detail, out));
    facts
}

/// Who it is, and how.
fn identity(machine: &MachineRow, out: &Output) -> Vec<Fact> {
    let paint = out.paint;
    let name = paint.tone(Tone::Bold, &machine.name);
    let id = paint.tone(Tone::Dim, machine.machine_id.to_string());
    let status = paint.tone(state_tone(machine.status), machine.status.to_string());
    let since = time::age(machine.since_ms, out.now_ms);
    let mut facts = vec![
        ("machine", format!("{name} {id}")),
        ("status", format!("{status} for {since}")),
    ];
    if let Some(word) = &machine.diagnosis {
        facts.push(("diagnosis", paint.tone(diagnosis_tone(word), word)));
    }
    if let Some(level) = machine.health {
        facts.push(("health", paint.tone(health_tone(level), level.to_string())));
    }
    if let Some(why) = &machine.not_healable {
        facts.push(("not healable", paint.tone(Tone::Bad, why)));
    }
    if let Some(at_ms) = machine.drained_ms {
        let ago = format!("{} ago", time::age(at_ms, out.now_ms));
        facts.push(("drained", paint.tone(Tone::Warn, ago)));
    }
    if let Some(group) = &machine.group {
        let member = machine.member.as_deref().unwrap_or("-");
        facts.push((
            "group",
            paint.tone(Tone::Plain, format!("{group}, member {member}")),
        ));
    }
    facts
}

/// What it is made of, and where it is found.
fn whereabouts(machine: &MachineRow, out: &Output) -> Vec<Fact> {
    let paint = out.paint;
    let mut facts = Vec::new();
    if let Some(instance) = &machine.instance {
        let text = format!("{} of {}", instance.id, instance.provisioner);
        facts.push(("instance", paint.tone(Tone::Plain, text)));
        for (key, value) in &instance.properties {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            facts.push(("", paint.tone(Tone::Dim, format!("{key} {value}"))));
        }
    }
    if let Some(address) = machine.address {
        facts.push(("address", address.to_string()));
    }
    if let Some(api) = &machine.api {
        facts.push(("ask it", paint.tone(Tone::Plain, format!("--node {api}"))));
    }
    if !machine.labels.is_empty() {
        facts.push(("labels", paint.tone(Tone::Plain, labels(&machine.labels))));
    }
    facts
}

/// How it came, and what its peers know of it.
fn history(detail: &MachineDetail, out: &Output) -> Vec<Fact> {
    let ago = |at_ms: u64| {
        format!(
            "{} ({} ago)",
            time::date_and_clock(at_ms),
            time::age(at_ms, out.now_ms)
        )
    };
    let member = detail.member.as_ref();
    let version = member.and_then(|member| member.version.as_ref());
    let rtt_ms = member.and_then(|member| member.rtt_ms);
    [
        (
            "revision",
            detail.revision.map(|revision| revision.to_string()),
        ),
        (
            "version",
            version.map(|version| out.paint.tone(Tone::Plain, version)),
        ),
        (
            "generation",
            member.map(|member| member.generation.to_string()),
        ),
        ("round trip", rtt_ms.map(|rtt_ms| format!("{rtt_ms:.1} ms"))),
        ("ordered", detail.ordered_ms.map(ago)),
        ("joined", detail.joined_ms.map(ago)),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
    .collect()
}

fn readings(health: &HealthRow) -> String {
    let mut text = String::new();
    for (name, value) in &health.readings {
        text += &format!("  {:<34}{value:.1}\n", super::super::output::clean(name));
    }
    text
}
