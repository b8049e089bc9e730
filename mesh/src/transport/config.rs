//! How a transport is set up, and how QUIC is tuned for tiny datagrams.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{EndpointConfig, IdleTimeout, NoneTokenLog, NoneTokenStore, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use zeroize::Zeroizing;

use super::limits::{
    CONNECTION_WINDOW, DATAGRAM_BUFFER, HANDSHAKES_MAX, INITIAL_RTT, QUIC_IDLE_TIMEOUT,
    STREAM_WINDOW, STREAMS_PER_PEER_MAX, UPKEEP_INTERVAL,
};
use crate::state_dir::{FileKind, StateError};

/// Where and how the transport listens. `Default` listens on every address, on a port that the system chooses.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TransportConfig {
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// Keys that make a restarted agent reachable at once.
    pub keys: EndpointKeys,
    /// Connections at once; the least recently used is closed for one more. Default 256, about 40 kB each.
    pub connections_max: usize,
    /// A connection unused for this long is closed, once there are more than a few. Default 60 s.
    pub idle_timeout: Duration,
    /// How often idle connections, silent peers, certificates and warm peers are looked after. A peer that answers
    /// nothing is given up in the third round. Default 15 s.
    pub upkeep_interval: Duration,
}

impl TransportConfig {
    /// A configuration with these keys and defaults for everything else.
    pub fn new(listen: SocketAddr, keys: EndpointKeys) -> Self {
        Self {
            listen,
            keys,
            connections_max: 256,
            idle_timeout: Duration::from_secs(60),
            upkeep_interval: UPKEEP_INTERVAL,
        }
    }
}

const KEYS: FileKind = FileKind {
    tag: *b"quic",
    version: 1,
    what: "the endpoint's keys",
    remedy: "Delete it: new keys are made, and peers notice this agent's restart a minute later than they would have.",
    size_max: 128,
};

const RESET_KEY_LEN: usize = 64;

/// The secrets with which an endpoint tells its peers, after a restart, that it has forgotten their connections.
///
/// A peer that keeps sending on a connection from before the restart gets an authenticated reset, and dials anew
/// at once. That takes both keys: by the first the endpoint recognizes the connection IDs that its predecessor gave
/// out, by the second it proves that the reset comes from it. With other keys the peer talks into a void until its
/// time-out.
#[derive(Clone)]
pub struct EndpointKeys {
    reset: Zeroizing<[u8; RESET_KEY_LEN]>,
    connection_ids: u64,
}

impl EndpointKeys {
    /// New keys, for an endpoint that never restarts.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn generate() -> Self {
        let mut reset = Zeroizing::new([0; RESET_KEY_LEN]);
        let mut connection_ids = [0; 8];
        aws_lc_rs::rand::fill(reset.as_mut_slice())
            .and_then(|()| aws_lc_rs::rand::fill(&mut connection_ids))
            .expect("the operating system gives randomness");
        Self {
            reset,
            connection_ids: u64::from_le_bytes(connection_ids),
        }
    }

    /// The keys in a file; made and stored there when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged.
    pub fn load_or_create(path: &Path) -> Result<Self, StateError> {
        if let Some(bytes) = KEYS.read(path)? {
            let bytes = Zeroizing::new(bytes);
            let Some((reset, ids)) = bytes.split_first_chunk::<RESET_KEY_LEN>() else {
                return Err(KEYS.damaged(path, "it is too short"));
            };
            let ids: [u8; 8] = ids
                .try_into()
                .map_err(|_| KEYS.damaged(path, "it has another length"))?;
            return Ok(Self {
                reset: Zeroizing::new(*reset),
                connection_ids: u64::from_le_bytes(ids),
            });
        }
        let keys = Self::generate();
        let mut bytes = Zeroizing::new(keys.reset.to_vec());
        bytes.extend_from_slice(&keys.connection_ids.to_le_bytes());
        KEYS.write(path, &bytes)?;
        Ok(keys)
    }

    /// One key of each.
    #[cfg(test)]
    pub(super) fn mixed(reset: &Self, connection_ids: &Self) -> Self {
        Self {
            reset: reset.reset.clone(),
            connection_ids: connection_ids.connection_ids,
        }
    }

    pub(super) fn endpoint_config(&self) -> EndpointConfig {
        let reset = hmac::Key::new(hmac::HMAC_SHA256, self.reset.as_slice());
        let ids = self.connection_ids;
        let mut config = EndpointConfig::new(Arc::new(reset));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
        // A restarted agent has many peers to tell; our connection IDs cannot be guessed, so this is no amplifier.
        config.min_reset_interval(Duration::from_millis(1));
        config
    }
}

impl std::fmt::Debug for EndpointKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EndpointKeys(..)")
    }
}

/// QUIC's parameters, the same for both roles.
fn transport() -> Arc<quinn::TransportConfig> {
    let mut config = quinn::TransportConfig::default();
    let idle =
        IdleTimeout::try_from(QUIC_IDLE_TIMEOUT).expect("ten minutes fit into QUIC's 62 bits");
    config
        .max_idle_timeout(Some(idle))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_PER_PEER_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .initial_rtt(INITIAL_RTT)
        // Acknowledgements keep QUIC's own delay of 25 ms. A longer one would save one of the three packets of a probe
        // only between peers that talk several times a second, and would hold up every request whose last packet is lost.
        .ack_frequency_config(None)
        // Our datagrams fit into the smallest packet that QUIC allows. Looking for a larger one would cost each
        // connection about ten full packets, more than the handshake.
        .mtu_discovery_config(None)
        // Packets of gossip are single; offload costs memory and has been a source of loss.
        .enable_segmentation_offload(false)
        .allow_spin(false);
    Arc::new(config)
}

/// The listening side's configuration.
pub(super) fn server(tls: rustls::ServerConfig) -> quinn::ServerConfig {
    let crypto = QuicServerConfig::try_from(tls)
        .expect("the provider has the cipher suite that QUIC starts with");
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport())
        // A member that changed its address is dialled anew; following it would let an observer redirect it.
        .migration(false)
        .max_incoming(HANDSHAKES_MAX)
        .incoming_buffer_size(16 * 1024)
        .incoming_buffer_size_total(1024 * 1024);
    config.validation_token.sent(0).log(Arc::new(NoneTokenLog));
    config
}

/// The dialling side's configuration.
pub(super) fn client(tls: rustls::ClientConfig) -> quinn::ClientConfig {
    let crypto = QuicClientConfig::try_from(tls)
        .expect("the provider has the cipher suite that QUIC starts with");
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config
        .transport_config(transport())
        .token_store(Arc::new(NoneTokenStore));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_the_same_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoint.keys");
        let first = EndpointKeys::load_or_create(&path).unwrap();
        let second = EndpointKeys::load_or_create(&path).unwrap();
        assert_eq!(first.reset, second.reset);
        assert_eq!(first.connection_ids, second.connection_ids);
        assert_ne!(
            first.connection_ids,
            EndpointKeys::generate().connection_ids
        );
        std::fs::write(&path, b"muster").unwrap();
        let error = EndpointKeys::load_or_create(&path).unwrap_err();
        assert!(error.to_string().contains("Delete it"), "{error}");
    }
}
