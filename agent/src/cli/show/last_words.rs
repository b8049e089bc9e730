//! `muster machine NAME --last-words`.

use super::super::grid::{Grid, bold, dim, maybe, plain};
use super::super::output::{Output, Tone};
use super::super::time;
use super::{answered, health_tone};
use crate::api::types::{HeldBy, LastWords, WordsRow};

/// What a machine said of itself in its last minutes, and who holds it.
pub(in crate::cli) fn last_words(said: &LastWords, out: &Output) -> String {
    let name = out.paint.tone(Tone::Bold, &said.name);
    let id = out.paint.tone(Tone::Dim, said.machine_id.to_string());
    let end = match said.ended_ms {
        Some(ended_ms) => format!(
            "gone since {} ({} ago)",
            time::date_and_clock(ended_ms),
            time::age(ended_ms, out.now_ms)
        ),
        None => "not known to be gone".to_owned(),
    };
    let mut text = format!("{name} {id}, {end}\n{}\n\n", asked(&said.asked, out));
    text += &table(said, out);
    if !said.namesakes.is_empty() {
        let others: Vec<_> = said.namesakes.iter().map(ToString::to_string).collect();
        let others = format!("others of this name: {}\n", others.join(" "));
        text += &out.paint.tone(Tone::Dim, others);
    }
    text + &answered(&said.answer, out)
}

/// Who was asked, and who didn't answer.
fn asked(asked: &[HeldBy], out: &Output) -> String {
    let names = |answered: bool| {
        let those = asked.iter().filter(|one| one.answered == answered);
        those
            .map(|one| one.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let silent = match names(false) {
        none if none.is_empty() => String::new(),
        silent => format!("; no answer from {silent}"),
    };
    out.paint
        .tone(Tone::Plain, format!("told by {}{silent}", names(true)))
}

fn table(said: &LastWords, out: &Output) -> String {
    let headings = [
        "TIME", "AGO", "CPU", "MEMORY", "DISK", "LOAD", "PRESSURE", "HEALTH", "HELD BY", "REASONS",
    ];
    let mut grid = Grid::new(out.paint, &headings).right(1);
    for row in &said.words {
        let figure = |name: &str| row.readings.get(name);
        let percent = |name: &str| maybe(figure(name).map(|value| format!("{value:.0} %")));
        grid.row([
            bold(time::clock(row.at_ms)),
            dim(time::age(row.at_ms, out.now_ms)),
            percent("cpu_busy_percent"),
            percent("memory_used_percent"),
            percent("disk_used_percent"),
            maybe(figure("load_per_cpu").map(|load| format!("{load:.1}"))),
            maybe(pressure(row)),
            (health_tone(row.health), row.health.to_string()),
            dim(row.held_by.join(" ")),
            plain(row.reasons.join("; ")),
        ]);
    }
    grid.render("nobody that was asked holds anything that it said")
}

/// What waited, in percent of the time: for processors, memory and disks.
fn pressure(row: &WordsRow) -> Option<String> {
    let of = |name: &str| {
        let value = row.readings.get(name);
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
    };
    let kinds = [
        "cpu_pressure_percent",
        "memory_pressure_percent",
        "io_pressure_percent",
    ];
    let any = kinds.iter().any(|name| row.readings.contains_key(*name));
    any.then(|| format!("{} %", kinds.map(of).join("/")))
}
