//! A line of the digest: which editions of a machine's record somebody has, and its vitals.

use bytes::{BufMut, BytesMut};

use super::vitals::Vitals;
use crate::identity::{Generation, MachineId};
use crate::wire::{Reader, WireError, put_varint, scatter};

/// The shortest line: tag, profile version, vitals version.
pub(super) const ENTRY_MIN: usize = 6 + 1 + 1;

/// Stands for one life of one machine in 6 bytes instead of 13.
///
/// Both sides know the life from the membership, so a short name will do. Among 16,384 machines two share one with
/// a probability of 5e-7; the later of the two is then without a record until either starts a new life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tag(u64);

impl Tag {
    const BITS: u32 = 48;

    pub(super) fn new(machine: MachineId, generation: Generation) -> Self {
        Self(scatter(machine.get() ^ scatter(generation.0)) & ((1 << Self::BITS) - 1))
    }

    /// Which of `buckets` (a power of two) it belongs to.
    pub(super) fn bucket(self, buckets: usize) -> usize {
        // Lossless: fewer buckets than there are numbers in 48 bits.
        (self.0 % buckets as u64) as usize
    }

    #[cfg(test)]
    pub(super) fn number(self) -> u64 {
        self.0
    }

    fn put(self, out: &mut BytesMut) {
        out.put_uint(self.0, 6);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let high = u64::from(reader.u16()?);
        let low = u64::from(reader.u32()?);
        Ok(Self(high << 32 | low))
    }
}

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) tag: Tag,
    /// The version of the profile that the sender holds; 0 for none.
    pub(super) profile_version: u64,
    /// The version of `vitals`; 0 for none.
    pub(super) vitals_version: u64,
    pub(super) vitals: Vitals,
}

impl Entry {
    pub(super) fn put(&self, out: &mut BytesMut) {
        self.tag.put(out);
        put_varint(out, self.profile_version);
        put_varint(out, self.vitals_version);
        if self.vitals_version > 0 {
            self.vitals.put(out);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let tag = Tag::read(reader)?;
        let profile_version = reader.varint()?;
        let vitals_version = reader.varint()?;
        let vitals = if vitals_version > 0 {
            Vitals::read(reader)?
        } else {
            Vitals::default()
        };
        Ok(Self {
            tag,
            profile_version,
            vitals_version,
            vitals,
        })
    }

    /// What should be equal everywhere once things are calm. Figures are left out: they change all the time, and a
    /// missed one is soon replaced.
    pub(super) fn hash(&self) -> u64 {
        let vitals = scatter(self.vitals.reasons ^ scatter(self.vitals.level.into()));
        scatter(self.tag.0 ^ scatter(self.profile_version ^ vitals))
    }
}
