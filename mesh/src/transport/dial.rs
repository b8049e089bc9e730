//! Making connections to members.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use quinn::{ConnectionError, TransportErrorCode};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::config;
use super::limits::{DIALS_MAX, HANDSHAKE_DEADLINE};
use super::link;
use super::message::Lost;
use super::shared::{Made, Shared, Table, jitter};
use super::socket::IcmpError;
use super::table::Route;
use super::tls::{self, Expect, PeerRefusal, Verdict};
use crate::identity::{ClusterId, Peer};
use crate::pki::{LeafIdentity, machine_server_name};

/// Why a peer could not be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Its host says that nobody listens there.
    #[error("nobody listens there (port closed)")]
    Refused,
    /// A router or this host says that there is no way to it.
    #[error("there is no route to it")]
    NoRoute,
    /// No answer.
    #[error("no answer within {} s", HANDSHAKE_DEADLINE.as_secs())]
    TimedOut,
    /// What answered is not who it should be.
    #[error(transparent)]
    Peer(#[from] PeerRefusal),
    /// What answered does not speak this protocol.
    #[error("what listens there is not a muster agent of this version")]
    NotMuster,
    /// The peer does not accept this side, in the words of its TLS library: expired, revoked, another cluster.
    #[error("it does not accept this machine's certificate: {0}")]
    NotAccepted(String),
    /// The peer has too much to do, or is shutting down.
    #[error("it takes no connections right now: {0}")]
    Busy(String),
    /// The address is this machine's own.
    #[error("that is this machine itself")]
    Myself,
    /// The peer has been revoked.
    #[error("the machine has been revoked")]
    Revoked,
    /// Too many peers or dials at once on this side.
    #[error("too many connections are being made")]
    TooMany,
    /// This side is shutting down.
    #[error("this agent is shutting down")]
    Closing,
    /// Anything else, in the words of the QUIC library.
    #[error("{0}")]
    Other(String),
}

impl DialError {
    /// What the failure says about the peer; `None` when nothing.
    fn evidence(&self) -> Option<Lost> {
        match self {
            Self::Refused => Some(Lost::Refused),
            Self::NoRoute => Some(Lost::Unreachable),
            Self::TimedOut => Some(Lost::TimedOut),
            Self::Peer(_) | Self::NotMuster | Self::NotAccepted(_) => Some(Lost::Rejected),
            _ => None,
        }
    }
}

/// A dial under way.
#[derive(Debug, Clone)]
pub(super) struct DialHandle {
    outcome: watch::Receiver<Option<Result<(), DialError>>>,
    icmp: mpsc::Sender<IcmpError>,
}

impl DialHandle {
    /// Waits for its end.
    async fn ended(mut self) -> Result<(), DialError> {
        match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(DialError::Closing)),
            Err(_) => Err(DialError::Closing),
        }
    }

    /// Tells it what ICMP said about its packets.
    pub(super) fn notify(&self, error: IcmpError) {
        // One error is enough to end the dial.
        let _ = self.icmp.try_send(error);
    }
}

/// Dials to addresses of which the machine is not known yet, so that ICMP errors find them, too.
#[derive(Debug, Default)]
pub(super) struct Strays {
    under_way: Mutex<Vec<(SocketAddr, mpsc::Sender<IcmpError>)>>,
}

impl Strays {
    /// Registers one; it is forgotten when the receiver is dropped.
    fn enter(&self, addr: SocketAddr) -> Result<mpsc::Receiver<IcmpError>, DialError> {
        let (icmp, errors) = mpsc::channel(1);
        let mut under_way = self.lock();
        under_way.retain(|(_, icmp)| !icmp.is_closed());
        if under_way.len() >= DIALS_MAX {
            return Err(DialError::TooMany);
        }
        under_way.push((addr, icmp));
        Ok(errors)
    }

