//! Payloads that carry the proof of who wrote them, so that anybody may pass them on.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::names::{self, LeafIdentity};
use super::trust::{ClusterTrust, VerifyError};
use crate::identity::{ClusterId, MachineId};

/// Most bytes in an envelope: a machine's record with all its labels is a few kilobytes.
pub const ENVELOPE_PAYLOAD_MAX: usize = 64 * 1024;

/// Most bytes of a leaf certificate; ours are about 500.
const CERTIFICATE_MAX: usize = 2048;

/// Most bytes of a P-256 signature in DER.
const SIGNATURE_MAX: usize = 72;

/// Version of the encoding, the first byte.
const VERSION: u8 = 1;

/// A payload, the certificate of the machine that wrote it, and its signature over both purpose and payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What was signed.
    pub payload: Vec<u8>,
    /// The writer's leaf certificate, in DER.
    pub certificate: Vec<u8>,
    /// ECDSA P-256 with SHA-256, in DER.
    pub signature: Vec<u8>,
}

/// Whose envelope it is, once everything about it has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The machine that signed.
    pub machine: MachineId,
    /// When its certificate began, milliseconds since 1970: of two certificates the later is the current one.
    pub not_before_ms: u64,
    /// Until when the envelope can be verified, milliseconds since 1970.
    pub not_after_ms: u64,
}

