//! The whole state as bytes, and commands as bytes: what the coordinators' log deals in.

use muster_mesh::consensus::{RestoreError, StateMachine};

use super::state::FleetState;
use super::wire::{self, DecodeError};

/// The version of a snapshot; its first byte.
pub const SNAPSHOT_VERSION: u8 = 1;

impl FleetState {
    /// The whole state: a version byte, then postcard. The same state gives the same bytes.
    pub fn to_snapshot(&self) -> Vec<u8> {
        wire::encode(SNAPSHOT_VERSION, self)
    }

    /// Reads [`Self::to_snapshot`]'s bytes.
    ///
    /// # Errors
    /// When the bytes are damaged or of another version.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, DecodeError> {
        wire::decode(SNAPSHOT_VERSION, "snapshot", bytes)
    }
}

impl StateMachine for FleetState {
    fn apply(&mut self, _index: u64, command: &[u8]) -> Vec<u8> {
        self.apply_bytes(command).encode()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.to_snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        *self = Self::from_snapshot(snapshot).map_err(|error| RestoreError(error.to_string()))?;
        Ok(())
    }
}
