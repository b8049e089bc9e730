//! Telling the transport whom the fleet's state has shut out.

use std::sync::Arc;

use muster_mesh::pki::Revocations;
use tokio::sync::watch;

use super::shared::Shared;

/// Publishes the revocations of the fleet's state until the agent stops.
pub(super) async fn run(shared: Arc<Shared>, publish: watch::Sender<Arc<Revocations>>) {
    let mut applied = shared.replica.watch();
    loop {
        let now = shared.replica.read(|state, _| Revocations {
            machines: state.revoked.keys().copied().collect(),
            operators: state
                .operators
                .values()
                .filter(|operator| operator.revoked_ms.is_some())
                .map(|operator| operator.name.to_string())
                .collect(),
        });
        publish.send_if_modified(|before| {
            let changed = **before != now;
            if changed {
                *before = Arc::new(now);
            }
            changed
        });
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}
