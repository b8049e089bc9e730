//! The last snapshot, in pieces, and the order between storing it and purging what it covers.

use std::sync::Arc;

use redb::{Database, ReadableDatabase};
use serde::{Deserialize, Serialize};

use super::{Failure, META, SNAPSHOT, Store, StoreError, put};
use crate::consensus::raft::SnapshotMeta;
use crate::consensus::seal::{seal, unseal};

/// A snapshot is stored in pieces of so many bytes, so that none needs a contiguous region of its own size.
const PIECE_BYTES: usize = 256 << 10;

/// The position of the stored snapshot and how to put it together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredSnapshot {
    pub(super) meta: SnapshotMeta,
    bytes: u64,
    pieces: u32,
}

impl Store {
    /// Stores a snapshot in place of the one before.
    pub(crate) async fn save_snapshot(
        &self,
        meta: SnapshotMeta,
        image: Arc<[u8]>,
    ) -> Result<(), StoreError> {
        self.run(move |file, database| {
            file.write(database, |write, known| {
                known.snapshot = Some(replace(write, meta, &image)?);
                Ok(())
            })
        })
        .await?;
        // Wakes a purge that waits for it.
        self.file.expected.send_modify(|_| {});
        Ok(())
    }

    /// Announces that a leader's snapshot up to `index` is on its way to the disk, until the guard is dropped.
    ///
    /// The library purges the log that a snapshot covers without waiting for the snapshot to be stored. A crash in
    /// between would leave a log without its beginning and no state to go with it, so the purge waits.
    pub(crate) fn expect_snapshot(&self, index: u64) -> ExpectedSnapshot {
        self.file.expected.send_replace(Some(index));
        ExpectedSnapshot(self.clone())
    }

    /// Waits until a log up to `index` may be purged.
    pub(super) async fn await_snapshot(&self, index: u64) {
        let mut expected = self.file.expected.subscribe();
        // The sender lives as long as the store, so waiting ends with the guard at the latest.
        let _ = expected
            .wait_for(|expected| {
                let stored = self
                    .known()
                    .snapshot
                    .as_ref()
                    .and_then(|stored| stored.meta.last_log_id);
                expected.is_none_or(|expected| expected < index)
                    || stored.is_some_and(|stored| stored.index >= index)
            })
            .await;
    }

    /// The stored snapshot, if there is one.
    pub(crate) async fn load_snapshot(
        &self,
    ) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StoreError> {
        self.run(|file, database| {
            let Some(stored) = file.known().snapshot.clone() else {
                return Ok(None);
            };
            let bytes = read_snapshot(database, &stored)?;
            Ok(Some((stored.meta, bytes)))
        })
        .await
    }
}

/// A snapshot is awaited while this lives.
#[derive(Debug)]
pub(crate) struct ExpectedSnapshot(Store);

impl Drop for ExpectedSnapshot {
    fn drop(&mut self) {
        self.0.file.expected.send_replace(None);
    }
}

/// Puts a snapshot in the place of the one before, as part of a transaction.
pub(super) fn replace(
    write: &redb::WriteTransaction,
    meta: SnapshotMeta,
    image: &[u8],
) -> Result<StoredSnapshot, Failure> {
    let pieces = image.chunks(PIECE_BYTES);
    let stored = StoredSnapshot {
        meta,
        bytes: image.len() as u64,
        pieces: u32::try_from(pieces.len())
            .map_err(|_| Failure::Damaged("the snapshot is too long".to_owned()))?,
    };
    let mut table = write.open_table(SNAPSHOT)?;
    table.retain(|_, _| false)?;
    for (number, piece) in (0u32..).zip(pieces) {
        let sealed = seal(&format!("snapshot/{number}"), piece);
        table.insert(number, sealed.as_slice())?;
    }
    put(&mut write.open_table(META)?, "snapshot", &stored)?;
    Ok(stored)
}

/// Puts the stored snapshot together.
pub(super) fn read_snapshot(
    database: &Database,
    stored: &StoredSnapshot,
) -> Result<Vec<u8>, Failure> {
    let table = database.begin_read()?.open_table(SNAPSHOT)?;
    let mut bytes = Vec::new();
    for number in 0..stored.pieces {
        let context = format!("snapshot/{number}");
        let piece = table
            .get(number)?
            .ok_or_else(|| Failure::Damaged(format!("{context} is missing")))?;
        let piece = unseal(&context, piece.value())
            .map_err(|error| Failure::Damaged(format!("{context}: {error}")))?;
        bytes.extend_from_slice(piece);
    }
    if bytes.len() as u64 != stored.bytes {
        return Err(Failure::Damaged(
            "the snapshot has a wrong length".to_owned(),
        ));
    }
    Ok(bytes)
}
