//! Checking certificates against one cluster's CA.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::CaHash;
use super::names::{self, LeafIdentity, NameError};
use crate::identity::ClusterId;

/// TLS 1.3 with aws-lc-rs, post-quantum key agreement first. Shared by everything in the process.
pub(crate) fn crypto_provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
                aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            kx_groups: vec![
                aws_lc_rs::kx_group::X25519MLKEM768,
                aws_lc_rs::kx_group::X25519,
            ],
            ..aws_lc_rs::default_provider()
        })
    });
    PROVIDER.clone()
}

/// Why a certificate is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It was signed by another CA.
    #[error("it was not signed by this cluster's CA{}", claimed(*cluster))]
    UnknownIssuer {
        /// The cluster that its names claim, if they can be read at all. Not proven.
        cluster: Option<ClusterId>,
    },
    /// Its names are of another cluster than its CA's, so the CA was made wrongly.
    #[error("it is for cluster {found}, not {expected}")]
    WrongCluster {
        /// The cluster in its names.
        found: ClusterId,
        /// The cluster of the CA.
        expected: ClusterId,
    },
    /// It has run out. Either its machine failed to renew it, or one of the two clocks is wrong.
    #[error("it expired (compare the clocks of both machines)")]
    Expired,
    /// It starts in the future, by more than certificates are backdated.
    #[error("it is not valid yet (compare the clocks of both machines)")]
    NotYetValid,
    /// Its names are not those of a machine or an operator.
    #[error(transparent)]
    Names(#[from] NameError),
    /// Its machine or operator has been revoked.
    #[error("it has been revoked")]
    Revoked,
    /// Anything else that certificate checking found, in the words of the library.
    #[error("{0}")]
    Other(String),
}

fn claimed(cluster: Option<ClusterId>) -> String {
    cluster.map_or(String::new(), |cluster| {
        format!(" (it claims cluster {cluster})")
    })
}

/// What one cluster's CA vouches for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClusterTrust {
    cluster: ClusterId,
    hash: CaHash,
    roots: Arc<RootCertStore>,
    dialling: Arc<dyn ClientCertVerifier>,
}

impl ClusterTrust {
    /// Trust in the CA with this certificate (DER).
    ///
    /// # Errors
    /// When it is not the certificate of a cluster CA.
    pub fn new(ca: &[u8]) -> Result<Self, VerifyError> {
        let cluster = names::read_ca_cluster(ca)?;
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(ca.to_vec()))
            .map_err(|error| VerifyError::Other(error.to_string()))?;
        let roots = Arc::new(roots);
        // The TLS server must not name its CA to strangers, hence no hints.
        let dialling =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), crypto_provider())
                .allow_unauthenticated()
                .clear_root_hint_subjects()
                .build()
                .map_err(|error| VerifyError::Other(error.to_string()))?;
        Ok(Self {
            cluster,
            hash: CaHash::of(ca),
            roots,
            dialling,
        })
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The hash of the CA's certificate.
    pub fn hash(&self) -> CaHash {
        self.hash
    }

    /// Checks a machine's or an operator's certificate (DER) as the dialling side of a connection shows it, or
    /// as it comes with a signed record: issuer, validity at `now_ms`, purpose, names.
    ///
    /// # Errors
    /// The first check that it failed.
    pub fn verify(&self, leaf: &[u8], now_ms: u64) -> Result<LeafIdentity, VerifyError> {
        self.dialling
            .verify_client_cert(&CertificateDer::from(leaf), &[], unix_time(now_ms))
            .map_err(|error| explain(&error, leaf))?;
        self.read(leaf)
    }

    /// Checks a certificate as the listening side of a connection shows it; only machines have such.
    ///
    /// # Errors
    /// The first check that it failed.
    pub fn verify_listener(&self, leaf: &[u8], now_ms: u64) -> Result<LeafIdentity, VerifyError> {
        let der = CertificateDer::from(leaf);
        let parsed = ParsedCertificate::try_from(&der).map_err(|error| explain(&error, leaf))?;
        let algorithms = crypto_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            &[],
            unix_time(now_ms),
            algorithms,
        )
        .map_err(|error| explain(&error, leaf))?;
        self.read(leaf)
    }

    fn read(&self, leaf: &[u8]) -> Result<LeafIdentity, VerifyError> {
        let identity = LeafIdentity::read(leaf)?;
        if identity.cluster != self.cluster {
            return Err(VerifyError::WrongCluster {
                found: identity.cluster,
                expected: self.cluster,
            });
        }
        Ok(identity)
    }

    /// The verifier that the TLS server delegates signatures to.
    pub(crate) fn dialling(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.dialling
    }
}

fn unix_time(now_ms: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(now_ms))
}

fn explain(error: &rustls::Error, leaf: &[u8]) -> VerifyError {
    let rustls::Error::InvalidCertificate(cause) = error else {
        return VerifyError::Other(error.to_string());
    };
    match cause {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => VerifyError::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            VerifyError::NotYetValid
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            VerifyError::UnknownIssuer {
                cluster: LeafIdentity::read(leaf).ok().map(|leaf| leaf.cluster),
            }
        }
        CertificateError::BadEncoding => VerifyError::Names(NameError::NotACertificate),
        other => VerifyError::Other(other.to_string()),
    }
}
