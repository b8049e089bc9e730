//! How often coordinators talk, and how long they wait.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use crate::identity::ClusterId;

/// The beat of the coordinators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often an idle leader tells the others that it is there. Default 1 s.
    ///
    /// This is the whole cost of idle coordinators: a request and an answer a beat for every other coordinator.
    /// Waiting longer would save little more and make every leader's death cost that much more, since nobody may
    /// be elected before the last beat's promise (5/4 of a beat) has run out.
    pub beat: Duration,
    /// A voter that has heard no beat for this long, up to twice this long, stands for election. Default 2.5 s: two
    /// beats lost in a row. What the membership knows of a dead leader need not wait for it: see
    /// [`Coordinator::elect_now`](super::Coordinator::elect_now).
    pub patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            beat: Duration::from_millis(1000),
            patience: Duration::from_millis(2500),
        }
    }
}

/// Entries that a snapshot covers and that are kept all the same, for coordinators that were away for a moment.
const KEPT_ENTRIES: u64 = 512;
/// At most so many entries go into one request; their bytes are limited too (see `store/log.rs`).
const BATCH_ENTRIES: u64 = 256;
/// A snapshot goes to another coordinator in pieces of so many bytes (1 MiB), well below a frame (4 MiB).
const PIECE_BYTES: u64 = 1 << 20;
/// A piece must be there, and the last one installed, within this time.
const PIECE_DEADLINE: Duration = Duration::from_secs(15);

impl Timing {
    /// For this long after a beat a voter votes for nobody else, whatever it is told.
    pub(super) fn promise(&self) -> Duration {
        self.beat * 5 / 4
    }

    /// A leader that most voters have not answered for this long knows that its proposals cannot succeed now.
    pub(super) fn quorum_silence_max(&self) -> Duration {
        self.patience + self.beat
    }

    /// The consensus library's words for it.
    pub(super) fn raft_config(&self, cluster: ClusterId) -> Result<Config, String> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: cluster.to_string(),
            // The library's clock ticks every 3/2 of this, and beats at ticks.
            heartbeat_interval: (millis(self.beat) * 2).div_ceil(3),
            // With its own elections off, the library uses these as the time a vote may take, and as the promise.
            enable_elect: false,
            election_timeout_min: millis(self.beat),
            election_timeout_max: millis(self.promise()),
            install_snapshot_timeout: millis(PIECE_DEADLINE),
            max_payload_entries: BATCH_ENTRIES,
            snapshot_policy: SnapshotPolicy::Never,
            snapshot_max_chunk_size: PIECE_BYTES,
            max_in_snapshot_log_to_keep: KEPT_ENTRIES,
            ..Config::default()
        };
        config.validate().map_err(|error| error.to_string())
    }
}
