//! Whom to ask when nobody said, and the client for it.

use std::path::Path;

use super::args::Global;
use super::failure::Failure;
use crate::api::client::{Client, Node};
use crate::api::types::{ApiError, ErrorKind};
use crate::config::AgentConfig;
use crate::dev;

/// The socket's name in an agent's directory.
const SOCKET_NAME: &str = "api.sock";

/// A client of the node that the flags mean, or of the most likely one.
///
/// # Errors
/// When there is none, with all places that were looked at; when the operator's identity can't be read.
pub(crate) async fn client(global: &Global) -> Result<Client, Failure> {
    let node = match &global.node {
        Some(text) if text.is_empty() => return Err(nobody_named()),
        Some(text) => named(text).await?,
        None => default_node().await?,
    };
    let client = match node {
        Node::Socket(path) => Client::socket(path),
        Node::Address(address) => super::remote::client(address, global.identity.as_deref())?,
    };
    Ok(client.with_timeout(global.timeout()))
}

fn nobody_named() -> Failure {
    Failure::usage(
        "`--node`, or MUSTER_NODE in the environment, is empty",
        "name a socket, an address or a machine; or leave it out, to ask this machine's own agent",
    )
}

/// What `--node` means: an address, a socket, a directory with one, or a machine of the `dev` fleet here.
async fn named(text: &str) -> Result<Node, Failure> {
    let node = Node::parse(text);
    let Node::Socket(path) = &node else {
        return Ok(node);
    };
    if dev::is_fleet(path) {
        let socket = dev::live_socket(path).await;
        return socket
            .map(Node::Socket)
            .ok_or_else(|| Failure::Api(nobody_runs(path)));
    }
    if path.is_dir() {
        return Ok(Node::Socket(path.join(SOCKET_NAME)));
    }
    let is_name = !text.contains('/') && !path.exists();
    let machine = is_name
        .then(|| dev::socket_of(Path::new(dev::DIR_DEFAULT), text))
        .flatten();
    Ok(machine.map_or(node, Node::Socket))
}

/// This machine's agent; where there is none, any machine of the `dev` fleet in the current directory.
async fn default_node() -> Result<Node, Failure> {
    let own = AgentConfig::default().api_socket();
    // Also when we may not open it: that is what the user has to be told then.
    if own.try_exists().unwrap_or(true) {
        return Ok(Node::Socket(own));
    }
    if let Some(socket) = dev::live_socket(Path::new(dev::DIR_DEFAULT)).await {
        return Ok(Node::Socket(socket));
    }
    Err(Failure::Api(nobody(&own)))
}

fn nobody(own: &Path) -> ApiError {
    let fleet = Path::new(dev::DIR_DEFAULT);
    if dev::is_fleet(fleet) {
        return nobody_runs(fleet);
    }
    let what = format!(
        "no agent listens at {}, and there is no {} here",
        own.display(),
        fleet.display()
    );
    ApiError::new(ErrorKind::Unreachable, what).remedy(
        "start a fleet with `muster dev`, this machine's agent with `muster agent`, or name a node with --node",
    )
}

fn nobody_runs(fleet: &Path) -> ApiError {
    let what = format!("no machine of the fleet in {} answers", fleet.display());
    ApiError::new(ErrorKind::Unreachable, what).remedy("start it again with `muster dev`")
}
