//! One UDP port, one QUIC endpoint, for everything that machines say to each other.
//!
//! Gossip travels in datagrams ([`Transport::send`]), everything else in requests on streams
//! ([`Transport::request`], [`Transport::stream`]). Both sides of every connection show certificates of the one
//! cluster CA; what arrives is handed to the agent as [`Inbound`] together with who it is from. Only a machine that
//! wants to join has no certificate, and may do nothing but ask for one ([`joining`]).
//!
//! Connections come and go by themselves: they are made when something is to be sent, kept while they are of use,
//! and their loss is reported as evidence ([`Inbound::PeerLost`]). Who is alive is not the transport's to say.
//!
//! Everything is bounded (`limits.rs`), and everything that can wait has a deadline. Inside, `table.rs` decides (pure),
//! the other files carry it out; each connection has one task. `docs/wire.md` describes what goes over the wire.

mod accept;
mod backoff;
mod clock_offset;
mod config;
mod dial;
mod frames;
mod guests;
mod inbound;
pub mod joining;
mod limits;
mod link;
mod message;
mod operator;
mod outsider;
mod probe;
mod request;
mod responder;
mod runtime;
mod shared;
mod silence;
mod socket;
mod stats;
mod table;
mod tls;
mod upkeep;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::SendDatagramError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::DropGuard;

pub use self::clock_offset::{ClockSample, compare_clocks};
pub use self::config::{EndpointKeys, TransportConfig};
pub use self::dial::DialError;
pub use self::limits::{DATAGRAM_MAX, FRAME_MAX, JOIN_FRAME_MAX};
pub use self::message::{Inbound, InboundRequest, Lost, PeerIdentity, StreamKind};
pub use self::operator::OperatorClient;
pub use self::probe::{PortAnswer, probe_port};
pub use self::request::{FrameStream, RequestError};
pub use self::responder::{RespondError, Responder};
pub use self::stats::TransportStats;
pub use self::tls::PeerRefusal;

use self::runtime::MeshRuntime;
use self::shared::{Identity, Parts, Shared, canonical};
use self::socket::MeshSocket;
use self::stats::Counters;
use self::table::{Connection as _, Offer};
use crate::alarms::{Alarm, Alarms};
use crate::clock;
use crate::identity::{MachineId, Peer};
use crate::pki::{Credentials, Revocations};

/// The protocol that members and operators speak.
pub const ALPN: &[u8] = b"muster/1";

/// The protocol of a machine that wants to join.
pub const ALPN_JOIN: &[u8] = b"muster-join/1";

/// Why the transport could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be listened on: in use, not this machine's, or not permitted.
    #[error("cannot listen on {addr} (UDP): {source}")]
    Address {
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The credentials cannot be used for TLS.
    #[error("cannot use this machine's certificate: {0}")]
    Credentials(String),
    /// The operating system has no timer to give.
    #[error("cannot make a timer: {0}")]
    Timer(io::Error),
}

/// The transport of one agent. Cheap to clone; when the last clone is dropped, everything is closed.
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
    alarms: Alarms,
    _close: Arc<DropGuard>,
}

