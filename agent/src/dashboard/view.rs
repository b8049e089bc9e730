//! The screen as a function of what is known. Pure.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};

use super::view::space::{Heights, share};
use crate::api::types::{
    DecisionRow, EventRow, GroupStatus, Hold, MachineRow, MachineState, Status,
};
use crate::cli::output::{Tone, clean};
use crate::cli::show::{
    diagnosis_tone, event_tone, group_tone, health_tone, outcome, own_holds, state_tone,
};
use crate::cli::time;

mod space;
#[cfg(test)]
mod tests;

/// More events than fit on any screen are of no use to it.
const EVENTS_KEPT_MAX: usize = 200;

/// From this width on there is room for addresses.
const WIDE: u16 = 104;

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
    /// When the fleet began to come up, in milliseconds since 1970; where someone waits for it.
    pub begun_ms: Option<u64>,
    /// When it was seen whole for the first time, in milliseconds since 1970.
    pub whole_ms: Option<u64>,
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
    let (group_lines, machines) = match &snapshot.status {
        Some(status) => (group_lines(status, area.width), status.machines.len()),
        None => (Vec::new(), 0),
    };
    let groups = group_lines.len();
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
            draw_groups(frame, take(groups), group_lines);
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
    let tone = if as_of.stale { Tone::Bad } else { Tone::Dim };
    spans.push(span(
        tone,
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
    // What to type comes before what is only good to know, for narrow terminals.
    if !snapshot.note.is_empty() {
        spans.push(span(Tone::Dim, format!("   {}", snapshot.note)));
    }
    if let Some((begun_ms, whole_ms)) = snapshot.begun_ms.zip(snapshot.whole_ms) {
        let took = time::precise(whole_ms.saturating_sub(begun_ms));
        spans.push(span(Tone::Good, format!("   whole after {took}")));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

// === groups ===

/// The groups, and below each what holds it, as lines of at most `width`.
fn group_lines(status: &Status, width: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for hold in &status.holds {
        lines.extend(hold_lines("the fleet", hold, width));
    }
    for group in &status.groups {
        lines.push(group_line(group));
        for hold in own_holds(group, &status.holds) {
            lines.extend(hold_lines(&group.id, hold, width));
        }
    }
    lines
}

fn draw_groups(frame: &mut Frame<'_>, area: Rect, rows: Vec<Line<'static>>) {
    let headings = format!(
        "{:<16}{:<8}{:<10}{:<14}{:<9}",
        "GROUP", "KIND", "RUNNING", "STATE", "HEALS"
    );
    let mut lines = vec![heading(headings)];
    lines.extend(rows);
    cut(&mut lines, area.height);
    frame.render_widget(Paragraph::new(lines), area);
}

fn group_line(group: &GroupStatus) -> Line<'static> {
    let tone = if group.running == group.desired {
        Tone::Good
    } else {
        Tone::Warn
    };
    let running = format!("{}/{}", group.running, group.desired);
    Line::from(vec![
        span(Tone::Bold, format!("{:<16}", group.id)),
        span(Tone::Plain, format!("{:<8}", group.kind)),
        span(tone, format!("{running:<10}")),
        span(group_tone(group.state), format!("{:<14}", group.state)),
        span(Tone::Dim, format!("{:<9}", group.heal_mode)),
    ])
}

/// Why nothing is done is what people look for here, so it is wrapped and not cut.
fn hold_lines(of: &str, hold: &Hold, width: u16) -> Vec<Line<'static>> {
    let head = format!("  {of} holds, {}: ", hold.rule);
    let text = clean(&format!("{head}{}", hold.detail));
    let mut lines = wrap(&text, usize::from(width)).into_iter();
    let first = lines.next().unwrap_or_default();
    let first = match first.split_at_checked(head.len()) {
        Some((head, rest)) => Line::from(vec![span(Tone::Bad, head), span(Tone::Plain, rest)]),
        None => Line::from(span(Tone::Bad, first)),
    };
    std::iter::once(first)
        .chain(lines.map(|line| Line::from(span(Tone::Plain, format!("    {line}")))))
        .collect()
}

/// Cuts a text between words into lines of at most `width` characters, four fewer from the second on.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let indent = if lines.len() > 1 { 4 } else { 0 };
        let Some(line) = lines.last_mut() else { break };
        let used = indent + line.chars().count() + word.trim_end().chars().count();
        if used > width && !line.trim().is_empty() {
            lines.push(word.to_owned());
        } else {
            line.push_str(word);
        }
    }
    lines
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
        widths.pop();
        widths.extend([Constraint::Length(11), Constraint::Fill(1)]);
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
    // The last line stays blank, unless that would leave nothing but the heading.
    lines.truncate(usize::from(area.height.saturating_sub(1).max(2)));
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
fn cut(lines: &mut Vec<Line<'static>>, height: u16) {
    let height = usize::from(height);
    if lines.len() > height && height > 0 {
        let more = lines.len() - height + 1;
        lines.truncate(height - 1);
        lines.push(Line::from(span(
            Tone::Dim,
            format!("  and {more} more lines"),
        )));
    }
}
