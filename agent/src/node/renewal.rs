//! Keeping this machine's certificate fresh: a new one at two thirds of the old one's life, from the leader.
//!
//! Where nobody led for so long that the old one ran out, no peer talks to this machine any more. It then asks as a
//! machine does that comes back after a long sleep, with the proof of its old key, for ever; a coordinator has the
//! CA's key and signs for itself, because all others may be in the same need.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_mesh::clock::unix_ms;
use muster_mesh::pki::{Credentials, LeafKey};
use muster_mesh::transport::StreamKind;
use tokio::sync::watch;

use super::joining::{Round, ask_back, known_addrs};
use super::mesh::Input;
use super::route::ask_leader;
use super::shared::Shared;
use super::start::{CREDENTIALS, sign_own};

/// How long asking may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// The pause after an attempt that failed, doubled up to [`RETRY_MAX`] and jittered.
const RETRY_MIN: Duration = Duration::from_secs(10);
/// See [`RETRY_MIN`]. Eight hours of attempts are left when the first one is made.
const RETRY_MAX: Duration = Duration::from_secs(600);
/// The longest pause once the certificate has run out: the machine is of no use until it has a new one.
const RETRY_EXPIRED_MAX: Duration = Duration::from_secs(30);

/// How often the wall clock is looked at while nothing is due: it may be set, and a computer may sleep.
const LOOK: Duration = Duration::from_secs(60);

/// Renews the certificate until the agent stops.
pub(super) async fn run(shared: Arc<Shared>, publish: watch::Sender<Arc<Credentials>>) {
    let jitter = rand::random::<u64>();
    let mut retry = RETRY_MIN;
    loop {
        let due_ms = publish.borrow().renew_at(jitter);
        let left = Duration::from_millis(due_ms.saturating_sub(unix_ms()));
        if !left.is_zero() {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = shared.transport.doze(left.min(LOOK)) => continue,
            }
        }
        let renewed = tokio::select! {
            () = shared.stop.cancelled() => return,
            renewed = renew(&shared, &publish) => renewed,
        };
        let Err(error) = renewed else {
            retry = RETRY_MIN;
            continue;
        };
        let expired = publish.borrow().is_expired(unix_ms());
        tracing::warn!(
            error = format!("{error:#}"),
            expired,
            "could not renew this machine's certificate; trying again"
        );
        let longest = if expired {
            RETRY_EXPIRED_MAX
        } else {
            RETRY_MAX
        };
        let until_expiry = publish.borrow().not_after_ms().saturating_sub(unix_ms());
        // Not across the moment at which there is another way to ask.
        let longest = match until_expiry {
            0 => longest,
            left_ms => longest.min(Duration::from_millis(left_ms.saturating_add(1))),
        };
        let pause = retry
            .min(longest)
            .mul_f64(0.75 + rand::random::<f64>() / 2.0);
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        retry = (retry * 2).min(RETRY_MAX);
    }
}

async fn renew(shared: &Shared, publish: &watch::Sender<Arc<Credentials>>) -> anyhow::Result<()> {
    let old = Arc::clone(&publish.borrow());
    let renewed = if !old.is_expired(unix_ms()) {
        by_leader(shared, &old).await?
    } else if let Some(ca) = shared.council.ca() {
        sign_own(&shared.config, &old, &ca)?
    } else {
        match ask_back(&old, &shared.config.machine.seeds, addrs(shared)).await {
            Round::In(renewed) => renewed,
            Round::Never(error) => return Err(error),
            Round::NotYet(why) => anyhow::bail!(why),
        }
    };
    renewed.save(&shared.state_dir.file(CREDENTIALS))?;
    publish.send_replace(Arc::new(renewed));
    shared.mesh.tell(Input::SignAgain).await;
    tracing::info!("this machine has a new certificate");
    Ok(())
}

async fn by_leader(shared: &Shared, old: &Credentials) -> anyhow::Result<Credentials> {
    let key = LeafKey::generate()?;
    let request = Bytes::from(key.request()?);
    let certificate = ask_leader(shared, StreamKind::RENEW, request, DEADLINE).await?;
    let renewed =
        Credentials::assemble(&key, certificate, old.ca_certificate().to_vec(), unix_ms())?;
    anyhow::ensure!(
        renewed.machine() == shared.me,
        "the certificate is another machine's"
    );
    Ok(renewed)
}

/// Where others may be: as the roster has them, and as the mesh last saw them.
fn addrs(shared: &Shared) -> Vec<SocketAddr> {
    let own = shared.here().addr;
    let mut addrs = shared.replica.read(|state, _| known_addrs(state));
    let world = shared.mesh.look();
    addrs.extend(world.members.values().map(|seen| seen.addr));
    let mut seen = std::collections::BTreeSet::from([own]);
    addrs.retain(|addr| seen.insert(*addr));
    addrs
}
