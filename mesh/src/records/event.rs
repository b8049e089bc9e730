//! What the records tell their runtime, and what they ask of it.

use std::time::Duration;

use bytes::Bytes;

use super::profile::Profile;
use super::vitals::Vitals;
use crate::identity::{Generation, MachineId, Peer};

/// What is known of one machine. Times are on the monotonic clock that the runtime passes in as `now`.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Which machine.
    pub machine: MachineId,
    /// Its present life.
    pub generation: Generation,
    /// What it says of itself; of a machine that just came back, what its former life said until the new one is heard.
    pub profile: Option<Profile>,
    /// Counts its profiles within the life that signed it.
    pub profile_version: u64,
    /// When this profile arrived here.
    pub profile_received_at: Duration,
    /// How it is doing; likewise from its former life at first.
    pub vitals: Option<Vitals>,
    /// Counts its vitals within its life.
    pub vitals_version: u64,
    /// When these vitals arrived here: they may be a few seconds older.
    pub vitals_received_at: Duration,
}

/// Something changed. Several changes of one machine that the runtime has not fetched become one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A machine's record has changed; read it with [`get`](super::Records::get).
    Changed {
        /// Whose.
        machine: MachineId,
        /// Whether its profile changed.
        profile: bool,
        /// Whether its vitals changed.
        vitals: bool,
    },
}

/// Work that only the runtime can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send `request` to `from` on a stream, where [`handle_pull`](super::Records::handle_pull) answers it, and give
    /// the answer to [`handle_pull_response`](super::Records::handle_pull_response). A failure is reported by
    /// [`handle_pull_failed`](super::Records::handle_pull_failed); without a report it is taken for failed in 10 s.
    Pull {
        /// Whom to ask.
        from: Peer,
        /// What to send.
        request: Bytes,
    },
}

/// What the records did since they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams produced.
    pub datagrams_out: u64,
    /// Bytes of the datagrams produced, without the transport's framing.
    pub bytes_out: u64,
    /// Datagrams accepted.
    pub datagrams_in: u64,
    /// Entries received that were news.
    pub entries_new: u64,
    /// Entries received that were known already.
    pub entries_known: u64,
    /// Entries about lives that the membership does not know.
    pub entries_unknown: u64,
    /// Datagrams and answers that do not decode.
    pub malformed: u64,
    /// Signed records that did not verify, or were not those of the machine asked for.
    pub unverified: u64,
    /// Pulls asked for.
    pub pulls: u64,
    /// Bytes answered to others' pulls.
    pub pull_bytes_out: u64,
    /// Hashes sent.
    pub hashes_out: u64,
    /// Hashes received that differed from ours.
    pub hashes_differed: u64,
}
