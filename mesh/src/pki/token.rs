//! Join tokens: what a machine needs to be let in, and to know whom it is let in by.
//!
//! The text is `muster1-` followed by base32 (lower case, no padding) of
//!
//! ```text
//! offset  size
//!      0    32  SHA-256 of the cluster's CA certificate
//!     32     8  token ID, big endian
//!     40    20  secret
//!     60     4  first bytes of SHA-256 over "muster1-" and everything before
//! ```
//!
//! The checksum tells a mistyped token from one that is not known; it protects nothing.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::ca::CaHash;

const PREFIX: &str = "muster1-";
const SECRET_LEN: usize = 20;
const CHECKSUM_LEN: usize = 4;
const BODY_LEN: usize = 32 + 8 + SECRET_LEN;

/// Names a token in lists, logs and the coordinators' state. Not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub u64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for TokenId {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(id) if well_formed => Ok(Self(id)),
            _ => Err(ParseTokenError::NotAnId),
        }
    }
}

/// SHA-256 of a token's ID and secret: the only trace of a token that is ever stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// Whether this is the hash of that token, in time that does not depend on where they differ.
    pub fn matches(&self, token: &JoinToken) -> bool {
        verify_slices_are_equal(&self.0, &token.hash().0).is_ok()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TokenHash({})",
            data_encoding::HEXLOWER.encode(&self.0[..4])
        )
    }
}

/// Why a text is not a join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTokenError {
    /// It starts like something else.
    #[error(
        "not a join token: it should start with `{PREFIX}`; `muster token create` on a member makes one"
    )]
    NotAToken,
    /// It is a token of another version of muster.
    #[error(
        "a join token of another version (`{0}`): use the muster that made it, or make a new token"
    )]
    OtherVersion(String),
    /// Characters are missing or too many.
    #[error("the join token was not copied whole: {found} characters, {expected} are expected")]
    Length {
        /// Characters found.
        found: usize,
        /// Characters expected.
        expected: usize,
    },
    /// A character that no token has.
    #[error("the join token has a wrong character at position {0}; it was probably mistyped")]
    Character(usize),
    /// A text that should name a token by its ID does not.
    #[error("not a token's ID: expected 16 hexadecimal digits, as `muster token list` shows them")]
    NotAnId,
    /// The checksum does not match.
    #[error("the join token was mistyped or altered (its checksum does not match)")]
    Checksum,
}

/// A join token in the hands of whoever made it or uses it. Its `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    ca_hash: CaHash,
    id: TokenId,
    secret: Zeroizing<[u8; SECRET_LEN]>,
}

impl JoinToken {
    /// Makes a token with a new ID and secret for the cluster with this CA.
    ///
    /// # Panics
    /// When the operating system has no randomness to give, which no process survives usefully.
    pub fn generate(ca_hash: CaHash) -> Self {
        let mut id = [0; 8];
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        aws_lc_rs::rand::fill(&mut id)
            .and_then(|()| aws_lc_rs::rand::fill(secret.as_mut_slice()))
            .expect("the operating system gives randomness");
        Self {
            ca_hash,
            id: TokenId(u64::from_be_bytes(id)),
            secret,
        }
    }

    /// A token whose secret begins like `material`, which must be as hard to guess as a secret.
    pub(super) fn derived(ca_hash: CaHash, id: TokenId, material: &[u8]) -> Self {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        secret
            .iter_mut()
            .zip(material)
            .for_each(|(to, from)| *to = *from);
        Self {
            ca_hash,
            id,
            secret,
        }
    }

    /// The CA that the holder may trust.
    pub fn ca_hash(&self) -> CaHash {
        self.ca_hash
    }

    /// Its name.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// What is stored of it.
    pub fn hash(&self) -> TokenHash {
        let mut hasher = Sha256::new();
        hasher.update(b"muster token 1\0");
        hasher.update(self.id.0.to_be_bytes());
        hasher.update(self.secret.as_slice());
        TokenHash(hasher.finalize().into())
    }

    /// The text form, secret included: for the operator's eyes and the new machine's boot data only.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(BODY_LEN + CHECKSUM_LEN));
        bytes.extend_from_slice(&self.ca_hash.0);
        bytes.extend_from_slice(&self.id.0.to_be_bytes());
        bytes.extend_from_slice(self.secret.as_slice());
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        let encoded = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
        Zeroizing::new(format!("{PREFIX}{}", encoded.to_ascii_lowercase()))
    }
}

impl FromStr for JoinToken {
    type Err = ParseTokenError;

