//! What becomes and runs a machine's agent: `init`, `join` and `agent`.

use std::path::PathBuf;

use clap::Args;

use super::parsers::cluster_name;
use crate::config::{ConfigFlags, Seed};

/// `muster init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// What people call the mesh.
    #[arg(long, value_name = "NAME", default_value = "muster", value_parser = cluster_name)]
    pub(crate) cluster_name: String,
    /// Go on as the agent, in place of `muster agent` afterwards.
    #[arg(long)]
    pub(crate) run: bool,
    /// The agent's configuration.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// `muster join`.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// Machines of the mesh; one that answers is enough. Without a port the default one is meant.
    #[arg(required = true, value_name = "ADDR")]
    pub(crate) addresses: Vec<Seed>,
    /// The token from `muster token create`; `-` reads it from standard input, so that no process list shows it.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "MUSTER_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: String,
    /// Go on as the agent, in place of `muster agent` afterwards.
    #[arg(long)]
    pub(crate) run: bool,
    /// The agent's configuration.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// `muster agent`.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// Print the configuration that results, every key explained, and exit.
    #[arg(long)]
    pub(crate) print_config: bool,
    /// The configuration.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// Where an agent's configuration comes from.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file (TOML).
    #[arg(
        long,
        value_name = "FILE",
        env = "MUSTER_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,
    /// Single keys, which outrank the file.
    #[command(flatten)]
    pub(crate) flags: ConfigFlags,
}
