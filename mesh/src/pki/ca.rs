//! The cluster's certificate authority.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::credentials::LEAF_LIFETIME;
use super::names::{self, NameError};
use super::token::{JoinToken, TokenId};
use crate::identity::{ClusterId, MachineId};

/// A CA outlives the cluster: renewing it would mean handing every machine a new pin.
const CA_LIFETIME: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Certificates start this much in the past, so that a machine whose clock is behind accepts them.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// Longest certificate request that is looked at, in bytes; ours are about 220.
const REQUEST_MAX: usize = 4096;

/// Version of the bytes that [`ClusterCa::export`] gives.
const EXPORT_VERSION: u8 = 1;

/// SHA-256 of a CA certificate: what a join token pins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CaHash(pub [u8; 32]);

impl CaHash {
    /// The hash of a CA certificate in DER.
    pub fn of(ca_der: &[u8]) -> Self {
        Self(Sha256::digest(ca_der).into())
    }
}

impl fmt::Display for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaHash({self})")
    }
}

/// Why a certificate was not issued, or a CA not made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The request is not a certificate request, or the sender did not sign it with the key it names.
    #[error("not a valid certificate request: {0}")]
    BadRequest(String),
    /// The request names a key of another kind than ECDSA P-256.
    #[error("the certificate request's key is not ECDSA P-256")]
    WrongKeyKind,
    /// The name asked for cannot be put into a certificate.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The exported bytes are not a CA, or its key and its certificate do not belong together.
    #[error("not a cluster CA: {0}")]
    NotACa(String),
    /// The cryptographic library refused; a bug or a broken source of randomness.
    #[error("could not sign: {0}")]
    Signing(#[from] rcgen::Error),
}

/// The CA of one cluster, with its private key. Coordinators hold it; nobody else ever sees it.
pub struct ClusterCa {
    cluster: ClusterId,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What is exported: everything needed to be the CA.
#[derive(Serialize, Deserialize)]
struct Exported {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl ClusterCa {
    /// Makes the CA of a new cluster.
    ///
    /// # Errors
    /// [`IssueError::Signing`] when the cryptographic library fails.
    pub fn create(cluster: ClusterId, now_ms: u64) -> Result<Self, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(now_ms, CA_LIFETIME, names::ca_names(cluster))?;
        params
            .distinguished_name
            .push(DnType::CommonName, format!("muster cluster {cluster}"));
        // No intermediates, and no name constraints: webpki refuses every URI name under a CA that has any.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self {
            cluster,
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// The cluster that it is the authority of.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The certificate that every member trusts, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// What join tokens pin.
    pub fn hash(&self) -> CaHash {
        CaHash::of(&self.certificate)
    }

    /// [`Self::sign_machine_for`] the usual 24 hours.
    ///
    /// # Errors
    /// As [`Self::sign_machine_for`].
    pub fn sign_machine(
        &self,
        request: &[u8],
        machine: MachineId,
        now_ms: u64,
    ) -> Result<Vec<u8>, IssueError> {
        self.sign_machine_for(request, machine, now_ms, LEAF_LIFETIME)
    }

    /// Signs a machine's leaf that ends `lifetime` after `now_ms` (milliseconds since 1970), good for both ends of a
    /// connection.
    ///
    /// Of `request` (PKCS #10, DER) only the public key is used, after its proof of possession was checked:
    /// which machine it is comes from the admission record, that is from the caller.
    ///
    /// # Errors
    /// When the request is malformed, unsigned, or for another kind of key.
    pub fn sign_machine_for(
        &self,
        request: &[u8],
        machine: MachineId,
        now_ms: u64,
        lifetime: Duration,
    ) -> Result<Vec<u8>, IssueError> {
        let usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let names = names::machine_names(machine, self.cluster);
        self.sign(request, names, usages, now_ms, lifetime)
    }

    /// Signs an operator's certificate, good for dialling only.
    ///
    /// # Errors
    /// As [`Self::sign_machine`], and when the name is not an operator's name.
    pub fn sign_operator(
        &self,
        request: &[u8],
        name: &str,
        now_ms: u64,
        lifetime: Duration,
    ) -> Result<Vec<u8>, IssueError> {
        let names = names::operator_names(name, self.cluster)?;
        let usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(request, names, usages, now_ms, lifetime)
    }

    /// The private key (PKCS #8, DER).
    pub(super) fn key_der(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.issuer.key().serialized_der().to_vec())
    }

