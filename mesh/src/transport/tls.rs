//! TLS as the mesh uses it: 1.3 only, both sides checked against one CA, nothing resumed.
//!
//! rustls' own verifiers check issuers and dates (see [`ClusterTrust`]); around them this module adds the names,
//! the revocations and, for a machine without a certificate, the pinned CA. A verifier notes in a [`Verdict`] what
//! it saw, so that a failed handshake is explained in the mesh's terms rather than as a TLS alert.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, verify_server_name};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::sync::watch;

use super::{ALPN, ALPN_JOIN};
use crate::identity::MachineId;
use crate::pki::{
    CaHash, ClusterTrust, KeyMaterial, LeafIdentity, Revocations, VerifyError, crypto_provider,
};

/// Whom a dialling side expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// This machine.
    Machine(MachineId),
    /// Any machine of the cluster, because only its address is known.
    AnyMachine,
}

/// Why a peer's certificate was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerRefusal {
    /// The certificate itself: issuer, dates, names, revocation.
    #[error("its certificate is not accepted: {0}")]
    Certificate(#[from] VerifyError),
    /// It is another machine than the one that was dialled.
    #[error("it is machine {found}, not {expected}")]
    WrongMachine {
        /// Who answered.
        found: MachineId,
        /// Who should have.
        expected: MachineId,
    },
    /// Its CA is not the one that the join token pins.
    #[error("it belongs to another cluster: its CA is {found}, the token is for {pinned}")]
    WrongCa {
        /// Hash of the CA that it showed.
        found: CaHash,
        /// Hash in the token.
        pinned: CaHash,
    },
    /// It showed no CA, so there is nothing to compare with the token.
    #[error("it showed no CA certificate")]
    NoCa,
}

/// What a verifier saw; at most one of each handshake.
pub(super) type Verdict = Arc<OnceLock<Result<LeafIdentity, PeerRefusal>>>;

/// Revocations as they are at the moment of a handshake.
pub(super) type RevokedNow = watch::Receiver<Arc<Revocations>>;

// === Listening ===

/// The listening side: shows this machine's certificate, and asks for one.
pub(super) fn listener(
    keys: &KeyMaterial,
    trust: &ClusterTrust,
    revoked: RevokedNow,
) -> Result<rustls::ServerConfig, Error> {
    let verifier = DiallerVerifier {
        trust: trust.clone(),
        revoked,
    };
    let mut config = rustls::ServerConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(Chains::new(keys)?));
    config.alpn_protocols = vec![ALPN.to_vec(), ALPN_JOIN.to_vec()];
    // A resumed session would take over the certificate of the first without looking at it again: a revoked or
    // expired peer could come back. Early data comes with resumption and could be replayed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// Members have the CA; a joining machine needs to see it to compare it with its token.
#[derive(Debug)]
struct Chains {
    member: Arc<CertifiedKey>,
    joiner: Arc<CertifiedKey>,
}

impl Chains {
    fn new(keys: &KeyMaterial) -> Result<Self, Error> {
        let certified = |chain| {
            CertifiedKey::from_der(chain, keys.private_key(), &crypto_provider()).map(Arc::new)
        };
        Ok(Self {
            member: certified(vec![keys.leaf_der()])?,
            joiner: certified(vec![keys.leaf_der(), keys.ca_der()])?,
        })
    }
}

impl ResolvesServerCert for Chains {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let joins = hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|protocol| protocol == ALPN_JOIN));
        Some(if joins { &self.joiner } else { &self.member }.clone())
    }
}

/// Checks the certificates of those who dial this machine. None at all is let through here, because what somebody
/// without one may do depends on the ALPN: that is decided right after the handshake.
#[derive(Debug)]
struct DiallerVerifier {
    trust: ClusterTrust,
    revoked: RevokedNow,
}

impl ClientCertVerifier for DiallerVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust
            .verify(end_entity, to_ms(now))
            .and_then(|leaf| not_revoked(&self.revoked, leaf))
            .map(|_| ClientCertVerified::assertion())
            .map_err(|error| alert_for(&error))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust
            .dialling()
            .verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.dialling().supported_verify_schemes()
    }
}

// === Dialling ===

/// What a dialling side shows of itself, ready for any number of handshakes.
pub(super) type OwnCertificate = Arc<dyn ResolvesClientCert>;

