//! Who may speak: the cluster's CA, the certificates it signs, join tokens, revocation, signed records.
//!
//! - [`ClusterCa`] signs a [leaf](Credentials) for a machine or an operator. From a request it takes the public
//!   key and the proof that the sender has the private one; identifiers and roles come from the caller.
//! - [`ClusterTrust`] is the other side: it checks certificates against one CA.
//! - [`JoinToken`] lets a machine without a certificate in, and pins the CA for it.
//! - [`Envelope`] is a payload signed with a leaf's key, so that it can be passed on by others.
//! - A [statement](verify_statement) is signed by the CA itself.
//! - [`Revocations`] are the machines and operators that are no longer welcome before their leaf runs out.
//!
//! Nothing here asks for the time: callers pass the wall clock as `now_ms`, milliseconds since 1970. Keys are
//! ECDSA P-256 throughout; `docs/wire.md` has the formats.

mod ca;
mod credentials;
mod envelope;
mod names;
mod operator;
mod revocations;
mod sealing;
mod statement;
mod token;
mod trust;

#[cfg(test)]
mod tests;

pub use self::ca::{CaHash, ClusterCa, IssueError, public_key_hash};
pub use self::credentials::{Credentials, CredentialsError, LEAF_LIFETIME, LeafKey, renew_at};
pub use self::envelope::{ENVELOPE_PAYLOAD_MAX, Envelope, EnvelopeError, EnvelopeSigner, Verified};
pub use self::names::{LeafIdentity, NameError, Subject, check_operator_name, machine_server_name};
pub use self::operator::{OperatorCredentials, ParseOperatorError};
pub use self::revocations::Revocations;
pub use self::sealing::{KeyFile, SealError, open_ca, seal_ca};
pub use self::statement::{StatementError, verify_statement};
pub use self::token::{JoinToken, ParseTokenError, TokenHash, TokenId};
pub use self::trust::{ClusterTrust, VerifyError};

pub(crate) use self::credentials::KeyMaterial;
pub(crate) use self::trust::crypto_provider;
