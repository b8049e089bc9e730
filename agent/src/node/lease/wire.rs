//! A machine's question for its lease, and the leader's answer.

use std::time::Duration;

use muster_mesh::consensus::LogGeneration;
use muster_mesh::transport::StreamKind;
use serde::{Deserialize, Serialize};

use crate::fleet::LeaseTerms;

/// Asking the leader for the right to run this machine's workload.
pub(in crate::node) const LEASE: StreamKind = StreamKind(17);

/// A machine's question. It counts its lease from before it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::node) struct LeaseRequest {
    /// The terms that it holds itself to from now on; `None` where it asks to be released from them.
    pub(in crate::node) terms: Option<LeaseTerms>,
    /// The log that the machine follows: the leader of another one has nothing to grant it.
    pub(in crate::node) log: LogGeneration,
    /// The machine's clock since its boot when it asked, in milliseconds: how fast that clock goes is seen from it.
    pub(in crate::node) sent_ms: u64,
}

/// The longest that one question may take.
const ASK_MAX: Duration = Duration::from_secs(3);

impl LeaseRequest {
    /// How long whoever asks waits for the answer: two more tries must fit before its workload would be stopped.
    pub(in crate::node) fn patience(&self) -> Duration {
        let renewed = self
            .terms
            .map(|terms| Duration::from_millis(terms.renew_ms()));
        renewed.unwrap_or(ASK_MAX).min(ASK_MAX)
    }

    /// The bytes for the wire.
    pub(in crate::node) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a few numbers serialize into memory")
    }

    /// Reads [`Self::encode`]'s bytes; `None` for anything else.
    pub(in crate::node) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// The leader's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::node) enum LeaseAnswer {
    /// It may run its workload, for as long as the terms say from when it asked.
    Granted,
    /// It may run its workload without a lease.
    Released,
    /// Not now.
    Refused {
        /// Why.
        why: String,
        /// Whether the workload is to be stopped at once: the machine has been replaced, or is to be.
        stop: bool,
    },
}

impl LeaseAnswer {
    /// The bytes for the wire.
    pub(in crate::node) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data serializes into memory")
    }

    /// Reads [`Self::encode`]'s bytes; `None` for anything else.
    pub(in crate::node) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