    fn sign(
        &self,
        request: &[u8],
        names: Vec<SanType>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        now_ms: u64,
        lifetime: Duration,
    ) -> Result<Vec<u8>, IssueError> {
        let request = read_request(request)?;
        let mut params = params(now_ms, lifetime, names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&request.public_key, &self.issuer)?;
        Ok(leaf.der().to_vec())
    }

    /// The join token with the public number `number` that the holders of this CA, and nobody else, can derive, as
    /// often as they need to and without talking to each other: its secret is an HMAC, keyed by the CA's key, of the
    /// number and of `purpose`.
    pub fn derive_token(&self, number: u64, purpose: &str) -> JoinToken {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.issuer.key().serialized_der());
        let mut context = hmac::Context::with_key(&key);
        context.update(b"muster derived token 1\0");
        context.update(&number.to_be_bytes());
        context.update(purpose.as_bytes());
        JoinToken::derived(self.hash(), TokenId(number), context.sign().as_ref())
    }

    /// Certificate and private key as bytes, for another coordinator or for [sealing](super::seal_ca).
    pub fn export(&self) -> Zeroizing<Vec<u8>> {
        let exported = Exported {
            certificate: self.certificate.to_vec(),
            key: self.issuer.key().serialized_der().to_vec(),
        };
        let body = Zeroizing::new(
            postcard::to_stdvec(&exported).expect("two byte strings serialize into memory"),
        );
        drop(Zeroizing::new(exported.key));
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + body.len()));
        bytes.push(EXPORT_VERSION);
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads what [`Self::export`] gave.
    ///
    /// # Errors
    /// [`IssueError::NotACa`] when the bytes are something else or the key is not the certificate's.
    pub fn import(bytes: &[u8]) -> Result<Self, IssueError> {
        let not_a_ca = |detail: &str| IssueError::NotACa(detail.to_owned());
        let body = match bytes {
            [EXPORT_VERSION, body @ ..] => body,
            [version, ..] => return Err(not_a_ca(&format!("unknown version {version}"))),
            [] => return Err(not_a_ca("empty")),
        };
        let Exported { certificate, key } =
            postcard::from_bytes(body).map_err(|_| not_a_ca("malformed"))?;
        let key = Zeroizing::new(key);
        let cluster = names::read_ca_cluster(&certificate)?;
        let pair =
            KeyPair::from_pkcs8_der_and_sign_algo(&key.as_slice().into(), &PKCS_ECDSA_P256_SHA256)
                .map_err(|_| not_a_ca("its key is not an ECDSA P-256 key"))?;
        if names::public_key(&certificate)? != pair.public_key_raw() {
            return Err(not_a_ca("its key is not the key of its certificate"));
        }
        let certificate = CertificateDer::from(certificate);
        let issuer = Issuer::from_ca_cert_der(&certificate, pair)?;
        Ok(Self {
            cluster,
            certificate,
            issuer,
        })
    }
}

/// The SHA-256 of the public key in a certificate request (PKCS #10, DER), after the proof of possession was checked:
/// what tells two machines that show one token apart.
///
/// # Errors
/// When the request is malformed, unsigned, or for another kind of key.
pub fn public_key_hash(request: &[u8]) -> Result<[u8; 32], IssueError> {
    use rcgen::PublicKeyData as _;
    let request = read_request(request)?;
    Ok(Sha256::digest(request.public_key.der_bytes()).into())
}

fn read_request(request: &[u8]) -> Result<CertificateSigningRequestParams, IssueError> {
    if request.len() > REQUEST_MAX {
        return Err(IssueError::BadRequest(format!(
            "{} bytes, at most {REQUEST_MAX} are accepted",
            request.len()
        )));
    }
    let request =
        CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(|error| IssueError::BadRequest(error.to_string()))?;
    if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
        return Err(IssueError::WrongKeyKind);
    }
    Ok(request)
}

impl fmt::Debug for ClusterCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterCa")
            .field("cluster", &self.cluster)
            .field("hash", &self.hash())
            .finish_non_exhaustive()
    }
}

fn params(
    now_ms: u64,
    lifetime: Duration,
    names: Vec<SanType>,
) -> Result<CertificateParams, IssueError> {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now_ms / 1000);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = names;
    // Never by so much that a short life looks old, and due for renewal, from the start.
    params.not_before = now - BACKDATED.min(lifetime / 2);
    params.not_after = now + lifetime;
    params.serial_number = Some(random_serial()?);
    Ok(params)
}

/// 127 random bits: unguessable, positive, and unique without a counter to share.
fn random_serial() -> Result<SerialNumber, IssueError> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial)
        .map_err(|_| IssueError::Signing(rcgen::Error::RingUnspecified))?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}