    /// Reads the text form; surrounding white space and the case of letters do not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = Zeroizing::new(text.trim().to_ascii_lowercase());
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            return Err(foreign_prefix(&text));
        };
        let expected = BASE32_NOPAD.encode_len(BODY_LEN + CHECKSUM_LEN);
        if let Some(at) = encoded
            .chars()
            .position(|c| !matches!(c, 'a'..='z' | '2'..='7'))
        {
            return Err(ParseTokenError::Character(PREFIX.len() + at + 1));
        }
        if encoded.len() != expected {
            return Err(ParseTokenError::Length {
                found: text.len(),
                expected: PREFIX.len() + expected,
            });
        }
        let upper = Zeroizing::new(encoded.to_ascii_uppercase());
        let bytes = BASE32_NOPAD
            .decode(upper.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| ParseTokenError::Checksum)?;
        let (body, found) = bytes.split_at(BODY_LEN);
        if checksum(body) != found {
            return Err(ParseTokenError::Checksum);
        }
        let mut ca_hash = [0; 32];
        ca_hash.copy_from_slice(&body[..32]);
        let mut id = [0; 8];
        id.copy_from_slice(&body[32..40]);
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        secret.copy_from_slice(&body[40..]);
        Ok(Self {
            ca_hash: CaHash(ca_hash),
            id: TokenId(u64::from_be_bytes(id)),
            secret,
        })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &self.id)
            .field("ca_hash", &self.ca_hash)
            .finish_non_exhaustive()
    }
}

fn foreign_prefix(text: &str) -> ParseTokenError {
    match text.split_once('-') {
        Some((version, _))
            if version
                .strip_prefix("muster")
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit())) =>
        {
            ParseTokenError::OtherVersion(version.chars().take(16).collect())
        }
        _ => ParseTokenError::NotAToken,
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = Sha256::new();
    hasher.update(PREFIX.as_bytes());
    hasher.update(body);
    let digest = hasher.finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        JoinToken::generate(CaHash::of(b"some CA"))
    }

    #[test]
    fn text_form_round_trips_and_forgives_case_and_spaces() {
        let token = token();
        let text = token.reveal();
        assert_eq!(text.parse::<JoinToken>().unwrap(), token);
        let sloppy = format!("  {}\n", text.to_ascii_uppercase());
        assert_eq!(sloppy.parse::<JoinToken>().unwrap(), token);
    }

    #[test]
    fn mistakes_are_told_apart() {
        let text = token().reveal().to_string();
        let parse = |text: &str| text.parse::<JoinToken>().unwrap_err();
        assert_eq!(parse("hello"), ParseTokenError::NotAToken);
        assert_eq!(parse("muster-x"), ParseTokenError::NotAToken);
        assert_eq!(
            parse("muster2-abc"),
            ParseTokenError::OtherVersion("muster2".into())
        );
        assert!(matches!(
            parse(&text[..40]),
            ParseTokenError::Length { found: 40, .. }
        ));
        assert_eq!(
            parse(&text.replacen('-', "-1", 1)),
            ParseTokenError::Character(9)
        );
    }

    #[test]
    fn the_secret_shows_nowhere_but_in_the_text_form() {
        let token = token();
        let secret = BASE32_NOPAD.encode(token.secret.as_slice());
        let hex = data_encoding::HEXLOWER.encode(token.secret.as_slice());
        for text in [format!("{token:?}"), format!("{:?}", token.hash())] {
            assert!(!text.contains(&secret) && !text.contains(&hex), "{text}");
        }
    }

    #[test]
    fn ids_have_one_text_form() {
        let id = TokenId(0xbeef);
        assert_eq!(id.to_string().parse(), Ok(id));
        for rubbish in ["", "beef", "+00000000000beef", "00000000000000000"] {
            assert_eq!(rubbish.parse::<TokenId>(), Err(ParseTokenError::NotAnId));
        }
    }

    #[test]
    fn a_hash_matches_its_token_only() {
        let (one, other) = (token(), token());
        assert!(one.hash().matches(&one));
        assert!(!one.hash().matches(&other));
    }

    proptest! {
        #[test]
        fn one_changed_letter_is_noticed(at in 0..103usize, letter in "[a-z2-7]") {
            let text = token().reveal().to_string();
            let at = PREFIX.len() + at % (text.len() - PREFIX.len());
            prop_assume!(text[at..=at] != letter);
            let changed = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
            prop_assert_eq!(changed.parse::<JoinToken>().unwrap_err(), ParseTokenError::Checksum);
        }

        #[test]
        fn any_text_is_refused_without_panic(text in "\\PC*") {
            prop_assert!(text.parse::<JoinToken>().is_err());
            let prefixed = format!("muster1-{text}");
            prop_assert!(prefixed.parse::<JoinToken>().is_err());
        }
    }
}
