//! The screen as a function of what is known. Pure.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};

use super::view::space::{Heights, share};
use crate::api::types::{DecisionRow, EventRow, GroupStatus, MachineRow, MachineState, Status};
use crate::cli::output::{Tone, clean};
use crate::cli::show::{diagnosis_tone, event_tone, group_tone, health_tone, outcome, state_tone};
use crate::cli::time;

mod space;
#[cfg(test)]
mod tests;

/// More events than fit on any screen are of no use to it.
const EVENTS_KEPT_MAX: usize = 200;

/// From this width on there is room for addresses.
const WIDE: u16 = 100;

/// What is known of the fleet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The last answer to `status`; `None` before the first.
    pub status: Option<Status>,
    /// The last decisions, newest first.
    pub decisions: Vec<DecisionRow>,
    /// Why nobody answers at the moment.
    pub trouble: Option<String>,
    /// What the one who runs the view has to say, below everything else.
    pub note: String,
    /// What leaving the view is called.
    pub leave: String,
    /// The last events, oldest first.
    events: VecDeque<EventRow>,
}

impl Snapshot {
    /// Adds an event, and forgets the oldest where there are many.
    pub fn push_event(&mut self, event: EventRow) {
        if self.events.len() == EVENTS_KEPT_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// Draws the snapshot as of `now_ms`. Fits whatever the size: what matters less goes first.
pub fn render(frame: &mut Frame<'_>, snapshot: &Snapshot, now_ms: u64) {
    let area = frame.area();
    let (groups, machines) = match &snapshot.status {
        Some(status) => (group_lines(status), status.machines.len()),
        None => (0, 0),
    };
    let heights = share(area.height, groups, machines, snapshot.decisions.len());
    let mut top = area.y;
    let mut take = |height: u16| {
        let rect = Rect {
            y: top,
            height,
            ..area
        };
        top += height;
        rect
    };
    let Heights {
        head,
        groups,
        machines,
        decisions,
        events,
        foot,
    } = heights;
    draw_head(frame, take(head), snapshot);
    match &snapshot.status {
        Some(status) => {
            draw_groups(frame, take(groups), status);
            draw_machines(frame, take(machines), status, now_ms);
        }
        None => {
            take(groups);
            take(machines);
        }
    }
    draw_decisions(frame, take(decisions), &snapshot.decisions, now_ms);
    draw_events(frame, take(events), &snapshot.events);
    draw_foot(frame, take(foot), snapshot);
}

/// How a tone looks on the screen.
fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Good => Style::new().green(),
        Tone::Warn => Style::new().yellow(),
        Tone::Bad => Style::new().red(),
        Tone::Dim => Style::new().dark_gray(),
        Tone::Bold => Style::new().add_modifier(Modifier::BOLD),
    }
}

fn span(tone: Tone, text: impl AsRef<str>) -> Span<'static> {
    Span::styled(clean(text.as_ref()), style(tone))
}

// === head and foot ===

