//! What the node lends to those who answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_mesh::identity::MachineId;
use muster_mesh::pki::ClusterCa;
use muster_provisioners::Provisioner;
use tokio::sync::watch;

use super::snapshot::Snapshot;
use crate::api::types::{RecoverOrder, Recovery};
use crate::api::{ApiError, Caller, Request, Response};
use crate::fleet::{Command, Reply, Text};
use crate::flight::Held;

/// What the node lends to those who answer.
#[async_trait]
pub trait Desk: Send + Sync + 'static {
    /// Lets `look` see how things are. Must not be held up by anything but short-lived locks.
    fn snapshot<R>(&self, look: impl FnOnce(&Snapshot<'_>) -> R) -> R;

    /// Whether this machine leads, so that [`propose`](Self::propose) has a chance.
    fn leads(&self) -> bool;

    /// Puts a command into the log, on behalf of `actor`, and waits until it is applied here.
    ///
    /// # Errors
    /// `no_leader` where another one leads by now, `no_quorum` where too few coordinators answer, `timeout` where
    /// it is not known what became of it. A refusal is no error but a [`Reply`].
    async fn propose(&self, actor: Option<Text>, command: Command) -> Result<Reply, ApiError>;

    /// Has the leader answer. Retries while that is safe, within a deadline of its own.
    ///
    /// # Errors
    /// Whatever the leader answers, and `no_leader` when there is none.
    async fn forward(&self, caller: &Caller, request: &Request) -> Result<Response, ApiError>;

    /// The cluster's CA with its key; `None` on machines that don't coordinate.
    fn ca(&self) -> Option<Arc<ClusterCa>>;

    /// A few addresses of the mesh, for machines that are to join.
    fn advertised(&self) -> Vec<SocketAddr>;

    /// The provisioner of this name, where this machine has built it.
    fn provisioner(&self, name: &str) -> Option<Arc<dyn Provisioner>>;

    /// Asks a few machines, this one among them, what they hold of a machine's last words; a few seconds at most.
    async fn last_words(&self, machine: MachineId) -> Vec<Heard>;

    /// How long a packet to a machine and back takes; `None` where no connection is warm.
    fn rtt(&self, machine: MachineId) -> Option<Duration>;

    /// What is left of a fleet that lost most of its coordinators; a few seconds at most.
    ///
    /// # Errors
    /// When what other machines say can't be put together.
    async fn recovery(&self) -> Result<Recovery, ApiError>;

    /// Has this machine found the log anew, on behalf of `by`; up to a minute.
    ///
    /// # Errors
    /// Why that was not done.
    async fn recover(&self, by: Text, order: RecoverOrder) -> Result<Recovery, ApiError>;

    /// Begins to leave the mesh for good; the agent stops a moment later.
    ///
    /// # Errors
    /// When it can't leave now, and why.
    async fn leave(&self) -> Result<(), ApiError>;

    /// What the agent logs at present, as a `tracing` filter.
    fn log_filter(&self) -> String;

    /// Changes what the agent logs, and returns the filter of before.
    ///
    /// # Errors
    /// What is wrong with the filter.
    fn set_log_filter(&self, filter: &str) -> Result<String, String>;

    /// The agent's metrics as Prometheus text.
    fn metrics(&self) -> String;

    /// Changes whenever the copy of the fleet state, the picture of the mesh or the local events do.
    fn changes(&self) -> watch::Receiver<u64>;

    /// This machine's own observations with a number above `after`, oldest first, as far as they are kept.
    fn local_events(&self, after: u64) -> Vec<LocalEvent>;
}

/// What one machine holds of another's last words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Who was asked.
    pub by: MachineId,
    /// When it answered, by this machine's clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it holds; `None` where no answer came.
    pub held: Option<Held>,
}

/// Something that this machine saw for itself: what another one made of it may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEvent {
    /// Grows by one with each observation, from 1, and starts anew with the agent.
    pub number: u64,
    /// When, by this machine's clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// What sort of thing, in small letters with underscores, such as `member_suspect`.
    pub kind: &'static str,
    /// The machine concerned.
    pub machine: Option<MachineId>,
    /// The rest, in words.
    pub detail: String,
}
