//! `muster pause list`.

use super::super::grid::{Grid, bold, dim, maybe, plain};
use super::super::output::Output;
use super::super::time;
use super::answered;
use crate::api::types::{Listed, PauseRow};

/// All pauses in effect.
pub(in crate::cli) fn pauses(pauses: &Listed<PauseRow>, out: &Output) -> String {
    let mut grid = Grid::new(
        out.paint,
        &["COVERS", "NAME", "SINCE", "ENDS", "BY", "REASON"],
    );
    for pause in &pauses.items {
        let covers = match &pause.of {
            Some(of) => format!("{} {of}", pause.scope),
            None => pause.scope.clone(),
        };
        let ends = pause
            .until_ms
            .map(|until_ms| time::until(until_ms, out.now_ms));
        grid.row([
            bold(covers),
            maybe(pause.name.as_ref()),
            dim(time::age(pause.since_ms, out.now_ms)),
            plain(ends.unwrap_or_else(|| "by hand".to_owned())),
            maybe(pause.by.as_ref()),
            plain(&pause.reason),
        ]);
    }
    grid.render("nothing is paused") + &answered(&pauses.as_of, out)
}
