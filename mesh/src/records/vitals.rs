//! What often changes about a machine: how it is doing, in a dozen bytes.

use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Serialize};

use super::heat::News;
use crate::wire::{Reader, WireError, put_varint};

/// How many figures a machine reports at most.
pub const FIGURES: usize = 8;

/// A machine's condition. The mesh carries it; what reasons and figures mean is the agent's business.
///
/// Unsigned: it travels in datagrams, and a member of the mesh is trusted not to lie about another's temperature.
/// Nothing is ever destroyed because of it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Vitals {
    /// How bad it is: 0 for well; larger is worse.
    pub level: u8,
    /// Why, as a set of bits. Low bits make short messages.
    pub reasons: u64,
    /// Figures, quantised by the agent so that they rarely change; `None` for one that could not be had. Numbers from
    /// -64 to 63 take one byte, up to 8191 two.
    pub figures: [Option<i32>; FIGURES],
}

impl Vitals {
    /// What is new in these after `before`, the last ones known of the same life.
    pub(super) fn news_since(&self, before: Option<Self>) -> News {
        let judgement = |vitals: &Self| (vitals.level, vitals.reasons);
        if before.as_ref().map(judgement) == Some(judgement(self)) {
            News::Figures
        } else {
            News::Word
        }
    }

    /// Level, reasons, which figures there are, and those: 4 bytes and one or two for each figure; 51 at most.
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u8(self.level);
        put_varint(out, self.reasons);
        let present = self
            .figures
            .iter()
            .enumerate()
            .filter(|(_, figure)| figure.is_some())
            .fold(0_u8, |mask, (index, _)| mask | 1 << index);
        out.put_u8(present);
        for figure in self.figures.iter().flatten() {
            // Zigzag: small numbers of either sign are short.
            put_varint(out, u64::from(((figure << 1) ^ (figure >> 31)) as u32));
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let level = reader.u8()?;
        let reasons = reader.varint()?;
        let present = reader.u8()?;
        let mut figures = [None; FIGURES];
        for (index, figure) in figures.iter_mut().enumerate() {
            if present & 1 << index != 0 {
                let zigzag = u32::try_from(reader.varint()?).map_err(|_| WireError::Value)?;
                *figure = Some((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32));
            }
        }
        Ok(Self {
            level,
            reasons,
            figures,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn vitals_round_trip(level: u8, reasons: u64, figures: [Option<i32>; FIGURES]) {
            let vitals = Vitals { level, reasons, figures };
            let mut out = BytesMut::new();
            vitals.put(&mut out);
            prop_assert!(out.len() <= 52);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(Vitals::read(&mut reader), Ok(vitals));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn a_healthy_machine_takes_a_dozen_bytes() {
        let figures = [
            Some(10),
            Some(40),
            Some(35),
            Some(25),
            Some(0),
            Some(0),
            Some(0),
            Some(5),
        ];
        let mut out = BytesMut::new();
        Vitals {
            level: 0,
            reasons: 0,
            figures,
        }
        .put(&mut out);
        assert_eq!(out.len(), 11);
    }
}
