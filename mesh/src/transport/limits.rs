//! Every limit and deadline of the transport in one place, with its reason.

use std::time::Duration;

pub use crate::wire::DATAGRAM_MAX;

/// Most bytes of one frame on a stream: a full-state pull of 10,000 machines is about 1 MiB.
pub const FRAME_MAX: usize = 4 * 1024 * 1024;

/// Most bytes of a frame from somebody without a certificate: a token and a certificate request.
pub const JOIN_FRAME_MAX: usize = 16 * 1024;

/// Most bytes of a peer's reason for a failure that are kept; it ends up in logs.
pub(super) const REASON_MAX: usize = 512;

/// Datagrams that wait for one peer's connection; more than SWIM has to say to one peer in that time.
pub(super) const DATAGRAM_QUEUE_MAX: usize = 16;

/// A datagram that waited longer than this is not sent: its probe has been given up.
pub(super) const DATAGRAM_STALE: Duration = Duration::from_secs(3);

/// Bytes of datagrams that QUIC holds for one connection in each direction; it drops the oldest beyond.
pub(super) const DATAGRAM_BUFFER: usize = 32 * 1024;

/// Peers remembered, connected or not. An entry is about 200 bytes.
pub(super) const PEERS_MAX: usize = 16 * 1024;

/// Entries of peers that have not been spoken to for this long are forgotten.
pub(super) const PEER_FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// Handshakes that this side has under way at once; a whole fleet is dialled in a second or two all the same.
pub(super) const DIALS_MAX: usize = 64;

/// A handshake that takes longer has failed. Long enough for two lost flights.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// Incoming handshakes at once; beyond, new ones are refused.
pub(super) const HANDSHAKES_MAX: usize = 128;

/// Incoming handshakes at once above which strangers must first prove their address (QUIC retry).
pub(super) const HANDSHAKES_RETRY: usize = 32;

/// First and longest pause after a failed dial; it doubles in between.
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// See [`BACKOFF_MIN`].
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A request does not wait longer than this for a peer that cannot be dialled because of its back-off.
pub(super) const REQUEST_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Two connections made within this time of each other were dialled by both sides at once: the lower machine
/// ID's stays. Further apart, the newer stays, because its dialler evidently lost the older.
pub(super) const SIMULTANEOUS: Duration = Duration::from_secs(5);

/// A connection that another one took the place of is kept this long for what is under way on it.
pub(super) const RETIRED_FOR: Duration = Duration::from_secs(3);

/// How often idle connections, silent peers, certificates and warm peers are looked after.
pub(super) const UPKEEP_INTERVAL: Duration = Duration::from_secs(15);

/// Up to so many connections none is closed for being idle: keeping one costs nothing but 40 kB, making one
/// costs two machines 0.6 ms and 6 kB each.
pub(super) const CONNECTIONS_COMFORTABLE: usize = 64;

/// QUIC closes a connection without any packet for this long. Only a last resort: upkeep closes earlier.
pub(super) const QUIC_IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Rounds of upkeep without any packet from a peer that had something to acknowledge, until it counts as lost.
pub(super) const SILENT_ROUNDS_MAX: u32 = 2;

/// Requests of one peer at once; more wait on its side. QUIC keeps a little state for each in advance.
pub(super) const STREAMS_PER_PEER_MAX: u32 = 24;

/// Inbound requests of all peers at once.
pub(super) const STREAMS_MAX: usize = 512;

/// Bytes of inbound request bodies at once, over all peers.
pub(super) const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A request's body must arrive within this time.
pub(super) const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// The agent must take a request off the channel within this time, else the request is refused.
pub(super) const HANDOVER_DEADLINE: Duration = Duration::from_secs(10);

/// One frame of an answer must leave within this time.
pub(super) const FRAME_WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// Machines without a certificate that are being served at once.
pub(super) const JOINERS_MAX: usize = 16;

/// A joining machine must say what it wants within this time.
pub(super) const JOIN_BODY_DEADLINE: Duration = Duration::from_secs(5);

/// A joining machine gets its answer within this time or none: admission takes a commit of the coordinators.
pub(super) const JOIN_DEADLINE: Duration = Duration::from_secs(30);

/// Operators connected at once.
pub(super) const OPERATORS_MAX: usize = 32;

/// Bytes that a peer may have under way on one stream, and on one connection, before we have read them.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
/// See [`STREAM_WINDOW`].
pub(super) const CONNECTION_WINDOW: u32 = 512 * 1024;

/// Share of the inbound channel (one in so many places) that only requests and evidence may use, so that a
/// burst of datagrams cannot keep them out.
pub(super) const INBOUND_RESERVE: usize = 4;

/// Size asked of the kernel for the socket's buffers: a burst of a thousand small packets.
pub(super) const SOCKET_BUFFER: usize = 1024 * 1024;

/// Round-trip time assumed before the first measurement. A data centre's is below; a retransmission of the
/// first flight after three times this is early enough elsewhere.
pub(super) const INITIAL_RTT: Duration = Duration::from_millis(100);
