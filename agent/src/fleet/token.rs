//! Join tokens and operators, as far as the fleet state knows them: never a secret.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::GroupId;
use super::text::Text;

/// A join token's public number.
///
/// Tokens made by people have a random one. An ordered machine's token has its machine ID's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub u64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The SHA-256 of a token's secret.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(pub [u8; 32]);

/// Shows its first bytes only: enough to tell two apart in a log.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// The SHA-256 of a public key (its `SubjectPublicKeyInfo`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// A join token that a person made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its public number.
    pub id: TokenId,
    /// What its secret must hash to.
    pub secret: SecretHash,
    /// What it is for, in its maker's words.
    pub note: Text,
    /// The group that its machines join; `None` for machines without a group.
    pub group: Option<GroupId>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it stops working, in milliseconds since 1970.
    pub expires_ms: u64,
    /// How often it may still be used.
    pub uses_left: u32,
    /// How often it has been used.
    pub used: u32,
}

/// Someone who may ask and order from outside of the mesh, with a certificate of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Their name, also in the certificate.
    pub name: super::names::MachineName,
    /// When they were given a certificate, in milliseconds since 1970.
    pub created_ms: u64,
    /// When their certificate ends, in milliseconds since 1970.
    pub expires_ms: u64,
    /// When they were revoked; `None` while they may come in.
    pub revoked_ms: Option<u64>,
}
