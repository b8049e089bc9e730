//! Counters, for metrics and for finding out what the mesh costs.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the transport has done since it was bound. All counters only grow, except the first two.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct TransportStats {
            /// Connections with members that are open now.
            pub connections: u64,
            /// Handshakes that this side has under way now.
            pub dials: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The live counters.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }

        impl Counters {
            pub(super) fn snapshot(&self) -> TransportStats {
                TransportStats {
                    connections: 0,
                    dials: 0,
                    $($name: self.$name.get(),)*
                }
            }
        }
    };
}

counters! {
    /// UDP datagrams sent.
    packets_out,
    /// UDP datagrams received.
    packets_in,
    /// Bytes in UDP datagrams sent, without UDP and IP headers.
    bytes_out,
    /// Bytes in UDP datagrams received, without UDP and IP headers.
    bytes_in,
    /// UDP datagrams that the kernel did not take (full buffer, no route, firewall).
    packets_unsent,
    /// Handshakes completed as the dialling side.
    handshakes_out,
    /// Handshakes completed as the listening side.
    handshakes_in,
    /// Handshakes that failed as the dialling side.
    handshakes_out_failed,
    /// Handshakes that failed or were refused as the listening side.
    handshakes_in_failed,
    /// Incoming handshakes that were made to prove their address first.
    handshakes_retried,
    /// Connections that ended without either side wanting it.
    connections_lost,
    /// Connections closed to make room for others.
    connections_evicted,
    /// Datagrams handed to a connection.
    datagrams_out,
    /// Datagrams received and handed to the agent.
    datagrams_in,
    /// Datagrams not sent because a newer one needed their place in a queue.
    datagrams_dropped_queue,
    /// Datagrams not sent because the peer could not be reached, or not in time.
    datagrams_dropped_unreachable,
    /// Datagrams not sent because they were longer than any may be, or empty.
    datagrams_dropped_size,
    /// Datagrams received and dropped because the agent did not keep up.
    datagrams_dropped_inbound,
    /// Requests received and handed to the agent.
    requests_in,
    /// Requests received and refused: malformed, too long, not allowed, or too slow.
    requests_refused,
    /// Requests made.
    requests_out,
    /// ICMP errors about packets that this side sent.
    icmp_errors,
}

/// One counter. Relaxed: it is only ever shown.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn inc(&self) {
        self.add(1);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