fn draw_head(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let mut lines = Vec::new();
    match &snapshot.status {
        None => lines.push(Line::from(vec![
            span(Tone::Bold, "muster"),
            span(Tone::Dim, "  nobody has answered yet"),
        ])),
        Some(status) => {
            lines.push(head_line(status));
            lines.push(members_line(status));
        }
    }
    if let Some(trouble) = &snapshot.trouble {
        lines.truncate(1);
        lines.push(Line::from(span(
            Tone::Bad,
            format!("nobody answers: {trouble}; trying on"),
        )));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn head_line(status: &Status) -> Line<'static> {
    let leader = match &status.leader {
        Some(leader) => span(Tone::Bold, leader),
        None => span(Tone::Bad, "nobody"),
    };
    let quorum = if status.quorum {
        span(Tone::Good, "yes")
    } else {
        span(Tone::Bad, "no")
    };
    Line::from(vec![
        span(Tone::Bold, "muster "),
        span(Tone::Plain, &status.cluster.name),
        span(Tone::Dim, "   leader "),
        leader,
        span(Tone::Dim, "   coordinators "),
        span(Tone::Plain, status.coordinators.join(" ")),
        span(Tone::Dim, "   quorum "),
        quorum,
    ])
}

fn members_line(status: &Status) -> Line<'static> {
    let mut spans = Vec::new();
    let members = status.members;
    for (count, word, tone) in [
        (members.alive, "alive", Tone::Good),
        (members.suspect, "suspect", Tone::Warn),
        (members.down, "down", Tone::Bad),
        (members.left, "left", Tone::Dim),
    ] {
        if count > 0 || word == "alive" {
            spans.push(span(tone, format!("{count} {word}   ")));
        }
    }
    let as_of = &status.as_of;
    let age = time::precise(as_of.age_ms);
    spans.push(span(
        Tone::Dim,
        format!("answered by {}, {age} old", as_of.answered_by),
    ));
    Line::from(spans)
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let leave = if snapshot.leave.is_empty() {
        "q quits"
    } else {
        &snapshot.leave
    };
    let mut spans = vec![span(Tone::Bold, leave)];
    if !snapshot.note.is_empty() {
        spans.push(span(Tone::Dim, format!("   {}", snapshot.note)));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

// === groups ===

/// One line a group, and one a hold.
fn group_lines(status: &Status) -> usize {
    status.groups.len()
        + status.holds.len()
        + status
            .groups
            .iter()
            .map(|group| group.holds.len())
            .sum::<usize>()
}

fn draw_groups(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let mut lines = vec![heading(format!(
        "{:<16}{:<8}{:<10}{:<14}{:<9}",
        "GROUP", "KIND", "RUNNING", "STATE", "HEALS"
    ))];
    for hold in &status.holds {
        lines.push(hold_line("the fleet", &hold.rule, &hold.detail));
    }
    for group in &status.groups {
        lines.push(group_line(group));
        lines.extend(
            group
                .holds
                .iter()
                .map(|hold| hold_line(&group.id, &hold.rule, &hold.detail)),
        );
    }
    cut(&mut lines, area.height, "groups and holds");
    frame.render_widget(Paragraph::new(lines), area);
}

fn group_line(group: &GroupStatus) -> Line<'static> {
    let whole = group.running == group.desired;
    Line::from(vec![
        span(Tone::Bold, format!("{:<16}", group.id)),
        span(Tone::Plain, format!("{:<8}", group.kind)),
        span(
            if whole { Tone::Good } else { Tone::Warn },
            format!("{:<10}", format!("{}/{}", group.running, group.desired)),
        ),
        span(group_tone(group.state), format!("{:<14}", group.state)),
        span(Tone::Dim, format!("{:<9}", group.heal_mode)),
    ])
}

fn hold_line(of: &str, rule: &str, detail: &str) -> Line<'static> {
    Line::from(vec![
        span(Tone::Bad, format!("  {of} holds, {rule}: ")),
        span(Tone::Plain, detail),
    ])
}

// === machines ===

