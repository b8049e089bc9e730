//! Whom a client of HTTPS trusts, and what it shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

use super::HttpConfig;

/// How a back end proves who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// By a certificate of one of the system's authorities.
    #[default]
    System,
    /// By a certificate of an authority in this file (PEM), and of no other.
    Authority(PathBuf),
    /// By exactly this certificate: the SHA-256 of its DER form. For controllers that sign their own.
    Fingerprint([u8; 32]),
    /// Not at all: whoever answers is believed. Only where the network itself is trusted.
    Anyone,
}

impl Trust {
    /// Reads a fingerprint: 64 hexadecimal digits, colons between them allowed.
    pub fn fingerprint(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let bytes = data_encoding::HEXLOWER_PERMISSIVE
            .decode(digits.as_bytes())
            .ok()?;
        Some(Self::Fingerprint(bytes.try_into().ok()?))
    }
}

/// The configuration of a client. Reads files, the system's authorities only if `needed`.
pub(super) fn config(needed: bool, http: &HttpConfig) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &http.trust {
        _ if !needed => builder.with_root_certificates(RootCertStore::empty()),
        Trust::System => builder.with_root_certificates(system()?),
        Trust::Authority(path) => builder.with_root_certificates(authority(path)?),
        Trust::Fingerprint(hash) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned {
                hash: Some(*hash),
                provider,
            })),
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned {
                hash: None,
                provider,
            })),
    };
    match http.certificate.as_ref().filter(|_| needed) {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("{}: {error}", key.display()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("{}: {error}", certificate.display()))
        }
    }
}

fn system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err("the system has no certificate authorities; install them (`ca-certificates`) or name one".to_owned());
    }
    Ok(store)
}

fn authority(path: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store
            .add(certificate)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| at(&error))?
        .collect();
    let all = all.map_err(|error| at(&error))?;
    if all.is_empty() {
        return Err(at(&"there is no certificate in it"));
    }
    Ok(all)
}

/// Knows a server by its certificate alone, whatever names and dates stand in it. The handshake still proves that the
/// server holds the certificate's key.
#[derive(Debug)]
struct Pinned {
    /// The SHA-256 of the certificate; `None` accepts any.
    hash: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen: [u8; 32] = Sha256::digest(end_entity.as_ref()).into();
        if self.hash.is_none_or(|expected| expected == seen) {
            Ok(ServerCertVerified::assertion())
        } else {
            let seen = data_encoding::HEXLOWER.encode(&seen);
            Err(rustls::Error::General(format!(
                "the server shows another certificate, with the fingerprint {seen}"
            )))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
