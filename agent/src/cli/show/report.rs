//! `muster report`.

use super::super::grid::{Grid, bold, dim, maybe, plain};
use super::super::output::{Output, Tone};
use super::super::time;
use super::{answered, diagnosis_tone, heading, pairs};
use crate::api::types::{CaseRow, Figures, GroupReport, HeldRow, Mark, Report, TimeToHeal};

/// How well healing went.
pub(in crate::cli) fn report(report: &Report, out: &Output) -> String {
    let mut text = pairs(&totals(report, out));
    if !report.groups.is_empty() {
        text += &heading("GROUPS", out);
        text += &groups(&report.groups, out);
    }
    if !report.held.is_empty() {
        text += &heading("HOLDS", out);
        text += &held(&report.held, out);
    }
    text += &heading("CASES", out);
    text += &cases(&report.cases, out);
    text.push('\n');
    text + &answered(&report.answer, out)
}

fn totals(report: &Report, out: &Output) -> Vec<(&'static str, String)> {
    let Figures {
        right,
        wrong,
        open,
        missed,
        near_misses,
        spared,
        precision,
        recall,
        time_to_heal,
    } = report.fleet;
    let from_ms = report.since_ms.max(report.complete_since_ms);
    let bad = |count: u32| if count > 0 { Tone::Bad } else { Tone::Plain };
    let paint = |tone, text: String| out.paint.tone(tone, text);
    let precise = format!(
        "{}: {right} right, {wrong} wrong, {open} open",
        percent(precision)
    );
    let recalled = format!("{}: {right} right, {missed} missed", percent(recall));
    vec![
        (
            "since",
            format!(
                "{} ({} ago)",
                time::date_and_clock(from_ms),
                time::age(from_ms, out.now_ms)
            ),
        ),
        ("precision", paint(bad(wrong), precise)),
        ("recall", paint(bad(missed), recalled)),
        (
            "escaped",
            format!("{near_misses} near misses, {spared} spared"),
        ),
        ("healed", healed(time_to_heal)),
    ]
}

fn healed(times: TimeToHeal) -> String {
    let within = |ms: Option<u64>| ms.map_or("-".to_owned(), time::precise);
    if times.count == 0 {
        return "none".to_owned();
    }
    format!(
        "{}: half within {}, nine of ten within {}, all within {}",
        times.count,
        within(times.p50_ms),
        within(times.p90_ms),
        within(times.max_ms)
    )
}

fn percent(part: Option<f64>) -> String {
    part.map_or("-".to_owned(), |part| format!("{:.0} %", part * 100.0))
}

fn groups(groups: &[GroupReport], out: &Output) -> String {
    let headings = [
        "GROUP", "HEALS", "RIGHT", "WRONG", "OPEN", "MISSED", "NEAR", "SPARED", "HEALED", "BUDGET",
    ];
    let mut grid = Grid::new(out.paint, &headings);
    for group in groups {
        let figures = group.figures;
        let bad = |count: u32| {
            let tone = if count > 0 { Tone::Bad } else { Tone::Plain };
            (tone, count.to_string())
        };
        grid.row([
            bold(&group.id),
            plain(group.heal_mode),
            plain(figures.right),
            bad(figures.wrong),
            plain(figures.open),
            bad(figures.missed),
            plain(figures.near_misses),
            plain(figures.spared),
            plain(figures.time_to_heal.count),
            plain(format!(
                "{:.1} of {:.0}",
                group.budget.available, group.budget.capacity
            )),
        ]);
    }
    grid.render("")
}

fn held(rows: &[HeldRow], out: &Output) -> String {
    let mut grid = Grid::new(out.paint, &["HELD BY", "TIMES", "STANDING"]);
    for row in rows {
        let tone = if row.standing > 0 {
            Tone::Bad
        } else {
            Tone::Plain
        };
        grid.row([
            bold(&row.rule),
            plain(row.times),
            (tone, row.standing.to_string()),
        ]);
    }
    grid.render("")
}

fn cases(cases: &[CaseRow], out: &Output) -> String {
    let headings = [
        "DECISION",
        "AGO",
        "MACHINE",
        "DIAGNOSIS",
        "DECIDED",
        "MARK",
        "WHY",
    ];
    let mut grid = Grid::new(out.paint, &headings);
    for case in cases {
        let decided = match (&case.action, &case.rule) {
            (Some(action), _) => format!("{}: {action}", case.decided),
            (None, Some(rule)) => format!("{} by {rule}", case.decided),
            (None, None) => case.decided.to_string(),
        };
        grid.row([
            plain(case.decision),
            dim(time::age(case.at_ms, out.now_ms)),
            maybe(Some(&case.machine)),
            (diagnosis_tone(&case.diagnosis), case.diagnosis.clone()),
            plain(decided),
            (mark_tone(case.mark), case.mark.to_string()),
            plain(&case.why),
        ]);
    }
    grid.render("no machine failed in that time")
}

fn mark_tone(mark: Mark) -> Tone {
    match mark {
        Mark::Right => Tone::Good,
        Mark::Wrong | Mark::Missed => Tone::Bad,
        Mark::NearMiss => Tone::Warn,
        Mark::Open | Mark::Spared => Tone::Plain,
    }
}
