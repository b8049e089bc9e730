//! The log and the vote, as the consensus library wants to be served.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, OptionalSend, RaftLogReader, StorageError, StorageIOError};
use redb::ReadableTable;

use super::{Known, LOG, META, Store, StoreError, decode_entry, encode, put, read_entries};
use crate::consensus::raft::{Entry, LogId, Types, Vote};
use crate::consensus::seal::seal;
use crate::consensus::seat::Seat;

/// Entries are sent to another coordinator in batches of about so many bytes (512 KiB). With one more entry of the
/// longest kind a batch stays well below a frame (4 MiB), and a batch must get through within a heartbeat.
const BATCH_BYTES: usize = 512 << 10;

/// The store, seen as the library's log storage.
#[derive(Debug, Clone)]
pub(crate) struct LogStore(pub(crate) Store);

impl Known {
    pub(super) fn push_length(&mut self, length: usize) {
        self.lengths
            .push_back(u32::try_from(length).unwrap_or(u32::MAX));
        self.bytes += length as u64;
    }

    /// Forgets `count` entries at the log's end, or at its beginning.
    fn forget(&mut self, count: usize, end: End) {
        for _ in 0..count {
            let length = match end {
                End::Newest => self.lengths.pop_back(),
                End::Oldest => self.lengths.pop_front(),
            };
            self.bytes -= u64::from(length.unwrap_or_default());
        }
    }
}

#[derive(Clone, Copy)]
enum End {
    Newest,
    Oldest,
}

impl Store {
    /// Entries from `index` on, some at a time; empty when there are none.
    pub(crate) async fn entries_from(&self, index: u64) -> Result<Vec<Entry>, StoreError> {
        self.run(move |_, database| read_entries(database, index..u64::MAX, BATCH_BYTES))
            .await
    }

    async fn append(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.run(move |file, database| {
            file.write(database, |write, known| {
                let mut log = write.open_table(LOG)?;
                for entry in &entries {
                    let index = entry.log_id.index;
                    let payload = encode(entry);
                    log.insert(index, seal(&format!("log/{index}"), &payload).as_slice())?;
                    known.last = Some(entry.log_id);
                    known.push_length(payload.len());
                }
                Ok(())
            })
        })
        .await
    }

    /// Removes the entries from `since` on.
    async fn truncate(&self, since: u64) -> Result<(), StoreError> {
        self.run(move |file, database| {
            file.write(database, |write, known| {
                let mut log = write.open_table(LOG)?;
                let mut removed = 0;
                log.retain_in(since.., |_, _| {
                    removed += 1;
                    false
                })?;
                known.forget(removed, End::Newest);
                known.last = match log.range(..since)?.next_back() {
                    Some(row) => {
                        let (index, sealed) = row?;
                        Some(decode_entry(index.value(), sealed.value())?.log_id)
                    }
                    None => known.purged,
                };
                Ok(())
            })
        })
        .await
    }

    /// Removes the entries up to and with `upto`.
    async fn purge(&self, upto: LogId) -> Result<(), StoreError> {
        self.await_snapshot(upto.index).await;
        self.run(move |file, database| {
            file.write(database, |write, known| {
                let mut log = write.open_table(LOG)?;
                let mut removed = 0;
                log.retain_in(..=upto.index, |_, _| {
                    removed += 1;
                    false
                })?;
                known.forget(removed, End::Oldest);
                known.purged = Some(upto);
                if known.lengths.is_empty() {
                    known.last = Some(upto);
                }
                put(&mut write.open_table(META)?, "purged", &upto)
            })
        })
        .await
    }

    async fn save_vote(&self, vote: Vote) -> Result<(), StoreError> {
        self.run(move |file, database| {
            file.write(database, |write, known| {
                known.vote = Some(vote);
                put(&mut write.open_table(META)?, "vote", &vote)
            })
        })
        .await
    }

    async fn entries(
        &self,
        range: impl RangeBounds<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        if start >= end {
            return Ok(Vec::new());
        }
        self.run(move |_, database| read_entries(database, start..end, bytes_max))
            .await
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError<Seat>> {
        let entries = self.0.entries(range, usize::MAX).await;
        entries.map_err(|error| StorageIOError::read_logs(AnyError::new(&error)).into())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError<Seat>> {
        let entries = self.0.entries(start..end, BATCH_BYTES).await;
        entries.map_err(|error| StorageIOError::read_logs(AnyError::new(&error)).into())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError<Seat>> {
        let known = self.0.known();
        Ok(LogState {
            last_purged_log_id: known.purged,
            last_log_id: known.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError<Seat>> {
        let saved = self.0.save_vote(*vote).await;
        saved.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError<Seat>> {
        Ok(self.0.known().vote)
    }

    /// In memory only; the next durable write takes it along. It spares replay after a restart, no more.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError<Seat>> {
        let mut known = self.0.known();
        known.committed_unsaved |= known.committed != committed;
        known.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError<Seat>> {
        Ok(self.0.known().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError<Seat>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        match self.0.append(entries).await {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => Err(StorageIOError::write_logs(AnyError::new(&error)).into()),
        }
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError<Seat>> {
        let truncated = self.0.truncate(since.index).await;
        truncated.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)).into())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError<Seat>> {
        let purged = self.0.purge(upto).await;
        purged.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)).into())
    }
}
