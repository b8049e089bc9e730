//! The CA's private key at rest: sealed with AES-256-GCM under a key that lives in another file.
//!
//! The sealed file alone is worthless, so backups and images of the state directory do not leak the cluster.
//! The key file is either made by the agent (32 random bytes) or supplied by the operator, for example from a
//! hardware token or a secrets mount; whatever it holds, the sealing key is HKDF-SHA-256 of it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use super::ca::{ClusterCa, IssueError};
use crate::state_dir::{FileKind, StateError, write_durably};

/// The sealed CA.
const SEALED: FileKind = FileKind {
    tag: *b"ca  ",
    version: 1,
    what: "the cluster's sealed CA key",
    remedy: "Delete it and let this machine become a coordinator again: it gets a new copy from another coordinator. \
             If there is none, restore it from a backup.",
    size_max: 8 * 1024,
};

const SALT_LEN: usize = 16;

/// A shorter key file is refused: it could be guessed.
const KEY_FILE_MIN: usize = 32;

/// A longer one is not a key file but a mistake.
const KEY_FILE_MAX: usize = 64 * 1024;

/// Why the CA could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A file could not be read or written, or is damaged.
    #[error(transparent)]
    State(#[from] StateError),
    /// The key file is missing although a sealed CA is there.
    #[error("there is no key file `{}`: put back the file that the CA was sealed with", .0.display())]
    NoKeyFile(PathBuf),
    /// The key file holds too little or too much to be one.
    #[error(
        "`{}` has {length} bytes and cannot be a key file: {KEY_FILE_MIN} to {KEY_FILE_MAX} are accepted \
         (`head -c 32 /dev/urandom` makes a good one)", path.display()
    )]
    BadKeyFile {
        /// The file.
        path: PathBuf,
        /// Its length; at most one more than what is accepted.
        length: usize,
    },
    /// The sealed CA does not open with this key file.
    #[error(
        "`{}` does not open with the key file `{}`: it was sealed with another one. Put back the right key file, or \
         delete both and let this machine get a new copy of the CA from another coordinator", sealed.display(), key.display()
    )]
    WrongKey {
        /// The sealed CA.
        sealed: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// It opened, but does not hold a CA.
    #[error(transparent)]
    NotACa(#[from] IssueError),
    /// The cryptographic library failed; a bug or a broken source of randomness.
    #[error("could not seal the CA key")]
    Crypto,
}

/// The secret that seals the CA, read from its file.
pub struct KeyFile {
    path: PathBuf,
    secret: Zeroizing<Vec<u8>>,
}

impl KeyFile {
    /// Reads an existing key file.
    ///
    /// # Errors
    /// [`SealError::NoKeyFile`] when there is none, [`SealError::BadKeyFile`] when it is too short or too long.
    pub fn read(path: &Path) -> Result<Self, SealError> {
        let mut secret = Zeroizing::new(Vec::new());
        match File::open(path)
            .and_then(|file| file.take(KEY_FILE_MAX as u64 + 1).read_to_end(&mut secret))
        {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(SealError::NoKeyFile(path.to_owned()));
            }
            Err(error) => return Err(StateError::io("read", path, error).into()),
        }
        if !(KEY_FILE_MIN..=KEY_FILE_MAX).contains(&secret.len()) {
            return Err(SealError::BadKeyFile {
                path: path.to_owned(),
                length: secret.len(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            secret,
        })
    }

    /// Reads the key file, or makes one with 32 random bytes, for the owner only.
    ///
    /// # Errors
    /// As [`Self::read`], and when it cannot be written.
    pub fn read_or_create(path: &Path) -> Result<Self, SealError> {
        match Self::read(path) {
            Err(SealError::NoKeyFile(_)) => {
                let mut secret = Zeroizing::new(vec![0; 32]);
                aws_lc_rs::rand::fill(&mut secret).map_err(|_| SealError::Crypto)?;
                write_durably(path, &secret)?;
                Ok(Self {
                    path: path.to_owned(),
                    secret,
                })
            }
            other => other,
        }
    }

    fn sealing_key(&self, salt: &[u8]) -> Result<LessSafeKey, SealError> {
        let prk = Salt::new(HKDF_SHA256, salt).extract(&self.secret);
        let mut key = Zeroizing::new([0; 32]);
        prk.expand(&[b"muster CA at rest 1"], HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .and_then(|()| UnboundKey::new(&AES_256_GCM, key.as_slice()))
            .map(LessSafeKey::new)
            .map_err(|_| SealError::Crypto)
    }
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Stores the CA, sealed, for the owner only and durable on return.
///
/// # Errors
/// When the file cannot be written; the old one is then still whole.
pub fn seal_ca(ca: &ClusterCa, key: &KeyFile, path: &Path) -> Result<(), SealError> {
    // A new salt gives a new key each time, so the random nonce is never used twice with one key.
    let mut content = vec![0; SALT_LEN + NONCE_LEN];
    aws_lc_rs::rand::fill(&mut content).map_err(|_| SealError::Crypto)?;
    let nonce = nonce(&content[SALT_LEN..])?;
    let mut secret = ca.export();
    let tag = key
        .sealing_key(&content[..SALT_LEN])?
        .seal_in_place_separate_tag(nonce, Aad::from(SEALED.tag), &mut secret)
        .map_err(|_| SealError::Crypto)?;
    content.extend_from_slice(&secret);
    content.extend_from_slice(tag.as_ref());
    Ok(SEALED.write(path, &content)?)
}

/// Opens what [`seal_ca`] stored; `None` when there is no such file.
///
/// # Errors
/// When the file is damaged, or was sealed with another key file.
pub fn open_ca(key: &KeyFile, path: &Path) -> Result<Option<ClusterCa>, SealError> {
    let Some(content) = SEALED.read(path)? else {
        return Ok(None);
    };
    if content.len() < SALT_LEN + NONCE_LEN + AES_256_GCM.tag_len() {
        return Err(SEALED.damaged(path, "its content is too short").into());
    }
    let (salt, rest) = content.split_at(SALT_LEN);
    let (nonce_bytes, sealed) = rest.split_at(NONCE_LEN);
    let mut secret = Zeroizing::new(sealed.to_vec());
    let opened = key
        .sealing_key(salt)?
        .open_in_place(nonce(nonce_bytes)?, Aad::from(SEALED.tag), &mut secret)
        .map_err(|_| SealError::WrongKey {
            sealed: path.to_owned(),
            key: key.path.clone(),
        })?;
    Ok(Some(ClusterCa::import(opened)?))
}

fn nonce(bytes: &[u8]) -> Result<Nonce, SealError> {
    Nonce::try_assume_unique_for_key(bytes).map_err(|_| SealError::Crypto)
}
