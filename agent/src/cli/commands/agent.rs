//! `muster init`, `join` and `agent`: what is about this very machine.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_mesh::identity::{ClusterId, MachineId};
use serde::Serialize;

use super::{Context, Failure};
use crate::cli::args::{AgentArgs, ConfigArgs, InitArgs, JoinArgs};
use crate::cli::output::clean;
use crate::config::{self, AgentConfig, Seed};

/// Hears, line by line, how something goes that takes long.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// The agent behind these commands; implemented by the node.
#[async_trait]
pub trait Agent: Sync {
    /// Makes a new mesh with this machine as its first coordinator, and stores all of it in the data directory.
    ///
    /// # Errors
    /// When there is an identity already, or the data directory can't be written.
    async fn init(&self, options: InitOptions) -> anyhow::Result<Initialized>;

    /// Has this machine admitted to a mesh, and stores its identity in the data directory. `progress` hears, line by
    /// line, why it is not in yet.
    ///
    /// # Errors
    /// When there is an identity already, nobody answers, or the token is refused.
    async fn join(&self, options: JoinOptions, progress: Progress) -> anyhow::Result<Joined>;

    /// Runs the agent until it is told to stop by a signal or leaves.
    ///
    /// # Errors
    /// Why it couldn't start, or had to stop.
    async fn run(&self, options: AgentOptions) -> anyhow::Result<()>;
}

/// For [`Agent::init`].
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The agent's configuration, checked.
    pub config: AgentConfig,
    /// What people call the mesh.
    pub cluster_name: String,
}

/// What [`Agent::init`] made.
#[derive(Debug, Clone, Serialize)]
pub struct Initialized {
    /// The new cluster.
    pub cluster: ClusterId,
    /// This machine in it.
    pub machine: MachineId,
    /// Its name.
    pub name: String,
    /// Where all of it is stored.
    pub data_dir: PathBuf,
}

/// For [`Agent::join`].
#[derive(Debug, Clone)]
pub struct JoinOptions {
    /// The agent's configuration, checked.
    pub config: AgentConfig,
    /// Machines of the mesh to ask, in this order.
    pub addresses: Vec<Seed>,
    /// The join token.
    pub token: String,
    /// How long to go on trying; `None` for the default, 150 s.
    pub patience: Option<Duration>,
}

/// What [`Agent::join`] got.
#[derive(Debug, Clone, Serialize)]
pub struct Joined {
    /// The cluster.
    pub cluster: ClusterId,
    /// What people call it.
    pub cluster_name: String,
    /// This machine in it.
    pub machine: MachineId,
    /// Its name.
    pub name: String,
    /// Where its identity is stored.
    pub data_dir: PathBuf,
}

/// For [`Agent::run`].
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The agent's configuration, checked.
    pub config: AgentConfig,
}

/// A token is some 130 characters; what is longer is something else.
const TOKEN_BYTES_MAX: u64 = 4096;

pub(super) async fn init(context: &Context<'_>, args: InitArgs) -> Result<(), Failure> {
    let config = load(&args.config)?;
    let options = InitOptions {
        config: config.clone(),
        cluster_name: args.cluster_name.clone(),
    };
    let made = context.agent.init(options).await?;
    context.out.either(&made, |made, _| {
        format!(
            "mesh {} ({}) is founded, and {} is its first coordinator\n\
             next: `muster agent` runs it; `muster token create` then lets other machines in",
            args.cluster_name, made.cluster, made.name
        )
    })?;
    go_on(context, args.run, config).await
}

pub(super) async fn join(context: &Context<'_>, args: JoinArgs) -> Result<(), Failure> {
    let config = load(&args.config)?;
    let token = if args.token == "-" {
        token_from_stdin()?
    } else {
        args.token
    };
    let options = JoinOptions {
        config: config.clone(),
        addresses: args.addresses,
        token,
        patience: context.global.timeout,
    };
    let progress: Progress = Arc::new(|why| eprintln!("{}", clean(why)));
    let joined = context.agent.join(options, progress).await?;
    context.out.either(&joined, |joined, _| {
        format!(
            "{} is a machine of mesh {} ({})\nnext: `muster agent` runs it",
            joined.name, joined.cluster_name, joined.cluster
        )
    })?;
    go_on(context, args.run, config).await
}

/// Becomes the agent, where that was asked for.
async fn go_on(context: &Context<'_>, run: bool, config: AgentConfig) -> Result<(), Failure> {
    if run {
        Ok(context.agent.run(AgentOptions { config }).await?)
    } else {
        Ok(())
    }
}

pub(super) async fn run(context: &Context<'_>, args: AgentArgs) -> Result<(), Failure> {
    let config = load(&args.config)?;
    if args.print_config {
        return context.out.text(&config::render(&config));
    }
    Ok(context.agent.run(AgentOptions { config }).await?)
}

fn load(args: &ConfigArgs) -> Result<AgentConfig, Failure> {
    Ok(config::load(args.config.as_deref(), &args.flags)?)
}

fn token_from_stdin() -> Result<String, Failure> {
    let mut token = String::new();
    std::io::stdin()
        .lock()
        .take(TOKEN_BYTES_MAX)
        .read_to_string(&mut token)?;
    Ok(token.trim().to_owned())
}
