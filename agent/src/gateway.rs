//! A mesh as InfraKit's own tools see it: its *group*, *instance* and *flavor* interfaces, served on a socket.
//!
//! A [`Gateway`] is a client of the mesh like the command line, and a plugin of InfraKit's: it turns each call into requests of the
//! API, and asks nobody else. So it may run on any machine from which the mesh can be asked, and what it does passes the same
//! rules as what a person does with `muster`.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use crate::api::client::Client;
use crate::api::{BindError, Socket};
use calls::Calls;

mod calls;
mod flavor;
mod group;
mod instance;
mod pid;
mod rpc;

/// InfraKit's tools ask one thing at a time; more callers wait.
const CONNECTIONS_MAX: usize = 16;
/// A commit of large groups fits in, and nothing that is no commit is larger.
const BODY_BYTES_MAX: usize = 2 << 20;
/// InfraKit's client gives up after 15 s on a socket, and has several calls to make on one connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a request may take to arrive.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to rest when the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why the socket could not be served.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its directory can't be made, or a file in it.
    #[error("{path}: {error}; name another socket with --socket")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Somebody else serves there.
    #[error("process {pid} serves {socket} already; stop it, or name another socket with --socket")]
    Running {
        /// The socket.
        socket: PathBuf,
        /// Who.
        pid: u32,
    },
    /// It can't be listened there.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// A socket that is ready to be served.
#[derive(Debug)]
pub struct Gateway {
    socket: Socket,
    _pid: pid::PidFile,
}

impl Gateway {
    /// Listens at `path`, with a file beside it that says who does, as InfraKit's plugins have one. What a process left behind
    /// that is no more is cleared away.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub async fn open(path: &Path) -> Result<Self, GatewayError> {
        if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
            std::fs::create_dir_all(above).map_err(|error| GatewayError::File {
                path: above.to_owned(),
                error,
            })?;
        }
        let pid = pid::PidFile::take(path)?;
        Ok(Self {
            // Whoever can open it does what this user may do.
            socket: Socket::bind_private(path).await?,
            _pid: pid,
        })
    }

    /// Serves until the returned future is dropped.
    pub async fn serve(self, client: Client) {
        let name = self.socket.path().file_name().unwrap_or_default();
        let calls = Arc::new(Calls::new(client, name.to_string_lossy().into_owned()));
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            let (stream, _) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection of InfraKit's");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let calls = Arc::clone(&calls);
            connections.spawn(async move {
                let served = serve_connection(stream, calls);
                let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
                drop(permit);
            });
        }
    }
}

async fn serve_connection(stream: UnixStream, calls: Arc<Calls>) {
    let answer = |request: Request<Incoming>| {
        let calls = Arc::clone(&calls);
        async move { Ok::<_, Infallible>(respond(request, &calls).await) }
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of InfraKit's ended early");
    }
}

/// The rules of InfraKit's transport: whatever is said in JSON-RPC, the status is 200.
async fn respond(request: Request<Incoming>, calls: &Calls) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "rpc: POST method required\n",
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    if request.uri().path() != "/" {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.map(|kind| kind.to_str().unwrap_or_default());
    let is_json =
        kind.is_none_or(|kind| kind.split(';').next().map(str::trim) == Some("application/json"));
    if !is_json {
        return text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "rpc: unrecognized Content-Type\n",
        );
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    match tokio::time::timeout(ARRIVAL_TIMEOUT, body).await {
        Ok(Ok(body)) => text(StatusCode::OK, rpc::answer(&body.to_bytes(), calls).await),
        _ => text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request is too long, or too slow\n",
        ),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
