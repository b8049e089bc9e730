//! The transport's housekeeping: one task, one timer.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::dial;
use super::link::{CloseCode, Link};
use super::message::Lost;
use super::shared::{Identity, Shared};
use super::socket::{IcmpError, MeshSocket};
use super::table::Connection as _;
use crate::clock;
use crate::identity::Peer;
use crate::pki::{Credentials, Revocations};

/// Looks after the connections until the transport closes.
pub(super) async fn run(
    shared: Arc<Shared>,
    socket: Arc<MeshSocket>,
    mut credentials: watch::Receiver<Arc<Credentials>>,
    mut revoked: watch::Receiver<Arc<Revocations>>,
) {
    let mut rounds = tokio::time::interval(shared.upkeep_interval);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds.tick().await;
    // A sender that is gone will not send any more: nothing to wait for then.
    let (mut renewals, mut changes) = (true, true);
    loop {
        tokio::select! {
            () = shared.closing.cancelled() => break,
            _ = rounds.tick() => round(&shared),
            changed = credentials.changed(), if renewals => match changed {
                Ok(()) => renew(&shared, &credentials.borrow_and_update().clone()),
                Err(_) => renewals = false,
            },
            changed = revoked.changed(), if changes => match changed {
                Ok(()) => close_revoked(&shared, &revoked.borrow_and_update().clone()),
                Err(_) => changes = false,
            },
            (addr, error) = socket.icmp_error() => note_icmp(&shared, addr, error).await,
        }
    }
    CloseCode::Shutdown.close_endpoint(&shared.endpoint, "shutting down");
}

/// Published credentials have been validated; should they be unusable all the same, the old ones stay.
fn renew(shared: &Shared, credentials: &Credentials) {
    match Identity::new(credentials, shared.revoked.clone()) {
        Ok((identity, listener)) => {
            shared.set_identity(identity);
            shared.endpoint.set_server_config(Some(listener));
        }
        Err(error) => {
            tracing::error!(%error, "renewed credentials cannot be used, the old ones stay");
        }
    }
}

fn close_revoked(shared: &Shared, revoked: &Revocations) {
    for (peer, link) in shared.table().all() {
        if revoked.machines.contains(&peer.machine) {
            CloseCode::Revoked.close(&link.quic, "revoked");
        }
    }
    shared.guests.close_revoked(revoked);
}

/// What ICMP says ends a dial, which is then tried again, but never a connection: anybody can forge it.
async fn note_icmp(shared: &Shared, addr: SocketAddr, error: IcmpError) {
    let how = match error {
        IcmpError::PortClosed => Lost::Refused,
        IcmpError::NoRoute => Lost::Unreachable,
    };
    shared.strays.notify(addr, error);
    let concerned = shared.table().at(addr);
    for (machine, dial) in concerned {
        if let Some(dial) = dial {
            dial.notify(error);
            continue; // reported by the dial
        }
        let link = shared.table().current(machine).cloned();
        if link.is_some_and(|link| link.notes_icmp(shared.now())) {
            shared.report_lost(Peer { machine, addr }, how).await;
        }
    }
}

/// One round: idle, silent and outdated connections are closed, warm ones kept warm, forgotten peers forgotten.
fn round(shared: &Arc<Shared>) {
    let now = shared.now();
    let now_ms = clock::unix_ms();
    shared.guests.close_expired(now_ms);
    let mut table = shared.table();
    table.purge(now);
    for link in table.idle(now) {
        CloseCode::Idle.close(&link.quic, "idle");
    }
    for (_, link) in table.all() {
        look_after(link, now_ms);
    }
    let quiet = shared.warm_after();
    for (peer, link) in table.all() {
        let unused = now.saturating_sub(link.last_used());
        if unused >= quiet && (table.is_warm(peer.machine) || link.is_busy()) {
            link.touch(now);
            // An empty datagram: the other side, too, then takes the connection for used.
            let _ = link.quic.send_datagram(Bytes::new());
        }
    }
    for peer in table.cold(now) {
        if dial::check(shared, peer).is_ok() {
            dial::begin(shared, &mut table, peer);
        }
    }
}

fn look_after(link: &Link, now_ms: u64) {
    if link.not_after_ms < now_ms {
        CloseCode::Expired.close(&link.quic, "the certificate has run out");
    } else if link.is_silent() && link.lost.set(Lost::TimedOut).is_ok() {
        CloseCode::Silent.close(&link.quic, "no answer");
    }
}
