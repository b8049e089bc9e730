//! An operator's key and certificate: what `muster --node` shows to a machine.

use std::fmt;
use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::credentials::{CredentialsError, KeyMaterial, LeafKey};
use super::names::Subject;
use crate::identity::ClusterId;
use crate::state_dir::{StateError, write_durably};

/// Longest operator file that is read, in bytes; ours are about 2000.
const FILE_MAX: u64 = 64 * 1024;

/// An operator's identity. Kept as one PEM file (certificate, CA certificate, private key), because it is
/// carried to other computers and read by other tools.
#[derive(Clone)]
pub struct OperatorCredentials {
    cluster: ClusterId,
    name: String,
    keys: KeyMaterial,
}

impl OperatorCredentials {
    /// Puts a key, the certificate issued for it and the CA together, and checks that they fit.
    ///
    /// # Errors
    /// When the certificate is not valid under the CA at `now_ms`, not an operator's, or not this key's.
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
            Subject::Operator(name) => Ok(Self {
                cluster,
                name,
                keys,
            }),
            found @ Subject::Machine(_) => Err(CredentialsError::WrongSubject { found }),
        }
    }

    /// The PEM form, private key included.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for (label, der) in [
            ("CERTIFICATE", self.keys.leaf.as_slice()),
            ("CERTIFICATE", self.keys.ca.as_slice()),
            ("PRIVATE KEY", self.keys.key.as_slice()),
        ] {
            push_pem(&mut text, label, der);
        }
        text
    }

    /// Reads the PEM form: the operator's certificate first, then the CA's, and the private key anywhere.
    ///
    /// # Errors
    /// When a part is missing, or the parts do not belong together or are not valid at `now_ms`.
    pub fn from_pem(text: &str, now_ms: u64) -> Result<Self, ParseOperatorError> {
        let malformed = |_| ParseOperatorError::Incomplete;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(malformed)?;
        let [leaf, ca] = certificates.as_slice() else {
            return Err(ParseOperatorError::Incomplete);
        };
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(malformed)?;
        let key = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        Ok(Self::check(key, leaf.to_vec(), ca.to_vec(), now_ms)?)
    }

    /// Writes the PEM form to a file for the owner only.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        write_durably(path, self.to_pem().as_bytes())
    }

    /// Reads a file that [`Self::save`] wrote.
    ///
    /// # Errors
    /// When it cannot be read, or as [`Self::from_pem`].
    pub fn load(path: &Path, now_ms: u64) -> Result<Self, ParseOperatorError> {
        use std::io::Read as _;
        let mut text = Zeroizing::new(String::new());
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_MAX).read_to_string(&mut text))
            .map_err(|error| StateError::io("read", path, error))?;
        Self::from_pem(&text, now_ms)
    }

    /// The cluster that the operator may speak to.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The operator's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// End of the certificate's validity, milliseconds since 1970.
    pub fn not_after_ms(&self) -> u64 {
        self.keys.not_after_ms
    }

    pub(crate) fn keys(&self) -> &KeyMaterial {
        &self.keys
    }
}

impl fmt::Debug for OperatorCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorCredentials")
            .field("cluster", &self.cluster)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why an operator's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseOperatorError {
    /// A part is missing or garbled.
    #[error(
        "not an operator's file: it needs the operator's certificate, the cluster's certificate and the private key, \
         in PEM; `muster operator create` makes one"
    )]
    Incomplete,
    /// The parts do not belong together, or have run out.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The file cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

fn push_pem(text: &mut String, label: &str, der: &[u8]) {
    use std::fmt::Write as _;
    let encoded = Zeroizing::new(data_encoding::BASE64.encode(der));
    let written = (|| {
        writeln!(text, "-----BEGIN {label}-----")?;
        for line in encoded.as_bytes().chunks(64) {
            writeln!(text, "{}", std::str::from_utf8(line).unwrap_or_default())?;
        }
        writeln!(text, "-----END {label}-----")
    })();
    written.expect("writing into a string succeeds");
}
