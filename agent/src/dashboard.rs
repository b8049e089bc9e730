//! The live view: `muster status --watch`, and `muster dev` on a terminal.
//!
//! - `feed` asks a machine, follows its events, and goes on with another machine when that one is gone;
//! - `view` turns what is known into a screen. Pure: the same snapshot and size give the same cells;
//! - `screen` owns the terminal, and gives it back whatever happens.

mod feed;
mod screen;
mod view;

pub use feed::{Feed, Nodes, Update};
pub use screen::{Ended, run};
pub use view::{Snapshot, render};

use std::io::IsTerminal;

use crate::cli::failure::Failure;
use crate::cli::signals::Signals;

/// Shows the fleet until the user has seen enough.
///
/// # Errors
/// When nobody can be asked at first, or the terminal can't be used.
pub(crate) async fn watch(nodes: &dyn Nodes) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "the live view needs a terminal, and standard output is none",
            "leave --watch out, or follow the events with `muster events -f`",
        ));
    }
    let mut feed = Feed::new(nodes);
    // A node that isn't there at all is an error, not an empty screen.
    feed.connect().await?;
    let mut signals = Signals::listen()?;
    run(&mut feed, signals.next()).await?;
    Ok(())
}
