//! What its provider is going to do to this machine, for those providers that tell a machine so: a spot instance that is
//! taken back, a host that is retired.
//!
//! It becomes part of what the machine says of itself, so it is known when the machine falls silent.

use std::sync::Arc;
use std::time::Duration;

use muster_provisioners::aws::{self, Notice};
use muster_provisioners::{Deadline, Properties};
use tokio::sync::watch;
use tokio::time::Instant;

use super::shared::Shared;

/// How often is asked. A spot instance is told two minutes before; EC2 recommends this.
const PERIOD: Duration = Duration::from_secs(5);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Asks until the agent stops, on a machine whose provider tells; elsewhere it only waits for that.
pub(super) async fn run(shared: Arc<Shared>, announced: watch::Sender<bool>) {
    match settings(&shared) {
        Some(settings) => tokio::select! {
            () = shared.stop.cancelled() => {}
            () = ask(&shared, &settings, &announced) => {}
        },
        None => shared.stop.cancelled().await,
    }
}

/// The settings by which this machine's provider is asked.
fn settings(shared: &Shared) -> Option<Properties> {
    let made_by = shared.config.instance.provisioner.as_deref();
    let mut tables = shared.config.provisioner_settings();
    (made_by == Some(aws::NAME)).then(|| tables.remove(aws::NAME).unwrap_or_default())
}

async fn ask(shared: &Shared, settings: &Properties, announced: &watch::Sender<bool>) {
    let mut known: Vec<Notice> = Vec::new();
    let mut due = shared.transport.alarm();
    loop {
        due.set(Some(Instant::now() + PERIOD));
        match aws::notices_here(settings, Deadline::after(PATIENCE)).await {
            Ok(notices) => {
                for notice in notices.iter().filter(|notice| !known.contains(notice)) {
                    tracing::warn!(%notice, "the provider announced what it is going to do to this machine");
                }
                announced.send_replace(!notices.is_empty());
                known = notices;
            }
            // What was announced stands until it is known to be withdrawn.
            Err(error) => tracing::debug!(%error, "what the provider announced is not known"),
        }
        due.rings().await;
    }
}
