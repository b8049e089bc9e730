//! Framing on streams.
//!
//! A request is `kind: u8, length: u32 BE, body`, then the end of the stream. An answer is any number of
//! `tag: u8, length: u32 BE, body`, then the end of the stream; the tag is [`DATA`], or [`FAILED`] with a reason
//! as UTF-8 instead of data.

use bytes::{BufMut as _, Bytes, BytesMut};
use quinn::{ReadError, ReadExactError, RecvStream};

use super::limits::{FRAME_MAX, REASON_MAX};

/// Tag of a frame of an answer.
pub(super) const DATA: u8 = 0;
/// Tag of the last frame of an answer that failed.
pub(super) const FAILED: u8 = 1;

pub(super) const HEADER_LEN: usize = 5;

/// Memory that a frame gets before any of its body has arrived.
const INITIAL_CAPACITY: usize = 16 * 1024;

/// Why no frame could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// It declares more than is accepted here.
    #[error("a frame of {length} bytes, at most {max} are accepted")]
    TooLong {
        /// Declared.
        length: usize,
        /// Accepted.
        max: usize,
    },
    /// The stream ended inside the frame.
    #[error("the stream ended inside a frame")]
    Truncated,
    /// There is something after what should have been the last frame.
    #[error("bytes after the last frame")]
    Trailing,
    /// The stream was given up, or its connection was.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The header of a frame with this first byte (kind or tag) and length.
///
/// The length must have been checked against a limit.
pub(super) fn header(first: u8, length: usize) -> [u8; HEADER_LEN] {
    debug_assert!(length <= FRAME_MAX, "limits are checked before framing");
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [first, length[0], length[1], length[2], length[3]]
}

/// First byte and length of a header.
pub(super) fn parse_header(header: [u8; HEADER_LEN]) -> (u8, usize) {
    let [first, a, b, c, d] = header;
    (first, u32::from_be_bytes([a, b, c, d]) as usize)
}

/// A whole frame in one buffer, so that it leaves in as few packets as possible.
pub(super) fn encode(first: u8, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER_LEN + body.len());
    bytes.put_slice(&header(first, body.len()));
    bytes.put_slice(body);
    bytes.freeze()
}

/// A failure's reason, shortened on a character boundary.
pub(super) fn encode_failure(reason: &str) -> Bytes {
    let mut end = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    encode(FAILED, &reason.as_bytes()[..end])
}

/// A failure's reason as it may be shown: shortened, without control characters.
pub(super) fn decode_failure(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(REASON_MAX)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Reads a header; `None` when the stream ends where one would begin.
pub(super) async fn read_header(
    stream: &mut RecvStream,
) -> Result<Option<(u8, usize)>, FrameError> {
    let mut header = [0; HEADER_LEN];
    match stream.read_exact(&mut header).await {
        Ok(()) => Ok(Some(parse_header(header))),
        Err(ReadExactError::FinishedEarly(0)) => Ok(None),
        Err(ReadExactError::FinishedEarly(_)) => Err(FrameError::Truncated),
        Err(ReadExactError::ReadError(error)) => Err(error.into()),
    }
}

/// Reads a body of a declared length. Memory grows with what has arrived, not with what was declared.
pub(super) async fn read_body(
    stream: &mut RecvStream,
    length: usize,
    max: usize,
) -> Result<Bytes, FrameError> {
    if length > max {
        return Err(FrameError::TooLong { length, max });
    }
    let mut body = BytesMut::new();
    while body.len() < length {
        let Some(chunk) = stream.read_chunk(length - body.len(), true).await? else {
            return Err(FrameError::Truncated);
        };
        if chunk.bytes.len() == length {
            return Ok(chunk.bytes);
        }
        if body.is_empty() {
            body.reserve(length.min(INITIAL_CAPACITY));
        }
        body.extend_from_slice(&chunk.bytes);
    }
    Ok(body.freeze())
}

/// Makes sure that the stream ends here.
pub(super) async fn read_end(stream: &mut RecvStream) -> Result<(), FrameError> {
    match stream.read_chunk(1, true).await? {
        None => Ok(()),
        Some(_) => Err(FrameError::Trailing),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reason_is_cut_between_characters_and_harmless() {
        let long = "ä".repeat(REASON_MAX);
        let frame = encode_failure(&long);
        assert_eq!(frame.len(), HEADER_LEN + REASON_MAX);
        assert!(std::str::from_utf8(&frame[HEADER_LEN..]).is_ok());
        assert_eq!(decode_failure(b"a\x1b[2Jb\n\xff"), "a [2Jb \u{fffd}");
    }

    proptest! {
        #[test]
        fn a_header_round_trips(first: u8, length in 0..=FRAME_MAX) {
            prop_assert_eq!(parse_header(header(first, length)), (first, length));
        }

        #[test]
        fn any_reason_can_be_sent_and_shown(reason in ".*", raw in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(encode_failure(&reason).len() <= HEADER_LEN + REASON_MAX);
            prop_assert!(decode_failure(&raw).chars().all(|c| !c.is_control()));
        }
    }
}
