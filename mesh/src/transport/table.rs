//! Which peers there are, how they are connected, and what to do next. Pure: no sockets, no clock, no randomness
//! of its own; connections and dials are handles that it only passes on.
//!
//! For each peer there are at most two connections: the current one, and one that it took the place of and that
//! is kept for a moment for what is under way on it. There is at most one dial under way for each peer, and after
//! a failed one a pause that grows.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use self::entry::{Entry, Held};
use super::limits::{
    CONNECTIONS_COMFORTABLE, DIALS_MAX, PEER_FORGOTTEN_AFTER, PEERS_MAX, REQUEST_BACKOFF_MAX,
};
use crate::identity::{MachineId, Peer};

/// What the table needs to know of a connection.
pub(super) trait Connection: Clone {
    /// Tells it from all others of the process.
    fn id(&self) -> u64;
    /// When something was last sent or received on it that was not QUIC's own.
    fn last_used(&self) -> Duration;
    /// Whether requests are under way on it, in either direction.
    fn is_busy(&self) -> bool;
}

/// The table. `C` is a connection, `D` a handle of a dial under way.
#[derive(Debug)]
pub(super) struct PeerTable<C, D> {
    me: MachineId,
    connections_max: usize,
    idle_timeout: Duration,
    peers: HashMap<MachineId, Entry<C, D>>,
    warm: HashMap<MachineId, SocketAddr>,
    connections: usize,
    dials: usize,
}

/// What to do with a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer<C> {
    /// Send it on this connection; `dial` as well, because the peer is said to be at another address now.
    Send { on: C, datagram: Bytes, dial: bool },
    /// It waits, with so many older ones dropped for it. When `dial`, a dial must be begun now.
    Queued { dropped: u64, dial: bool },
    /// It was dropped: the peer is in its pause, or there are too many peers.
    Unreachable,
}

/// How a request gets its connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<C, D> {
    /// On this connection.
    Connected(C),
    /// By waiting for this dial.
    Dialling(D),
    /// By beginning a dial now.
    Dial,
    /// By asking again after this long.
    Wait(Duration),
    /// Not at all: too many peers or dials.
    Full,
}

/// What became of a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inserted<C> {
    /// Where datagrams go now: the new connection, or the one that stays in its place.
    pub(super) current: C,
    /// Datagrams that waited for it, and how many others had become stale.
    pub(super) flush: Vec<Bytes>,
    pub(super) stale: u64,
    /// A connection that is no longer current, to be closed once it is not busy.
    pub(super) retired: Option<C>,
    /// Connections to close at once, to make room.
    pub(super) evicted: Vec<C>,
}

