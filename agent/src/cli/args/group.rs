//! `muster group`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::duration;
use crate::api::types::HealMode;

/// What can be done with groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// All groups
    List,
    /// One group: spec, budget, machines
    #[command(
        after_help = "Examples:\n  muster group show web\n  muster group show web --spec > web.toml"
    )]
    Show {
        /// The group's ID.
        id: String,
        /// Only the spec, as TOML that `muster apply` takes.
        #[arg(long)]
        spec: bool,
    },
    /// Change the number of machines of a cattle group
    #[command(
        after_help = "Scaling in takes the unhealthy machines first, then the newest, drains them, and keeps \
        to the group's budget. Scaling to 0 asks first."
    )]
    Scale {
        /// The group's ID.
        id: String,
        /// The new size.
        size: u32,
        /// Don't ask before scaling to 0. Without a terminal this must be said.
        #[arg(short, long)]
        yes: bool,
        /// Only show what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Stop healing and scaling a group, or the whole fleet
    Pause {
        /// The group's ID; the whole fleet when absent.
        id: Option<String>,
        /// Why, for those who come later.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// For how long; until `muster group resume` when absent.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        period: Option<Duration>,
    },
    /// End a pause, and a group's waiting after orders that failed
    Resume {
        /// The group's ID; the whole fleet when absent.
        id: Option<String>,
    },
    /// Retire all machines of a group, then forget it
    Destroy {
        /// The group's ID.
        id: String,
        /// Don't ask. Without a terminal this must be said.
        #[arg(short, long)]
        yes: bool,
    },
    /// Forget a group and leave its machines running
    Free {
        /// The group's ID.
        id: String,
        /// Don't ask. Without a terminal this must be said.
        #[arg(short, long)]
        yes: bool,
    },
    /// Set how far healing may go without a person
    HealMode {
        /// The group's ID.
        id: String,
        /// The new mode.
        mode: HealModeWord,
    },
}

/// Heal modes as words of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HealModeWord {
    /// Act without asking.
    Auto,
    /// Decide, and wait for `muster approve`.
    Approve,
    /// Only say what would be done.
    Observe,
}

impl From<HealModeWord> for HealMode {
    fn from(word: HealModeWord) -> Self {
        match word {
            HealModeWord::Auto => Self::Auto,
            HealModeWord::Approve => Self::Approve,
            HealModeWord::Observe => Self::Observe,
        }
    }
}