impl Transport {
    /// Listens, and begins to hand what arrives to `inbound`.
    ///
    /// Renewed `credentials` and changed revocations take effect when they are published on their channels; the
    /// credentials must be this machine's, and must have been validated. `inbound` should have room for a few hundred
    /// items: a full channel holds requests back and drops datagrams. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on or the credentials cannot be used.
    pub fn bind(
        config: TransportConfig,
        mut credentials: watch::Receiver<Arc<Credentials>>,
        mut revoked: watch::Receiver<Arc<Revocations>>,
        inbound: mpsc::Sender<Inbound>,
    ) -> Result<Self, BindError> {
        let at = |source| BindError::Address {
            addr: config.listen,
            source,
        };
        let current = credentials.borrow_and_update().clone();
        revoked.mark_unchanged();
        let (identity, listener) =
            Identity::new(&current, revoked.clone()).map_err(BindError::Credentials)?;
        let alarms = Alarms::start().map_err(BindError::Timer)?;
        let counters = Arc::new(Counters::default());
        let socket = Arc::new(MeshSocket::bind(config.listen, counters.clone()).map_err(at)?);
        let endpoint = quinn::Endpoint::new_with_abstract_socket(
            config.keys.endpoint_config(),
            Some(listener),
            socket.clone(),
            Arc::new(MeshRuntime(alarms.clone())),
        )
        .map_err(at)?;
        let local_addr = endpoint.local_addr().map_err(at)?;
        let shared = Arc::new(Shared::new(Parts {
            endpoint,
            me: current.machine(),
            local_addr,
            inbound,
            counters,
            revoked: revoked.clone(),
            identity,
            connections_max: config.connections_max,
            idle_timeout: config.idle_timeout,
            upkeep_interval: config.upkeep_interval,
        }));
        tokio::spawn(accept::run(shared.clone()));
        tokio::spawn(upkeep::run(shared.clone(), socket, credentials, revoked));
        let close = Arc::new(shared.closing.clone().drop_guard());
        Ok(Self {
            shared,
            alarms,
            _close: close,
        })
    }

    /// Where it listens; with the port that the system chose, if it was left to it.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// An alarm of those that its own timers are of, for what is driven together with it.
    pub fn alarm(&self) -> Alarm {
        self.alarms.alarm()
    }

    /// Sleeps for `pause`, and up to a quarter longer if nothing else wakes this process in between: for what is looked at from
    /// time to time. An agent is awake several times a second, so this hardly ever wakes one.
    pub async fn doze(&self, pause: Duration) {
        self.alarms.doze(pause).await;
    }

    /// Sends a datagram of at most [`DATAGRAM_MAX`] bytes. Never waits, and may drop it: while a connection is being
    /// made a few are kept (the oldest goes first), during the pause after a failed one none. All drops are counted.
    pub fn send(&self, to: Peer, datagram: Bytes) {
        let shared = &self.shared;
        let counters = &shared.counters;
        if datagram.is_empty() || datagram.len() > DATAGRAM_MAX {
            return counters.datagrams_dropped_size.inc();
        }
        if dial::check(shared, to).is_err() {
            return counters.datagrams_dropped_unreachable.inc();
        }
        let mut table = shared.table();
        loop {
            let now = shared.now();
            let offer = table.offer(now, to, datagram.clone());
            if let Offer::Send { dial: true, .. } | Offer::Queued { dial: true, .. } = offer {
                dial::begin(shared, &mut table, to);
            }
            return match offer {
                Offer::Send { on, .. } => match on.send(datagram.clone()) {
                    Ok(dropped) => {
                        on.touch(now);
                        counters.datagrams_out.inc();
                        counters.datagrams_dropped_queue.add(dropped);
                    }
                    Err(SendDatagramError::ConnectionLost(_)) => {
                        // It has just ended, and its task is about to notice. There is another way.
                        table.remove(now, to.machine, on.id());
                        continue;
                    }
                    Err(_) => counters.datagrams_dropped_size.inc(),
                },
                Offer::Queued { dropped, .. } => counters.datagrams_dropped_queue.add(dropped),
                Offer::Unreachable => counters.datagrams_dropped_unreachable.inc(),
            };
        }
    }

    /// Asks a peer and waits for its one-frame answer; connects first if need be. When the peer turns out to have been
    /// restarted since, a [repeatable](StreamKind::is_repeatable) request is made once more.
    ///
    /// # Errors
    /// See [`RequestError`]; its variants say whether the peer may have acted on the request.
    pub async fn request(
        &self,
        to: Peer,
        kind: StreamKind,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, RequestError> {
        request::request(&self.shared, to, kind, body, deadline).await
    }

    /// Asks a peer and gives its answer of many frames; the deadline is for sending the request.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn stream(
        &self,
        to: Peer,
        kind: StreamKind,
        body: Bytes,
        deadline: Duration,
    ) -> Result<FrameStream, RequestError> {
        request::stream(&self.shared, to, kind, body, deadline).await
    }

