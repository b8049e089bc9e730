//! What is left of a fleet, and what may be done.

use super::super::grid::Grid;
use super::super::output::{Output, Tone};
use super::super::time;
use super::heading;
use crate::api::types::{AbsentRow, Recovery, SurvivorRow};
use crate::fleet::count;

/// What was found, what would be done, what may be lost, and the danger.
pub(in crate::cli) fn recovery(found: &Recovery, out: &Output) -> String {
    let there = found.coordinators.iter().filter(|one| one.there).count();
    let mut text = format!(
        "{} of {} and {} of {} answer, as {} finds; generation {} of the log\n",
        there,
        count(found.coordinators.len(), "coordinator"),
        found.survivors.len(),
        count(found.survivors.len() + found.absent.len(), "machine"),
        found.machine,
        found.generation
    );
    text += &heading("There", out);
    text += &survivors(&found.survivors, found.newest.as_deref(), out);
    text += &heading("Not there", out);
    text += &absent(&found.absent, out);
    if found.obstacle.is_some() {
        // What is said next says what to do.
        return text;
    }
    text += &heading("What `muster recover` does", out);
    text += &format!(
        "{} founds the log anew from the copy of {}, with the machines that are there. The others stay on the roster as\n\
         unaccounted for: they are replaced like any that fails, pets only once their provisioner proves them off.\n",
        found.machine,
        found.newest.as_deref().unwrap_or("nobody"),
    );
    text += &heading("What may be lost", out);
    let nothing = "nothing: whatever was committed is on a machine that answers";
    text += &format!("{}\n", found.may_lose.as_deref().unwrap_or(nothing));
    text += &heading("The danger", out);
    text += "If machines that are missing run on, cut off, both halves act, and a pet may run twice. Make sure that they are \
             off,\nthe former coordinators above all: by their consoles, by their power, or by whoever runs the computers.\n";
    for doubt in &found.doubts {
        text += &format!("{} {doubt}\n", out.paint.tone(Tone::Bad, "doubt:"));
    }
    text
}

/// That it is done.
pub(in crate::cli) fn recovered(done: &Recovery, _: &Output) -> String {
    let absent: Vec<_> = done.absent.iter().map(|one| one.name.as_str()).collect();
    format!(
        "{} has founded generation {} of the log; unaccounted for: {}",
        done.machine,
        done.founded.unwrap_or_default(),
        absent.join(", ")
    )
}

fn survivors(rows: &[SurvivorRow], newest: Option<&str>, out: &Output) -> String {
    let headings = ["MACHINE", "LOG TERM", "ENTRY", "COORDINATOR", "CA KEY", ""];
    let mut grid = Grid::new(out.paint, &headings).right(1).right(2);
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |one| one.to_string());
    for row in rows {
        let is_newest = newest == Some(row.name.as_str());
        grid.row([
            (Tone::Bold, row.name.clone()),
            (Tone::Plain, number(row.log_term)),
            (Tone::Plain, number(row.log_index)),
            (Tone::Plain, seat(row.seat)),
            (
                Tone::Plain,
                if row.has_key { "yes" } else { "no" }.to_owned(),
            ),
            (
                Tone::Dim,
                if is_newest { "newest copy" } else { "" }.to_owned(),
            ),
        ]);
    }
    grid.render("no machine of the roster")
}

fn absent(rows: &[AbsentRow], out: &Output) -> String {
    let mut grid = Grid::new(out.paint, &["MACHINE", "STATUS", "FOR", "COORDINATOR"]).right(2);
    for row in rows {
        let since = row.since_ms.map(|at_ms| time::age(at_ms, out.now_ms));
        grid.row([
            (Tone::Bold, row.name.clone()),
            (Tone::Bad, row.status.clone()),
            (Tone::Plain, since.unwrap_or_else(|| "-".to_owned())),
            (Tone::Plain, seat(row.seat)),
        ]);
    }
    grid.render("no machine")
}

fn seat(seat: Option<u64>) -> String {
    seat.map_or_else(|| "-".to_owned(), |seat| format!("seat {seat}"))
}
