//! One connection to a member, and the task that serves it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::{ConnectionError, VarInt};

use super::inbound::{self, Asker};
use super::limits::{DATAGRAM_MAX, INBOUND_RESERVE, RETIRED_FOR};
use super::message::{Inbound, Lost, PeerIdentity};
use super::shared::Shared;
use super::silence::{self, Silence};
use super::table::Connection;
use crate::identity::Peer;

/// Why a connection was closed, as its other side is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum CloseCode {
    /// The agent shuts down. Also what QUIC says for a connection that is just dropped.
    Shutdown = 0,
    /// Not used for a while.
    Idle = 1,
    /// Its place was needed.
    Evicted = 2,
    /// Another connection between the same two machines took its place.
    Superseded = 3,
    /// The certificate that it was made with has run out; a new connection is welcome.
    Expired = 4,
    /// The side that asked has what it wanted.
    Done = 5,
    /// Nothing was heard of the other side.
    Silent = 6,
    /// No certificate was shown, but the protocol needs one.
    NoCertificate = 16,
    /// The certificate has been revoked.
    Revoked = 17,
    /// Too many of this kind are being served.
    Busy = 18,
    /// The other side did what it may not.
    NotAllowed = 19,
}

impl CloseCode {
    /// Whether the other side did nothing wrong and nothing happened to it.
    fn is_routine(code: VarInt) -> bool {
        (Self::Idle as u64..=Self::Silent as u64).contains(&code.into_inner())
    }

    pub(super) fn close(self, connection: &quinn::Connection, reason: &str) {
        connection.close(VarInt::from_u32(self as u32), reason.as_bytes());
    }

    pub(super) fn close_endpoint(self, endpoint: &quinn::Endpoint, reason: &str) {
        endpoint.close(VarInt::from_u32(self as u32), reason.as_bytes());
    }
}

/// A connection to a member.
#[derive(Debug)]
pub(super) struct Link {
    id: u64,
    pub(super) quic: quinn::Connection,
    /// The machine in the certificate, and where it is.
    pub(super) peer: Peer,
    /// End of the certificate that it was made with.
    pub(super) not_after_ms: u64,
    last_used_ms: AtomicU64,
    streams: AtomicUsize,
    silence: Mutex<Silence>,
    /// Set before this side closes it, when something happened to the peer.
    pub(super) lost: OnceLock<Lost>,
    last_icmp_ms: AtomicU64,
}

/// ICMP errors about one connection are passed on at most this often.
const ICMP_INTERVAL: Duration = Duration::from_millis(500);

impl Link {
    pub(super) fn new(
        id: u64,
        quic: quinn::Connection,
        peer: Peer,
        not_after_ms: u64,
        now: Duration,
    ) -> Self {
        Self {
            id,
            quic,
            peer,
            not_after_ms,
            last_used_ms: AtomicU64::new(to_ms(now)),
            streams: AtomicUsize::new(0),
            silence: Mutex::default(),
            lost: OnceLock::new(),
            last_icmp_ms: AtomicU64::new(0),
        }
    }

    /// Notes that the connection is of use.
    pub(super) fn touch(&self, now: Duration) {
        self.last_used_ms.store(to_ms(now), Ordering::Relaxed);
    }

    /// Hands a datagram to QUIC; gives how many older ones were dropped for it.
    pub(super) fn send(&self, datagram: Bytes) -> Result<u64, quinn::SendDatagramError> {
        let full = self.quic.datagram_send_buffer_space() < datagram.len();
        self.quic.send_datagram(datagram)?;
        Ok(u64::from(full))
    }

    /// Whether an ICMP error is to be passed on now.
    pub(super) fn notes_icmp(&self, now: Duration) -> bool {
        let last = self.last_icmp_ms.load(Ordering::Relaxed);
        let due = last == 0 || to_ms(now) >= last + to_ms(ICMP_INTERVAL);
        if due {
            self.last_icmp_ms
                .store(to_ms(now).max(1), Ordering::Relaxed);
        }
        due
    }

    /// One round of upkeep: whether the peer was sent packets for so long without answering that it is lost.
    pub(super) fn is_silent(&self) -> bool {
        let stats = self.quic.stats();
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        silence.observe(stats.udp_rx.datagrams, silence::asked(&stats.frame_tx))
    }

