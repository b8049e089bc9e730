//! `muster infrakit`.

use muster_provisioners::infrakit::Directory;

use super::{Context, Failure};
use crate::cli::args::InfrakitCommand;
use crate::cli::signals::Signals;
use crate::gateway::Gateway;

/// The plugin's name where none is given.
const NAME: &str = "muster";

pub(super) async fn run(context: &Context<'_>, command: InfrakitCommand) -> Result<(), Failure> {
    let InfrakitCommand::Serve { socket } = command;
    let socket = socket.unwrap_or_else(|| Directory::standard().path().join(NAME));
    let client = context.client().await?;
    let mut signals = Signals::listen()?;
    let gateway = Gateway::open(&socket).await;
    let gateway = gateway.map_err(|error| Failure::other(error.to_string()))?;
    context
        .out
        .text(&format!("serving InfraKit's tools at {}", socket.display()))?;
    tokio::select! {
        () = gateway.serve(client) => {}
        () = signals.next() => {}
    }
    Ok(())
}
