//! What goes in and out of the transport: kinds of request, who asks, and what the agent is told.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

use super::responder::Responder;
use crate::identity::{MachineId, Peer};

/// What a request is about; the first byte on its stream. The transport carries kinds that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKind(pub u8);

impl StreamKind {
    /// Admission of a machine without a certificate; the only kind that [`PeerIdentity::Joiner`] may use.
    pub const JOIN: Self = Self(1);
    /// Membership: full-state pull.
    pub const MEMBERSHIP: Self = Self(2);
    /// Records: signed profiles.
    pub const RECORDS: Self = Self(3);
    /// The coordinators' log.
    pub const CONSENSUS: Self = Self(4);
    /// Following the coordinators' log.
    pub const FOLLOW: Self = Self(5);
    /// Acknowledging a leader's authority.
    pub const AUTHORITY: Self = Self(6);
    /// Asking a machine to try to reach another.
    pub const WITNESS: Self = Self(7);
    /// Questions and orders of people and programs.
    pub const API: Self = Self(8);
    /// Renewal of a machine's certificate.
    pub const RENEW: Self = Self(9);
    /// The CA's key, from one coordinator to another.
    pub const CA_KEY: Self = Self(10);
    /// The peer's wall clock. Answered by the transport itself.
    pub const CLOCK: Self = Self(11);

    /// Whether asking twice does no more than asking once. Such a request is repeated, once, when the peer turns
    /// out to have been restarted since the connection was made.
    pub fn is_repeatable(self) -> bool {
        !matches!(self, Self::API | Self::JOIN)
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::JOIN => "join",
            Self::MEMBERSHIP => "membership",
            Self::RECORDS => "records",
            Self::CONSENSUS => "consensus",
            Self::FOLLOW => "follow",
            Self::AUTHORITY => "authority",
            Self::WITNESS => "witness",
            Self::API => "api",
            Self::RENEW => "renew",
            Self::CA_KEY => "ca-key",
            Self::CLOCK => "clock",
            Self(other) => return write!(f, "kind {other}"),
        };
        f.write_str(name)
    }
}

/// Who is at the other end, proven by its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerIdentity {
    /// A member of the mesh.
    Machine(MachineId),
    /// An operator, by name.
    Operator(String),
    /// Somebody without a certificate, who may ask to join and nothing else.
    Joiner,
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(machine) => machine.fmt(f),
            Self::Operator(name) => write!(f, "operator {name}"),
            Self::Joiner => f.write_str("a machine that wants to join"),
        }
    }
}

/// What the transport tells the agent, over one bounded channel.
#[derive(Debug)]
pub enum Inbound {
    /// A datagram. May have been preceded by others that were dropped.
    Datagram {
        /// The machine in the certificate, and the address that it was heard from.
        from: Peer,
        /// At most [`super::DATAGRAM_MAX`] bytes, at least one.
        bytes: Bytes,
    },
    /// A request that waits for an answer.
    Request(InboundRequest),
    /// Evidence that something happened to a peer. Not proof: worth a check, at once.
    PeerLost {
        /// Which, and where it was spoken to.
        peer: Peer,
        /// What was seen.
        how: Lost,
    },
}

/// A request, and the means to answer it.
#[derive(Debug)]
pub struct InboundRequest {
    /// Who asks.
    pub from: PeerIdentity,
    /// From where.
    pub addr: SocketAddr,
    /// What about.
    pub kind: StreamKind,
    /// At most [`super::FRAME_MAX`] bytes ([`super::JOIN_FRAME_MAX`] from a joiner).
    pub body: Bytes,
    /// Where the answer goes. Dropped without an answer, it tells the peer that there will be none.
    pub responder: Responder,
}

/// How a peer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lost {
    /// Its host says that nobody listens on the port (ICMP): the host is up, the agent is not. Forgeable by
    /// whoever can send packets to this host, so no more than a reason to look.
    Refused,
    /// A router or this host says that there is no way to it (ICMP). Forgeable likewise.
    Unreachable,
    /// Its endpoint does not know the connection any more (QUIC stateless reset, authenticated): most likely it
    /// restarted. It may also have closed the connection to make room, with the notice lost on its way.
    Reset,
    /// It was sent packets and did not answer any.
    TimedOut,
    /// It said that it is shutting down.
    Closed,
    /// It refused this machine, or showed a certificate that is not acceptable (another machine's, expired, revoked).
    Rejected,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "port closed",
            Self::Unreachable => "no route",
            Self::Reset => "restarted",
            Self::TimedOut => "no answer",
            Self::Closed => "shut down",
            Self::Rejected => "rejected",
        })
    }
}