    /// Finds out when this computer booted by a peer's wall clock. Its own wall clock has no part in that, so it may be set at
    /// any moment.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn booted_by(
        &self,
        to: Peer,
        deadline: Duration,
    ) -> Result<ClockSample, RequestError> {
        // Connected first, so that the handshake does not blur the measurement.
        tokio::time::timeout(deadline, dial::link_to(&self.shared, to))
            .await
            .map_err(|_| RequestError::Deadline)??;
        let asked_ms = clock::boot_ms();
        let asked = self.shared.now();
        let answer = self
            .request(to, StreamKind::CLOCK, Bytes::new(), deadline)
            .await?;
        let theirs: [u8; 8] = answer
            .as_ref()
            .try_into()
            .map_err(|_| RequestError::Malformed("not a clock".to_owned()))?;
        let took = self.shared.now() - asked;
        Ok(compare_clocks(asked_ms, u64::from_be_bytes(theirs), took))
    }

    /// Finds out which machine of the cluster listens at an address, and connects to it.
    ///
    /// # Errors
    /// When nobody does, or it is not a machine of this cluster.
    pub async fn identify(&self, addr: SocketAddr, deadline: Duration) -> Result<Peer, DialError> {
        tokio::time::timeout(deadline, dial::identify(&self.shared, addr))
            .await
            .unwrap_or(Err(DialError::TimedOut))
    }

    /// Asks whether anybody listens at an address, as [`probe_port`] does, from the address that this transport
    /// listens on (if it is one address): filters and routes then apply to the probe as they do to everything else.
    pub async fn probe_port(&self, addr: SocketAddr, within: Duration) -> PortAnswer {
        let local = self.shared.local_addr.ip();
        if local.is_unspecified() || local.is_ipv4() != addr.is_ipv4() {
            return probe_port(addr, within).await;
        }
        probe::probe_port_from(local, addr, within).await
    }

    /// Sets the peers whose connections are kept open (the coordinators, say), and connects to them. At most half of
    /// all connections can be kept so.
    pub fn keep_warm(&self, peers: impl IntoIterator<Item = Peer>) {
        let mut table = self.shared.table();
        table.set_warm(peers);
        for peer in table.cold(self.shared.now()) {
            if dial::check(&self.shared, peer).is_ok() {
                dial::begin(&self.shared, &mut table, peer);
            }
        }
    }

    /// Closes the connections to a machine and forgets what was known of it: it has left, or is down for good.
    pub fn forget(&self, machine: MachineId) {
        for link in self.shared.table().forget(machine) {
            link::CloseCode::Idle.close(&link.quic, "no longer needed");
        }
    }

    /// Round-trip time to a machine, as QUIC estimates it; `None` without a connection.
    pub fn rtt(&self, machine: MachineId) -> Option<Duration> {
        Some(self.shared.table().current(machine)?.quic.rtt())
    }

    /// What it has done so far.
    pub fn stats(&self) -> TransportStats {
        let table = self.shared.table();
        TransportStats {
            connections: table.connections() as u64,
            dials: table.dials() as u64,
            ..self.shared.counters.snapshot()
        }
    }

    /// Waits until the transport has closed: because [`Self::close`] was called, or because its socket broke down.
    /// The agent cannot go on without it.
    pub async fn closed(&self) {
        self.shared.closing.cancelled().await;
    }

    /// Closes all connections, telling the peers, and waits until they have been told or `grace` is over.
    pub async fn close(&self, grace: Duration) {
        self.shared.closing.cancel();
        link::CloseCode::Shutdown.close_endpoint(&self.shared.endpoint, "shutting down");
        let _ = tokio::time::timeout(grace, self.shared.endpoint.wait_idle()).await;
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("me", &self.shared.me)
            .field("local_addr", &canonical(self.shared.local_addr))
            .finish_non_exhaustive()
    }
}
