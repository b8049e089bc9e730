//! Decisions that were made again.

use crate::cli::commands::Replayed;
use crate::cli::grid::{Grid, bold, dim, plain};
use crate::cli::output::{Output, Tone};
use crate::cli::time;
use crate::fleet::count;

/// Each record with what was decided, and what would be; `changed` where other rules were asked for.
pub(in crate::cli) fn replayed(records: &[Replayed], changed: bool, out: &Output) -> String {
    let mut grid = Grid::new(
        out.paint,
        &["AGO", "LEADER", "NAME", "DECIDED", "AGAIN", "FILE"],
    );
    for record in records {
        for decided in &record.decided {
            let other = record
                .differences
                .iter()
                .find(|difference| difference.name == decided.name);
            let again = match other {
                Some(other) => (Tone::Warn, other.is.clone()),
                None if record.same || changed => (Tone::Good, "the same".to_owned()),
                None => (Tone::Bad, "in other words".to_owned()),
            };
            grid.row([
                dim(time::age(record.at_ms, out.now_ms)),
                plain(&record.leader),
                bold(&decided.name),
                plain(&decided.outcome),
                again,
                dim(&record.file),
            ]);
        }
        let new = |name: &str| !record.decided.iter().any(|decided| decided.name == name);
        for other in record.differences.iter().filter(|other| new(&other.name)) {
            grid.row([
                dim(time::age(record.at_ms, out.now_ms)),
                plain(&record.leader),
                bold(&other.name),
                plain(&other.was),
                (Tone::Warn, other.is.clone()),
                dim(&record.file),
            ]);
        }
    }
    let same = records.iter().filter(|record| record.same).count();
    let verdict = format!(
        "{}, {same} of them decided the same\n",
        count(records.len(), "record")
    );
    grid.render("nothing was recorded") + &verdict
}
