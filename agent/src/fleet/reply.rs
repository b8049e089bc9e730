//! What came of a command.

use muster_mesh::consensus::Seat;
use muster_mesh::identity::{ClusterId, MachineId};
use serde::{Deserialize, Serialize};

use super::decision::DecisionId;
use super::demand::DemandId;
use super::machine::Place;
use super::names::{GroupId, MachineName};
use super::refusal::Refusal;
use super::spec::{Labels, SpecRevision};

/// The version of the encoding; its first byte.
pub const REPLY_VERSION: u8 = 1;

/// What came of a command. A refused one changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was done, and there is nothing to say about it.
    Done,
    /// The fleet began.
    Founded {
        /// The first machine's ID.
        machine: MachineId,
        /// Its coordinator's seat.
        seat: Seat,
    },
    /// Groups were declared or changed.
    Applied(Vec<Applied>),
    /// A machine may come in.
    Admitted(Box<Admitted>),
    /// Decisions were put on record; one answer for each proposal, in order.
    Decided(Vec<Result<DecisionId, Refusal>>),
    /// A machine has this coordinator's seat.
    Seat(Seat),
    /// It is asked for, under this number.
    Asked(DemandId),
    /// It was not done, and nothing changed.
    Refused(Refusal),
}

impl Reply {
    /// The bytes for the one who asked: a version byte, then postcard.
    pub fn encode(&self) -> Vec<u8> {
        super::wire::encode(REPLY_VERSION, self)
    }

    /// Reads [`Self::encode`]'s bytes.
    ///
    /// # Errors
    /// When the bytes are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, super::DecodeError> {
        super::wire::decode(REPLY_VERSION, "reply", bytes)
    }

    /// The reply, or the refusal as an error.
    ///
    /// # Errors
    /// When the command was refused.
    pub fn accepted(self) -> Result<Self, Refusal> {
        match self {
            Self::Refused(refusal) => Err(refusal),
            reply => Ok(reply),
        }
    }
}

/// What came of one group's specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The group.
    pub group: GroupId,
    /// Its revision now.
    pub revision: SpecRevision,
    /// Whether that is a new one.
    pub changed: bool,
}

/// A machine may come in: what it is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// Which mesh.
    pub cluster: ClusterId,
    /// Its ID.
    pub machine: MachineId,
    /// Its name.
    pub name: MachineName,
    /// Its place, when it has one.
    pub place: Option<Place>,
    /// Its labels.
    pub labels: Labels,
}
