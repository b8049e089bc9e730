//! Who may write a record: injected, so that the core needs no keys and no clock.

use crate::identity::MachineId;

/// The longest signed record: a profile of 4 KiB, a leaf certificate and a signature.
pub const SIGNED_BYTES_MAX: usize = 8 * 1024;

/// Signs this machine's record with its leaf key.
pub trait RecordSigner: Send {
    /// Wraps `payload` into something that [`RecordVerifier`] accepts: payload, leaf certificate and signature, at
    /// most [`SIGNED_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// A text for people, when the key cannot be used.
    fn sign(&self, payload: Vec<u8>) -> Result<Vec<u8>, String>;
}

/// Checks others' records.
pub trait RecordVerifier: Send {
    /// Who signed, and what; `None` if the signature, the certificate or its time is not good, or if it is revoked.
    fn verify(&self, signed: &[u8]) -> Option<(MachineId, Vec<u8>)>;
}
