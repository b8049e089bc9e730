//! What rarely changes about a machine: who it is and what it is for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::identity::{Generation, MachineId};
use crate::wire::{WIRE_VERSION, WireError};

/// The longest encoded profile, in bytes. Everybody keeps everybody's: 4 KiB times 10,000 machines is 40 MB at worst;
/// an ordinary one has 200 to 300 bytes.
pub const PROFILE_BYTES_MAX: usize = 4096;
/// The longest single text in a profile, in bytes, so that tables and metrics stay readable.
pub const TEXT_BYTES_MAX: usize = 256;
/// The most labels of one machine.
pub const LABELS_MAX: usize = 64;

/// The part of a machine's record that it signs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// The machine's name, unique in the fleet.
    pub name: String,
    /// Free labels, such as `zone` and `rack`. At most [`LABELS_MAX`].
    pub labels: BTreeMap<String, String>,
    /// What it does besides being a member, such as `coordinator`; empty for nothing.
    pub role: String,
    /// Version of the agent.
    pub agent_version: String,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// The pet that it is, in that group.
    pub member: Option<String>,
    /// Where it can be asked, by kind: `api`, `metrics`, and whatever a flavor adds. At most [`LABELS_MAX`].
    pub addresses: BTreeMap<String, String>,
    /// What the provisioner calls it.
    pub instance: Option<String>,
    /// Set before it leaves or reboots on purpose.
    pub leaving: Option<Leaving>,
}

/// An announced absence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// When it was announced, in milliseconds since 1970 by the machine's own clock.
    pub at_ms: u64,
    /// `None`: it leaves for good. Otherwise it reboots and means to be back by then, in milliseconds since 1970.
    pub until_ms: Option<u64>,
    /// Why, for people.
    pub reason: String,
}

/// Why a profile is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// A text is longer than [`TEXT_BYTES_MAX`].
    #[error("`{0}` is longer than {TEXT_BYTES_MAX} bytes")]
    TextTooLong(&'static str),
    /// More labels or addresses than [`LABELS_MAX`].
    #[error("more than {LABELS_MAX} {0}")]
    TooMany(&'static str),
    /// The whole is longer than [`PROFILE_BYTES_MAX`].
    #[error("the profile has {0} bytes, at most {PROFILE_BYTES_MAX} are allowed")]
    TooBig(usize),
    /// It could not be signed.
    #[error("could not sign the profile: {0}")]
    Sign(String),
}

impl Profile {
    /// Checks every limit but the total.
    pub(super) fn check(&self) -> Result<(), ProfileError> {
        let text = |what, text: &str| {
            if text.len() > TEXT_BYTES_MAX {
                Err(ProfileError::TextTooLong(what))
            } else {
                Ok(())
            }
        };
        text("name", &self.name)?;
        text("role", &self.role)?;
        text("agent_version", &self.agent_version)?;
        text("group", self.group.as_deref().unwrap_or_default())?;
        text("member", self.member.as_deref().unwrap_or_default())?;
        text("instance", self.instance.as_deref().unwrap_or_default())?;
        text(
            "leaving.reason",
            self.leaving.as_ref().map_or("", |leaving| &leaving.reason),
        )?;
        for (what, map) in [("labels", &self.labels), ("addresses", &self.addresses)] {
            if map.len() > LABELS_MAX {
                return Err(ProfileError::TooMany(what));
            }
            map.iter()
                .try_for_each(|(key, value)| text(what, key).and(text(what, value)))?;
        }
        Ok(())
    }
}

/// What is signed: a profile with its place in time, so that an old one cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Edition {
    pub(super) machine: MachineId,
    pub(super) generation: Generation,
    pub(super) version: u64,
    pub(super) profile: Profile,
}

impl Edition {
    pub(super) fn encode(&self) -> Result<Vec<u8>, ProfileError> {
        self.profile.check()?;
        // Serialising into memory fails for types that postcard cannot express only; these it can.
        let bytes = postcard::to_extend(self, vec![WIRE_VERSION])
            .map_err(|error| ProfileError::Sign(error.to_string()))?;
        if bytes.len() > PROFILE_BYTES_MAX {
            Err(ProfileError::TooBig(bytes.len()))
        } else {
            Ok(bytes)
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > PROFILE_BYTES_MAX {
            return Err(WireError::TooMany(PROFILE_BYTES_MAX));
        }
        let body = match bytes {
            [WIRE_VERSION, body @ ..] => body,
            [] => return Err(WireError::Length),
            [other, ..] => return Err(WireError::Version(*other)),
        };
        let (edition, rest): (Self, &[u8]) =
            postcard::take_from_bytes(body).map_err(|_| WireError::Value)?;
        if !rest.is_empty() {
            return Err(WireError::Length);
        }
        edition.profile.check().map_err(|_| WireError::Value)?;
        Ok(edition)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edition(profile: Profile) -> Edition {
        Edition {
            machine: MachineId::new(1).expect("not zero"),
            generation: Generation(1_700_000_000),
            version: 3,
            profile,
        }
    }

    #[test]
    fn every_limit_is_checked() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let name = Profile {
            name: long.clone(),
            ..Profile::default()
        };
        assert_eq!(name.check(), Err(ProfileError::TextTooLong("name")));
        let labels = (0..=LABELS_MAX)
            .map(|n| (n.to_string(), String::new()))
            .collect();
        assert_eq!(
            Profile {
                labels,
                ..Profile::default()
            }
            .check(),
            Err(ProfileError::TooMany("labels"))
        );
        let labels = (0..LABELS_MAX)
            .map(|n| (n.to_string(), "x".repeat(TEXT_BYTES_MAX)))
            .collect();
        let big = edition(Profile {
            labels,
            ..Profile::default()
        });
        assert!(matches!(big.encode(), Err(ProfileError::TooBig(_))));
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(bytes: Vec<u8>) {
            let _ = Edition::decode(&bytes);
        }

        #[test]
        fn damaged_editions_never_panic(at in 0_usize..100, with: u8) {
            let labels = [("zone".to_owned(), "a".to_owned())].into();
            let mut bytes = edition(Profile { name: "web-1".into(), labels, ..Profile::default() })
                .encode()
                .expect("within the limits");
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = Edition::decode(&bytes);
        }
    }

    #[test]
    fn editions_round_trip() {
        let leaving = Leaving {
            at_ms: 5,
            until_ms: Some(9),
            reason: "kernel update".into(),
        };
        let edition = edition(Profile {
            name: "db-1".into(),
            leaving: Some(leaving),
            ..Profile::default()
        });
        let bytes = edition.encode().expect("within the limits");
        assert_eq!(Edition::decode(&bytes), Ok(edition));
    }
}
