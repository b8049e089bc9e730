//! A version and a checksum around everything we store, so that damage is told from data.
//!
//! `version: u8 · checksum: 16 bytes of SHA-256(context, length, payload) · payload`. The context (which table and
//! key, which kind of file) is part of the checksum and not stored: a sound value in a wrong place is damage too.

use sha2::{Digest, Sha256};

/// The only version so far.
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 16;
/// How much longer a sealed value is than its payload.
pub(crate) const OVERHEAD_BYTES: usize = 1 + CHECKSUM_BYTES;

/// Why sealed bytes were not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    #[error("it is cut short")]
    Short,
    #[error(
        "it has format version {0}, and this version of the agent knows {VERSION}; it was written by a newer one"
    )]
    Version(u8),
    #[error("its checksum is wrong")]
    Checksum,
}

/// Puts `payload` under a seal for `context`.
pub(crate) fn seal(context: &str, payload: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(OVERHEAD_BYTES + payload.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&checksum(context, payload));
    sealed.extend_from_slice(payload);
    sealed
}

/// The payload, when the seal is whole and was made for `context`.
pub(crate) fn unseal<'a>(context: &str, sealed: &'a [u8]) -> Result<&'a [u8], SealError> {
    let (version, rest) = sealed.split_first().ok_or(SealError::Short)?;
    if *version != VERSION {
        return Err(SealError::Version(*version));
    }
    let (stored, payload) = rest
        .split_at_checked(CHECKSUM_BYTES)
        .ok_or(SealError::Short)?;
    if stored != checksum(context, payload) {
        return Err(SealError::Checksum);
    }
    Ok(payload)
}

fn checksum(context: &str, payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Sha256::new();
    hash.update((context.len() as u64).to_le_bytes());
    hash.update(context);
    hash.update((payload.len() as u64).to_le_bytes());
    hash.update(payload);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hash.finalize()[..CHECKSUM_BYTES]);
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let sealed = seal("log/7", b"payload");
        assert_eq!(unseal("log/7", &sealed), Ok(&b"payload"[..]));
        assert_eq!(unseal("log/8", &sealed), Err(SealError::Checksum));
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal("log/7", &damaged).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(
                unseal("log/7", &sealed[..length]).is_err(),
                "cut at {length}"
            );
        }
    }
}
