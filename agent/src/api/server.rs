//! Serves requests: over the machine's own Unix socket, and one at a time over a mesh stream.
//!
//! Whoever asks can't hold up the agent: connections, the length of a request, the time it takes to arrive, to be
//! answered and to be read are all bounded, and rubbish is answered with an error.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::backend::{Backend, Caller};
use super::lines::{LineError, LineReader};
pub use super::socket::BindError;
use super::socket::Socket;
use super::types::{ApiError, ErrorKind, EventsRequest, Reply, Request, Response};

/// A request of this size holds specs for thousands of groups; nobody needs a longer one.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// People, scripts and a dashboard or two; each idle connection costs a few kilobytes.
const CONNECTIONS_MAX: usize = 64;

/// A connection without a request is closed after this time, so that forgotten clients don't use up the places.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// The rest of a request has to follow its first byte within this time.
const ARRIVAL_MAX: Duration = Duration::from_secs(10);

/// The longest any answer may take. Clients give up earlier by themselves; this bounds what a defect can hold.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// A client has to take its answer within this time.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// So many events may wait for a slow listener before the back-end is held up in sending more.
const EVENTS_QUEUED_MAX: usize = 256;

/// After an accept that failed, say for want of file descriptors, the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The agent's API socket, bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    socket: Socket,
}

/// The other side is gone; nothing more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client hung up")]
pub struct HungUp;

/// Where the lines of one answer go.
#[async_trait]
pub trait LineSink: Send {
    /// Sends one line, which ends with its newline.
    async fn send(&mut self, line: Bytes) -> Result<(), HungUp>;

    /// Returns when the other side has hung up. Must be safe to cancel and to call again.
    async fn hung_up(&mut self);
}

// === impl Server ===

impl Server {
    /// Makes the socket, with mode 0660. A stale socket file is replaced; a living agent's, or any other file, isn't.
    pub async fn bind(path: &Path) -> Result<Self, BindError> {
        Ok(Self {
            socket: Socket::bind(path).await?,
        })
    }

    /// Answers until dropped; the socket's file goes then, too, and so do the open connections.
    pub async fn serve(self, backend: Arc<dyn Backend>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.listener.accept() => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "can't accept on the API socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                turn_away(&stream);
                continue;
            };
            let backend = Arc::clone(&backend);
            connections.spawn(async move {
                let _place = place;
                serve_connection(&*backend, stream).await;
            });
        }
    }
}

/// Answers one request, given as a line of JSON with or without its newline. For mesh streams, whose lines may be
/// cut into frames anywhere, and for the socket alike.
pub async fn serve_one(
    backend: &dyn Backend,
    caller: &Caller,
    request: &[u8],
    sink: &mut dyn LineSink,
) -> Result<(), HungUp> {
    let request = match parse(request) {
        Ok(request) => request,
        Err(error) => return sink.send(encode(&Reply::Error(error))).await,
    };
    debug!(%caller, ?request, "asked");
    match request {
        Request::Events(events) if events.follow => follow(backend, caller, events, sink).await,
        request => {
            let answer = timeout(ANSWER_MAX, backend.call(caller, request)).await;
            let reply = match answer {
                Ok(Ok(response)) => Reply::Ok(response),
                Ok(Err(error)) => Reply::Error(error),
                Err(_) => Reply::Error(late()),
            };
            sink.send(encode(&reply)).await
        }
    }
}

async fn follow(
    backend: &dyn Backend,
    caller: &Caller,
    request: EventsRequest,
    sink: &mut dyn LineSink,
) -> Result<(), HungUp> {
    let (tx, mut rx) = mpsc::channel(EVENTS_QUEUED_MAX);
    let following = backend.follow(caller, request, tx);
    tokio::pin!(following);
    let mut ended = None;
    loop {
        tokio::select! {
            biased;
            () = sink.hung_up() => return Err(HungUp),
            event = rx.recv() => match event {
                Some(event) => sink.send(encode(&Reply::Ok(Response::Event(event)))).await?,
                // All senders are gone, so the back-end has ended or is about to.
                None => {
                    let result = match ended.take() {
                        Some(result) => result,
                        None => following.await,
                    };
                    return match result {
                        Ok(()) => Ok(()),
                        Err(error) => sink.send(encode(&Reply::Error(error))).await,
                    };
                }
            },
            result = &mut following, if ended.is_none() => ended = Some(result),
        }
    }
}

