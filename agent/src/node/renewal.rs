//! Keeping this machine's certificate fresh: a new one at two thirds of the old one's life, from the leader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_mesh::clock::unix_ms;
use muster_mesh::pki::{Credentials, LeafKey};
use muster_mesh::transport::StreamKind;
use tokio::sync::watch;

use super::mesh::Input;
use super::route::ask_leader;
use super::shared::Shared;
use super::start::CREDENTIALS;

/// How long asking may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// The pause after an attempt that failed, doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(10);
/// See [`RETRY_MIN`]. Eight hours of attempts are left when the first one is made.
const RETRY_MAX: Duration = Duration::from_secs(600);

/// Renews the certificate until the agent stops.
pub(super) async fn run(shared: Arc<Shared>, publish: watch::Sender<Arc<Credentials>>) {
    let jitter = rand::random::<u64>();
    let mut retry = RETRY_MIN;
    loop {
        let due_ms = publish.borrow().renew_at(jitter);
        let wait = Duration::from_millis(due_ms.saturating_sub(unix_ms()));
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        match renew(&shared, &publish).await {
            Ok(()) => retry = RETRY_MIN,
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "could not renew this machine's certificate; trying again"
                );
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = tokio::time::sleep(retry) => {}
                }
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

async fn renew(shared: &Shared, publish: &watch::Sender<Arc<Credentials>>) -> anyhow::Result<()> {
    let key = LeafKey::generate()?;
    let request = Bytes::from(key.request()?);
    let certificate = ask_leader(shared, StreamKind::RENEW, request, DEADLINE).await?;
    let ca = publish.borrow().ca_certificate().to_vec();
    let renewed = Credentials::assemble(&key, certificate, ca, unix_ms())?;
    anyhow::ensure!(
        renewed.machine() == shared.me,
        "the certificate is another machine's"
    );
    renewed.save(&shared.state_dir.file(CREDENTIALS))?;
    publish.send_replace(Arc::new(renewed));
    shared.mesh.tell(Input::SignAgain).await;
    tracing::info!("this machine has a new certificate");
    Ok(())
}
