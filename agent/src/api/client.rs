//! Asks a machine: over its Unix socket, or from elsewhere over the mesh.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout_at};

use super::lines::{LineError, LineReader};
use super::server::REQUEST_BYTES_MAX;
use super::socket;
use super::types::{ApiError, ErrorKind, EventRow, EventsRequest, Reply, Request, Response};

/// No answer is larger: ten thousand machines take some six megabytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How long a client waits for an answer unless told otherwise. Reads take milliseconds; a write waits for the
/// coordinators to agree, which may include electing a leader.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// The agent that listens at this socket.
    Socket(PathBuf),
    /// The agent at this address, over the mesh.
    Address(SocketAddr),
}

/// Carries requests to one node and their answers back.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Sends a request, one line of JSON, and returns where its answer comes from.
    async fn send(&self, request: Bytes) -> Result<Box<dyn LineSource>, ApiError>;
}

/// Where the lines of one answer come from.
#[async_trait]
pub trait LineSource: Send {
    /// The next line without its newline; `None` at the end. Must be safe to cancel and to call again.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError>;
}

/// Asks one node.
pub struct Client {
    carrier: Box<dyn Carrier>,
    timeout: Duration,
}

/// Events as they happen.
pub struct Events {
    lines: Box<dyn LineSource>,
}

// === impl Node ===

impl Node {
    /// Reads what `--node` takes: `ip:port` is an address, everything else the path of a socket, or of a directory
    /// that holds one called `api.sock`.
    pub fn parse(text: &str) -> Self {
        match text.parse() {
            Ok(address) => Self::Address(address),
            Err(_) => Self::Socket(PathBuf::from(text)),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

// === impl Client ===

impl Client {
    /// A client of whatever `carrier` reaches.
    pub fn new(carrier: Box<dyn Carrier>) -> Self {
        Self {
            carrier,
            timeout: TIMEOUT_DEFAULT,
        }
    }

    /// A client of the agent that listens at `path`. Connects at each request.
    pub fn socket(path: impl Into<PathBuf>) -> Self {
        Self::new(Box::new(SocketCarrier { path: path.into() }))
    }

    /// Waits so long for each answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks for anything but a stream.
    ///
    /// # Errors
    /// The node's own, or `unreachable`, `timeout` and `too_large` where it couldn't be asked.
    pub async fn call(&self, request: &Request) -> Result<Response, ApiError> {
        let deadline = Instant::now() + self.timeout;
        let exchange = async {
            let mut lines = self.carrier.send(encode(request)?).await?;
            next_reply(&mut *lines).await?.ok_or_else(ended_early)
        };
        timeout_at(deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(self.late(request)))
    }

    /// Asks for events, and for those that are yet to happen.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn follow(&self, request: EventsRequest) -> Result<Events, ApiError> {
        let request = Request::Events(EventsRequest {
            follow: true,
            ..request
        });
        let deadline = Instant::now() + self.timeout;
        let lines = timeout_at(deadline, self.carrier.send(encode(&request)?))
            .await
            .unwrap_or_else(|_| Err(self.late(&request)))?;
        Ok(Events { lines })
    }

    fn late(&self, request: &Request) -> ApiError {
        let error = ApiError::new(
            ErrorKind::Timeout,
            format!(
                "no answer within {}",
                humantime::format_duration(self.timeout)
            ),
        );
        if request.is_write() {
            error.remedy(
                "the change may still take effect: look with `muster status` before you repeat it",
            )
        } else {
            error.remedy("ask another machine with --node, or wait longer with --timeout")
        }
    }
}

impl Events {
    /// The next event; `None` when the node ended the stream. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<EventRow>, ApiError> {
        match next_reply(&mut *self.lines).await? {
            None => Ok(None),
            Some(Response::Event(event)) => Ok(Some(event)),
            Some(_) => Err(ApiError::internal(
                "the node answered with something that is no event",
            )),
        }
    }
}

fn encode(request: &Request) -> Result<Bytes, ApiError> {
    let mut line = serde_json::to_vec(request)
        .map_err(|error| ApiError::internal(format!("the request can't be written: {error}")))?;
    if line.len() > REQUEST_BYTES_MAX {
        return Err(ApiError::new(
            ErrorKind::TooLarge,
            format!("the request is longer than {REQUEST_BYTES_MAX} bytes"),
        )
        .remedy("apply the groups in several requests"));
    }
    line.push(b'\n');
    Ok(line.into())
}

async fn next_reply(lines: &mut dyn LineSource) -> Result<Option<Response>, ApiError> {
    let Some(line) = lines.next().await? else {
        return Ok(None);
    };
    match serde_json::from_slice(&line) {
        Ok(Reply::Ok(response)) => Ok(Some(response)),
        Ok(Reply::Error(error)) => Err(error),
        Err(error) => Err(
            ApiError::internal(format!("the answer makes no sense: {error}"))
                .remedy("is this command of the same version as the agent that answers?"),
        ),
    }
}

fn ended_early() -> ApiError {
    ApiError::new(ErrorKind::Unavailable, "the node hung up without an answer")
        .remedy("it may just have stopped; ask another machine with --node")
}

// === the Unix socket ===

struct SocketCarrier {
    path: PathBuf,
}

struct SocketLines {
    lines: LineReader<OwnedReadHalf>,
    /// Kept open: to close it would tell the node that we are gone.
    _write: OwnedWriteHalf,
}

#[async_trait]
impl Carrier for SocketCarrier {
    async fn send(&self, request: Bytes) -> Result<Box<dyn LineSource>, ApiError> {
        let stream = socket::connect(&self.path)
            .await
            .map_err(|error| unreachable_socket(&self.path, &error))?;
        let (read, mut write) = stream.into_split();
        // A node that turns us away answers first and reads nothing, so a failed write is no reason not to listen.
        let _ = write.write_all(&request).await;
        let lines = LineReader::new(read, ANSWER_BYTES_MAX);
        Ok(Box::new(SocketLines {
            lines,
            _write: write,
        }))
    }
}

#[async_trait]
impl LineSource for SocketLines {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.lines.next().await.map_err(|error| match error {
            LineError::TooLong { .. } => {
                ApiError::new(ErrorKind::TooLarge, "the answer is too large to be true")
            }
            LineError::Truncated | LineError::Io(_) => ended_early(),
        })
    }
}

fn unreachable_socket(path: &Path, error: &io::Error) -> ApiError {
    let shown = path.display();
    let (message, remedy) = match error.kind() {
        io::ErrorKind::NotFound => (
            format!("no agent listens at {shown}"),
            "start one with `muster agent`, or a whole fleet with `muster dev`, or name another with --node",
        ),
        io::ErrorKind::ConnectionRefused => (
            format!("the agent that listened at {shown} is gone"),
            "start it again, or name another with --node",
        ),
        io::ErrorKind::PermissionDenied => (
            format!("you may not ask the agent at {shown}"),
            "join the group that owns the socket, or use sudo",
        ),
        _ => (
            format!("can't reach the agent at {shown}: {error}"),
            "name another with --node",
        ),
    };
    ApiError::new(ErrorKind::Unreachable, message).remedy(remedy)
}