fn parse(request: &[u8]) -> Result<Request, ApiError> {
    if request.len() > REQUEST_BYTES_MAX {
        return Err(too_long());
    }
    serde_json::from_slice(request).map_err(|error| {
        ApiError::invalid(format!("that is no request: {error}"))
            .remedy("send one JSON object a line, such as {\"op\":\"status\"}")
    })
}

fn encode(reply: &Reply) -> Bytes {
    let mut line = serde_json::to_vec(reply).unwrap_or_else(|error| {
        // Only a map with keys that are no text could do this, and no answer has one; still, say so.
        warn!(%error, "an answer can't be written as JSON");
        br#"{"error":{"kind":"internal","message":"the answer can't be written as JSON"}}"#.to_vec()
    });
    line.push(b'\n');
    line.into()
}

fn too_long() -> ApiError {
    ApiError::new(
        ErrorKind::TooLarge,
        format!("the request is longer than {REQUEST_BYTES_MAX} bytes"),
    )
    .remedy("apply the groups in several requests")
}

fn late() -> ApiError {
    ApiError::new(
        ErrorKind::Timeout,
        format!("no answer within {} s", ANSWER_MAX.as_secs()),
    )
    .remedy("if this was a change, look with `muster status` whether it took effect before you repeat it")
}

// === connections on the socket ===

/// Tells one client too many so; its socket's buffer is empty, so this neither waits nor fails in practice.
fn turn_away(stream: &UnixStream) {
    let error = ApiError::new(
        ErrorKind::Unavailable,
        format!("{CONNECTIONS_MAX} clients are connected already"),
    )
    .remedy("close some, or try again");
    let _ = stream.try_write(&encode(&Reply::Error(error)));
}

async fn serve_connection(backend: &dyn Backend, stream: UnixStream) {
    let caller = match stream.peer_cred() {
        Ok(credentials) => Caller::Local {
            uid: credentials.uid(),
            pid: credentials.pid(),
        },
        Err(error) => {
            debug!(%error, "the client is gone already");
            return;
        }
    };
    let (read, write) = stream.into_split();
    let mut connection = Connection {
        lines: LineReader::new(read, REQUEST_BYTES_MAX),
        write,
    };
    while let Some(request) = connection.next_request().await {
        if serve_one(backend, &caller, &request, &mut connection)
            .await
            .is_err()
        {
            break;
        }
    }
}

struct Connection {
    lines: LineReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Connection {
    /// The next request; `None` when the connection is done with. Says why, where that is the client's doing.
    async fn next_request(&mut self) -> Option<Bytes> {
        if !self.lines.is_inside_line() && timeout(IDLE_MAX, self.lines.disturbed()).await.is_err()
        {
            return None;
        }
        let error = match timeout(ARRIVAL_MAX, self.lines.next()).await {
            Ok(Ok(line)) => return line,
            Ok(Err(LineError::TooLong { .. })) => too_long(),
            Ok(Err(LineError::Truncated)) => {
                ApiError::invalid("the request ended without a newline").remedy("end it with one")
            }
            Ok(Err(LineError::Io(_))) => return None,
            Err(_) => ApiError::new(
                ErrorKind::Timeout,
                format!(
                    "the request didn't arrive within {} s",
                    ARRIVAL_MAX.as_secs()
                ),
            ),
        };
        // The stream can't be trusted to be at the start of a line any more.
        let _ = self.send(encode(&Reply::Error(error))).await;
        None
    }
}

#[async_trait]
impl LineSink for Connection {
    async fn send(&mut self, line: Bytes) -> Result<(), HungUp> {
        match timeout(WRITE_MAX, self.write.write_all(&line)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(HungUp),
        }
    }

    async fn hung_up(&mut self) {
        // A client that follows has nothing more to say, so anything it sends ends the stream.
        self.lines.disturbed().await;
    }
}

#[cfg(test)]
mod tests;
