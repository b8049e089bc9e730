//! Asking a member for something.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{ReadError, RecvStream, WriteError};
use tokio::time::timeout;

use super::dial::{self, DialError};
use super::frames::{self, FrameError};
use super::limits::FRAME_MAX;
use super::link::{self, StreamGuard};
use super::message::{Lost, StreamKind};
use super::shared::Shared;
use super::tls::Verdict;
use crate::identity::Peer;

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There was no answer in time. Whether the peer acted on the request is not known.
    #[error("no answer in time")]
    Deadline,
    /// The peer could not be connected to. It has not seen the request.
    #[error("cannot connect: {0}")]
    Unreachable(#[from] DialError),
    /// The connection ended meanwhile. Whether the peer acted on the request is not known.
    #[error("the connection was lost ({0})")]
    Lost(Lost),
    /// The connection was closed meanwhile for reasons that have nothing to do with the request; try again.
    #[error("the connection was closed")]
    Closed,
    /// The peer says why it does not answer.
    #[error("refused: {0}")]
    Refused(String),
    /// The peer gave the request up without a reason.
    #[error("the peer gave no answer")]
    NoAnswer,
    /// The answer is not what this version understands.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
    /// The request has more than [`super::FRAME_MAX`] bytes.
    #[error("a request of {0} bytes, at most {FRAME_MAX} can be sent")]
    TooLong(usize),
}

/// An answer of any number of frames.
#[derive(Debug)]
pub struct FrameStream {
    recv: RecvStream,
    ended: bool,
    _guard: Option<StreamGuard>,
}

impl FrameStream {
    /// The next frame; `None` when the answer has ended as it should.
    ///
    /// # Errors
    /// [`RequestError::Deadline`] when there is none in time: the stream can still be asked again unless a part of a
    /// frame was read. After any other error it is over.
    pub async fn next(&mut self, deadline: Duration) -> Result<Option<Bytes>, RequestError> {
        if self.ended {
            return Ok(None);
        }
        let frame = timeout(deadline, next_frame(&mut self.recv))
            .await
            .map_err(|_| RequestError::Deadline)?;
        self.ended = !matches!(frame, Ok(Some(_)));
        frame
    }
}

/// One frame back.
pub(super) async fn request(
    shared: &Arc<Shared>,
    to: Peer,
    kind: StreamKind,
    body: Bytes,
    deadline: Duration,
) -> Result<Bytes, RequestError> {
    timeout(deadline, async {
        let mut stream = open_repeatedly(shared, to, kind, body.clone()).await?;
        match only_frame(&mut stream).await {
            Err(RequestError::Lost(Lost::Reset)) if kind.is_repeatable() => {
                let mut stream = open(shared, to, kind, body).await?;
                only_frame(&mut stream).await
            }
            other => other,
        }
    })
    .await
    .map_err(|_| RequestError::Deadline)?
}

/// Many frames back. The deadline is for the first step, until the request has been sent.
pub(super) async fn stream(
    shared: &Arc<Shared>,
    to: Peer,
    kind: StreamKind,
    body: Bytes,
    deadline: Duration,
) -> Result<FrameStream, RequestError> {
    timeout(deadline, open_repeatedly(shared, to, kind, body))
        .await
        .map_err(|_| RequestError::Deadline)?
}

/// Sends a request; once more on a new connection if the old one turns out to be closed before it was sent.
async fn open_repeatedly(
    shared: &Arc<Shared>,
    to: Peer,
    kind: StreamKind,
    body: Bytes,
) -> Result<FrameStream, RequestError> {
    match open(shared, to, kind, body.clone()).await {
        Err(RequestError::Lost(Lost::Reset) | RequestError::Closed) => {
            open(shared, to, kind, body).await
        }
        other => other,
    }
}

async fn open(
    shared: &Arc<Shared>,
    to: Peer,
    kind: StreamKind,
    body: Bytes,
) -> Result<FrameStream, RequestError> {
    if body.len() > FRAME_MAX {
        return Err(RequestError::TooLong(body.len()));
    }
    let link = dial::link_to(shared, to).await?;
    link.touch(shared.now());
    shared.counters.requests_out.inc();
    let guard = link.busy();
    let recv = ask(&link.quic, kind, body).await?;
    Ok(FrameStream {
        recv,
        ended: false,
        _guard: Some(guard),
    })
}

/// Sends a request on a connection; the answer is then read from the stream.
pub(super) async fn ask(
    quic: &quinn::Connection,
    kind: StreamKind,
    body: Bytes,
) -> Result<RecvStream, RequestError> {
    let (mut send, recv) = quic.open_bi().await.map_err(|error| lost(&error))?;
    let header = frames::header(kind.0, body.len());
    let mut chunks = [Bytes::copy_from_slice(&header), body];
    match send.write_all_chunks(&mut chunks).await {
        Ok(()) => {}
        // The peer answers without having read it all; the answer says why.
        Err(WriteError::Stopped(_)) => return Ok(recv),
        Err(WriteError::ConnectionLost(error)) => return Err(lost(&error)),
        Err(error) => return Err(RequestError::Malformed(error.to_string())),
    }
    let _ = send.finish();
    Ok(recv)
}

/// An answer that is not part of a link: of joining machines and operators.
pub(super) fn unguarded(recv: RecvStream) -> FrameStream {
    FrameStream {
        recv,
        ended: false,
        _guard: None,
    }
}

/// The one frame of an answer.
pub(super) async fn only_frame(stream: &mut FrameStream) -> Result<Bytes, RequestError> {
    let frame = next_frame(&mut stream.recv)
        .await?
        .ok_or(RequestError::NoAnswer)?;
    frames::read_end(&mut stream.recv)
        .await
        .map_err(from_frame)?;
    Ok(frame)
}

async fn next_frame(recv: &mut RecvStream) -> Result<Option<Bytes>, RequestError> {
    let Some((tag, length)) = frames::read_header(recv).await.map_err(from_frame)? else {
        return Ok(None);
    };
    let body = frames::read_body(recv, length, FRAME_MAX)
        .await
        .map_err(from_frame)?;
    match tag {
        frames::DATA => Ok(Some(body)),
        frames::FAILED => Err(RequestError::Refused(frames::decode_failure(&body))),
        other => Err(RequestError::Malformed(format!("unknown tag {other}"))),
    }
}

fn from_frame(error: FrameError) -> RequestError {
    match error {
        FrameError::Read(ReadError::ConnectionLost(error)) => lost(&error),
        FrameError::Read(ReadError::Reset(_)) => RequestError::NoAnswer,
        other => RequestError::Malformed(other.to_string()),
    }
}

fn lost(error: &quinn::ConnectionError) -> RequestError {
    match link::evidence(error) {
        None => RequestError::Closed,
        // Only after its own handshake does the dialling side learn that it is not accepted.
        Some(Lost::Rejected) => dial::explain(error, &Verdict::default()).into(),
        Some(how) => RequestError::Lost(how),
    }
}
