//! Names of groups and machines, and which member of its group a machine is.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest machine name in bytes: one DNS label (RFC 1035 §2.3.4), so that a name can serve as a host name.
pub const NAME_BYTES_MAX: usize = 63;

/// The longest group name in bytes: leaves room for `-` and any 64-bit ordinal in a machine's name.
pub const GROUP_BYTES_MAX: usize = NAME_BYTES_MAX - 1 - 20;

/// A text that is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a {what}: use 1 to {max} small letters, digits and `-`, with a letter or digit first and last"
)]
pub struct ParseNameError {
    what: &'static str,
    max: usize,
    text: String,
}

fn is_name(text: &str, max: usize) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=max).contains(&bytes.len())
        && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
        && bytes.first().copied().is_some_and(inner)
        && bytes.last().copied().is_some_and(inner)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// When the text is too long or has a character that names don't have.
            pub fn new(text: impl Into<String>) -> Result<Self, ParseNameError> {
                let text = text.into();
                if is_name(&text, $max) {
                    Ok(Self(text))
                } else {
                    let text = text.chars().take($max + 1).collect();
                    Err(ParseNameError { what: $what, max: $max, text })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseNameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

name! {
    /// The name of a group.
    GroupId, "group name", GROUP_BYTES_MAX
}

name! {
    /// The name of a machine. Of all machines that are in the roster at one time, two share a name only while
    /// one replaces the other. For a pet it is the logical ID.
    MachineName, "machine name", NAME_BYTES_MAX
}

/// Which member of its group a machine is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Member {
    /// One of many alike. Ordinals grow in a group and none is given out twice.
    Cattle(u64),
    /// One with a name that outlives its machines.
    Pet(MachineName),
}

impl Member {
    /// The name of the machine that is this member of `group`.
    pub fn machine_name(&self, group: &GroupId) -> MachineName {
        match self {
            // A group name leaves room for the longest ordinal, see `GROUP_BYTES_MAX`.
            Self::Cattle(ordinal) => MachineName(format!("{group}-{ordinal}")),
            Self::Pet(name) => name.clone(),
        }
    }

    /// Whether the member is a pet.
    pub fn is_pet(&self) -> bool {
        matches!(self, Self::Pet(_))
    }
}

/// The ordinal or the logical ID.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cattle(ordinal) => ordinal.fmt(f),
            Self::Pet(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in [
            "a",
            "web",
            "web-1",
            "0",
            "a--b",
            &"x".repeat(GROUP_BYTES_MAX),
        ] {
            assert!(GroupId::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "Web",
            "a_b",
            "a b",
            "ä",
            &"x".repeat(GROUP_BYTES_MAX + 1),
        ] {
            assert!(GroupId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_longest_group_and_ordinal_still_make_a_machine_name() {
        let group = GroupId::new("g".repeat(GROUP_BYTES_MAX)).unwrap();
        let name = Member::Cattle(u64::MAX).machine_name(&group);
        assert_eq!(MachineName::new(name.as_str()), Ok(name));
    }

    #[test]
    fn a_bad_name_on_the_wire_is_refused() {
        let bytes = postcard::to_stdvec("Not A Name").unwrap();
        assert!(postcard::from_bytes::<GroupId>(&bytes).is_err());
    }
}
