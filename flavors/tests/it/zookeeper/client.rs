//! As much of ZooKeeper's client protocol as a writer needs (`zookeeper.jute`).

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CREATE: i32 = 1;
const CHILDREN: i32 = 8;
const SYNC: i32 = 9;
const PATIENCE: Duration = Duration::from_secs(5);

/// A session.
pub(super) struct Client {
    stream: TcpStream,
    xid: i32,
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(i32::try_from(text.len()).expect("short").to_be_bytes());
    bytes.extend(text);
}

impl Client {
    pub(super) async fn connect(host: &str) -> io::Result<Self> {
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect((host, 2181)));
        let mut this = Self {
            stream: connected.await??,
            xid: 0,
        };
        let mut hello = Vec::new();
        hello.extend(0_i32.to_be_bytes());
        hello.extend(0_i64.to_be_bytes());
        hello.extend(10_000_i32.to_be_bytes());
        hello.extend(0_i64.to_be_bytes());
        put(&mut hello, &[0; 16]);
        this.exchange(&hello).await?;
        Ok(this)
    }

    /// Makes a node that outlives the session, which anybody may change.
    pub(super) async fn create(&mut self, path: &str) -> io::Result<()> {
        let mut body = Vec::new();
        put(&mut body, path.as_bytes());
        put(&mut body, b"x");
        body.extend(1_i32.to_be_bytes());
        body.extend(31_i32.to_be_bytes());
        put(&mut body, b"world");
        put(&mut body, b"anyone");
        body.extend(0_i32.to_be_bytes());
        self.ask(CREATE, &body).await.map(|_| ())
    }

    /// Waits until this server is as far as the leader.
    pub(super) async fn sync(&mut self) -> io::Result<()> {
        let mut body = Vec::new();
        put(&mut body, b"/");
        self.ask(SYNC, &body).await.map(|_| ())
    }

    /// The names of all nodes.
    pub(super) async fn children(&mut self) -> io::Result<BTreeSet<String>> {
        let mut body = Vec::new();
        put(&mut body, b"/");
        body.push(0);
        let answer = self.ask(CHILDREN, &body).await?;
        let mut rest = answer.as_slice();
        let count = rest.read_i32().await?;
        let mut names = BTreeSet::new();
        for _ in 0..count {
            let length = rest.read_i32().await?;
            let mut name = vec![0; usize::try_from(length).expect("a length")];
            rest.read_exact(&mut name).await?;
            names.insert(String::from_utf8(name).expect("a text"));
        }
        Ok(names)
    }

    async fn ask(&mut self, kind: i32, body: &[u8]) -> io::Result<Vec<u8>> {
        self.xid += 1;
        let mut request = [self.xid.to_be_bytes(), kind.to_be_bytes()].concat();
        request.extend(body);
        let reply = self.exchange(&request).await?;
        let (header, rest) = reply
            .split_at_checked(16)
            .ok_or(io::ErrorKind::InvalidData)?;
        match i32::from_be_bytes(header[12..].try_into().expect("four bytes")) {
            0 => Ok(rest.to_vec()),
            code => Err(io::Error::other(format!("error {code}"))),
        }
    }

    async fn exchange(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        let mut frame = Vec::new();
        put(&mut frame, content);
        let exchange = async {
            self.stream.write_all(&frame).await?;
            let length = self.stream.read_i32().await?;
            let mut reply = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            self.stream.read_exact(&mut reply).await?;
            Ok(reply)
        };
        tokio::time::timeout(PATIENCE, exchange).await?
    }
}
