//! The way in for a machine without a certificate.
//!
//! All that it has is the hash of the cluster's CA, from its join token (or, when it merely slept longer than its
//! certificate lived, from its old credentials). The machine that it dials must show a CA with that hash and a
//! certificate signed by it; only then is anything sent. What request and answer say is not the transport's business.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::dial::DialError;
use super::limits::{HANDSHAKE_DEADLINE, JOIN_FRAME_MAX};
use super::message::StreamKind;
use super::outsider::Outsider;
use super::request::{self, RequestError};
use super::tls::{self, Verdict};
use crate::identity::Peer;
use crate::pki::CaHash;

/// What a joining machine asks for in the handshake; it does not know whom it talks to, and need not.
const SERVER_NAME: &str = "join.mesh.invalid";

/// An answer to a request to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The answer.
    pub reply: Bytes,
    /// Who gave it: a member that can be spoken to from now on.
    pub by: Peer,
}

/// Why no member let this machine in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinError {
    /// Every address that was tried, and what went wrong there.
    pub attempts: Vec<(SocketAddr, JoinAttemptError)>,
}

/// What went wrong at one address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinAttemptError {
    /// It could not be connected to, or is not a member of the cluster that the token is for.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The member does not let this machine in, and says why: the token is not known, used up or expired, say.
    #[error("refused: {0}")]
    Refused(String),
    /// The member did not answer properly.
    #[error(transparent)]
    Request(RequestError),
    /// The request is longer than any member accepts.
    #[error("the request to join has {0} bytes, at most {JOIN_FRAME_MAX} are accepted")]
    TooLong(usize),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.attempts.is_empty() {
            return f.write_str("no address to join at was given");
        }
        for (n, (addr, error)) in self.attempts.iter().enumerate() {
            let before = if n == 0 { "" } else { "; " };
            write!(f, "{before}{addr}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for JoinError {}

/// Asks members one after the other, until one answers.
///
/// `deadline` is for each address, from dialling to the answer; an address where nobody answers the dialling takes 5 s
/// of it at most. A refusal at one address does not stop the search: that
/// member may simply not know the token yet.
///
/// # Errors
/// When none gave an answer; says what went wrong at each.
pub async fn join(
    addrs: &[SocketAddr],
    pinned: CaHash,
    request: Bytes,
    deadline: Duration,
) -> Result<Joined, JoinError> {
    let mut attempts = Vec::new();
    for &addr in addrs {
        match Box::pin(join_at(addr, pinned, request.clone(), deadline)).await {
            Ok(joined) => return Ok(joined),
            Err(error) => attempts.push((addr, error)),
        }
    }
    Err(JoinError { attempts })
}

async fn join_at(
    addr: SocketAddr,
    pinned: CaHash,
    request: Bytes,
    deadline: Duration,
) -> Result<Joined, JoinAttemptError> {
    if request.len() > JOIN_FRAME_MAX {
        return Err(JoinAttemptError::TooLong(request.len()));
    }
    let outsider = Outsider::bind(addr)?;
    let verdict: Verdict = Arc::new(OnceLock::new());
    let tls = tls::joiner(pinned, verdict.clone())
        .map_err(|error| DialError::Other(error.to_string()))?;
    let until = Instant::now() + deadline;
    let joined = async {
        let (quic, leaf) = outsider
            .connect(
                addr,
                tls,
                SERVER_NAME,
                &verdict,
                deadline.min(HANDSHAKE_DEADLINE),
            )
            .await?;
        let machine = leaf
            .machine()
            .ok_or_else(|| DialError::Other("it is not a machine".to_owned()))?;
        let reply = timeout_at(until, ask(&quic, request))
            .await
            .map_err(|_| RequestError::Deadline)??;
        let by = Peer { machine, addr };
        Ok(Joined { reply, by })
    }
    .await;
    outsider.close().await;
    joined
}

async fn ask(quic: &quinn::Connection, request: Bytes) -> Result<Bytes, RequestError> {
    let recv = request::ask(quic, StreamKind::JOIN, request).await?;
    request::only_frame(&mut request::unguarded(recv)).await
}

impl From<RequestError> for JoinAttemptError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(reason) => Self::Refused(reason),
            RequestError::Unreachable(error) => Self::Dial(error),
            other => Self::Request(other),
        }
    }
}
