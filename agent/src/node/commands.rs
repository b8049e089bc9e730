//! The commands that are about this very machine: `muster init`, `muster join` and `muster agent`.

use async_trait::async_trait;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::joining::{Asking, JOIN_PATIENCE};
use super::run;
use super::start::{self, Founding, Identity};
use crate::cli::{Agent, AgentOptions, InitOptions, Initialized, JoinOptions, Joined, Progress};
use crate::config::AgentConfig;
use crate::observe::log;

/// The agent of this machine, for the command line.
#[derive(Debug, Clone, Copy)]
pub struct ThisMachine;

#[async_trait]
impl Agent for ThisMachine {
    async fn init(&self, options: InitOptions) -> anyhow::Result<Initialized> {
        let InitOptions {
            config,
            cluster_name,
        } = options;
        let founding = Founding {
            cluster: None,
            name: cluster_name,
        };
        let Identity { credentials, .. } = start::init(&config, founding)?;
        Ok(Initialized {
            cluster: credentials.cluster(),
            machine: credentials.machine(),
            name: start::machine_name(&config)?,
            data_dir: config.machine.data_dir,
        })
    }

    async fn join(&self, options: JoinOptions, progress: Progress) -> anyhow::Result<Joined> {
        let JoinOptions {
            mut config,
            addresses,
            token,
            patience,
        } = options;
        let until = Instant::now() + patience.unwrap_or(JOIN_PATIENCE);
        config.machine.seeds = addresses;
        config.machine.join_token = Some(token);
        let identity = start::join_mesh(
            &config,
            Asking {
                until: Some(until),
                progress,
            },
        )
        .await?;
        Ok(Joined {
            cluster: identity.credentials.cluster(),
            cluster_name: identity.cluster_name,
            machine: identity.credentials.machine(),
            name: identity.name,
            data_dir: config.machine.data_dir,
        })
    }

    async fn run(&self, options: AgentOptions) -> anyhow::Result<()> {
        let config: AgentConfig = options.config;
        let log = log::init(&config.log)?;
        let stop = CancellationToken::new();
        stop_on_signals(stop.clone())?;
        run(config, None, log, stop).await?;
        Ok(())
    }
}

/// Stops the agent on SIGTERM and SIGINT.
fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("told to stop (SIGTERM)"),
            _ = interrupt.recv() => tracing::info!("told to stop (SIGINT)"),
        }
        stop.cancel();
    });
    Ok(())
}
