//! Asking a machine from elsewhere: over the mesh, with an operator's certificate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use muster_mesh::clock::unix_ms;
use muster_mesh::pki::OperatorCredentials;
use muster_mesh::transport::{DialError, FrameStream, OperatorClient, RequestError, StreamKind};
use tokio::sync::{OnceCell, mpsc};

use super::failure::Failure;
use crate::api::client::{ANSWER_BYTES_MAX, Carrier, Client, LineSource};
use crate::api::types::{ApiError, ErrorKind};

/// The file's name in a directory that is named in its place.
pub(super) const IDENTITY_NAME: &str = "operator.pem";

/// How long connecting may take. The client's own time-out is mostly longer, and says less.
const CONNECT: Duration = Duration::from_secs(10);

/// How long the next piece of an answer is waited for at a time; the client bounds the whole.
const PIECE: Duration = Duration::from_secs(3600);

/// A client of the machine at `address`.
///
/// # Errors
/// When the operator's identity can't be read.
pub(super) fn client(address: SocketAddr, identity: Option<&Path>) -> Result<Client, Failure> {
    let path = identity_path(identity)?;
    let credentials = OperatorCredentials::load(&path, unix_ms()).map_err(|error| {
        Failure::usage(
            format!("there is no usable identity: {error}"),
            "asking a machine by its address takes an operator's certificate: have one made with `muster operator create`, and name its file with --identity",
        )
    })?;
    Ok(Client::new(Box::new(MeshCarrier {
        address,
        credentials,
        connection: OnceCell::new(),
    })))
}

fn identity_path(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return Ok(if path.is_dir() {
            path.join(IDENTITY_NAME)
        } else {
            path.to_owned()
        });
    }
    let home = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let config = home("XDG_CONFIG_HOME").or_else(|| Some(home("HOME")?.join(".config")));
    match config {
        Some(config) => Ok(config.join("muster").join(IDENTITY_NAME)),
        None => Err(Failure::usage(
            "asking a machine by its address takes an operator's certificate, and there is no home directory to look for one",
            "name its file with --identity",
        )),
    }
}

/// Frames that were read ahead; each is at most a few hundred kilobytes.
const FRAMES_QUEUED_MAX: usize = 4;

/// Requests over one connection, which is made when it is first needed.
struct MeshCarrier {
    address: SocketAddr,
    credentials: OperatorCredentials,
    connection: OnceCell<OperatorClient>,
}

#[async_trait]
impl Carrier for MeshCarrier {
    async fn send(&self, request: Bytes) -> Result<Box<dyn LineSource>, ApiError> {
        let connect = || OperatorClient::connect(self.address, &self.credentials, CONNECT);
        let connection = self
            .connection
            .get_or_try_init(connect)
            .await
            .map_err(|error| unreachable_node(self.address, &error))?;
        let frames = connection
            .stream(StreamKind::API, request, CONNECT)
            .await
            .map_err(|error| refused(self.address, error))?;
        let (tx, rx) = mpsc::channel(FRAMES_QUEUED_MAX);
        tokio::spawn(read_frames(self.address, frames, tx));
        Ok(Box::new(MeshLines {
            frames: rx,
            buffer: BytesMut::new(),
            searched: 0,
        }))
    }
}

/// The lines of an answer, which comes in frames that are cut anywhere.
struct MeshLines {
    frames: mpsc::Receiver<Result<Bytes, ApiError>>,
    buffer: BytesMut,
    /// So many bytes at the front of `buffer` are known to hold no newline.
    searched: usize,
}

/// Reads frames on a task of its own: whoever waits for a line may give up at any moment, and half a frame that was
/// read by then must not be lost. Ends when nobody waits any more.
async fn read_frames(
    address: SocketAddr,
    mut frames: FrameStream,
    to: mpsc::Sender<Result<Bytes, ApiError>>,
) {
    loop {
        let next = tokio::select! {
            () = to.closed() => return,
            next = frames.next(PIECE) => next,
        };
        let next = match next {
            Ok(None) => return,
            // Nothing happened for long; what is followed may go on all the same.
            Err(RequestError::Deadline) => continue,
            Ok(Some(frame)) => Ok(frame),
            Err(error) => Err(refused(address, error)),
        };
        let over = next.is_err();
        if to.send(next).await.is_err() || over {
            return;
        }
    }
}

#[async_trait]
impl LineSource for MeshLines {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                let what = "the answer is too large to be true";
                return Err(ApiError::new(ErrorKind::TooLarge, what));
            }
            match self.frames.recv().await {
                Some(frame) => self.buffer.extend_from_slice(&frame?),
                None if self.buffer.is_empty() => return Ok(None),
                // An answer without a last newline is whole all the same: the stream ended as it should.
                None => {
                    self.searched = 0;
                    return Ok(Some(self.buffer.split().freeze()));
                }
            }
        }
    }
}

impl MeshLines {
    fn take_line(&mut self) -> Option<Bytes> {
        let Some(offset) = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
        else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + offset).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Some(line)
    }
}

fn unreachable_node(address: SocketAddr, error: &DialError) -> ApiError {
    let remedy = match error {
        DialError::Peer(_) | DialError::NotAccepted(_) => {
            "is the certificate of this cluster's, and neither expired nor revoked? `muster operator list` tells"
        }
        _ => "is the address that of a running agent? `muster members` lists them",
    };
    ApiError::new(
        ErrorKind::Unreachable,
        format!("can't reach the agent at {address}: {error}"),
    )
    .remedy(remedy)
}

fn refused(address: SocketAddr, error: RequestError) -> ApiError {
    match error {
        RequestError::Refused(why) => ApiError::new(
            ErrorKind::Forbidden,
            format!("the agent at {address} declines: {why}"),
        ),
        RequestError::Unreachable(error) => unreachable_node(address, &error),
        other => ApiError::new(
            ErrorKind::Unreachable,
            format!("asking the agent at {address}: {other}"),
        )
        .remedy("try again, or ask another machine"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(frames: &[&'static [u8]]) -> Vec<Bytes> {
        let (tx, rx) = mpsc::channel(frames.len() + 1);
        for frame in frames {
            tx.send(Ok(Bytes::from_static(frame)))
                .await
                .expect("there is room");
        }
        drop(tx);
        let mut source = MeshLines {
            frames: rx,
            buffer: BytesMut::new(),
            searched: 0,
        };
        let mut lines = Vec::new();
        while let Some(line) = source.next().await.expect("no errors") {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn frames_may_be_cut_anywhere() {
        let whole = lines(&[b"one\ntwo\nthree\n"]).await;
        assert_eq!(whole, ["one", "two", "three"]);
        assert_eq!(
            lines(&[b"on", b"e\nt", b"wo", b"\n", b"three\n"]).await,
            whole
        );
        assert_eq!(
            lines(&[b"one\ntwo\nthree"]).await,
            whole,
            "the last newline may be missing"
        );
    }

    #[tokio::test]
    async fn an_endless_line_is_refused() {
        let (tx, rx) = mpsc::channel(1);
        tokio::spawn(async move {
            let frame = Bytes::from(vec![b'x'; 1 << 20]);
            while tx.send(Ok(frame.clone())).await.is_ok() {}
        });
        let mut source = MeshLines {
            frames: rx,
            buffer: BytesMut::new(),
            searched: 0,
        };
        let error = source.next().await.expect_err("too large");
        assert_eq!(error.kind, ErrorKind::TooLarge);
    }
}
