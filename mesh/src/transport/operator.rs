//! An operator's connection to one machine: what `muster --node ADDR` uses.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::dial::{self, DialError};
use super::limits::FRAME_MAX;
use super::message::StreamKind;
use super::outsider::Outsider;
use super::request::{self, FrameStream, RequestError};
use super::tls::{self, Expect, Verdict};
use crate::identity::Peer;
use crate::pki::{ClusterTrust, OperatorCredentials};

/// A connection of an operator. Ends when dropped; [`Self::close`] says so to the machine.
#[derive(Debug)]
pub struct OperatorClient {
    outsider: Outsider,
    quic: quinn::Connection,
    node: Peer,
}

impl OperatorClient {
    /// Connects to whatever machine of the operator's cluster listens at an address.
    ///
    /// # Errors
    /// When nobody does, or it is not a machine of that cluster. That the machine does not accept the operator shows
    /// with the first request.
    pub async fn connect(
        addr: SocketAddr,
        credentials: &OperatorCredentials,
        deadline: Duration,
    ) -> Result<Self, DialError> {
        let other = |error: rustls::Error| DialError::Other(error.to_string());
        let keys = credentials.keys();
        let trust = ClusterTrust::new(&keys.ca).map_err(|error| DialError::Peer(error.into()))?;
        let verdict: Verdict = Arc::new(OnceLock::new());
        let own = tls::own_certificate(keys).map_err(other)?;
        let tls =
            tls::dialler(own, &trust, None, Expect::AnyMachine, verdict.clone()).map_err(other)?;
        let outsider = Outsider::bind(addr)?;
        let name = dial::server_name(Expect::AnyMachine, trust.cluster());
        let (quic, leaf) = outsider
            .connect(addr, tls, &name, &verdict, deadline)
            .await?;
        let machine = leaf
            .machine()
            .ok_or_else(|| DialError::Other("it is not a machine".to_owned()))?;
        Ok(Self {
            outsider,
            quic,
            node: Peer { machine, addr },
        })
    }

    /// The machine that it is connected to.
    pub fn node(&self) -> Peer {
        self.node
    }

    /// Asks and waits for a one-frame answer. Operators may ask for [`StreamKind::API`] only.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(
        &self,
        kind: StreamKind,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, RequestError> {
        timeout(deadline, async {
            let mut stream = self.open(kind, body).await?;
            request::only_frame(&mut stream).await
        })
        .await
        .map_err(|_| RequestError::Deadline)?
    }

    /// Asks and gives an answer of many frames; the deadline is for sending the request.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn stream(
        &self,
        kind: StreamKind,
        body: Bytes,
        deadline: Duration,
    ) -> Result<FrameStream, RequestError> {
        timeout(deadline, self.open(kind, body))
            .await
            .map_err(|_| RequestError::Deadline)?
    }

    async fn open(&self, kind: StreamKind, body: Bytes) -> Result<FrameStream, RequestError> {
        if body.len() > FRAME_MAX {
            return Err(RequestError::TooLong(body.len()));
        }
        let recv = request::ask(&self.quic, kind, body).await?;
        Ok(request::unguarded(recv))
    }

    /// Ends the connection.
    pub async fn close(self) {
        self.outsider.close().await;
    }
}
