//! One machine's frames, each written as its difference from the one before.

use std::time::Duration;

use muster_mesh::identity::Generation;
use muster_mesh::records::{FIGURES, Vitals};

use super::Frame;

/// Bytes that a piece grows by, so that a short track stays small.
const GROWTH: usize = 32;

const LEVEL: u16 = 1 << FIGURES;
const REASONS: u16 = 2 << FIGURES;
const GENERATION: u16 = 4 << FIGURES;

/// What a piece's first frame is the difference from.
const NOTHING: Frame = Frame {
    at: Duration::ZERO,
    generation: Generation(0),
    version: 0,
    vitals: Vitals {
        level: 0,
        reasons: 0,
        figures: [None; FIGURES],
    },
};

/// One machine's frames, oldest first, in two pieces that can each be read alone.
#[derive(Debug, Default)]
pub(super) struct Track {
    older: Vec<u8>,
    newer: Vec<u8>,
    /// When the machine went; `None` while it is there.
    pub(super) ended: Option<Duration>,
}

impl Track {
    /// Appends a frame. Where the newer piece would grow beyond `piece_max`, it takes the older one's place.
    pub(super) fn push(&mut self, frame: &Frame, piece_max: usize) {
        let frame = Frame {
            at: Duration::from_millis(tenths(frame.at) * 100),
            ..*frame
        };
        let last = read(&self.newer).last().copied().unwrap_or(NOTHING);
        let mut bytes = difference(&last, &frame);
        if self.newer.len() + bytes.len() > piece_max {
            self.newer.shrink_to_fit();
            self.older = std::mem::take(&mut self.newer);
            bytes = difference(&NOTHING, &frame);
        }
        let room = self.newer.capacity() - self.newer.len();
        if bytes.len() > room {
            self.newer.reserve_exact(bytes.len().max(GROWTH));
        }
        self.newer.extend_from_slice(&bytes);
    }

    /// All frames, oldest first.
    pub(super) fn frames(&self) -> Vec<Frame> {
        let mut frames = read(&self.older);
        frames.extend(read(&self.newer));
        frames
    }

    /// What the pieces take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.older.capacity() + self.newer.capacity()
    }
}

fn tenths(at: Duration) -> u64 {
    u64::try_from(at.as_millis() / 100).unwrap_or(u64::MAX / 100)
}

/// What changed from one frame to the next: which parts, the time that passed, the version, and those parts.
fn difference(last: &Frame, frame: &Frame) -> Vec<u8> {
    let (old, new) = (&last.vitals, &frame.vitals);
    let pairs = || old.figures.iter().zip(&new.figures);
    let figures = pairs()
        .enumerate()
        .filter(|(_, (old, new))| old != new)
        .fold(0, |mask, (index, _)| mask | 1_u16 << index);
    let flag = |changed: bool, flag: u16| if changed { flag } else { 0 };
    let mask = figures
        | flag(old.level != new.level, LEVEL)
        | flag(old.reasons != new.reasons, REASONS)
        | flag(last.generation != frame.generation, GENERATION);
    let mut out = Vec::with_capacity(GROWTH);
    put(&mut out, u64::from(mask));
    put(&mut out, tenths(frame.at).wrapping_sub(tenths(last.at)));
    put(&mut out, frame.version.wrapping_sub(last.version));
    if mask & GENERATION != 0 {
        put(&mut out, frame.generation.0);
    }
    if mask & LEVEL != 0 {
        put(&mut out, new.level.into());
    }
    if mask & REASONS != 0 {
        put(&mut out, new.reasons);
    }
    for (old, new) in pairs().filter(|(old, new)| old != new) {
        put(&mut out, step(*old, *new));
    }
    out
}

/// A figure as 0 where it is gone, else as 1 more than the zigzag of its difference: small steps take one byte.
fn step(old: Option<i32>, new: Option<i32>) -> u64 {
    new.map_or(0, |new| {
        let step = i64::from(new) - i64::from(old.unwrap_or(0));
        ((step << 1) ^ (step >> 63)) as u64 + 1
    })
}

/// All frames of a piece. What does not decode ends it: only this file writes pieces, so there is no such thing.
fn read(piece: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut rest = piece;
    let mut last = NOTHING;
    while let Some(frame) = next(&mut rest, &last) {
        frames.push(frame);
        last = frame;
    }
    frames
}

fn next(rest: &mut &[u8], last: &Frame) -> Option<Frame> {
    let mask = u16::try_from(take(rest)?).ok()?;
    let at = tenths(last.at).wrapping_add(take(rest)?);
    let mut frame = Frame {
        at: Duration::from_millis(at.checked_mul(100)?),
        version: last.version.wrapping_add(take(rest)?),
        ..*last
    };
    if mask & GENERATION != 0 {
        frame.generation = Generation(take(rest)?);
    }
    if mask & LEVEL != 0 {
        frame.vitals.level = u8::try_from(take(rest)?).ok()?;
    }
    if mask & REASONS != 0 {
        frame.vitals.reasons = take(rest)?;
    }
    let figures = frame.vitals.figures.iter_mut().enumerate();
    for (_, figure) in figures.filter(|(index, _)| mask & 1 << index != 0) {
        *figure = match take(rest)? {
            0 => None,
            number => {
                let zigzag = number - 1;
                let step = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                let old = i64::from(figure.unwrap_or(0));
                Some(i32::try_from(old.checked_add(step)?).ok()?)
            }
        };
    }
    Some(frame)
}

/// A number in seven bits a byte, low ones first.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
