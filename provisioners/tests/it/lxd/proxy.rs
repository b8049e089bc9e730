//! Stands between a client and LXD's socket, and misbehaves as it is told.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use muster_provisioners::conformance::Trouble;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// The longest head of a request that is read.
const HEAD_MAX: usize = 64 * 1024;

/// A socket that leads to LXD.
pub(super) struct Proxy {
    directory: tempfile::TempDir,
    trouble: Arc<Mutex<Option<Trouble>>>,
    served: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(super) fn start(lxd: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("s")).expect("bound");
        let trouble = Arc::new(Mutex::new(None));
        let (told, lxd) = (Arc::clone(&trouble), lxd.to_owned());
        let served = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (told, lxd) = (Arc::clone(&told), lxd.clone());
                tokio::spawn(async move {
                    // What one of them breaks off is nothing to the others.
                    let _ = serve(client, &lxd, &told).await;
                });
            }
        });
        Self {
            directory,
            trouble,
            served,
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    pub(super) fn set(&self, trouble: Option<Trouble>) {
        let (there, away) = (self.socket(), self.directory.path().join("away"));
        let _ = match trouble {
            Some(Trouble::Down) => std::fs::rename(there, away),
            _ => std::fs::rename(away, there),
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// One request on one connection.
async fn serve(
    mut client: UnixStream,
    lxd: &Path,
    told: &Mutex<Option<Trouble>>,
) -> io::Result<()> {
    let request = read_request(&mut client).await?;
    let trouble = *told.lock().unwrap_or_else(PoisonError::into_inner);
    match trouble {
        Some(Trouble::Throttling) => return answer(&mut client, "429 Too Many Requests").await,
        // What LXD says to whoever may not.
        Some(Trouble::BadCredentials) => return answer(&mut client, "403 Forbidden").await,
        Some(Trouble::Hanging) => return std::future::pending().await,
        Some(Trouble::LostAnswers | Trouble::Down) | None => {}
    }
    let mut server = UnixStream::connect(lxd).await?;
    server.write_all(&request).await?;
    let changes = !request.starts_with(b"GET ");
    if changes && trouble == Some(Trouble::LostAnswers) {
        tokio::io::copy(&mut server, &mut tokio::io::sink()).await?;
        return Ok(());
    }
    tokio::io::copy(&mut server, &mut client).await?;
    Ok(())
}

async fn answer(client: &mut UnixStream, status: &str) -> io::Result<()> {
    let body = r#"{"type": "error", "error": "not authorized"}"#;
    let answer = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes()).await
}

/// Reads a request whole, and has the server close the connection after it.
async fn read_request(client: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    let end = loop {
        if client.read_buf(&mut read).await? == 0 || read.len() > HEAD_MAX {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = read.split_off(end + 4);
    while body.len() < length.unwrap_or(0) {
        if client.read_buf(&mut body).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let mut request = format!("{head}\r\nconnection: close\r\n\r\n").into_bytes();
    request.extend(body);
    Ok(request)
}
