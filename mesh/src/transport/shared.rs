//! What the tasks of one transport share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::config;
use super::dial::{DialHandle, Strays};
use super::guests::Guests;
use super::limits::{BODY_BYTES_MAX, JOINERS_MAX, OPERATORS_MAX, STREAMS_MAX};
use super::link::{self, CloseCode, Link};
use super::message::{Inbound, Lost};
use super::stats::Counters;
use super::table::PeerTable;
use super::tls::{self, OwnCertificate, RevokedNow};
use crate::clock::Monotonic;
use crate::identity::{MachineId, Peer};
use crate::pki::{ClusterTrust, Credentials, LeafIdentity};

/// The peers and their connections.
pub(super) type Table = PeerTable<Arc<Link>, DialHandle>;

pub(super) struct Shared {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) me: MachineId,
    pub(super) local_addr: SocketAddr,
    pub(super) inbound: mpsc::Sender<Inbound>,
    pub(super) counters: Arc<Counters>,
    pub(super) revoked: RevokedNow,
    /// Cancelled when the transport closes.
    pub(super) closing: CancellationToken,
    /// Requests, bytes of request bodies (in KiB), strangers and operators being served.
    pub(super) streams: Arc<Semaphore>,
    pub(super) bodies: Arc<Semaphore>,
    pub(super) joiners: Arc<Semaphore>,
    pub(super) operators: Arc<Semaphore>,
    /// Incoming handshakes under way.
    pub(super) handshakes: AtomicUsize,
    /// Operators connected now.
    pub(super) guests: Guests,
    /// Dials to addresses of which the machine is not known yet.
    pub(super) strays: Strays,
    pub(super) upkeep_interval: Duration,
    table: Mutex<Table>,
    identity: Mutex<Arc<Identity>>,
    clock: Monotonic,
    next_id: AtomicU64,
    idle_timeout: Duration,
}

/// What this machine currently shows and trusts.
pub(super) struct Identity {
    pub(super) trust: ClusterTrust,
    pub(super) own: OwnCertificate,
}

impl Identity {
    /// Reads credentials into what handshakes need; also gives the listening side's configuration.
    pub(super) fn new(
        credentials: &Credentials,
        revoked: RevokedNow,
    ) -> Result<(Self, quinn::ServerConfig), String> {
        let trust =
            ClusterTrust::new(credentials.ca_certificate()).map_err(|error| error.to_string())?;
        let keys = credentials.keys();
        let own = tls::own_certificate(keys).map_err(|error| error.to_string())?;
        let listener = tls::listener(keys, &trust, revoked).map_err(|error| error.to_string())?;
        Ok((Self { trust, own }, config::server(listener)))
    }
}

/// How a connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// Dialled by this side, as the table asked.
    Dialled,
    /// Dialled by this side, to find out who is there.
    Identified,
    /// Dialled by the other side.
    Accepted,
}

/// What [`Shared`] is made from.
pub(super) struct Parts {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) me: MachineId,
    pub(super) local_addr: SocketAddr,
    pub(super) inbound: mpsc::Sender<Inbound>,
    pub(super) counters: Arc<Counters>,
    pub(super) revoked: RevokedNow,
    pub(super) identity: Identity,
    pub(super) connections_max: usize,
    pub(super) idle_timeout: Duration,
    pub(super) upkeep_interval: Duration,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            endpoint: parts.endpoint,
            me: parts.me,
            local_addr: parts.local_addr,
            inbound: parts.inbound,
            counters: parts.counters,
            revoked: parts.revoked,
            closing: CancellationToken::new(),
            streams: semaphore(STREAMS_MAX),
            bodies: semaphore(BODY_BYTES_MAX / 1024),
            joiners: semaphore(JOINERS_MAX),
            operators: semaphore(OPERATORS_MAX),
            handshakes: AtomicUsize::new(0),
            guests: Guests::default(),
            strays: Strays::default(),
            upkeep_interval: parts.upkeep_interval,
            table: Mutex::new(PeerTable::new(
                parts.me,
                parts.connections_max,
                parts.idle_timeout,
            )),
            identity: Mutex::new(Arc::new(parts.identity)),
            clock: Monotonic::start(),
            next_id: AtomicU64::new(1),
            idle_timeout: parts.idle_timeout,
        }
    }

    /// A warm connection is used at least this often, before either side could take it for idle.
    pub(super) fn warm_after(&self) -> Duration {
        self.idle_timeout / 2
    }

    /// Time since the transport was bound.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// The table. Held only for as long as it takes to look something up; never across an `await`.
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        // A panic elsewhere does not make the table wrong: each of its methods leaves it whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn identity(&self) -> Arc<Identity> {
        self.identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_identity(&self, identity: Identity) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(identity);
    }

    /// Takes a finished handshake's connection in. The caller then runs [`link::serve`] on the link.
    pub(super) fn adopt(
        self: &Arc<Self>,
        quic: quinn::Connection,
        machine: MachineId,
        leaf: &LeafIdentity,
        made: Made,
    ) -> Arc<Link> {
        let now = self.now();
        let peer = Peer {
            machine,
            addr: canonical(quic.remote_address()),
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let link = Arc::new(Link::new(id, quic, peer, leaf.not_after_ms, now));
        let inserted = {
            let mut table = self.table();
            if made == Made::Dialled {
                table.dial_ended(machine);
            }
            table.insert(now, peer, link.clone(), made != Made::Accepted)
        };
        // Revoked between the handshake's check and now, when a change of the set finds the link in the table.
        if self.revoked.borrow().machines.contains(&machine) {
            CloseCode::Revoked.close(&link.quic, "revoked");
        }
        self.counters
            .datagrams_dropped_unreachable
            .add(inserted.stale);
        for datagram in inserted.flush {
            if inserted.current.send(datagram).is_ok() {
                self.counters.datagrams_out.inc();
            }
        }
        for evicted in inserted.evicted {
            self.counters.connections_evicted.inc();
            CloseCode::Evicted.close(&evicted.quic, "too many connections");
        }
        if let Some(retired) = inserted.retired {
            tokio::spawn(link::retire(self.clone(), retired));
        }
        link
    }

    /// Leaves a peer alone for a while.
    pub(super) fn punish(&self, machine: MachineId) {
        let dropped = self.table().punish(self.now(), machine, jitter());
        self.counters.datagrams_dropped_unreachable.add(dropped);
    }

    /// Tells the agent; waits while it is behind, because this is not to be lost.
    pub(super) async fn report_lost(&self, peer: Peer, how: Lost) {
        tokio::select! {
            _ = self.inbound.send(Inbound::PeerLost { peer, how }) => {}
            () = self.closing.cancelled() => {}
        }
    }
}

/// IPv4 as IPv4, also where a dual-stack socket reports it as IPv6: addresses are compared with those in records.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// A random number for spreading retries; zero, which spreads nothing, should there be no randomness.
pub(super) fn jitter() -> u64 {
    let mut bytes = [0; 8];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