impl<C: Connection, D: Clone> PeerTable<C, D> {
    pub(super) fn new(me: MachineId, connections_max: usize, idle_timeout: Duration) -> Self {
        Self {
            me,
            connections_max: connections_max.max(1),
            idle_timeout,
            peers: HashMap::new(),
            warm: HashMap::new(),
            connections: 0,
            dials: 0,
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    pub(super) fn dials(&self) -> usize {
        self.dials
    }

    /// The current connection to a peer.
    pub(super) fn current(&self, machine: MachineId) -> Option<&C> {
        let held = self.peers.get(&machine)?.held.first()?;
        Some(&held.connection)
    }

    /// Every connection, current or not, with its peer.
    pub(super) fn all(&self) -> impl Iterator<Item = (Peer, &C)> {
        self.peers.iter().flat_map(|(machine, entry)| {
            entry.held.iter().map(|held| {
                let peer = Peer {
                    machine: *machine,
                    addr: held.addr,
                };
                (peer, &held.connection)
            })
        })
    }

    /// Peers that are connected at this address, or are being dialled there.
    pub(super) fn at(&self, addr: SocketAddr) -> Vec<(MachineId, Option<D>)> {
        self.peers
            .iter()
            .filter_map(|(machine, entry)| {
                let dial = entry.dial.as_ref().filter(|dial| dial.0 == addr);
                let connected = entry.held.iter().any(|held| held.addr == addr);
                (dial.is_some() || connected).then(|| (*machine, dial.map(|dial| dial.1.clone())))
            })
            .collect()
    }

    /// A datagram for a peer.
    pub(super) fn offer(&mut self, now: Duration, to: Peer, datagram: Bytes) -> Offer<C> {
        let dials_left = self.dials < DIALS_MAX;
        let Some(entry) = self.entry(now, to.machine) else {
            return Offer::Unreachable;
        };
        if let Some(held) = entry.held.first() {
            let on = held.connection.clone();
            let moved = held.addr != to.addr && entry.tried != Some(to.addr);
            let dial = moved && dials_left && entry.may_dial(now);
            return Offer::Send { on, datagram, dial };
        }
        if entry.dial.is_none() && !(dials_left && entry.may_dial(now)) {
            return Offer::Unreachable;
        }
        Offer::Queued {
            dropped: entry.queue(now, datagram),
            dial: entry.dial.is_none(),
        }
    }

    /// A connection for a request to a peer. Requests cut a long pause short, but not a short one.
    pub(super) fn route(&mut self, now: Duration, to: Peer) -> Route<C, D> {
        let dials_left = self.dials < DIALS_MAX;
        let Some(entry) = self.entry(now, to.machine) else {
            return Route::Full;
        };
        if let Some(held) = entry.held.first() {
            return Route::Connected(held.connection.clone());
        }
        if let Some((_, dial)) = &entry.dial {
            return Route::Dialling(dial.clone());
        }
        let patience = entry
            .failed_at
            .map_or(now, |failed| failed + REQUEST_BACKOFF_MAX);
        let at = entry.retry_at.min(patience);
        if now < at {
            return Route::Wait(at - now);
        }
        if dials_left { Route::Dial } else { Route::Full }
    }

    /// A dial to `to` has begun, as [`Self::offer`] or [`Self::route`] said.
    pub(super) fn dial_begun(&mut self, now: Duration, to: Peer, dial: D) {
        if let Some(entry) = self.entry(now, to.machine) {
            debug_assert!(entry.dial.is_none(), "one dial per peer");
            entry.dial = Some((to.addr, dial));
            entry.tried = Some(to.addr);
            self.dials += 1;
        }
    }

    /// The dial to a peer ended without a connection. Gives the number of datagrams that waited in vain.
    pub(super) fn dial_failed(&mut self, now: Duration, machine: MachineId, random: u64) -> u64 {
        self.dial_ended(machine);
        self.punish(now, machine, random)
    }

    /// Begins or lengthens the pause of a peer that cannot be spoken to.
    pub(super) fn punish(&mut self, now: Duration, machine: MachineId, random: u64) -> u64 {
        let Some(entry) = self.peers.get_mut(&machine) else {
            return 0;
        };
        entry.punish(now, random)
    }

    /// The dial to a peer ended; [`Self::insert`] follows when it succeeded.
    pub(super) fn dial_ended(&mut self, machine: MachineId) {
        if let Some(entry) = self.peers.get_mut(&machine)
            && entry.dial.take().is_some()
        {
            self.dials -= 1;
        }
    }

    /// A new connection to a peer, dialled by this side or the other.
    pub(super) fn insert(
        &mut self,
        now: Duration,
        peer: Peer,
        connection: C,
        dialled_by_me: bool,
    ) -> Inserted<C> {
        let evicted = self.make_room(peer.machine);
        let lower = if dialled_by_me {
            self.me < peer.machine
        } else {
            peer.machine < self.me
        };
        let entry = self.peers.entry(peer.machine).or_default();
        entry.touched = now;
        entry.forgive();
        let held = Held {
            connection,
            addr: peer.addr,
            since: now,
            by_lower: lower,
        };
        self.connections += 1;
        let (retired, ousted) = entry.hold(held);
        let (flush, stale) = entry.flush(now);
        let current = entry.held[0].connection.clone();
        let mut evicted = evicted;
        if let Some(ousted) = ousted {
            self.connections -= 1;
            evicted.push(ousted);
        }
        Inserted {
            current,
            flush,
            stale,
            retired,
            evicted,
        }
    }

    /// A connection has ended. Whether the peer has no other.
    pub(super) fn remove(&mut self, now: Duration, machine: MachineId, id: u64) -> bool {
        let Some(entry) = self.peers.get_mut(&machine) else {
            return true;
        };
        let before = entry.held.len();
        entry.held.retain(|held| held.connection.id() != id);
        self.connections -= before - entry.held.len();
        entry.touched = now;
        entry.held.is_empty()
    }

    /// Whether a connection is in the table but not where datagrams go.
    pub(super) fn is_retired(&self, machine: MachineId, id: u64) -> bool {
        self.peers.get(&machine).is_some_and(|entry| {
            entry
                .held
                .iter()
                .skip(1)
                .any(|held| held.connection.id() == id)
        })
    }

    /// Forgets a peer; gives its connections, to be closed.
    pub(super) fn forget(&mut self, machine: MachineId) -> Vec<C> {
        self.warm.remove(&machine);
        let Some(mut entry) = self.peers.remove(&machine) else {
            return Vec::new();
        };
        let held: Vec<C> = entry.held.drain(..).map(|held| held.connection).collect();
        self.connections -= held.len();
        if entry.dial.is_some() {
            // The dial goes on; its entry must be there for its end to be counted.
            self.peers.insert(machine, entry);
        }
        held
    }

    /// Sets the peers whose connections are kept open.
    pub(super) fn set_warm(&mut self, peers: impl IntoIterator<Item = Peer>) {
        self.warm = peers
            .into_iter()
            .filter(|peer| peer.machine != self.me)
            .map(|peer| (peer.machine, peer.addr))
            .take(self.connections_max / 2)
            .collect();
    }

    /// Whether a peer's connection is kept open.
    pub(super) fn is_warm(&self, machine: MachineId) -> bool {
        self.warm.contains_key(&machine)
    }

    /// Warm peers that are to be dialled now; [`Self::dial_begun`] must follow for each.
    pub(super) fn cold(&mut self, now: Duration) -> Vec<Peer> {
        let mut left = DIALS_MAX.saturating_sub(self.dials);
        let warm: Vec<Peer> = self
            .warm
            .iter()
            .map(|(&machine, &addr)| Peer { machine, addr })
            .collect();
        warm.into_iter()
            .filter(|peer| {
                let ready = left > 0
                    && self
                        .entry(now, peer.machine)
                        .is_some_and(|entry| entry.held.is_empty() && entry.may_dial(now));
                left -= usize::from(ready);
                ready
            })
            .collect()
    }

    /// Connections that have not been used for too long: with few connections that is never.
    pub(super) fn idle(&self, now: Duration) -> Vec<C> {
        if self.connections <= CONNECTIONS_COMFORTABLE {
            return Vec::new();
        }
        self.all()
            .filter(|(peer, connection)| {
                now.saturating_sub(connection.last_used()) >= self.idle_timeout
                    && !connection.is_busy()
                    && !self.is_warm(peer.machine)
            })
            .map(|(_, connection)| connection.clone())
            .collect()
    }

    /// Forgets peers that have not been spoken to for long.
    pub(super) fn purge(&mut self, now: Duration) {
        let warm = &self.warm;
        self.peers.retain(|machine, entry| {
            !entry.is_vacant()
                || warm.contains_key(machine)
                || now.saturating_sub(entry.touched) < PEER_FORGOTTEN_AFTER
        });
    }

    /// The entry of a peer, new if need be; `None` when there are too many peers.
    fn entry(&mut self, now: Duration, machine: MachineId) -> Option<&mut Entry<C, D>> {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&machine) {
            self.peers.retain(|_, entry| !entry.is_vacant());
            if self.peers.len() >= PEERS_MAX {
                return None;
            }
        }
        let entry = self.peers.entry(machine).or_default();
        entry.touched = now;
        Some(entry)
    }

    /// Takes out connections until there is room for one more; the least recently used first, warm ones and
    /// those with requests under way last.
    fn make_room(&mut self, newcomer: MachineId) -> Vec<C> {
        let mut evicted = Vec::new();
        while self.connections >= self.connections_max {
            let victim = self
                .all()
                .min_by_key(|(peer, connection)| {
                    (
                        peer.machine == newcomer,
                        connection.is_busy(),
                        self.is_warm(peer.machine),
                        connection.last_used(),
                        connection.id(),
                    )
                })
                .map(|(peer, connection)| (peer.machine, connection.clone()));
            let Some((machine, connection)) = victim else {
                break;
            };
            if let Some(entry) = self.peers.get_mut(&machine) {
                entry
                    .held
                    .retain(|held| held.connection.id() != connection.id());
            }
            self.connections -= 1;
            evicted.push(connection);
        }
        evicted
    }
}
