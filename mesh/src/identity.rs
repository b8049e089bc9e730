//! Who is who: identifiers of clusters, machines and their generations.
//!
//! Everything here is plain data; nothing does I/O. A [`MachineId`] is given out by the coordinators at
//! admission and is therefore unique in its cluster; a [`Generation`] tells two lives of the same machine apart.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: expected 16 hexadecimal digits, not all zero")]
pub struct ParseIdError {
    what: &'static str,
    text: String,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Makes an identifier from its number; `None` for zero, which is reserved to mean "nobody".
            pub const fn new(number: u64) -> Option<Self> {
                if number == 0 { None } else { Some(Self(number)) }
            }

            /// Draws an identifier from a caller's source of randomness.
            pub fn random(rng: &mut impl rand::Rng) -> Self {
                Self(rng.next_u64().max(1))
            }

            /// The identifier as a number, never zero.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let error = || ParseIdError { what: $what, text: text.chars().take(40).collect() };
                if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(error());
                }
                u64::from_str_radix(text, 16).ok().and_then(Self::new).ok_or_else(error)
            }
        }

        /// Text (16 hexadecimal digits) in human-readable formats, a number in binary ones.
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_u64(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error as _;
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    Self::new(u64::deserialize(deserializer)?)
                        .ok_or_else(|| D::Error::custom(concat!("zero is no ", $what)))
                }
            }
        }
    };
}

hex_id! {
    /// One mesh: all agents that trust one cluster CA.
    ClusterId, "cluster ID"
}

hex_id! {
    /// One admitted machine. Given out by the coordinators, so unique in its cluster; kept across restarts;
    /// never given out twice. A replacement is a new machine with a new ID, also when it takes a pet's name.
    MachineId, "machine ID"
}

/// One life of a machine's agent: `max(persisted + 1, unix seconds)`, stored durably before the first packet.
///
/// Of two claims for the same machine the higher generation is the current one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after `persisted`, given the wall clock in seconds since 1970.
    pub fn next(persisted: Option<Self>, unix_seconds: u64) -> Self {
        Self(
            persisted
                .map_or(0, |Self(last)| last.saturating_add(1))
                .max(unix_seconds),
        )
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A machine at an address: what one needs to talk to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// Whose certificate the other side must show.
    pub machine: MachineId,
    /// Where its endpoint listens (UDP).
    pub addr: SocketAddr,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.machine, self.addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_rejects_rubbish() {
        let id = MachineId::new(0xbeef).expect("not zero");
        assert_eq!(id.to_string(), "000000000000beef");
        assert_eq!(id.to_string().parse(), Ok(id));
        for rubbish in [
            "",
            "beef",
            "0000000000000000",
            "+00000000000beef",
            "zzzzzzzzzzzzzzzz",
        ] {
            assert!(rubbish.parse::<MachineId>().is_err(), "{rubbish}");
        }
    }

    #[test]
    fn zero_on_the_wire_is_refused() {
        assert!(postcard::from_bytes::<MachineId>(&[0]).is_err());
    }

    #[test]
    fn generation_grows_when_the_clock_jumps_back() {
        assert_eq!(Generation::next(None, 100), Generation(100));
        assert_eq!(
            Generation::next(Some(Generation(500)), 100),
            Generation(501)
        );
        assert_eq!(Generation::next(Some(Generation(50)), 100), Generation(100));
    }
}
