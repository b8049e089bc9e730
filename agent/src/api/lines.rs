//! Lines of JSON on a byte stream, with a limit.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Why no further line can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    /// A line is longer than the reader's limit. What follows has no known beginning, so the stream is over.
    #[error("a line is longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// The stream ended inside a line.
    #[error("the connection ended in the middle of a line")]
    Truncated,
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Splits a byte stream into lines. Cancelling [`next`](Self::next) loses nothing.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    source: R,
    buffer: BytesMut,
    /// So many bytes at the front of `buffer` are known to hold no newline.
    searched: usize,
    max: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines of at most `max` bytes, without their newline.
    pub(super) fn new(source: R, max: usize) -> Self {
        Self {
            source,
            buffer: BytesMut::new(),
            searched: 0,
            max,
        }
    }

    /// The next line that isn't blank; `None` when the stream ended after a whole line.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            if let Some(line) = self.take_line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return if line.len() > self.max {
                    Err(LineError::TooLong { max: self.max })
                } else {
                    Ok(Some(line))
                };
            }
            if self.buffer.len() > self.max {
                return Err(LineError::TooLong { max: self.max });
            }
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                let rest = self.buffer.iter().all(u8::is_ascii_whitespace);
                return if rest {
                    Ok(None)
                } else {
                    Err(LineError::Truncated)
                };
            }
        }
    }

    /// Waits until the other side sends anything more, or hangs up.
    pub(super) async fn disturbed(&mut self) {
        if self.buffer.is_empty() {
            // Whatever comes, an end, bytes or an error, the wait is over.
            let _ = self.source.read_buf(&mut self.buffer).await;
        }
    }

    /// Whether the beginning of a line has come.
    pub(super) fn is_inside_line(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let newline = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n');
        match newline {
            None => {
                self.searched = self.buffer.len();
                None
            }
            Some(offset) => {
                let mut line = self.buffer.split_to(self.searched + offset + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                Some(line.freeze())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn splits_lines_and_skips_blank_ones() {
        let mut lines = LineReader::new(&b"one\n\n \r\ntwo\n"[..], 10);
        assert_eq!(
            lines.next().await.expect("a line").as_deref(),
            Some(&b"one"[..])
        );
        assert_eq!(
            lines.next().await.expect("a line").as_deref(),
            Some(&b"two"[..])
        );
        assert!(lines.next().await.expect("an end").is_none());
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused_before_it_fills_memory() {
        let endless = tokio::io::repeat(b'x');
        let mut lines = LineReader::new(endless, 1000);
        assert!(matches!(
            lines.next().await,
            Err(LineError::TooLong { max: 1000 })
        ));
        assert!(
            lines.buffer.capacity() < 100_000,
            "{}",
            lines.buffer.capacity()
        );
    }

    #[tokio::test]
    async fn half_a_line_is_not_a_line() {
        let mut lines = LineReader::new(&b"{\"op\":"[..], 10);
        assert!(matches!(lines.next().await, Err(LineError::Truncated)));
    }
}