fn draw_machines(frame: &mut Frame<'_>, area: Rect, status: &Status, now_ms: u64) {
    if area.height < 2 {
        return;
    }
    let wide = area.width >= WIDE;
    let mut headings = vec![
        "MACHINE",
        "GROUP",
        "STATUS",
        "FOR",
        "DIAGNOSIS",
        "HEALTH",
        "ROLE",
    ];
    let mut widths = vec![
        Constraint::Length(16),
        Constraint::Length(9),
        Constraint::Length(12),
        Constraint::Length(5),
        Constraint::Length(13),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    if wide {
        headings.push("ADDRESS");
        widths.push(Constraint::Length(21));
    }
    let room = usize::from(area.height) - 1;
    let (shown, hidden) = most_urgent(&status.machines, room);
    let mut rows: Vec<_> = shown
        .iter()
        .map(|machine| machine_row(machine, status.leader.as_deref(), wide, now_ms))
        .collect();
    if hidden > 0 {
        rows.push(Row::new([span(Tone::Dim, format!("and {hidden} more"))]));
    }
    let table = Table::new(rows, widths)
        .header(Row::new(headings).style(style(Tone::Dim)))
        .column_spacing(1);
    frame.render_widget(table, area);
}

/// As many machines as there is room for, those in trouble first, in the order of their names; and how many are left
/// out.
fn most_urgent(machines: &[MachineRow], room: usize) -> (Vec<&MachineRow>, usize) {
    if machines.len() <= room {
        return (machines.iter().collect(), 0);
    }
    let fits = room.saturating_sub(1);
    let mut ranked: Vec<_> = machines.iter().enumerate().collect();
    ranked.sort_by_key(|(index, machine)| (machine.status == MachineState::Alive, *index));
    ranked.truncate(fits);
    ranked.sort_by_key(|(index, _)| *index);
    (
        ranked.into_iter().map(|(_, machine)| machine).collect(),
        machines.len() - fits,
    )
}

fn machine_row(
    machine: &MachineRow,
    leader: Option<&str>,
    wide: bool,
    now_ms: u64,
) -> Row<'static> {
    let role = if leader == Some(machine.name.as_str()) {
        span(Tone::Bold, "leader")
    } else if machine.coordinator {
        span(Tone::Plain, "coordinator")
    } else {
        span(Tone::Plain, "")
    };
    let nothing = || span(Tone::Dim, "-");
    let mut cells = vec![
        span(Tone::Bold, &machine.name),
        machine
            .group
            .as_ref()
            .map_or_else(nothing, |group| span(Tone::Plain, group)),
        span(state_tone(machine.status), machine.status.to_string()),
        span(Tone::Dim, time::age(machine.since_ms, now_ms)),
        machine
            .diagnosis
            .as_ref()
            .map_or_else(nothing, |word| span(diagnosis_tone(word), word)),
        machine.health.map_or_else(nothing, |health| {
            span(health_tone(health), health.to_string())
        }),
        role,
    ];
    if wide {
        cells.push(
            machine
                .address
                .map_or_else(nothing, |at| span(Tone::Dim, at.to_string())),
        );
    }
    Row::new(cells)
}

// === decisions and events ===

fn draw_decisions(frame: &mut Frame<'_>, area: Rect, decisions: &[DecisionRow], now_ms: u64) {
    let mut lines = vec![heading("DECISIONS".into())];
    for decision in decisions {
        let (tone, what) = outcome(&decision.outcome);
        let subject = decision.machine.as_ref().or(decision.group.as_ref());
        lines.push(Line::from(vec![
            span(
                Tone::Dim,
                format!("{:>4} ", time::age(decision.at_ms, now_ms)),
            ),
            span(Tone::Plain, format!("{:>4} ", decision.id)),
            span(
                Tone::Bold,
                format!("{:<12} ", subject.map_or("-", String::as_str)),
            ),
            span(
                diagnosis_tone(&decision.diagnosis),
                format!("{:<13} ", decision.diagnosis),
            ),
            span(tone, what),
        ]));
    }
    if decisions.is_empty() {
        lines.push(Line::from(span(Tone::Dim, "nothing had to be decided yet")));
    }
    lines.truncate(usize::from(area.height));
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, events: &VecDeque<EventRow>) {
    let room = usize::from(area.height).saturating_sub(1);
    let mut lines = vec![heading("EVENTS".into())];
    for event in events.iter().rev().take(room).rev() {
        let subject = event.machine.as_ref().or(event.group.as_ref());
        lines.push(Line::from(vec![
            span(Tone::Dim, format!("{} ", time::clock(event.at_ms))),
            span(
                Tone::Bold,
                format!("{:<12} ", subject.map_or("-", String::as_str)),
            ),
            span(event_tone(&event.kind), format!("{:<17} ", event.kind)),
            span(Tone::Plain, &event.detail),
        ]));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn heading(text: String) -> Line<'static> {
    Line::from(span(Tone::Dim, text))
}

/// Cuts lines to a height, and says so on the last one.
fn cut(lines: &mut Vec<Line<'static>>, height: u16, what: &str) {
    let height = usize::from(height);
    if lines.len() > height && height > 0 {
        let more = lines.len() - height + 1;
        lines.truncate(height - 1);
        lines.push(Line::from(span(
            Tone::Dim,
            format!("  and {more} more {what}"),
        )));
    }
}
