//! What the node does for those who ask.

use std::fmt;

use async_trait::async_trait;
use muster_mesh::identity::MachineId;
use tokio::sync::mpsc;

use super::types::{ApiError, EventRow, EventsRequest, Request, Response};

/// The one who answers: implemented by the node, and by fakes in tests.
///
/// Calls come from many connections at once. The server bounds how many, and how long each may take; a call that is
/// given up is dropped at its next await point, so a write must be safe to abandon there.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Answers anything but a stream.
    async fn call(&self, caller: &Caller, request: Request) -> Result<Response, ApiError>;

    /// Sends past events that `request` asks for, then new ones as they happen, until `events` closes.
    ///
    /// The channel is bounded: a listener that doesn't keep up must not hold up the node, so the implementation
    /// reads on from the replicated ring at its own pace and says so when it had to skip some.
    async fn follow(
        &self,
        caller: &Caller,
        request: EventsRequest,
        events: mpsc::Sender<EventRow>,
    ) -> Result<(), ApiError>;
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody on this machine who may open the socket.
    Local {
        /// The user ID, as the kernel says.
        uid: u32,
        /// The process ID, where the kernel says.
        pid: Option<i32>,
    },
    /// The holder of an operator certificate, over the mesh.
    Operator(String),
    /// Another machine of the mesh, which passes on what somebody asked of it.
    Machine {
        /// Which machine.
        machine: MachineId,
        /// Whom it asks for, in its words.
        asker: String,
    },
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local {
                uid,
                pid: Some(pid),
            } => write!(f, "uid {uid} (process {pid})"),
            Self::Local { uid, pid: None } => write!(f, "uid {uid}"),
            Self::Operator(name) => write!(f, "operator {name}"),
            Self::Machine { machine, asker } => write!(f, "{asker} by way of machine {machine}"),
        }
    }
}
