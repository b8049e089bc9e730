//! Keeps the log short: now and then a snapshot takes the place of what it covers.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::consensus::raft::{Raft, next_index};
use crate::consensus::store::Store;

/// When the log is compacted. Whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// After so many entries since the last snapshot. Default 4096: a few weeks of a calm fleet, an hour of a busy
    /// one.
    pub entries: u64,
    /// After so many bytes of entries since the last snapshot, and no more bytes than that are kept of those that a
    /// snapshot covers. Default 4 MiB, which bounds the file and the time to open it.
    pub bytes: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            entries: 4096,
            bytes: 4 << 20,
        }
    }
}

/// Compacts whenever `grown` says that entries were applied and there are enough of them.
pub(super) fn start(
    raft: Raft,
    store: Store,
    grown: Arc<Notify>,
    limits: Compaction,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            grown.notified().await;
            let growth = store.growth();
            if growth.entries < limits.entries && growth.bytes < limits.bytes {
                continue;
            }
            if compact(&raft, &store, limits.bytes).await.is_none() {
                return;
            }
        }
    }))
}

/// Takes a snapshot and purges what need not be kept. `None` when the coordinator has stopped.
async fn compact(raft: &Raft, store: &Store, kept_bytes: u64) -> Option<()> {
    let mut metrics = raft.metrics();
    let before = next_index(metrics.borrow().snapshot);
    raft.trigger().snapshot().await.ok()?;
    let snapshot = metrics
        .wait_for(|metrics| next_index(metrics.snapshot) > before || metrics.running_state.is_err())
        .await
        .ok()?
        .snapshot?;
    // The library keeps a number of entries; when they are long, that is too much.
    let purge_to = store
        .first_index_within(kept_bytes)
        .min(next_index(Some(snapshot)));
    if let Some(upto) = purge_to.checked_sub(1) {
        raft.trigger().purge_log(upto).await.ok()?;
    }
    tracing::debug!(upto = snapshot.index, "compacted the log");
    Some(())
}
