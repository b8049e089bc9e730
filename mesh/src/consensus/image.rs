//! The whole of a replica as bytes: state, position and seats.
//!
//! One format for the three places that need it: raft snapshots (on disk and to a new coordinator), the first
//! message of the follow protocol, and a machine's copy on disk.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::raft::{BytesVisitor, LogId, StoredMembership};
use super::seal::{SealError, seal, unseal};
use super::seat::{At, LogGeneration, Seats};

/// The longest image in bytes that is taken from a peer (256 MiB).
///
/// A roster of 10,000 machines is some 10 MB. The limit keeps a confused peer from filling our memory.
pub const IMAGE_BYTES_MAX: u64 = 256 << 20;

const CONTEXT: &str = "image";

/// A replica's state at one position of the log, with the seats as of that position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub(crate) generation: LogGeneration,
    pub(crate) at: Option<LogId>,
    pub(crate) membership: StoredMembership,
    #[serde(serialize_with = "write_bytes", deserialize_with = "read_bytes")]
    pub(crate) state: Bytes,
}

/// Bytes that are not an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeImageError {
    /// The bytes are damaged, or of a version that we don't know.
    #[error("the image cannot be used: {0}")]
    Damaged(String),
    /// The bytes are whole, but the state in them makes no sense to the state machine.
    #[error(transparent)]
    State(#[from] super::RestoreError),
}

impl From<SealError> for DecodeImageError {
    fn from(error: SealError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl Image {
    /// The log that the image is of.
    pub fn generation(&self) -> LogGeneration {
        self.generation
    }

    /// The last entry that its state contains; `None` before the first.
    pub fn at(&self) -> Option<At> {
        self.at.map(At::from)
    }

    /// Who sits where, as of that entry.
    pub fn seats(&self) -> Seats {
        Seats::from(&self.membership)
    }

    /// Its bytes, versioned and with a checksum.
    pub fn to_bytes(&self) -> Vec<u8> {
        let payload =
            postcard::to_stdvec(self).expect("plain data serializes into memory without errors");
        seal(CONTEXT, &payload)
    }

    /// Reads [`Self::to_bytes`]'s bytes.
    ///
    /// # Errors
    /// When the bytes are damaged or of an unknown version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeImageError> {
        let payload = unseal(CONTEXT, bytes)?;
        let image: Self = postcard::from_bytes(payload)
            .map_err(|error| DecodeImageError::Damaged(error.to_string()))?;
        Ok(image)
    }
}

fn write_bytes<S: serde::Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn read_bytes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserializer.deserialize_byte_buf(BytesVisitor)
}
