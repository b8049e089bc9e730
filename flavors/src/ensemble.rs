//! Words for workloads whose members decide together, by majority: which part each plays, and what a majority is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many votes can be told of; more than any ensemble has.
const COUNT_MAX: u8 = 63;
/// How many bits a [`Role`] takes in [`Part::to_bits`].
const ROLE_BITS: u32 = 3;
/// How many bits each count takes there.
const COUNT_BITS: u32 = 6;

/// The part that a member plays in its ensemble, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is there.
    pub role: Role,
    /// How many members have a vote, as far as it knows; 0 where it does not.
    pub voters: u8,
    /// How many of those are at work, itself included, as far as it knows; 0 where it does not.
    pub serving: u8,
}

/// What a member is in its ensemble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows the leader and has a vote.
    Follower,
    /// It follows the leader without a vote.
    Learner,
    /// It knows of no leader: it serves nobody.
    Outside,
}

impl Part {
    /// A part without counts.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            voters: 0,
            serving: 0,
        }
    }

    /// The same with how many have a vote, and how many of those are at work.
    #[must_use]
    pub fn counting(self, voters: usize, serving: usize) -> Self {
        Self {
            voters: small(voters),
            serving: small(serving),
            ..self
        }
    }

    /// Whether it has a vote and knows a leader: it is one of those that a majority is made of.
    pub fn votes(self) -> bool {
        matches!(self.role, Role::Leader | Role::Follower)
    }

    /// As a small number for the wire, never 0.
    pub fn to_bits(self) -> u32 {
        let role = match self.role {
            Role::Leader => 1,
            Role::Follower => 2,
            Role::Learner => 3,
            Role::Outside => 4,
        };
        role | u32::from(self.voters.min(COUNT_MAX)) << ROLE_BITS
            | u32::from(self.serving.min(COUNT_MAX)) << (ROLE_BITS + COUNT_BITS)
    }

    /// The reverse of [`to_bits`](Self::to_bits); `None` for a number that stands for no part.
    pub fn from_bits(bits: u32) -> Option<Self> {
        let role = match bits & ((1 << ROLE_BITS) - 1) {
            1 => Role::Leader,
            2 => Role::Follower,
            3 => Role::Learner,
            4 => Role::Outside,
            _ => return None,
        };
        let count = |shift: u32| u8::try_from(bits >> shift & u32::from(COUNT_MAX)).unwrap_or(0);
        Some(Self {
            role,
            voters: count(ROLE_BITS),
            serving: count(ROLE_BITS + COUNT_BITS),
        })
    }
}

impl Role {
    /// The word for it in status output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Learner => "learner",
            Self::Outside => "outside",
        }
    }

    /// The role of that name; `None` for any other word.
    pub fn named(word: &str) -> Option<Self> {
        let all = [Self::Leader, Self::Follower, Self::Learner, Self::Outside];
        all.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// As in `leader, 3 of 3 voters at work`.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.role)?;
        match (self.voters, self.serving) {
            (0, _) => Ok(()),
            (voters, 0) => write!(f, ", of {voters} voters"),
            (voters, serving) => write!(f, ", {serving} of {voters} voters at work"),
        }
    }
}

/// How many of so many voters are a majority.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(COUNT_MAX).min(COUNT_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_is_a_part_that_comes_back_or_none(bits in any::<u32>()) {
            if let Some(part) = Part::from_bits(bits) {
                prop_assert_eq!(Part::from_bits(part.to_bits()), Some(part));
                prop_assert_ne!(part.to_bits(), 0);
            }
        }
    }

    #[test]
    fn parts_are_told_in_words() {
        let part = Part::new(Role::Leader).counting(3, 2);
        assert_eq!(part.to_string(), "leader, 2 of 3 voters at work");
        assert_eq!(Part::new(Role::Outside).to_string(), "outside");
        assert_eq!(Part::from_bits(part.to_bits()), Some(part));
        assert_eq!(Part::from_bits(0), None);
        assert_eq!(Role::named("learner"), Some(Role::Learner));
        assert_eq!(Role::named("chief"), None);
        assert_eq!(Part::new(Role::Leader).counting(1000, 1000).voters, 63);
    }

    #[test]
    fn a_majority_is_more_than_half() {
        assert_eq!([1, 2, 3, 4, 5].map(majority), [1, 2, 2, 3, 3]);
    }
}
