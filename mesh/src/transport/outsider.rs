//! An endpoint of somebody who is not a member: it dials, and nobody can dial it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::TokioRuntime;
use tokio::time::timeout;

use super::config::{self, EndpointKeys};
use super::dial::{self, DialError};
use super::link::CloseCode;
use super::socket::MeshSocket;
use super::tls::Verdict;
use crate::pki::LeafIdentity;

/// The peer is given this long to be told that a connection is over.
const FAREWELL: Duration = Duration::from_millis(300);

/// A dialling-only endpoint on a port of the system's choice.
#[derive(Debug)]
pub(super) struct Outsider {
    endpoint: quinn::Endpoint,
    socket: Arc<MeshSocket>,
}

impl Outsider {
    /// An endpoint that can reach addresses of the family of `addr`.
    pub(super) fn bind(addr: SocketAddr) -> Result<Self, DialError> {
        let local: SocketAddr = match addr {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let other = |error: std::io::Error| DialError::Other(error.to_string());
        let socket = Arc::new(MeshSocket::bind(local, Arc::default()).map_err(other)?);
        let endpoint = quinn::Endpoint::new_with_abstract_socket(
            EndpointKeys::generate().endpoint_config(),
            None,
            socket.clone(),
            Arc::new(TokioRuntime),
        )
        .map_err(other)?;
        Ok(Self { endpoint, socket })
    }

    /// Dials; gives the connection and the certificate that the verifier of `tls` accepted.
    pub(super) async fn connect(
        &self,
        addr: SocketAddr,
        tls: rustls::ClientConfig,
        name: &str,
        verdict: &Verdict,
        deadline: Duration,
    ) -> Result<(quinn::Connection, LeafIdentity), DialError> {
        let connecting = self
            .endpoint
            .connect_with(config::client(tls), addr, name)
            .map_err(|error| DialError::Other(error.to_string()))?;
        tokio::select! {
            connected = timeout(deadline, connecting) => match connected {
                Ok(connected) => dial::judged(connected, verdict),
                Err(_) => Err(DialError::TimedOut),
            },
            (_, error) = self.socket.icmp_error() => Err(error.into()),
        }
    }

    /// Tells the peers that nothing more is wanted of them.
    pub(super) async fn close(&self) {
        CloseCode::Done.close_endpoint(&self.endpoint, "done");
        let _ = timeout(FAREWELL, self.endpoint.wait_idle()).await;
    }
}
