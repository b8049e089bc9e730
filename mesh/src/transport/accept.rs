//! Taking connections in: who is there, and what may they do.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::crypto::rustls::HandshakeData;
use rustls_pki_types::CertificateDer;
use tokio::time::timeout;

use super::ALPN_JOIN;
use super::guests::Guest;
use super::inbound::{self, Asker};
use super::limits::{HANDSHAKE_DEADLINE, HANDSHAKES_MAX, HANDSHAKES_RETRY, JOIN_DEADLINE};
use super::link::{self, CloseCode};
use super::message::PeerIdentity;
use super::shared::{Made, Shared, canonical};
use crate::pki::{LeafIdentity, Subject};

/// Accepts connections until the endpoint closes.
pub(super) async fn run(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let under_way = shared.handshakes.load(Ordering::Relaxed);
        if under_way >= HANDSHAKES_MAX {
            shared.counters.handshakes_in_failed.inc();
            incoming.refuse();
        } else if under_way >= HANDSHAKES_RETRY && !incoming.remote_address_validated() {
            // Under load nobody gets a handshake who cannot receive at the address he claims.
            shared.counters.handshakes_retried.inc();
            let _ = incoming.retry();
        } else {
            let turn = Turn::take(&shared);
            tokio::spawn(welcome(shared.clone(), incoming, turn));
        }
    }
    if !shared.closing.is_cancelled() {
        tracing::error!("the socket broke down, the transport is closed");
        shared.closing.cancel();
    }
}

/// One of the handshakes under way.
struct Turn(Arc<Shared>);

impl Turn {
    fn take(shared: &Arc<Shared>) -> Self {
        shared.handshakes.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection, from its handshake to its end.
async fn welcome(shared: Arc<Shared>, incoming: quinn::Incoming, turn: Turn) {
    let from = incoming.remote_address();
    let handshake = async { incoming.accept()?.await };
    let quic = match timeout(HANDSHAKE_DEADLINE, Box::pin(handshake)).await {
        Ok(Ok(quic)) => quic,
        failed => {
            shared.counters.handshakes_in_failed.inc();
            let error = failed.map_or("no answer".to_owned(), |error| {
                error.map_or_else(|error| error.to_string(), |_| String::new())
            });
            tracing::debug!(%from, %error, "handshake failed");
            return;
        }
    };
    drop(turn);
    shared.counters.handshakes_in.inc();
    if alpn(&quic).as_deref() == Some(ALPN_JOIN) {
        return Box::pin(serve_joiner(shared, quic)).await;
    }
    match leaf(&quic) {
        None => CloseCode::NoCertificate.close(&quic, "a certificate is needed"),
        Some(leaf) => match leaf.subject.clone() {
            Subject::Machine(machine) if machine == shared.me => {
                // A copied disk or image, or this machine talking to itself.
                tracing::warn!(%from, %machine, "somebody else uses this machine's identity");
                CloseCode::NotAllowed.close(&quic, "that is this machine's own identity");
            }
            Subject::Machine(machine) => {
                let link = shared.adopt(quic, machine, &leaf, Made::Accepted);
                link::serve(shared, link).await;
            }
            Subject::Operator(name) => {
                let guest = Guest {
                    name,
                    not_after_ms: leaf.not_after_ms,
                    quic,
                };
                Box::pin(serve_operator(shared, guest)).await;
            }
        },
    }
}

fn alpn(quic: &quinn::Connection) -> Option<Vec<u8>> {
    let data = quic.handshake_data()?.downcast::<HandshakeData>().ok()?;
    data.protocol
}

/// The certificate of the dialling side, which TLS has verified; `None` when it showed none.
fn leaf(quic: &quinn::Connection) -> Option<LeafIdentity> {
    let chain = quic
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    LeafIdentity::read(chain.first()?).ok()
}

/// One request, one answer, all of it within a deadline.
async fn serve_joiner(shared: Arc<Shared>, quic: quinn::Connection) {
    let Ok(_place) = shared.joiners.clone().try_acquire_owned() else {
        return CloseCode::Busy.close(&quic, "too many machines are joining, try again");
    };
    let asker = Asker::guest(PeerIdentity::Joiner, canonical(quic.remote_address()));
    let session = async {
        let (send, recv) = quic.accept_bi().await?;
        inbound::serve(shared.clone(), asker, send, recv).await;
        // The other side closes when it has its answer.
        Err::<(), _>(quic.closed().await)
    };
    if timeout(JOIN_DEADLINE, session).await.is_err() {
        CloseCode::NotAllowed.close(&quic, "joining took too long");
    }
}

/// Any number of requests of an operator.
async fn serve_operator(shared: Arc<Shared>, guest: Guest) {
    let (quic, name) = (guest.quic.clone(), guest.name.clone());
    let Ok(_place) = shared.operators.clone().try_acquire_owned() else {
        return CloseCode::Busy.close(&quic, "too many operators are connected, try again");
    };
    shared.guests.arrive(guest);
    shared.guests.close_revoked(&shared.revoked.borrow());
    let addr = canonical(quic.remote_address());
    while let Ok((send, recv)) = quic.accept_bi().await {
        let asker = Asker::guest(PeerIdentity::Operator(name.clone()), addr);
        tokio::spawn(inbound::serve(shared.clone(), asker, send, recv));
    }
    shared.guests.leave(&quic);
}
