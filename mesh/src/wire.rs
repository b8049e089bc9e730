//! What all datagrams of the mesh have in common: two leading bytes, and how numbers are written.
//!
//! Every datagram starts with a version byte and a kind byte, so that the receiver can tell the membership's from
//! the records' without decoding either, and so that a later version is refused instead of misread. Numbers are
//! LEB128 varints unless a section of `docs/wire.md` says otherwise. Decoding never panics, never reads beyond
//! the input and never allocates in proportion to a number that the sender wrote.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, BytesMut};

use crate::identity::{Generation, MachineId};

/// The version of every datagram and state transfer of this build; others are refused.
pub const WIRE_VERSION: u8 = 1;

/// The largest datagram that membership and records produce, and the largest that they accept, in bytes.
///
/// One constant for the whole mesh, because foca's limit on what it sends is also its limit on what it accepts.
/// A QUIC path carries at least 1162 bytes of datagram from its first packet; what is left is the transport's framing.
pub const DATAGRAM_MAX: usize = 1100;

/// Input that is not what this build writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ends in the middle of a value, or has bytes left over after the last one.
    #[error("the input is too short or too long")]
    Length,
    /// The version byte is not [`WIRE_VERSION`]: the sender runs an incompatible build.
    #[error("wire version {0} is not {WIRE_VERSION}")]
    Version(u8),
    /// A tag, state or number is out of its range.
    #[error("a value is out of its range")]
    Value,
    /// The input claims more items than the limit allows.
    #[error("more items than the limit of {0}")]
    TooMany(usize),
}

/// What a datagram is, from its second byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A SWIM message with its piggybacked updates.
    Swim = 0x01,
    /// A hash of the sender's member table.
    StateHash = 0x02,
    /// "I got your request to probe somebody for you": tells a prober that its own network works.
    Receipt = 0x03,
    /// Entries of the records' digest.
    Entries = 0x11,
    /// A hash of the sender's records.
    RecordsHash = 0x12,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Swim,
            Self::StateHash,
            Self::Receipt,
            Self::Entries,
            Self::RecordsHash,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// The core that a datagram is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// [`crate::membership::Membership::handle_datagram`].
    Membership,
    /// `Records::handle_datagram`.
    Records,
}

/// Which core `datagram` is for; `None` for an unknown version or kind, which the runtime drops and counts.
pub fn recipient(datagram: &[u8]) -> Option<Recipient> {
    match read_kind(&mut Reader::new(datagram)).ok()? {
        Kind::Swim | Kind::StateHash | Kind::Receipt => Some(Recipient::Membership),
        Kind::Entries | Kind::RecordsHash => Some(Recipient::Records),
    }
}

/// Reads the two leading bytes.
pub(crate) fn read_kind(reader: &mut Reader<'_>) -> Result<Kind, WireError> {
    match reader.u8()? {
        WIRE_VERSION => Kind::from_byte(reader.u8()?).ok_or(WireError::Value),
        other => Err(WireError::Version(other)),
    }
}

/// Writes the two leading bytes.
pub(crate) fn put_kind(out: &mut BytesMut, kind: Kind) {
    out.put_u8(WIRE_VERSION);
    out.put_u8(kind as u8);
}

/// Writes `value` in groups of seven bits, lowest first; 1 byte below 128, at most 10.
pub(crate) fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes a machine ID: 8 bytes, big-endian. IDs are random, so a varint would be longer.
pub(crate) fn put_machine(out: &mut impl BufMut, machine: MachineId) {
    out.put_u64(machine.get());
}

/// Writes an address: family (4 or 6), the bytes of the IP address, the port. Scope and flow of IPv6 are not sent.
pub(crate) fn put_addr(out: &mut impl BufMut, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(6);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u16(addr.port());
}

/// A cursor over untrusted bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// What has not been read yet.
    pub(crate) fn left(&self) -> &'a [u8] {
        self.left
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.left.split_at_checked(count).ok_or(WireError::Length)?;
        self.left = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, tail) = self.left.split_first_chunk().ok_or(WireError::Length)?;
        self.left = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds the 64th bit only.
            if shift == 63 && bits > 1 {
                return Err(WireError::Value);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Value)
    }

    /// A varint that counts items of at least `item_min` bytes, refused above `limit` or what the input can hold.
    pub(crate) fn count(&mut self, limit: usize, item_min: usize) -> Result<usize, WireError> {
        let count = usize::try_from(self.varint()?).map_err(|_| WireError::TooMany(limit))?;
        if count > limit {
            return Err(WireError::TooMany(limit));
        }
        if count.saturating_mul(item_min) > self.left.len() {
            return Err(WireError::Length);
        }
        Ok(count)
    }

    pub(crate) fn machine(&mut self) -> Result<MachineId, WireError> {
        MachineId::new(self.u64()?).ok_or(WireError::Value)
    }

    pub(crate) fn generation(&mut self) -> Result<Generation, WireError> {
        self.varint().map(Generation)
    }

    pub(crate) fn addr(&mut self) -> Result<SocketAddr, WireError> {
        let ip = match self.u8()? {
            4 => IpAddr::from(self.array::<4>()?),
            6 => IpAddr::from(self.array::<16>()?),
            _ => return Err(WireError::Value),
        };
        Ok(SocketAddr::new(ip, self.u16()?))
    }

    /// Fails unless everything has been read.
    pub(crate) fn finish(self) -> Result<(), WireError> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(WireError::Length)
        }
    }
}

/// Scatters the bits of a number evenly (the finaliser of SplitMix64): for hashes of tables and for the ring order.
///
/// Not a cryptographic hash: members of the mesh are trusted not to forge collisions, which would only delay a repair.
pub(crate) const fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            prop_assert!(out.len() <= 10);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn rubbish_never_panics(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.varint().is_ok() {}
            let _ = Reader::new(&bytes).addr();
            let _ = Reader::new(&bytes).count(10, 3);
            let _ = recipient(&bytes);
        }
    }

    #[test]
    fn an_eleventh_byte_or_a_65th_bit_is_refused() {
        assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(WireError::Value));
        let mut bits = [0xff; 10];
        bits[9] = 0x02;
        assert_eq!(Reader::new(&bits).varint(), Err(WireError::Value));
    }

    #[test]
    fn a_count_never_promises_more_than_the_input_holds() {
        assert_eq!(
            Reader::new(&[200, 1]).count(100, 1),
            Err(WireError::TooMany(100))
        );
        assert_eq!(
            Reader::new(&[5, 0, 0]).count(100, 1),
            Err(WireError::Length)
        );
        assert_eq!(Reader::new(&[2, 0, 0]).count(100, 1), Ok(2));
    }
}
