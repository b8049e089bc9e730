//! The HTTP listener for monitoring: `/metrics`, `/live` and `/ready`, and nothing else.
//!
//! It shares the agent's one thread, so that `/live` answers only while the agent's loop turns. What comes in is
//! bounded in every direction: connections, time, header size; bodies are not read.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::metrics;
use super::readiness::Readiness;

/// Enough for a few scrapers and probes; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 8;
/// One request must be read, answered and gone by then.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's line and headers; hyper refuses longer ones. The least that hyper takes.
const HEAD_BYTES_MAX: usize = 8192;
/// How long to rest when the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Where the figures come from: asked at every scrape.
pub trait Scrape: Send + Sync + 'static {
    /// The figures as text ([`metrics::render`]).
    fn scrape(&self) -> impl Future<Output = String> + Send;
}

impl<F, A> Scrape for F
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = String> + Send,
{
    fn scrape(&self) -> impl Future<Output = String> + Send {
        self()
    }
}

/// Serves until the listener is dropped with the returned future. Never ends by itself.
pub async fn serve(listener: TcpListener, readiness: Readiness, source: impl Scrape) {
    let source = Arc::new(source);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (readiness, source) = (readiness.clone(), Arc::clone(&source));
        connections.spawn(async move {
            let served = serve_connection(stream, readiness, source);
            if tokio::time::timeout(CONNECTION_TIMEOUT, served)
                .await
                .is_err()
            {
                tracing::debug!(%from, "a connection for metrics took too long");
            }
            drop(permit);
        });
    }
}

/// Listens where the configuration says.
///
/// # Errors
///
/// The address cannot be listened on.
pub async fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(listen).await
}

async fn serve_connection(stream: TcpStream, readiness: Readiness, source: Arc<impl Scrape>) {
    let answer = |request: Request<Incoming>| {
        let (readiness, source) = (readiness.clone(), Arc::clone(&source));
        async move { Ok::<_, Infallible>(respond(&request, &readiness, &*source).await) }
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIMEOUT / 2)
        .max_buf_size(HEAD_BYTES_MAX)
        // One request a connection: a scraper comes four times a minute, and idle connections would hold permits.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection for metrics ended early");
    }
}

async fn respond<B>(
    request: &Request<B>,
    readiness: &Readiness,
    source: &impl Scrape,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD\n".to_owned(),
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/live" => text(StatusCode::OK, "live\n".to_owned()),
        "/ready" => {
            let waiting = readiness.waiting_for();
            if waiting.is_empty() {
                text(StatusCode::OK, "ready\n".to_owned())
            } else {
                text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("waiting for: {}\n", waiting.join(", ")),
                )
            }
        }
        "/metrics" => {
            let mut response = text(StatusCode::OK, source.scrape().await);
            let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /live and /ready\n".to_owned(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(readiness: &Readiness) -> SocketAddr {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .expect("a free port");
        let addr = listener.local_addr().expect("it listens");
        let source = || async { "figures 1\n".to_owned() };
        tokio::spawn(serve(listener, readiness.clone(), source));
        addr
    }

    async fn exchange(addr: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        // A refusal may come, and the connection go, before all is sent.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(addr: SocketAddr, path: &str) -> String {
        exchange(
            addr,
            format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
        )
        .await
    }

    #[tokio::test]
    async fn it_answers_the_three_paths_and_no_other() {
        let addr = start(&Readiness::default()).await;
        let metrics = get(addr, "/metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
        assert!(
            metrics.contains("version=0.0.4") && metrics.ends_with("figures 1\n"),
            "{metrics}"
        );
        assert!(get(addr, "/live").await.ends_with("live\n"));
        assert!(get(addr, "/ready").await.ends_with("ready\n"));
        assert!(get(addr, "/secrets").await.starts_with("HTTP/1.1 404"));
        let post = exchange(addr, b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    }

    #[tokio::test]
    async fn it_is_ready_when_the_last_latch_is_released() {
        let readiness = Readiness::default();
        let latch = readiness.latch("joining the mesh");
        let addr = start(&readiness).await;
        let waiting = get(addr, "/ready").await;
        assert!(waiting.starts_with("HTTP/1.1 503"), "{waiting}");
        assert!(
            waiting.ends_with("waiting for: joining the mesh\n"),
            "{waiting}"
        );
        drop(latch);
        assert!(get(addr, "/ready").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn garbage_and_long_heads_are_refused_and_harm_nobody() {
        let addr = start(&Readiness::default()).await;
        exchange(addr, &[0xff; 100]).await;
        let long = format!(
            "GET / HTTP/1.1\r\nX: {}\r\n\r\n",
            "x".repeat(4 * HEAD_BYTES_MAX)
        );
        assert!(!exchange(addr, long.as_bytes()).await.contains("200 OK"));
        assert!(get(addr, "/live").await.contains("200 OK"));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_say_nothing_cannot_keep_others_out() {
        let addr = start(&Readiness::default()).await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX * 2 {
            silent.push(
                TcpStream::connect(addr)
                    .await
                    .expect("the kernel's queue takes it"),
            );
        }
        assert!(
            get(addr, "/live").await.contains("200 OK"),
            "once the silent ones timed out"
        );
    }
}
