//! Clients that break rules.

use std::net::SocketAddr;

use quinn::ConnectionError;

use super::support::*;
use crate::clock::unix_ms;
use crate::pki::ClusterTrust;
use crate::transport::tls::{Expect, RevokedNow, Verdict};
use crate::transport::{config, tls};

/// A client that speaks QUIC and TLS but need not follow our rules.
pub(super) struct Rogue {
    pub(super) endpoint: quinn::Endpoint,
}

impl Rogue {
    pub(super) fn new() -> Self {
        let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self { endpoint }
    }

    pub(super) async fn connect(
        &self,
        node: &Node,
        tls: rustls::ClientConfig,
    ) -> Result<quinn::Connection, ConnectionError> {
        let addr = node.transport.local_addr();
        let name = "any.mesh.invalid";
        within(
            self.endpoint
                .connect_with(config::client(tls), addr, name)
                .unwrap(),
        )
        .await
    }
}

/// TLS without a certificate of our own, with any protocols.
pub(super) fn anonymous(cluster: &Cluster, protocols: &[&[u8]]) -> rustls::ClientConfig {
    let mut tls = tls::joiner(cluster.ca.hash(), Verdict::default()).unwrap();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    tls
}

/// TLS as a member does it.
pub(super) fn member(cluster: &Cluster, number: u64) -> rustls::ClientConfig {
    let credentials = cluster.credentials_of(number, unix_ms());
    let trust = ClusterTrust::new(cluster.ca.certificate()).unwrap();
    let own = tls::own_certificate(credentials.keys()).unwrap();
    let revoked: Option<RevokedNow> = None;
    tls::dialler(own, &trust, revoked, Expect::AnyMachine, Verdict::default()).unwrap()
}
