//! The last committed entries, kept in memory for those who follow.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::consensus::raft::Entry;

/// At most so many entries are remembered: about a quarter of an hour of a busy fleet, so that a follower that was
/// away for a moment needs no image.
const ENTRIES_MAX: usize = 1024;
/// At most so many bytes of entries are remembered (1 MiB): the share of an idle agent's memory that this is worth.
/// The newest entry stays, however long it is.
const BYTES_MAX: usize = 1 << 20;

/// A run of committed entries without gaps, the last one being the last one applied.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    entries: VecDeque<(u64, Bytes)>,
    bytes: usize,
}

/// What [`Replica::tail`](super::Replica::tail) has to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// There is nothing new.
    UpToDate,
    /// The entries from the wanted index on, in order, each as bytes for
    /// [`Replica::extend`](super::Replica::extend).
    Entries(Vec<Bytes>),
    /// The wanted entries are not remembered any more: an [`Image`](crate::consensus::Image) is needed.
    Forgotten,
    /// The asker is further than this replica.
    Ahead,
}

impl Recent {
    /// Remembers an entry, and forgets the oldest that no longer fit.
    pub(crate) fn push(&mut self, entry: &Entry) {
        let index = entry.log_id.index;
        if self
            .entries
            .back()
            .is_some_and(|(last, _)| last + 1 != index)
        {
            self.entries.clear();
            self.bytes = 0;
        }
        let encoded =
            postcard::to_stdvec(entry).expect("plain data serializes into memory without errors");
        self.bytes += encoded.len();
        self.entries.push_back((index, encoded.into()));
        while self.entries.len() > 1 && (self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX)
        {
            if let Some((_, oldest)) = self.entries.pop_front() {
                self.bytes -= oldest.len();
            }
        }
    }

    /// Entries from index `from` on; `next` is the index after the last one applied.
    pub(crate) fn tail(&self, from: u64, next: u64, bytes_max: usize) -> Tail {
        if from > next {
            return Tail::Ahead;
        }
        if from == next {
            return Tail::UpToDate;
        }
        let Some((first, _)) = self.entries.front() else {
            return Tail::Forgotten;
        };
        let Some(skip) = from
            .checked_sub(*first)
            .and_then(|skip| usize::try_from(skip).ok())
        else {
            return Tail::Forgotten;
        };
        let mut bytes = 0;
        let entries: Vec<Bytes> = self
            .entries
            .iter()
            .skip(skip)
            .map(|(_, entry)| entry.clone())
            .take_while(|entry| {
                // The first goes in any case, or a long entry would never go.
                let fits = bytes == 0 || bytes + entry.len() <= bytes_max;
                bytes += entry.len();
                fits
            })
            .collect();
        Tail::Entries(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::raft::{Command, EntryPayload};
    use crate::consensus::seat::Seat;

    fn entry(index: u64, length: usize) -> Entry {
        Entry {
            log_id: openraft::testing::log_id(1, Seat::FIRST, index),
            payload: EntryPayload::Normal(Command(vec![7; length].into())),
        }
    }

    fn indexes(tail: Tail) -> Vec<u64> {
        let Tail::Entries(entries) = tail else {
            panic!("no entries but {tail:?}");
        };
        let index = |bytes: &Bytes| {
            postcard::from_bytes::<Entry>(bytes)
                .expect("an entry")
                .log_id
                .index
        };
        entries.iter().map(index).collect()
    }

    #[test]
    fn tail_knows_what_it_has_and_what_it_forgot() {
        let mut recent = Recent::default();
        for index in 10..20 {
            recent.push(&entry(index, 100));
        }
        assert_eq!(recent.tail(20, 20, 1000), Tail::UpToDate);
        assert_eq!(recent.tail(21, 20, 1000), Tail::Ahead);
        assert_eq!(recent.tail(9, 20, 1000), Tail::Forgotten);
        assert_eq!(
            indexes(recent.tail(10, 20, usize::MAX)),
            (10..20).collect::<Vec<_>>()
        );
        assert_eq!(indexes(recent.tail(12, 20, 250)), [12, 13]);
        assert_eq!(
            indexes(recent.tail(12, 20, 0)),
            [12],
            "one entry always goes"
        );
    }

    #[test]
    fn memory_is_bounded_by_entries_and_by_bytes() {
        let mut recent = Recent::default();
        for index in 0..3 * ENTRIES_MAX as u64 {
            recent.push(&entry(index, 1));
        }
        assert_eq!(recent.entries.len(), ENTRIES_MAX);
        for index in 3 * ENTRIES_MAX as u64..3 * ENTRIES_MAX as u64 + 50 {
            recent.push(&entry(index, BYTES_MAX / 10));
        }
        assert!(recent.bytes <= BYTES_MAX, "{}", recent.bytes);
        recent.push(&entry(3 * ENTRIES_MAX as u64 + 50, 2 * BYTES_MAX));
        assert_eq!(recent.entries.len(), 1, "the newest stays, however long");
    }

    #[test]
    fn a_gap_forgets_what_was_before() {
        let mut recent = Recent::default();
        recent.push(&entry(1, 1));
        recent.push(&entry(5, 1));
        assert_eq!(recent.tail(1, 6, 1000), Tail::Forgotten);
        assert_eq!(indexes(recent.tail(5, 6, 1000)), [5]);
    }
}
