//! What a simulation came to.

use super::heading;
use crate::cli::commands::Hunt;
use crate::cli::grid::{Grid, bold, dim, plain};
use crate::cli::output::{Output, Tone};
use crate::fleet::{count, span};
use crate::simulate::{Line, Report, Times};

/// One simulation, with so many lines of its timeline.
pub(in crate::cli) fn simulation(report: &Report, lines: usize, out: &Output) -> String {
    let mut text = out.paint.tone(
        Tone::Bold,
        format!(
            "{} for {}",
            count(report.machines, "machine"),
            span(report.length_ms)
        ),
    );
    text.push_str(&out.paint.tone(
        Tone::Dim,
        format!("   seed {}, trace {}", report.seed, report.trace),
    ));
    text.push('\n');
    text.push_str(&timeline(report, lines, out));
    text.push_str(&losses(report, out));
    text.push_str(&holds(report, out));
    text.push_str(&spending(report, out));
    text.push_str(&groups(report, out));
    text.push_str(&heading("INVARIANTS", out));
    if report.is_sound() {
        text.push_str(&out.paint.tone(Tone::Good, "all of them held"));
        text.push('\n');
    }
    for violation in &report.violations {
        let line = format!(
            "{} at {}: {}",
            violation.invariant,
            moment(violation.at_ms),
            violation.what
        );
        text.push_str(&out.paint.tone(Tone::Bad, line));
        text.push('\n');
    }
    text
}

fn timeline(report: &Report, lines: usize, out: &Output) -> String {
    let mut text = heading("TIMELINE", out);
    let mut grid = Grid::new(out.paint, &["AT", "", "GROUP", "WHAT", "MACHINES"]).right(0);
    for line in report.timeline.iter().take(lines) {
        grid.row([
            plain(moment(line.at_ms)),
            (tone(line.kind), line.kind.to_owned()),
            dim(line.group.as_deref().unwrap_or("-")),
            plain(&line.what),
            plain(who(line)),
        ]);
    }
    text.push_str(&grid.render("nothing happened"));
    let more = report.timeline.len().saturating_sub(lines) as u64 + report.more_lines;
    if more > 0 {
        text.push_str(&out.paint.tone(
            Tone::Dim,
            format!("and {more} more lines; see --lines and --json"),
        ));
        text.push('\n');
    }
    text
}

fn tone(kind: &str) -> Tone {
    match kind {
        "fault" | "failed" => Tone::Bad,
        "hold" => Tone::Warn,
        "joined" | "clear" | "end" => Tone::Good,
        _ => Tone::Plain,
    }
}

fn who(line: &Line) -> String {
    let named = line.names.join(" ");
    match line.count.saturating_sub(line.names.len()) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn losses(report: &Report, out: &Output) -> String {
    let open = report.lost.saturating_sub(report.healed + report.returned);
    let mut text = heading("LOST AND HEALED", out);
    text.push_str(&format!(
        "{} lost, {} healed, {} came back, {open} not yet healed; {} of leader, {} taken for dead while well\n",
        count(report.lost, "machine"),
        report.healed,
        report.returned,
        count(report.leader_changes as usize, "change"),
        report.wrong_deaths,
    ));
    if report.time_to_order.count > 0 {
        let mut grid = times_grid(out, "FROM THE LOSS TO");
        times(
            &mut grid,
            "the order of a replacement",
            report.time_to_order,
        );
        times(&mut grid, "its joining", report.time_to_heal);
        text.push_str(&grid.render(""));
    }
    text
}

fn times_grid(out: &Output, what: &str) -> Grid {
    let grid = Grid::new(out.paint, &[what, "COUNT", "P50", "P90", "P99", "LONGEST"]);
    grid.right(1).right(2).right(3).right(4).right(5)
}

fn times(grid: &mut Grid, what: &str, times: Times) {
    grid.row([
        plain(what),
        plain(times.count),
        plain(span(times.p50_ms)),
        plain(span(times.p90_ms)),
        plain(span(times.p99_ms)),
        plain(span(times.max_ms)),
    ]);
}

fn holds(report: &Report, out: &Output) -> String {
    let mut grid = Grid::new(out.paint, &["RULE", "TIMES", "AS IN"]).right(1);
    for (rule, holds) in &report.holds {
        grid.row([bold(rule), plain(holds.times), plain(&holds.example)]);
    }
    heading("HOLDS", out) + &grid.render("no rule held anything")
}

fn spending(report: &Report, out: &Output) -> String {
    let mut grid = Grid::new(
        out.paint,
        &[
            "GROUP",
            "REPLACEMENTS",
            "A HOUR MAY",
            "AT ONCE",
            "AT ONCE MAY",
        ],
    );
    grid = grid.right(1).right(2).right(3).right(4);
    for (group, spent) in &report.spending {
        grid.row([
            bold(group),
            plain(spent.replacements),
            plain(spent.per_hour),
            plain(spent.at_once_most),
            plain(spent.at_once),
        ]);
    }
    heading("SPENDING", out) + &grid.render("nothing was spent")
}

fn groups(report: &Report, out: &Output) -> String {
    let mut grid = Grid::new(
        out.paint,
        &["GROUP", "DESIRED", "RUNNING", "UNDER WAY", "HELD"],
    );
    grid = grid.right(1).right(2).right(3).right(4);
    for group in &report.groups {
        let whole = if group.running == group.desired {
            Tone::Good
        } else {
            Tone::Bad
        };
        grid.row([
            bold(&group.id),
            plain(group.desired),
            (whole, group.running.to_string()),
            plain(group.open),
            plain(group.held),
        ]);
    }
    let mut text = heading("AT THE END", out) + &grid.render("no groups");
    if let Some(why) = &report.nobody_leads {
        let line = format!("nobody leads, so nothing is done: {why}");
        text.push_str(&out.paint.tone(Tone::Bad, line));
        text.push('\n');
    }
    text
}

/// Many simulations.
pub(in crate::cli) fn hunt(hunt: &Hunt, out: &Output) -> String {
    let last = hunt.first.wrapping_add(hunt.seeds - 1);
    let mut text = format!(
        "{} simulated, from {} to {last}: {} lost, {} replaced\n",
        count(usize::try_from(hunt.seeds).unwrap_or(usize::MAX), "seed"),
        hunt.first,
        count(hunt.lost, "machine"),
        hunt.healed,
    );
    if hunt.longest_heal.count > 0 {
        let mut grid = times_grid(out, "OF EACH SEED");
        times(&mut grid, "the longest time to heal", hunt.longest_heal);
        text.push_str(&grid.render(""));
    }
    let verdict = if hunt.broken == 0 {
        out.paint.tone(Tone::Good, "every invariant held in each")
    } else {
        let what = format!(
            "{} broke an invariant",
            count(usize::try_from(hunt.broken).unwrap_or(usize::MAX), "seed")
        );
        out.paint.tone(Tone::Bad, what)
    };
    text + &verdict + "\n"
}

/// A time from the beginning, as `10:03`, `1:10:03` or with tenths where it is early.
fn moment(ms: u64) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let tenths = ms % 1000 / 100;
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}.{tenths}")
    } else {
        format!("{minutes}:{seconds:02}.{tenths}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_like_a_clock() {
        assert_eq!(moment(0), "0:00.0");
        assert_eq!(moment(603_450), "10:03.4");
        assert_eq!(moment(4_203_000), "1:10:03.0");
    }
}
