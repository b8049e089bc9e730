//! How coordinators reach each other: our trait, and the consensus library's on top of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use tokio::time::Instant;

use super::raft::{Node, Types};
use super::seat::{LogGeneration, Seat, SeatNode};
use super::wire::{Answer, Envelope, Request, decode, encode};

/// After a coordinator was unreachable, the next tries come after these many milliseconds, then every 2 s: dialling
/// a dead machine is not free, and a live one comes back by itself when it hears of an election.
const RETRIES_MS: [u64; 3] = [250, 500, 1000];
const RETRY_LAST_MS: u64 = 2000;

/// Carries a request to another coordinator and brings its answer back.
///
/// The other side hands the request to its [`Coordinator::handle`](super::Coordinator::handle), together with the
/// machine that the transport has authenticated as the sender.
#[async_trait::async_trait]
pub trait Network: Send + Sync + 'static {
    /// One request, one answer, within `deadline`.
    ///
    /// Dropping the future gives the request up; whether it arrived is then unknown, and that is fine.
    ///
    /// # Errors
    /// When no answer came.
    async fn call(&self, to: SeatNode, body: Bytes, deadline: Duration)
    -> Result<Bytes, CallError>;
}

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing came back in time. The request may have arrived.
    #[error("no answer in time")]
    TimedOut,
    /// The machine cannot be reached, refused the connection, or broke it off.
    #[error("unreachable: {0}")]
    Unreachable(String),
}

/// When each coordinator last answered us.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answered(Arc<Mutex<BTreeMap<Seat, Instant>>>);

impl Answered {
    fn note(&self, seat: Seat) {
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered.insert(seat, Instant::now());
    }

    pub(crate) fn since(&self, seat: Seat) -> Option<Instant> {
        let answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered.get(&seat).copied()
    }

    /// Forgets seats that are no more.
    pub(crate) fn retain(&self, keep: impl Fn(Seat) -> bool) {
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered.retain(|seat, _| keep(*seat));
    }
}

/// Makes the library's connections, which are no more than an address and a way to call it.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) network: Arc<dyn Network>,
    pub(crate) generation: LogGeneration,
    pub(crate) seat: Seat,
    pub(crate) answered: Answered,
}

impl Links {
    /// Asks one coordinator.
    pub(crate) async fn ask(
        &self,
        to: Seat,
        node: Node,
        request: Request,
        deadline: Duration,
    ) -> Result<Answer, CallError> {
        let Some(node) = node.0 else {
            return Err(CallError::Unreachable(format!("nobody sits on seat {to}")));
        };
        let envelope = Envelope {
            generation: self.generation,
            from: self.seat,
            to,
            request,
        };
        let body = Bytes::from(encode(&envelope));
        let answer = self.network.call(node, body, deadline).await?;
        match decode::<Answer>(&answer) {
            Ok(answer) if !answer.is_sound() => Err(CallError::Unreachable(
                "its answer makes no sense".to_owned(),
            )),
            // It is alive, but it doesn't follow us.
            Ok(answer @ Answer::Refused(_)) => Ok(answer),
            Ok(answer) => {
                self.answered.note(to);
                Ok(answer)
            }
            Err(refusal) => Err(CallError::Unreachable(format!("its answer: {refusal}"))),
        }
    }
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: Seat, node: &Node) -> Link {
        Link {
            links: self.clone(),
            to: target,
            node: *node,
        }
    }
}

/// The way to one coordinator.
pub(crate) struct Link {
    links: Links,
    to: Seat,
    node: Node,
}

type RpcError<E = openraft::error::Infallible> = RPCError<Seat, Node, RaftError<Seat, E>>;

impl Link {
    async fn ask<E: std::error::Error>(
        &self,
        request: Request,
        option: &RPCOption,
    ) -> Result<Answer, RpcError<E>> {
        let asked = self
            .links
            .ask(self.to, self.node, request, option.hard_ttl())
            .await;
        match asked {
            Ok(Answer::Refused(refusal)) => {
                let error = CallError::Unreachable(format!("it refused: {refusal}"));
                Err(RPCError::Unreachable(Unreachable::new(&error)))
            }
            Ok(answer) => Ok(answer),
            // It has used up its time, so the library may try again at once.
            Err(error @ CallError::TimedOut) => Err(RPCError::Network(NetworkError::new(&error))),
            Err(error) => Err(RPCError::Unreachable(Unreachable::new(&error))),
        }
    }
}

/// An answer that a sound coordinator would not give to this request. The library would panic on some.
fn senseless<E: std::error::Error>() -> RpcError<E> {
    let error = CallError::Unreachable("its answer does not fit the request".to_owned());
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Seat>, RpcError> {
        let vote = rpc.vote;
        let from_start = rpc.prev_log_id.is_none();
        match self.ask(Request::Append(rpc), &option).await? {
            Answer::Append(AppendEntriesResponse::Conflict) if from_start => Err(senseless()),
            Answer::Append(AppendEntriesResponse::HigherVote(higher))
                if higher.partial_cmp(&vote) != Some(std::cmp::Ordering::Greater) =>
            {
                Err(senseless())
            }
            Answer::Append(answer) => Ok(answer),
            _ => Err(senseless()),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<Seat>, RpcError<InstallSnapshotError>> {
        match self.ask(Request::Snapshot(rpc), &option).await? {
            Answer::Snapshot(Ok(answer)) => Ok(answer),
            Answer::Snapshot(Err(error)) => Err(RPCError::RemoteError(RemoteError::new(
                self.to,
                RaftError::APIError(error),
            ))),
            _ => Err(senseless()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Seat>,
        option: RPCOption,
    ) -> Result<VoteResponse<Seat>, RpcError> {
        match self.ask(Request::Vote(rpc), &option).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(senseless()),
        }
    }

    fn backoff(&self) -> Backoff {
        let waits = RETRIES_MS
            .into_iter()
            .chain(std::iter::repeat(RETRY_LAST_MS));
        Backoff::new(waits.map(Duration::from_millis))
    }
}
