//! Answering a request.

use std::fmt;

use bytes::Bytes;
use quinn::SendStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::frames;
use super::limits::{FRAME_MAX, FRAME_WRITE_DEADLINE};
use super::link::StreamGuard;

/// Tells the peer that its request was dropped without an answer.
const DROPPED: u32 = 1;

/// Frames up to this size are copied together with their header, to leave in one packet.
const COALESCE_MAX: usize = 4096;

/// What a request keeps reserved until it has been answered.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) _permits: Vec<OwnedSemaphorePermit>,
    pub(super) _guard: Option<StreamGuard>,
}

/// Where the answer to one request goes: any number of frames, then [`finish`](Self::finish); or
/// [`fail`](Self::fail) at any point. Dropped before either, it tells the peer that the answer broke off.
pub struct Responder {
    send: SendStream,
    open: bool,
    _held: Held,
}

/// Why a frame could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RespondError {
    /// The peer gave the request up, or its connection is gone.
    #[error("the peer does not wait for the answer any more")]
    Gone,
    /// The peer does not read.
    #[error("the peer did not take a frame in time")]
    Deadline,
    /// More than [`super::FRAME_MAX`] bytes.
    #[error("a frame of {0} bytes, at most {FRAME_MAX} can be sent")]
    TooLong(usize),
}

impl Responder {
    pub(super) fn new(send: SendStream, held: Held) -> Self {
        Self {
            send,
            open: true,
            _held: held,
        }
    }

    /// Sends one frame; waits while the peer is slow to read.
    ///
    /// # Errors
    /// When it cannot be sent; the responder is then of no further use, except after
    /// [`RespondError::TooLong`], which may still be turned into [`Self::fail`].
    pub async fn send(&mut self, frame: Bytes) -> Result<(), RespondError> {
        if frame.len() > FRAME_MAX {
            return Err(RespondError::TooLong(frame.len()));
        }
        if frame.len() <= COALESCE_MAX {
            return self.write(frames::encode(frames::DATA, &frame)).await;
        }
        let header = frames::header(frames::DATA, frame.len());
        self.write(Bytes::copy_from_slice(&header)).await?;
        self.write(frame).await
    }

    /// Sends one frame and finishes: the whole of most answers.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn reply(mut self, frame: Bytes) -> Result<(), RespondError> {
        self.send(frame).await?;
        self.finish();
        Ok(())
    }

    /// Ends the answer.
    pub fn finish(mut self) {
        self.open = false;
        // Fails only when the peer has given the request up.
        let _ = self.send.finish();
    }

    /// Ends the answer with a reason why there is no (further) one; shortened to 512 bytes.
    pub async fn fail(mut self, reason: &str) {
        if self.write(frames::encode_failure(reason)).await.is_ok() {
            self.finish();
        }
    }

    /// Waits until the peer gives the request up or its connection ends: what a long answer should watch.
    pub async fn gone(&mut self) {
        let _ = self.send.stopped().await;
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), RespondError> {
        match timeout(FRAME_WRITE_DEADLINE, self.send.write_chunk(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(RespondError::Gone),
            Err(_) => Err(RespondError::Deadline),
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.open {
            let _ = self.send.reset(DROPPED.into());
        }
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("stream", &self.send.id())
            .finish_non_exhaustive()
    }
}
