//! The `muster` command and agent.

use std::process::ExitCode;

use async_trait::async_trait;
use muster::cli::{self, AgentOptions, InitOptions, Initialized, JoinOptions, Joined};

fn main() -> ExitCode {
    cli::main(&Unwired)
}

/// Until the node is wired in.
struct Unwired;

#[async_trait]
impl cli::Agent for Unwired {
    async fn init(&self, _: InitOptions) -> anyhow::Result<Initialized> {
        anyhow::bail!("this build has no agent")
    }

    async fn join(&self, _: JoinOptions) -> anyhow::Result<Joined> {
        anyhow::bail!("this build has no agent")
    }

    async fn run(&self, _: AgentOptions) -> anyhow::Result<()> {
        anyhow::bail!("this build has no agent")
    }
}
