//! `muster pause` and `muster resume`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::duration;

/// `muster pause`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct PauseArgs {
    /// What else there is about pauses.
    #[command(subcommand)]
    pub(crate) command: Option<PauseCommand>,
    /// What to pause.
    #[command(flatten)]
    pub(crate) place: Place,
    /// Why, for those who come later.
    #[arg(long, value_name = "TEXT", required = true)]
    pub(crate) reason: Option<String>,
    /// For how long; until `muster resume` when absent.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) period: Option<Duration>,
    /// What to call it: several pauses of one place are told apart, and ended, by their names.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// What else there is about pauses.
#[derive(Debug, Subcommand)]
pub(crate) enum PauseCommand {
    /// All pauses in effect
    List,
}

/// `muster resume`.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The pause's name; in place of one, all pauses of a place end.
    #[arg(conflicts_with_all = ["group", "zone", "machine"])]
    pub(crate) name: Option<String>,
    /// What to resume.
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where. The whole fleet when nothing is said.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Place {
    /// One group.
    #[arg(long, value_name = "ID")]
    pub(crate) group: Option<String>,
    /// The machines of one zone; and none is made there.
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// One machine, and whatever takes its name.
    #[arg(long, value_name = "NAME")]
    pub(crate) machine: Option<String>,
}
