//! Short statements that the cluster's CA itself signs: what must be believed although no machine's word would do.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
};

use super::ca::{CaHash, ClusterCa, IssueError};
use super::names;
use super::trust::VerifyError;

/// Why a statement is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// What it should be checked against is no CA's certificate.
    #[error("the CA's certificate is not accepted: {0}")]
    Certificate(#[from] VerifyError),
    /// Another key signed it, or it says something else, or for another purpose.
    #[error("the CA's signature does not match")]
    BadSignature,
}

impl ClusterCa {
    /// Signs `statement` for one `purpose`: a statement of one purpose is never valid for another, and none is a
    /// certificate.
    ///
    /// # Errors
    /// [`IssueError::NotACa`] when the key is unusable: a defect, or a broken source of randomness.
    pub fn sign_statement(&self, purpose: &str, statement: &[u8]) -> Result<Vec<u8>, IssueError> {
        let unusable = |_| IssueError::NotACa("its key cannot sign".to_owned());
        let der = self.key_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der)
            .map_err(|_| IssueError::NotACa("its key cannot be read".to_owned()))?;
        let message = to_be_signed(purpose, self.certificate(), statement);
        let signature = key.sign(&SystemRandom::new(), &message).map_err(unusable)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// Checks that the CA with the certificate `ca` (DER) signed `statement` for `purpose`.
///
/// # Errors
/// When it did not, or `ca` is no CA's certificate.
pub fn verify_statement(
    ca: &[u8],
    purpose: &str,
    statement: &[u8],
    signature: &[u8],
) -> Result<(), StatementError> {
    let key = names::public_key(ca).map_err(VerifyError::from)?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
        .verify(&to_be_signed(purpose, ca, statement), signature)
        .map_err(|_| StatementError::BadSignature)
}

/// `"muster statement 1" 0 purpose 0 hash-of-the-CA statement`. A certificate's signed part is DER and begins with another
/// byte, so that no statement can be taken for one.
fn to_be_signed(purpose: &str, ca: &[u8], statement: &[u8]) -> Vec<u8> {
    debug_assert!(!purpose.contains('\0'), "a purpose holds no zero byte");
    let mut message = b"muster statement 1\0".to_vec();
    message.extend_from_slice(purpose.as_bytes());
    message.push(0);
    message.extend_from_slice(&CaHash::of(ca).0);
    message.extend_from_slice(statement);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ClusterId;

    const NOW_MS: u64 = 1_700_000_000_000;

    #[test]
    fn only_what_the_ca_signed_for_this_purpose_is_believed() {
        let ca = |number| ClusterCa::create(ClusterId::new(number).expect("not zero"), NOW_MS);
        let (ours, theirs) = (ca(1).expect("made"), ca(1).expect("made"));
        let signature = ours.sign_statement("recover", b"7").expect("signed");
        let check = |ca: &ClusterCa, purpose, statement: &[u8], signature: &[u8]| {
            verify_statement(ca.certificate(), purpose, statement, signature)
        };
        assert_eq!(check(&ours, "recover", b"7", &signature), Ok(()));
        let bad = Err(StatementError::BadSignature);
        assert_eq!(check(&ours, "recover", b"8", &signature), bad);
        assert_eq!(check(&ours, "other", b"7", &signature), bad);
        assert_eq!(check(&theirs, "recover", b"7", &signature), bad);
        assert_eq!(check(&ours, "recover", b"7", b""), bad);
        let garbage = verify_statement(b"no certificate", "recover", b"7", &signature);
        assert!(matches!(garbage, Err(StatementError::Certificate(_))));
    }
}
