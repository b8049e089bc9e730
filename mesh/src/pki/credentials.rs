//! A machine's own key and certificate.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::names::{self, Subject};
use super::trust::{ClusterTrust, VerifyError};
use super::{CaHash, IssueError};
use crate::identity::{ClusterId, MachineId};
use crate::state_dir::{FileKind, StateError};

/// How long a machine's certificate lives. Short, because that bounds what a stolen one is worth.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The file that a machine keeps its identity in.
const FILE: FileKind = FileKind {
    tag: *b"cred",
    version: 1,
    what: "this machine's key and certificate",
    remedy: "Restore it from a backup, or empty the directory and join again with a new token; the machine then gets a new ID.",
    size_max: 16 * 1024,
};

/// The file that a key waits in while its certificate is being asked for.
const WAITING: FileKind = FileKind {
    tag: *b"wait",
    version: 1,
    what: "the key that this machine asks to join with",
    remedy: "Delete it; the machine then asks with a new key, which needs a token that is not used up.",
    size_max: 1024,
};

/// When to ask for a new certificate: at two thirds of its life, and up to a tenth of it later.
///
/// `jitter` (any random number) spreads the machines of a fleet that was started at one moment, so that they
/// do not all ask their coordinators at one moment for ever after. All times are milliseconds since 1970.
pub fn renew_at(not_before_ms: u64, not_after_ms: u64, jitter: u64) -> u64 {
    let life = not_after_ms.saturating_sub(not_before_ms);
    let spread = life / 10;
    let late = if spread == 0 { 0 } else { jitter % spread };
    not_before_ms
        .saturating_add(life / 3 * 2)
        .saturating_add(late)
}

/// A private key that waits for its certificate.
pub struct LeafKey {
    pair: KeyPair,
}

impl LeafKey {
    /// Makes a new ECDSA P-256 key.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn generate() -> Result<Self, IssueError> {
        Ok(Self {
            pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        })
    }

    /// The key that waits at `path`; when there is none, a new one, which waits there from then on, durably.
    ///
    /// Who asks for a certificate again must ask with the same key, or is taken for somebody else.
    ///
    /// # Errors
    /// When the file is damaged or can't be written, or the cryptographic library fails.
    pub fn waiting(path: &Path) -> Result<Self, CredentialsError> {
        if let Some(bytes) = WAITING.read(path)? {
            let bytes = Zeroizing::new(bytes);
            let pair = KeyPair::from_pkcs8_der_and_sign_algo(
                &bytes.as_slice().into(),
                &PKCS_ECDSA_P256_SHA256,
            );
            let pair = pair.map_err(|_| WAITING.damaged(path, "it does not hold a key"))?;
            return Ok(Self { pair });
        }
        let key = Self::generate()?;
        WAITING.write(path, &key.pkcs8())?;
        Ok(key)
    }

    /// A certificate request (PKCS #10, DER): the public key, and the proof of having the private one.
    ///
    /// It names nobody, because nobody would believe it.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn request(&self) -> Result<Vec<u8>, IssueError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        Ok(params.serialize_request(&self.pair)?.der().to_vec())
    }

    pub(super) fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pair.serialize_der())
    }
}

impl fmt::Debug for LeafKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeafKey(..)")
    }
}

/// Why a key and certificate cannot be used as this machine's identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The certificate is not this cluster's, not valid yet, or malformed.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] VerifyError),
    /// The certificate is for somebody else than was expected (an operator instead of a machine, or the reverse).
    #[error("the certificate is for {found:?}, which is not the expected kind")]
    WrongSubject {
        /// Whom it is for.
        found: Subject,
    },
    /// The certificate names another public key than the private key's.
    #[error("the private key is not the key of the certificate")]
    WrongKey,
    /// No key could be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The file could not be read or written, or is damaged.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A machine's identity: private key, certificate, and the CA that both sides of a connection trust.
#[derive(Clone)]
pub struct Credentials {
    cluster: ClusterId,
    machine: MachineId,
    keys: KeyMaterial,
}

/// The parts that machines and operators have in common.
#[derive(Clone)]
pub(crate) struct KeyMaterial {
    pub(crate) leaf: Vec<u8>,
    pub(crate) ca: Vec<u8>,
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) not_before_ms: u64,
    pub(super) not_after_ms: u64,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Stored {
    leaf: Vec<u8>,
    ca: Vec<u8>,
    key: Vec<u8>,
}

impl Credentials {
    /// Puts a key, the certificate that was issued for it and the CA together, and checks that they fit:
    /// a renewed certificate is published to the transport only after it has passed here.
    ///
    /// # Errors
    /// When the certificate is not valid under the CA at `now_ms`, not a machine's, or not this key's.
    pub fn assemble(
        key: &LeafKey,
        leaf: Vec<u8>,
        ca: Vec<u8>,
        now_ms: u64,
    ) -> Result<Self, CredentialsError> {
        Self::check(key.pkcs8(), leaf, ca, now_ms)
    }

    fn check(
        key: Zeroizing<Vec<u8>>,
        leaf: Vec<u8>,
        ca: Vec<u8>,
        now_ms: u64,
    ) -> Result<Self, CredentialsError> {
        let (keys, cluster, subject) = KeyMaterial::check(key, leaf, ca, now_ms)?;
        match subject {
            Subject::Machine(machine) => Ok(Self {
                cluster,
                machine,
                keys,
            }),
            found @ Subject::Operator(_) => Err(CredentialsError::WrongSubject { found }),
        }
    }

