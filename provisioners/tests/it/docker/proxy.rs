//! A troublesome way to the Engine: a proxy of its socket that refuses, loses and holds back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muster_provisioners::conformance::Trouble;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The longest request of the tests.
const REQUEST_MAX: usize = 1 << 20;

/// What goes wrong on the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Way {
    #[default]
    Clear,
    Trouble(Trouble),
    /// Answers to requests with this in their first line are lost.
    Loses(&'static str),
    /// Each answer takes so long.
    Slow(Duration),
}

/// A running proxy.
pub(super) struct Proxy {
    socket: PathBuf,
    upstream: PathBuf,
    way: watch::Sender<Way>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    pub(super) fn start(socket: PathBuf, upstream: PathBuf) -> Self {
        let this = Self {
            socket,
            upstream,
            way: watch::Sender::new(Way::Clear),
            task: std::sync::Mutex::new(None),
        };
        this.listen();
        this
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes the way so. One that is down has no socket at all.
    pub(super) fn set(&self, way: Way) {
        let down = way == Way::Trouble(Trouble::Down);
        self.way.send_replace(way);
        let task = self.task.lock().expect("no panic").take();
        if let Some(task) = task {
            task.abort();
        }
        let _ = std::fs::remove_file(&self.socket);
        if !down {
            self.listen();
        }
    }

    fn listen(&self) {
        let listener = UnixListener::bind(&self.socket).expect("bound");
        let (upstream, way) = (Arc::new(self.upstream.clone()), self.way.subscribe());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, way) = (upstream.clone(), way.borrow().clone());
                tokio::spawn(async move { pass(client, &upstream, way).await });
            }
        });
        *self.task.lock().expect("no panic") = Some(task);
    }
}

/// Passes one request and its answer on; each connection carries only one.
async fn pass(mut client: UnixStream, upstream: &Path, way: Way) -> Option<()> {
    let request = read_request(&mut client).await?;
    let first = request.lines().next().unwrap_or_default().to_owned();
    let refusal = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    match way {
        Way::Trouble(Trouble::Throttling) => {
            let refusal = refusal("429 Too Many Requests", "{\"message\":\"slow down\"}");
            return client.write_all(refusal.as_bytes()).await.ok();
        }
        Way::Trouble(Trouble::BadCredentials) => {
            let refusal = refusal("403 Forbidden", "{\"message\":\"authorization denied\"}");
            return client.write_all(refusal.as_bytes()).await.ok();
        }
        Way::Trouble(Trouble::Hanging) => std::future::pending().await,
        Way::Slow(duration) => tokio::time::sleep(duration).await,
        _ => {}
    }
    let mut engine = UnixStream::connect(upstream).await.ok()?;
    let (head, rest) = request.split_once("\r\n")?;
    let alone = format!("{head}\r\nConnection: close\r\n{rest}");
    engine.write_all(alone.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    engine.read_to_end(&mut answer).await.ok()?;
    let lost = match way {
        Way::Trouble(Trouble::LostAnswers) => !first.starts_with("GET "),
        Way::Loses(what) => first.contains(what),
        _ => false,
    };
    if lost {
        return None;
    }
    client.write_all(&answer).await.ok()
}

/// A request with its body, which is text or an archive of text.
async fn read_request(client: &mut UnixStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = client
            .read(&mut buffer)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        assert!(bytes.len() < REQUEST_MAX, "too long a request");
        let text = std::str::from_utf8(&bytes).ok()?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .filter_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            })
            .next();
        if body.len() >= length.unwrap_or(0) {
            return Some(text.to_owned());
        }
    }
}