/// Why an envelope is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes are not an envelope, or one of another version.
    #[error("not a signed envelope: {0}")]
    Malformed(&'static str),
    /// One of its parts is longer than any of ours.
    #[error("the envelope's {part} has {length} bytes, at most {max} are accepted")]
    TooLong {
        /// Which part.
        part: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// The writer's certificate is not acceptable.
    #[error("the envelope's certificate is not accepted: {0}")]
    Certificate(#[from] VerifyError),
    /// The certificate is an operator's: operators sign nothing.
    #[error("the envelope was signed by somebody who is not a machine")]
    NotAMachine,
    /// The payload was altered, or was signed by another key or for another purpose.
    #[error("the envelope's signature does not match")]
    BadSignature,
    /// The private key could not be used; a bug or a broken source of randomness.
    #[error("could not sign")]
    Signing,
}

/// Signs as one machine. Made once for each certificate.
#[derive(Debug)]
pub struct EnvelopeSigner {
    cluster: ClusterId,
    certificate: Vec<u8>,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl EnvelopeSigner {
    /// A signer with the machine's current key and certificate.
    ///
    /// # Errors
    /// [`EnvelopeError::Signing`] when the key is unusable.
    pub fn new(credentials: &Credentials) -> Result<Self, EnvelopeError> {
        let keys = credentials.keys();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &keys.key)
            .map_err(|_| EnvelopeError::Signing)?;
        Ok(Self {
            cluster: credentials.cluster(),
            certificate: keys.leaf.clone(),
            key,
            random: SystemRandom::new(),
        })
    }

    /// Signs `payload` for one `purpose`: an envelope of one purpose is never valid for another.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLong`] for a payload beyond [`ENVELOPE_PAYLOAD_MAX`].
    pub fn sign(&self, purpose: &str, payload: Vec<u8>) -> Result<Envelope, EnvelopeError> {
        check_length("payload", payload.len(), ENVELOPE_PAYLOAD_MAX)?;
        let message = to_be_signed(purpose, self.cluster, &payload);
        let signature = self
            .key
            .sign(&self.random, &message)
            .map_err(|_| EnvelopeError::Signing)?;
        Ok(Envelope {
            payload,
            certificate: self.certificate.clone(),
            signature: signature.as_ref().to_vec(),
        })
    }
}

impl Envelope {
    /// Its binary form: a version byte, then postcard.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("three byte strings serialize into memory")
    }

    /// Reads the binary form. Nothing in it is verified yet.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] or [`EnvelopeError::TooLong`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let longest = ENVELOPE_PAYLOAD_MAX + CERTIFICATE_MAX + SIGNATURE_MAX + 16;
        check_length("encoding", bytes.len(), longest)?;
        let body = match bytes {
            [VERSION, body @ ..] => body,
            [] => return Err(EnvelopeError::Malformed("empty")),
            _ => return Err(EnvelopeError::Malformed("unknown version")),
        };
        let (envelope, rest): (Self, _) = postcard::take_from_bytes(body)
            .map_err(|_| EnvelopeError::Malformed("truncated or garbled"))?;
        if !rest.is_empty() {
            return Err(EnvelopeError::Malformed("trailing bytes"));
        }
        envelope.check_lengths()?;
        Ok(envelope)
    }

    /// Checks certificate (issuer, validity at `now_ms`, names) and signature, and says who signed.
    ///
    /// Revocation is not looked at: ask [`super::Revocations`] about the machine.
    ///
    /// # Errors
    /// The first check that it failed.
    pub fn verify(
        &self,
        purpose: &str,
        trust: &ClusterTrust,
        now_ms: u64,
    ) -> Result<Verified, EnvelopeError> {
        self.check_lengths()?;
        let leaf = trust.verify(&self.certificate, now_ms)?;
        self.verify_signature(purpose, &leaf)
    }

    /// Like [`Self::verify`], but also accepts a certificate that has run out, however long ago.
    ///
    /// Only for the one thing an expired machine may do: ask for a new certificate. The caller decides from the
    /// roster whether it is still a member.
    ///
    /// # Errors
    /// The first check that it failed.
    pub fn verify_expired(
        &self,
        purpose: &str,
        trust: &ClusterTrust,
        now_ms: u64,
    ) -> Result<Verified, EnvelopeError> {
        self.check_lengths()?;
        let claimed = LeafIdentity::read(&self.certificate).map_err(VerifyError::from)?;
        let leaf = trust.verify(&self.certificate, now_ms.min(claimed.not_after_ms))?;
        self.verify_signature(purpose, &leaf)
    }

    fn verify_signature(
        &self,
        purpose: &str,
        leaf: &LeafIdentity,
    ) -> Result<Verified, EnvelopeError> {
        let machine = leaf.machine().ok_or(EnvelopeError::NotAMachine)?;
        let key = names::public_key(&self.certificate).map_err(VerifyError::from)?;
        let message = to_be_signed(purpose, leaf.cluster, &self.payload);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
            .verify(&message, &self.signature)
            .map_err(|_| EnvelopeError::BadSignature)?;
        Ok(Verified {
            machine,
            not_before_ms: leaf.not_before_ms,
            not_after_ms: leaf.not_after_ms,
        })
    }

    fn check_lengths(&self) -> Result<(), EnvelopeError> {
        check_length("payload", self.payload.len(), ENVELOPE_PAYLOAD_MAX)?;
        check_length("certificate", self.certificate.len(), CERTIFICATE_MAX)?;
        check_length("signature", self.signature.len(), SIGNATURE_MAX)
    }
}

fn check_length(part: &'static str, length: usize, max: usize) -> Result<(), EnvelopeError> {
    if length <= max {
        Ok(())
    } else {
        Err(EnvelopeError::TooLong { part, length, max })
    }
}

/// `"muster envelope 1" 0 purpose 0 cluster payload`; purposes hold no zero byte, so it reads in one way only.
fn to_be_signed(purpose: &str, cluster: ClusterId, payload: &[u8]) -> Vec<u8> {
    debug_assert!(!purpose.contains('\0'), "a purpose holds no zero byte");
    let mut message = Vec::with_capacity(32 + purpose.len() + payload.len());
    message.extend_from_slice(b"muster envelope 1\0");
    message.extend_from_slice(purpose.as_bytes());
    message.push(0);
    message.extend_from_slice(&cluster.get().to_be_bytes());
    message.extend_from_slice(payload);
    message
}
