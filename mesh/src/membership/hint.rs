//! The small passenger on every membership datagram.

use bytes::{BufMut, BytesMut};

use crate::wire::{Reader, WireError, put_varint};

/// How far somebody's copy of the fleet's log is, carried by every membership datagram.
///
/// Ordered by its fields, so that the greater of two is the fresher. The membership neither interprets nor forwards
/// it: it sends what [`set_hint`](super::Membership::set_hint) was given and reports what is greater than that.
/// A runtime that wants a hint to spread sets the greatest it has seen and believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hint {
    /// The log's generation.
    pub generation: u64,
    /// The leader's term.
    pub term: u64,
    /// The index of the last entry known to be committed.
    pub index: u64,
    /// The leader's wall clock when it last confirmed its authority, in milliseconds since 1970.
    pub leader_ms: u64,
}

impl Hint {
    /// One byte for "none", else a 1 and four varints: 41 bytes at most, about 13 in practice.
    pub(super) const ENCODED_MAX: usize = 1 + 4 * 10;

    pub(super) fn put(hint: Option<Self>, out: &mut BytesMut) {
        let Some(Self {
            generation,
            term,
            index,
            leader_ms,
        }) = hint
        else {
            return out.put_u8(0);
        };
        out.put_u8(1);
        for number in [generation, term, index, leader_ms] {
            put_varint(out, number);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        match reader.u8()? {
            0 => Ok(None),
            1 => Ok(Some(Self {
                generation: reader.varint()?,
                term: reader.varint()?,
                index: reader.varint()?,
                leader_ms: reader.varint()?,
            })),
            _ => Err(WireError::Value),
        }
    }
}