/// Reads the private key once; handshakes then share it.
pub(super) fn own_certificate(keys: &KeyMaterial) -> Result<OwnCertificate, Error> {
    let chain = vec![keys.leaf_der()];
    let certified = CertifiedKey::from_der(chain, keys.private_key(), &crypto_provider())?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

/// The dialling side of a member or operator.
pub(super) fn dialler(
    own: OwnCertificate,
    trust: &ClusterTrust,
    revoked: Option<RevokedNow>,
    expect: Expect,
    verdict: Verdict,
) -> Result<rustls::ClientConfig, Error> {
    let verifier = ListenerVerifier {
        anchor: Anchor::Known {
            trust: trust.clone(),
            expect,
        },
        revoked,
        verdict,
    };
    let config = client_builder(verifier)?.with_client_cert_resolver(own);
    Ok(finish_client(config, ALPN))
}

/// The dialling side of a machine that has nothing but a token: the CA is known by its hash.
pub(super) fn joiner(pinned: CaHash, verdict: Verdict) -> Result<rustls::ClientConfig, Error> {
    let verifier = ListenerVerifier {
        anchor: Anchor::Pinned(pinned),
        revoked: None,
        verdict,
    };
    Ok(finish_client(
        client_builder(verifier)?.with_no_client_auth(),
        ALPN_JOIN,
    ))
}

fn client_builder(
    verifier: ListenerVerifier,
) -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>, Error> {
    Ok(
        rustls::ClientConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier)),
    )
}

fn finish_client(mut config: rustls::ClientConfig, alpn: &[u8]) -> rustls::ClientConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

/// How a dialling side knows its cluster.
#[derive(Debug)]
enum Anchor {
    Known { trust: ClusterTrust, expect: Expect },
    Pinned(CaHash),
}

/// Checks the certificate of the machine that was dialled.
struct ListenerVerifier {
    anchor: Anchor,
    revoked: Option<RevokedNow>,
    verdict: Verdict,
}

impl ListenerVerifier {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<LeafIdentity, PeerRefusal> {
        let identity = match &self.anchor {
            Anchor::Known { trust, expect } => {
                let identity = trust.verify_listener(leaf, to_ms(now))?;
                expected(*expect, &identity, leaf, name)?;
                identity
            }
            Anchor::Pinned(pinned) => {
                pinned_trust(*pinned, chain)?.verify_listener(leaf, to_ms(now))?
            }
        };
        match &self.revoked {
            Some(revoked) => Ok(not_revoked(revoked, identity)?),
            None => Ok(identity),
        }
    }
}

/// Both the identifier in the certificate and its DNS name must be the dialled ones.
fn expected(
    expect: Expect,
    identity: &LeafIdentity,
    leaf: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Result<(), PeerRefusal> {
    let found = identity
        .machine()
        .ok_or_else(|| VerifyError::Other("it is an operator's".to_owned()))?;
    let Expect::Machine(expected) = expect else {
        return Ok(());
    };
    let named = ParsedCertificate::try_from(leaf)
        .and_then(|parsed| verify_server_name(&parsed, name))
        .is_ok();
    if found == expected && named {
        Ok(())
    } else {
        Err(PeerRefusal::WrongMachine { found, expected })
    }
}

fn pinned_trust(pinned: CaHash, chain: &[CertificateDer<'_>]) -> Result<ClusterTrust, PeerRefusal> {
    let ca = chain.last().ok_or(PeerRefusal::NoCa)?;
    let found = CaHash::of(ca);
    if found != pinned {
        return Err(PeerRefusal::WrongCa { found, pinned });
    }
    Ok(ClusterTrust::new(ca)?)
}

impl fmt::Debug for ListenerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerVerifier")
            .field("anchor", &self.anchor)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for ListenerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.judge(end_entity, intermediates, server_name, now);
        let alert = match &judged {
            Ok(_) => None,
            Err(PeerRefusal::Certificate(error)) => Some(alert_for(error)),
            Err(PeerRefusal::WrongMachine { .. }) => Some(CertificateError::NotValidForName.into()),
            Err(_) => Some(CertificateError::UnknownIssuer.into()),
        };
        // One handshake, one verdict; a second call could only repeat it.
        let _ = self.verdict.set(judged);
        alert.map_or_else(|| Ok(ServerCertVerified::assertion()), Err)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = crypto_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

// === Shared ===

fn not_revoked(revoked: &RevokedNow, leaf: LeafIdentity) -> Result<LeafIdentity, VerifyError> {
    if revoked.borrow().contains(&leaf.subject) {
        Err(VerifyError::Revoked)
    } else {
        Ok(leaf)
    }
}

/// The TLS alert that tells the other side the same.
fn alert_for(error: &VerifyError) -> Error {
    match error {
        VerifyError::Expired => CertificateError::Expired,
        VerifyError::NotYetValid => CertificateError::NotValidYet,
        VerifyError::Revoked => CertificateError::Revoked,
        VerifyError::UnknownIssuer { .. } | VerifyError::WrongCluster { .. } => {
            CertificateError::UnknownIssuer
        }
        _ => CertificateError::BadEncoding,
    }
    .into()
}

fn to_ms(now: UnixTime) -> u64 {
    u64::try_from(Duration::from_secs(now.as_secs()).as_millis()).unwrap_or(u64::MAX)
}