    /// Keeps the link from being closed as idle for as long as the guard lives.
    pub(super) fn busy(self: &Arc<Self>) -> StreamGuard {
        self.streams.fetch_add(1, Ordering::Relaxed);
        StreamGuard(self.clone())
    }
}

impl Connection for Arc<Link> {
    fn id(&self) -> u64 {
        self.id
    }

    fn last_used(&self) -> Duration {
        Duration::from_millis(self.last_used_ms.load(Ordering::Relaxed))
    }

    fn is_busy(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > 0
    }
}

/// A request under way on a link.
#[derive(Debug)]
pub(super) struct StreamGuard(Arc<Link>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a link until it ends. This is the link's one task.
pub(super) async fn serve(shared: Arc<Shared>, link: Arc<Link>) {
    let error = receive(&shared, &link).await;
    let alone = shared
        .table()
        .remove(shared.now(), link.peer.machine, link.id);
    let Some(how) = link.lost.get().copied().or_else(|| evidence(&error)) else {
        tracing::debug!(peer = %link.peer, %error, "connection closed");
        return;
    };
    shared.counters.connections_lost.inc();
    tracing::debug!(peer = %link.peer, %error, %how, "connection lost");
    if how == Lost::Rejected {
        shared.punish(link.peer.machine);
    }
    if alone {
        shared.report_lost(link.peer, how).await;
    }
}

async fn receive(shared: &Arc<Shared>, link: &Arc<Link>) -> ConnectionError {
    loop {
        tokio::select! {
            datagram = link.quic.read_datagram() => match datagram {
                Ok(bytes) => deliver(shared, link, bytes),
                Err(error) => return error,
            },
            stream = link.quic.accept_bi() => match stream {
                Ok((send, recv)) => {
                    link.touch(shared.now());
                    let asker = Asker::member(link);
                    tokio::spawn(inbound::serve(shared.clone(), asker, send, recv));
                }
                Err(error) => return error,
            },
        }
    }
}

/// Passes a datagram on, unless the agent is behind: then it is dropped, because the next one says more.
fn deliver(shared: &Shared, link: &Link, bytes: Bytes) {
    link.touch(shared.now());
    if bytes.is_empty() {
        return; // keeps the connection warm
    }
    let inbound = &shared.inbound;
    let room = inbound.capacity() > inbound.max_capacity() / INBOUND_RESERVE;
    let datagram = Inbound::Datagram {
        from: link.peer,
        bytes,
    };
    let fits = matches!(&datagram, Inbound::Datagram { bytes, .. } if bytes.len() <= DATAGRAM_MAX);
    if room && fits && inbound.try_send(datagram).is_ok() {
        shared.counters.datagrams_in.inc();
    } else {
        shared.counters.datagrams_dropped_inbound.inc();
    }
}

/// Closes a link that another one took the place of, once nothing is under way on it. Should it be needed again
/// in the meantime, because the other one broke, it stays.
pub(super) async fn retire(shared: Arc<Shared>, link: Arc<Link>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RETIRED_FOR) => {}
            () = shared.closing.cancelled() => return,
        }
        if !shared.table().is_retired(link.peer.machine, link.id) {
            return;
        }
        if !link.is_busy() {
            CloseCode::Superseded.close(&link.quic, "another connection took its place");
            return;
        }
    }
}

/// What the end of a connection says about the peer; `None` when nothing.
pub(super) fn evidence(error: &ConnectionError) -> Option<Lost> {
    match error {
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => None,
        ConnectionError::ApplicationClosed(close) if CloseCode::is_routine(close.error_code) => {
            None
        }
        ConnectionError::ApplicationClosed(close) => Some(match close.error_code.into_inner() {
            0 => Lost::Closed,
            _ => Lost::Rejected,
        }),
        ConnectionError::TimedOut => Some(Lost::TimedOut),
        ConnectionError::Reset => Some(Lost::Reset),
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::TransportError(_)
        | ConnectionError::VersionMismatch => Some(Lost::Rejected),
    }
}

/// Who is at the other end of a link.
pub(super) fn identity(link: &Link) -> PeerIdentity {
    PeerIdentity::Machine(link.peer.machine)
}

fn to_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
