//! What is remembered of one peer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::super::backoff;
use super::super::limits::{DATAGRAM_QUEUE_MAX, DATAGRAM_STALE, SIMULTANEOUS};

/// One peer. Which of its connections is the current one is decided in [`Self::hold`].
#[derive(Debug)]
pub(super) struct Entry<C, D> {
    /// Connections, the current one first; at most two.
    pub(super) held: Vec<Held<C>>,
    /// The dial under way, and where to.
    pub(super) dial: Option<(SocketAddr, D)>,
    /// Where it was last dialled. An address that differs from the connection's is tried once.
    pub(super) tried: Option<SocketAddr>,
    /// Failed dials in a row, and when the last one was.
    failures: u32,
    pub(super) failed_at: Option<Duration>,
    /// No dial before this.
    pub(super) retry_at: Duration,
    /// When it was last spoken to or heard of.
    pub(super) touched: Duration,
    /// Datagrams that wait for a connection, with the time they came.
    waiting: VecDeque<(Duration, Bytes)>,
}

/// A connection to a peer.
#[derive(Debug)]
pub(super) struct Held<C> {
    pub(super) connection: C,
    /// Where the peer is, as seen on this connection.
    pub(super) addr: SocketAddr,
    pub(super) since: Duration,
    /// Whether the machine with the lower ID of the two dialled it.
    pub(super) by_lower: bool,
}

impl<C, D> Default for Entry<C, D> {
    fn default() -> Self {
        Self {
            held: Vec::new(),
            dial: None,
            tried: None,
            failures: 0,
            failed_at: None,
            retry_at: Duration::ZERO,
            touched: Duration::ZERO,
            waiting: VecDeque::new(),
        }
    }
}

impl<C: Clone, D> Entry<C, D> {
    pub(super) fn may_dial(&self, now: Duration) -> bool {
        self.dial.is_none() && now >= self.retry_at
    }

    /// Nothing would be lost by forgetting it.
    pub(super) fn is_vacant(&self) -> bool {
        self.held.is_empty() && self.dial.is_none()
    }

    /// Lets a datagram wait; gives how many older ones made room.
    pub(super) fn queue(&mut self, now: Duration, datagram: Bytes) -> u64 {
        let mut dropped = 0;
        while self.waiting.len() >= DATAGRAM_QUEUE_MAX {
            self.waiting.pop_front();
            dropped += 1;
        }
        self.waiting.push_back((now, datagram));
        dropped
    }

    /// Everything that waited and is still worth sending, and how many were not.
    pub(super) fn flush(&mut self, now: Duration) -> (Vec<Bytes>, u64) {
        let waited = std::mem::take(&mut self.waiting);
        let all = waited.len();
        let fresh: Vec<Bytes> = waited
            .into_iter()
            .filter(|(since, _)| now.saturating_sub(*since) <= DATAGRAM_STALE)
            .map(|(_, datagram)| datagram)
            .collect();
        let stale = (all - fresh.len()) as u64;
        (fresh, stale)
    }

    /// A dial failed, or its connection was refused at once: leave the peer alone for a while.
    pub(super) fn punish(&mut self, now: Duration, random: u64) -> u64 {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        self.retry_at = now + backoff::pause(self.failures, random);
        let dropped = self.waiting.len() as u64;
        self.waiting.clear();
        dropped
    }

    /// There is a connection: past failures no longer matter.
    pub(super) fn forgive(&mut self) {
        self.failures = 0;
        self.failed_at = None;
        self.retry_at = Duration::ZERO;
    }

    /// Takes a connection in. Gives the one that is no longer current, if that changes, and one too many.
    ///
    /// Two that were made at nearly the same moment were dialled by both sides at once; both sides then keep the
    /// one that the lower machine ID dialled. Otherwise the newer one stays: its dialler would not have dialled
    /// had the older still been of use to it (a restarted agent comes back this way).
    pub(super) fn hold(&mut self, new: Held<C>) -> (Option<C>, Option<C>) {
        let Some(current) = self.held.first() else {
            self.held.push(new);
            return (None, None);
        };
        let crossed = new.by_lower != current.by_lower
            && new.since.saturating_sub(current.since) <= SIMULTANEOUS;
        let at = usize::from(crossed && current.by_lower);
        self.held.insert(at, new);
        let ousted = (self.held.len() > 2).then(|| self.held.remove(2).connection);
        (Some(self.held[1].connection.clone()), ousted)
    }
}
