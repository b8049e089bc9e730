//! Requests of others: from a fresh stream to the agent's channel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::frames::{self, FrameError};
use super::limits::{
    BODY_DEADLINE, FRAME_MAX, HANDOVER_DEADLINE, JOIN_BODY_DEADLINE, JOIN_FRAME_MAX,
};
use super::link::{Link, StreamGuard, identity};
use super::message::{Inbound, InboundRequest, PeerIdentity, StreamKind};
use super::responder::{Held, Responder};
use super::shared::Shared;
use crate::clock;

/// Who asks, and what that allows.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) from: PeerIdentity,
    pub(super) addr: SocketAddr,
    guard: Option<StreamGuard>,
}

impl Asker {
    pub(super) fn member(link: &Arc<Link>) -> Self {
        Self {
            from: identity(link),
            addr: link.peer.addr,
            guard: Some(link.busy()),
        }
    }

    pub(super) fn guest(from: PeerIdentity, addr: SocketAddr) -> Self {
        Self {
            from,
            addr,
            guard: None,
        }
    }

    fn may_ask(&self, kind: StreamKind) -> bool {
        match self.from {
            PeerIdentity::Machine(_) => kind != StreamKind::JOIN,
            PeerIdentity::Operator(_) => matches!(kind, StreamKind::API | StreamKind::CLOCK),
            PeerIdentity::Joiner => kind == StreamKind::JOIN,
        }
    }

    fn limits(&self) -> (usize, Duration) {
        match self.from {
            PeerIdentity::Joiner => (JOIN_FRAME_MAX, JOIN_BODY_DEADLINE),
            _ => (FRAME_MAX, BODY_DEADLINE),
        }
    }
}

/// Why a request did not get to the agent; said to the peer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("not a request: {0}")]
    Frame(#[from] FrameError),
    #[error("empty stream")]
    Empty,
    #[error("the request did not arrive in time")]
    Late,
    #[error("{0} may not ask for {1}")]
    NotAllowed(PeerIdentity, StreamKind),
    #[error("too many requests at once, try again")]
    Busy,
}

/// Reads one request and hands it to the agent.
pub(super) async fn serve(
    shared: Arc<Shared>,
    asker: Asker,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    match admit(&shared, &asker, &mut recv).await {
        Ok((StreamKind::CLOCK, ..)) => {
            let now = clock::unix_ms().to_be_bytes();
            reply(&mut send, frames::encode(frames::DATA, &now)).await;
        }
        Ok((kind, body, permits)) => hand_over(&shared, asker, kind, body, permits, send).await,
        Err(refusal) => {
            shared.counters.requests_refused.inc();
            tracing::debug!(from = %asker.from, addr = %asker.addr, %refusal, "request refused");
            let _ = recv.stop(0u32.into());
            reply(&mut send, frames::encode_failure(&refusal.to_string())).await;
        }
    }
}

type Permits = Vec<OwnedSemaphorePermit>;

async fn admit(
    shared: &Shared,
    asker: &Asker,
    recv: &mut RecvStream,
) -> Result<(StreamKind, Bytes, Permits), Refusal> {
    let slot = shared
        .streams
        .clone()
        .try_acquire_owned()
        .map_err(|_| Refusal::Busy)?;
    let (max, deadline) = asker.limits();
    let read = timeout(deadline, read(shared, asker, recv, max)).await;
    let (kind, body, memory) = read.map_err(|_| Refusal::Late)??;
    Ok((kind, body, vec![slot, memory]))
}

async fn read(
    shared: &Shared,
    asker: &Asker,
    recv: &mut RecvStream,
    max: usize,
) -> Result<(StreamKind, Bytes, OwnedSemaphorePermit), Refusal> {
    let (kind, length) = frames::read_header(recv).await?.ok_or(Refusal::Empty)?;
    let kind = StreamKind(kind);
    if !asker.may_ask(kind) {
        return Err(Refusal::NotAllowed(asker.from.clone(), kind));
    }
    if length > max {
        return Err(FrameError::TooLong { length, max }.into());
    }
    let memory = reserve(&shared.bodies, length).await?;
    let body = frames::read_body(recv, length, max).await?;
    frames::read_end(recv).await?;
    Ok((kind, body, memory))
}

/// Waits until there is memory for a body; the peer is held back by QUIC's flow control meanwhile.
async fn reserve(bodies: &Arc<Semaphore>, length: usize) -> Result<OwnedSemaphorePermit, Refusal> {
    let kilobytes = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
    bodies
        .clone()
        .acquire_many_owned(kilobytes)
        .await
        .map_err(|_| Refusal::Busy)
}

async fn hand_over(
    shared: &Shared,
    asker: Asker,
    kind: StreamKind,
    body: Bytes,
    permits: Permits,
    mut send: SendStream,
) {
    // The channel is full when the agent is behind. Waiting here holds the peer back.
    match timeout(HANDOVER_DEADLINE, shared.inbound.reserve()).await {
        Ok(Ok(place)) => {
            shared.counters.requests_in.inc();
            let held = Held {
                _permits: permits,
                _guard: asker.guard,
            };
            place.send(Inbound::Request(InboundRequest {
                from: asker.from,
                addr: asker.addr,
                kind,
                body,
                responder: Responder::new(send, held),
            }));
        }
        _ => {
            shared.counters.requests_refused.inc();
            reply(
                &mut send,
                frames::encode_failure(&Refusal::Busy.to_string()),
            )
            .await;
        }
    }
}

/// One last frame. When it cannot be written the peer is gone, and does not need it.
async fn reply(send: &mut SendStream, frame: Bytes) {
    let _ = timeout(BODY_DEADLINE, send.write_chunk(frame)).await;
    let _ = send.finish();
}
