//! Commands that are not for people: what the agent and its provisioner start.

use std::path::PathBuf;

use clap::Subcommand;

/// Commands that become another program, or a process beside the agent.
#[derive(Debug, Subcommand)]
pub(crate) enum HiddenCommand {
    /// Starts a machine of the `process` provisioner; not for people.
    #[command(hide = true)]
    ProcessLaunch {
        /// The machine's directory.
        dir: PathBuf,
    },

    /// Guards the workload of a pet that runs under a lease; not for people.
    #[command(hide = true)]
    LeaseGuard {
        /// The agent's data directory.
        dir: PathBuf,
    },

    /// Becomes such a workload, with what the guard was told on standard input; not for people.
    #[command(hide = true)]
    LeaseExec {
        /// The guard's process ID.
        parent: u32,
    },
}
