//! What the membership tells its runtime, and what it asks of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::hint::Hint;
use crate::identity::{Generation, MachineId, Peer};

/// One machine as this member sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Which machine.
    pub machine: MachineId,
    /// Where its endpoint listens.
    pub addr: SocketAddr,
    /// Which of its lives this is about: the latest known.
    pub generation: Generation,
    /// What is believed of it.
    pub status: Status,
    /// Since when, on the monotonic clock that the runtime passes in as `now`.
    pub since: Duration,
    /// Since when it has not answered without a break, suspicion included; `None` while it is [`Status::Alive`].
    pub silent_since: Option<Duration>,
    /// How its death became known; `None` unless [`Status::Down`].
    pub how: Option<How>,
}

impl Member {
    /// Whom to address.
    pub fn peer(&self) -> Peer {
        Peer {
            machine: self.machine,
            addr: self.addr,
        }
    }
}

/// What is believed of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It answers, as far as anybody said.
    Alive,
    /// It did not answer somebody; it has a few seconds to object.
    Suspect,
    /// It did not object, or its port was refused.
    Down,
    /// It is down after it had said that it would go.
    Left,
}

impl Status {
    /// Alive or suspect: it takes part.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

/// How a death became known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// This member refuted nothing and answered nobody for the whole suspicion.
    Silent,
    /// Its host answered twice that nothing listens on its port.
    Refused,
    /// Another member said so.
    Told,
}

/// Something changed. Events come in the order in which things happened and are never dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A machine is up: new, back, or in a new life. `previous` is the generation it was known by before, if any;
    /// a machine that restarts quickly comes up without having been seen to go down.
    Up {
        /// The machine as it is now.
        member: Member,
        /// Its life before this one.
        previous: Option<Generation>,
    },
    /// A member did not answer.
    Suspect {
        /// The machine as it is now.
        member: Member,
    },
    /// A suspected member objected: it is alive.
    Refuted {
        /// The machine as it is now.
        member: Member,
    },
    /// A member is dead.
    Down {
        /// The machine as it is now.
        member: Member,
        /// How that is known.
        how: How,
    },
    /// A member is gone as it had announced.
    Left {
        /// The machine as it is now.
        member: Member,
    },
    /// The mesh believes that this machine is dead. Make `generation` (or a higher one) durable and then call
    /// [`renewed`](super::Membership::renewed); until then others ignore this machine. Comes at most every two
    /// seconds, less often when it keeps happening.
    Renew {
        /// The lowest generation that will do.
        generation: Generation,
    },
    /// A peer's hint is greater than ours. Whether it is true is for the runtime to judge; it is reported again with
    /// every datagram until ours is as great.
    Hint {
        /// Whose it is.
        from: MachineId,
        /// What it says.
        hint: Hint,
    },
}

/// Work that only the runtime can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Probe the UDP port of `peer` afresh, with a timeout of [`CHECK_TIMEOUT`](super::CHECK_TIMEOUT), and report
    /// by [`handle_check`](super::Membership::handle_check). Without a report it counts as silent.
    CheckPort {
        /// Whose port.
        peer: Peer,
        /// To be given back with the answer.
        generation: Generation,
    },
    /// Send [`full_state`](super::Membership::full_state) to `Peer` on a stream; give what comes back to
    /// [`handle_full_state`](super::Membership::handle_full_state). A failure needs no report: it is tried again.
    PullState(Peer),
}

/// What a probe of a UDP port found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortAnswer {
    /// Something that speaks QUIC answered.
    Answered,
    /// The host said that nothing listens there.
    Refused,
    /// Nothing came back in time.
    Silent,
}

/// A datagram to send. May be lost, but not delayed by much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// To whom.
    pub to: Peer,
    /// At most [`DATAGRAM_MAX`](crate::wire::DATAGRAM_MAX) bytes.
    pub bytes: Bytes,
}