    /// Stores them, for the owner only and durable on return.
    ///
    /// # Errors
    /// When the file cannot be written; the old one is then still whole.
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        let stored = Stored {
            leaf: self.keys.leaf.clone(),
            ca: self.keys.ca.clone(),
            key: self.keys.key.to_vec(),
        };
        let bytes = Zeroizing::new(
            postcard::to_stdvec(&stored).expect("three byte strings serialize into memory"),
        );
        drop(Zeroizing::new(stored.key));
        FILE.write(path, &bytes)
    }

    /// Reads what [`Self::save`] stored; `None` when there is no such file.
    ///
    /// A certificate that has run out is read all the same (see [`Self::is_expired`]): the machine needs its key
    /// to ask for a new one.
    ///
    /// # Errors
    /// When the file is damaged or its parts do not belong together.
    pub fn load(path: &Path) -> Result<Option<Self>, CredentialsError> {
        let Some(bytes) = FILE.read(path)? else {
            return Ok(None);
        };
        let bytes = Zeroizing::new(bytes);
        let Stored { leaf, ca, key } = postcard::from_bytes(&bytes)
            .map_err(|_| FILE.damaged(path, "its content makes no sense"))?;
        // Checked as of its own first second: the clock decides later whether it may be used.
        let issued_ms = names::LeafIdentity::read(&leaf)
            .map_err(VerifyError::from)?
            .not_before_ms;
        Self::check(Zeroizing::new(key), leaf, ca, issued_ms).map(Some)
    }

    /// The cluster that the machine belongs to.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Which machine this is.
    pub fn machine(&self) -> MachineId {
        self.machine
    }

    /// Its certificate, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.keys.leaf
    }

    /// The cluster's CA certificate, in DER.
    pub fn ca_certificate(&self) -> &[u8] {
        &self.keys.ca
    }

    /// The CA's hash, with which an expired machine pins the cluster when it asks for a new certificate.
    pub fn ca_hash(&self) -> CaHash {
        CaHash::of(&self.keys.ca)
    }

    /// Start of the certificate's validity, milliseconds since 1970.
    pub fn not_before_ms(&self) -> u64 {
        self.keys.not_before_ms
    }

    /// End of the certificate's validity, milliseconds since 1970.
    pub fn not_after_ms(&self) -> u64 {
        self.keys.not_after_ms
    }

    /// Whether peers refuse it by now.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        now_ms > self.keys.not_after_ms
    }

    /// When to ask for the next certificate; see [`renew_at`].
    pub fn renew_at(&self, jitter: u64) -> u64 {
        renew_at(self.keys.not_before_ms, self.keys.not_after_ms, jitter)
    }

    pub(crate) fn keys(&self) -> &KeyMaterial {
        &self.keys
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("cluster", &self.cluster)
            .field("machine", &self.machine)
            .field("not_after_ms", &self.keys.not_after_ms)
            .finish_non_exhaustive()
    }
}

// === impl KeyMaterial ===

impl KeyMaterial {
    pub(super) fn check(
        key: Zeroizing<Vec<u8>>,
        leaf: Vec<u8>,
        ca: Vec<u8>,
        now_ms: u64,
    ) -> Result<(Self, ClusterId, Subject), CredentialsError> {
        let identity = ClusterTrust::new(&ca)?.verify(&leaf, now_ms)?;
        let pair =
            KeyPair::from_pkcs8_der_and_sign_algo(&key.as_slice().into(), &PKCS_ECDSA_P256_SHA256)
                .map_err(|_| CredentialsError::WrongKey)?;
        if names::public_key(&leaf).map_err(VerifyError::from)? != pair.public_key_raw() {
            return Err(CredentialsError::WrongKey);
        }
        let keys = Self {
            leaf,
            ca,
            key,
            not_before_ms: identity.not_before_ms,
            not_after_ms: identity.not_after_ms,
        };
        Ok((keys, identity.cluster, identity.subject))
    }

    pub(crate) fn leaf_der(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.leaf.clone())
    }

    pub(crate) fn ca_der(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.ca.clone())
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_key_is_the_same_after_a_restart_and_a_damaged_one_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("joining");
        let first = LeafKey::waiting(&path).expect("made");
        let again = LeafKey::waiting(&path).expect("read");
        assert_eq!(first.pkcs8(), again.pkcs8());
        let mut bytes = std::fs::read(&path).expect("there");
        *bytes.last_mut().expect("not empty") ^= 1;
        std::fs::write(&path, bytes).expect("writable");
        let error = LeafKey::waiting(&path).expect_err("damaged").to_string();
        assert!(error.contains("asks to join with"), "{error}");
    }

    #[test]
    fn renewal_falls_between_two_thirds_and_the_end() {
        let hour = 3_600_000;
        assert_eq!(renew_at(0, 24 * hour, 0), 16 * hour);
        for jitter in [1, 7, u64::MAX, 123_456_789] {
            let at = renew_at(0, 24 * hour, jitter);
            assert!((16 * hour..24 * hour * 8 / 10).contains(&at), "{at}");
        }
        assert_eq!(renew_at(5, 5, 9), 5);
        assert_eq!(renew_at(9, 5, 9), 9);
    }
}
