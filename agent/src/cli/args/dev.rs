//! `muster dev`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `muster dev`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  muster dev                          web-1, web-2, web-3, db-1, db-2\n  \
        muster dev --machines 10\n  muster dev -f my-fleet.toml --dir /tmp/fleet\n  muster dev | cat                    \
        one event a line, no live view\n\nThen, in another shell in the same directory:\n  muster status\n  \
        kill -9 $(muster machine web-2 --json | jq .machine.instance.properties.pid)\n  muster events -f\n  \
        muster dev stop web-3; muster dev start web-3\n\n\
        Ctrl-C stops all machines; `muster dev` again brings the same ones back. `muster dev clean` removes them."
)]
pub(crate) struct DevArgs {
    /// What else to do with the fleet than to run it.
    #[command(subcommand)]
    pub(crate) command: Option<DevCommand>,
    /// Where the fleet lives.
    #[command(flatten)]
    pub(crate) place: DevPlace,
    /// How many machines in all; the group `web` gets as many as that takes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) machines: Option<u32>,
    /// Specs in place of the default fleet of web (3) and db (db-1, db-2).
    #[arg(short, long = "file", num_args = 1.., value_name = "SPEC", conflicts_with = "machines")]
    pub(crate) files: Vec<PathBuf>,
}

/// Where the fleet lives.
#[derive(Debug, Clone, Args)]
pub(crate) struct DevPlace {
    /// The fleet's directory.
    #[arg(long, value_name = "DIR", default_value = crate::dev::DIR_DEFAULT)]
    pub(crate) dir: PathBuf,
}

/// What else can be done with a `dev` fleet.
#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Start a stopped machine in place: same identity, same data
    Start {
        /// The machine's name.
        name: String,
        /// Where the fleet lives.
        #[command(flatten)]
        place: DevPlace,
    },
    /// Stop a machine and keep it; the fleet notices, and heals what it can
    Stop {
        /// The machine's name.
        name: String,
        /// Where the fleet lives.
        #[command(flatten)]
        place: DevPlace,
    },
    /// The machines of the fleet and their processes, also while nobody answers
    List {
        /// Where the fleet lives.
        #[command(flatten)]
        place: DevPlace,
    },
    /// Stop and remove everything, data included
    Clean {
        /// Don't ask.
        #[arg(short, long)]
        yes: bool,
        /// Where the fleet lives.
        #[command(flatten)]
        place: DevPlace,
    },
}
