//! Bytes with a version.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// Written by another version of the agent.
    #[error("the {what} has format version {found}, and this agent knows version {known}")]
    Version {
        /// What was read.
        what: &'static str,
        /// Its version.
        found: u8,
        /// Ours.
        known: u8,
    },
    /// Damaged, or too new.
    #[error("the {what} cannot be read: {error}")]
    Damaged {
        /// What was read.
        what: &'static str,
        /// What the decoder says.
        error: String,
    },
}

pub(super) fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![version])
        .expect("plain data serializes into memory without errors")
}

pub(super) fn decode<T: DeserializeOwned>(
    known: u8,
    what: &'static str,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    let (found, rest) = bytes.split_first().ok_or(DecodeError::Empty(what))?;
    if *found != known {
        return Err(DecodeError::Version {
            what,
            found: *found,
            known,
        });
    }
    let damaged = |error: String| DecodeError::Damaged { what, error };
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Ok(value),
        Ok((_, more)) => Err(damaged(format!("{} bytes too many", more.len()))),
        Err(error) => Err(damaged(error.to_string())),
    }
}