    /// Tells those at an address what ICMP said.
    pub(super) fn notify(&self, addr: SocketAddr, error: IcmpError) {
        for (_, icmp) in self.lock().iter().filter(|(at, _)| *at == addr) {
            let _ = icmp.try_send(error);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(SocketAddr, mpsc::Sender<IcmpError>)>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins the dial that the table asked for.
pub(super) fn begin(shared: &Arc<Shared>, table: &mut Table, to: Peer) -> DialHandle {
    let (outcome, watched) = watch::channel(None);
    let (icmp, errors) = mpsc::channel(1);
    let handle = DialHandle {
        outcome: watched,
        icmp,
    };
    table.dial_begun(shared.now(), to, handle.clone());
    tokio::spawn(run(shared.clone(), to, outcome, errors));
    handle
}

/// The connection to a peer, made if need be.
pub(super) async fn link_to(shared: &Arc<Shared>, to: Peer) -> Result<Arc<link::Link>, DialError> {
    check(shared, to)?;
    loop {
        let wait = {
            let mut table = shared.table();
            match table.route(shared.now(), to) {
                Route::Connected(link) if link.quic.close_reason().is_none() => return Ok(link),
                Route::Connected(link) => {
                    // Its task has not noticed yet.
                    use super::table::Connection as _;
                    table.remove(shared.now(), to.machine, link.id());
                    continue;
                }
                Route::Dialling(handle) => Ok(handle),
                Route::Dial => Ok(begin(shared, &mut table, to)),
                Route::Wait(pause) => Err(pause),
                Route::Full => return Err(DialError::TooMany),
            }
        };
        match wait {
            Ok(handle) => {
                let outcome = handle.ended().await;
                if let Err(error) = outcome
                    && shared.table().current(to.machine).is_none()
                {
                    return Err(error);
                }
            }
            Err(pause) => sleep(shared, pause).await?,
        }
    }
}

async fn sleep(shared: &Shared, pause: Duration) -> Result<(), DialError> {
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(()),
        () = shared.closing.cancelled() => Err(DialError::Closing),
    }
}

/// Whether a peer may be dialled at all.
pub(super) fn check(shared: &Shared, to: Peer) -> Result<(), DialError> {
    if to.machine == shared.me {
        return Err(DialError::Myself);
    }
    if shared.revoked.borrow().machines.contains(&to.machine) {
        return Err(DialError::Revoked);
    }
    if shared.closing.is_cancelled() {
        return Err(DialError::Closing);
    }
    Ok(())
}

/// Finds out which machine listens at an address, and keeps the connection.
pub(super) async fn identify(shared: &Arc<Shared>, addr: SocketAddr) -> Result<Peer, DialError> {
    if shared.closing.is_cancelled() {
        return Err(DialError::Closing);
    }
    let errors = shared.strays.enter(addr)?;
    let (quic, leaf) = handshake(shared, addr, Expect::AnyMachine, errors).await?;
    let machine = leaf
        .machine()
        .expect("a listener's certificate is a machine's, the verifier has checked");
    if machine == shared.me {
        return Err(DialError::Myself);
    }
    let link = shared.adopt(quic, machine, &leaf, Made::Identified);
    let peer = link.peer;
    tokio::spawn(link::serve(shared.clone(), link));
    Ok(peer)
}

/// A dial, and then the task of the connection that it made.
async fn run(
    shared: Arc<Shared>,
    to: Peer,
    outcome: watch::Sender<Option<Result<(), DialError>>>,
    errors: mpsc::Receiver<IcmpError>,
) {
    // Boxed, so that the state of the handshake does not stay with the connection's task.
    let expect = Expect::Machine(to.machine);
    let made = Box::pin(handshake(&shared, to.addr, expect, errors)).await;
    match made {
        Ok((quic, leaf)) => {
            let link = shared.adopt(quic, to.machine, &leaf, Made::Dialled);
            outcome.send_replace(Some(Ok(())));
            drop(outcome);
            link::serve(shared, link).await;
        }
        Err(error) => {
            tracing::debug!(peer = %to, %error, "dial failed");
            let dropped = shared
                .table()
                .dial_failed(shared.now(), to.machine, jitter());
            shared.counters.datagrams_dropped_unreachable.add(dropped);
            let evidence = error.evidence();
            outcome.send_replace(Some(Err(error)));
            if let Some(how) = evidence {
                shared.report_lost(to, how).await;
            }
        }
    }
}

async fn handshake(
    shared: &Shared,
    addr: SocketAddr,
    expect: Expect,
    mut errors: mpsc::Receiver<IcmpError>,
) -> Result<(quinn::Connection, LeafIdentity), DialError> {
    let identity = shared.identity();
    let verdict: Verdict = Arc::new(OnceLock::new());
    let tls = tls::dialler(
        identity.own.clone(),
        &identity.trust,
        Some(shared.revoked.clone()),
        expect,
        verdict.clone(),
    )
    .map_err(|error| DialError::Other(error.to_string()))?;
    let name = server_name(expect, identity.trust.cluster());
    let connecting = shared
        .endpoint
        .connect_with(config::client(tls), addr, &name)
        .map_err(|error| DialError::Other(error.to_string()))?;
    let result = tokio::select! {
        connected = timeout(HANDSHAKE_DEADLINE, connecting) => match connected {
            Ok(connected) => judged(connected, &verdict),
            Err(_) => Err(DialError::TimedOut),
        },
        Some(error) = errors.recv() => Err(error.into()),
        () = shared.closing.cancelled() => Err(DialError::Closing),
    };
    match &result {
        Ok(_) => shared.counters.handshakes_out.inc(),
        Err(_) => shared.counters.handshakes_out_failed.inc(),
    }
    result
}

/// What became of a handshake.
pub(super) fn judged(
    connected: Result<quinn::Connection, ConnectionError>,
    verdict: &Verdict,
) -> Result<(quinn::Connection, LeafIdentity), DialError> {
    match (connected, verdict.get()) {
        (Ok(quic), Some(Ok(leaf))) => Ok((quic, leaf.clone())),
        (Ok(_), _) => Err(DialError::Other(
            "the handshake skipped verification".to_owned(),
        )),
        (Err(error), _) => Err(explain(&error, verdict)),
    }
}

impl From<IcmpError> for DialError {
    fn from(error: IcmpError) -> Self {
        match error {
            IcmpError::PortClosed => Self::Refused,
            IcmpError::NoRoute => Self::NoRoute,
        }
    }
}

/// The name to ask for in the handshake.
pub(super) fn server_name(expect: Expect, cluster: ClusterId) -> String {
    match expect {
        Expect::Machine(machine) => machine_server_name(machine, cluster),
        Expect::AnyMachine => format!("any.{cluster}.mesh.invalid"),
    }
}

/// Why a handshake failed, in the mesh's terms.
pub(super) fn explain(error: &ConnectionError, verdict: &Verdict) -> DialError {
    if let Some(Err(refusal)) = verdict.get() {
        return DialError::Peer(refusal.clone());
    }
    match error {
        ConnectionError::TimedOut => DialError::TimedOut,
        ConnectionError::LocallyClosed => DialError::Closing,
        ConnectionError::VersionMismatch => DialError::NotMuster,
        ConnectionError::ConnectionClosed(close) => {
            let text = String::from_utf8_lossy(&close.reason).into_owned();
            match alert(close.error_code) {
                Some(NO_APPLICATION_PROTOCOL) => DialError::NotMuster,
                Some(_) => DialError::NotAccepted(describe(close.error_code, &text)),
                None if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                    DialError::Busy("refused".to_owned())
                }
                None => DialError::Other(error.to_string()),
            }
        }
        ConnectionError::ApplicationClosed(close) => {
            let text = String::from_utf8_lossy(&close.reason).into_owned();
            match close.error_code.into_inner() {
                code if code == u64::from(link::CloseCode::Busy as u32) => DialError::Busy(text),
                0 => DialError::Busy("shutting down".to_owned()),
                _ => DialError::NotAccepted(text),
            }
        }
        ConnectionError::TransportError(error)
            if alert(error.code) == Some(NO_APPLICATION_PROTOCOL) =>
        {
            DialError::NotMuster
        }
        other => DialError::Other(other.to_string()),
    }
}

/// TLS alert 120: no protocol in common.
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The TLS alert in a QUIC error code (RFC 9001, section 4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    let code = u64::from(code);
    (0x100..0x200)
        .contains(&code)
        .then(|| u8::try_from(code - 0x100).unwrap_or(u8::MAX))
}

fn describe(code: TransportErrorCode, text: &str) -> String {
    match alert(code) {
        Some(44) => "revoked".to_owned(),
        Some(45) => "expired, or the clocks differ".to_owned(),
        Some(48) => "it belongs to another cluster".to_owned(),
        Some(116) => "none was shown".to_owned(),
        _ if text.is_empty() => code.to_string(),
        _ => text.chars().take(200).collect(),
    }
}
