//! The name of one intended change.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, Encoding, Specification};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How many bytes of the hash are kept: 128 bits, so that two operations never meet by chance.
const HASH_BYTES: usize = 16;
const PREFIX: &str = "op-";
/// Base32 digits of [`HASH_BYTES`].
const DIGITS: usize = 26;

/// The name of one intended change to one machine, derived from what is to be done and not from who does it.
///
/// It is the provisioner's idempotency token and a tag on the instance: whoever derives it again (a retry, a
/// successor of a dead leader) finishes or adopts what was begun and never does it a second time.
/// As text it is `op-` and 26 lower-case base32 digits, short enough for every provider's client token
/// (EC2 allows 64 characters).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperationId(String);

/// A text that is no operation ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an operation ID: expected `op-` and 26 digits of lower-case base32")]
pub struct ParseOperationIdError(String);

impl OperationId {
    /// The operation `step` (such as `provision` or `destroy`) on `member` of `group` in its life
    /// number `generation`.
    ///
    /// The same arguments give the same ID on every machine and in every version of muster.
    pub fn derive(cluster: &str, group: &str, member: &str, generation: u64, step: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"muster operation 1\0");
        for part in [cluster, group, member, step] {
            // With its length in front, no part can be mistaken for the end of the one before.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(generation.to_be_bytes());
        let digest = hash.finalize();
        Self(format!(
            "{PREFIX}{}",
            base32().encode(&digest[..HASH_BYTES])
        ))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first `count` base32 digits (at most 26), for names that have to be short.
    pub fn short(&self, count: usize) -> &str {
        let end = PREFIX.len() + count.min(DIGITS);
        self.0.get(PREFIX.len()..end).unwrap_or_default()
    }
}

/// Lower-case base32 without padding, as file names, host names and labels of all providers allow it.
fn base32() -> Encoding {
    let mut specification: Specification = BASE32_NOPAD.specification();
    specification.symbols = specification.symbols.to_ascii_lowercase();
    specification
        .encoding()
        .expect("the alphabet of base32 in lower case is still valid")
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for OperationId {
    type Err = ParseOperationIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.strip_prefix(PREFIX).is_some_and(|digits| {
            digits.len() == DIGITS
                && digits
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
        });
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseOperationIdError(text.chars().take(64).collect()))
        }
    }
}

impl TryFrom<String> for OperationId {
    type Error = ParseOperationIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<OperationId> for String {
    fn from(id: OperationId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_derivation_never_changes() {
        // A fleet that is updated in the middle of a heal must find what the old version began.
        let id = OperationId::derive("c1", "web", "web-3", 7, "provision");
        assert_eq!(id.as_str(), "op-lip2loh5dmvmn2tb3bhcbuopwi");
        assert_eq!(id.short(4).len(), 4);
        assert_eq!(id.short(100).len(), 26);
    }

    #[test]
    fn rubbish_is_refused() {
        for rubbish in [
            "",
            "op-",
            "op-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            "op-é",
            "xx-aaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(rubbish.parse::<OperationId>().is_err(), "{rubbish}");
        }
        assert!(serde_json::from_str::<OperationId>("\"nope\"").is_err());
    }

    proptest! {
        #[test]
        fn every_part_counts(
            parts in prop::array::uniform4("[a-z]{0,6}"),
            others in prop::array::uniform4("[a-z]{0,6}"),
            generation in 0u64..3,
            other_generation in 0u64..3,
        ) {
            let [a, b, c, d] = &parts;
            let one = OperationId::derive(a, b, c, generation, d);
            let [a, b, c, d] = &others;
            let other = OperationId::derive(a, b, c, other_generation, d);
            prop_assert_eq!(one == other, parts == others && generation == other_generation);
            prop_assert_eq!(one.as_str().parse::<OperationId>(), Ok(one.clone()));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<OperationId>();
        }
    }
}
