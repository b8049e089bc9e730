//! A leader's right to act: acknowledgements of its ballot by more than half of the roster.
//!
//! Raft alone lets three coordinators that were cut off with a rack decide for forty racks that they can't see. So
//! a leader also asks the machines of the roster, whatever they are, to acknowledge its [`Ballot`]; each machine
//! promises durably never to acknowledge a lower one again (`ARCHITECTURE.md`, *Authority*).
//!
//! Nothing here does I/O or reads a clock: `now` is the time since an origin of the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

/// How long one acknowledgement counts. Short enough that a leader which lost its fleet finds out before it acts
/// twice; long enough that one round of questions serves all decisions of a busy moment.
pub const ACKNOWLEDGEMENT_LEASE: Duration = Duration::from_secs(5);

/// What a leader claims to be: ordered by generation, then by term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// Generation of the log; grows when a new set of coordinators is seeded from survivors.
    pub generation: u64,
    /// The consensus term that the leader was elected in.
    pub term: u64,
    /// Who asks.
    pub leader: MachineId,
}

impl Ballot {
    fn rank(&self) -> (u64, u64) {
        (self.generation, self.term)
    }

    /// The bytes for the wire.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("three numbers serialize into memory")
    }

    /// Reads [`Self::encode`]'s bytes; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// A machine's answer to a [`Ballot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Acknowledged.
    Granted,
    /// Refused: this machine has promised the higher ballot.
    Refused {
        /// The highest ballot that the machine has promised.
        promised: Ballot,
    },
}

impl Answer {
    /// The bytes for the wire.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a few numbers serialize into memory")
    }

    /// Reads [`Self::encode`]'s bytes; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// The highest ballot that this machine has acknowledged. Must be durable before a grant leaves the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    highest: Option<Ballot>,
}

impl Promise {
    /// The highest ballot that was acknowledged.
    pub fn highest(&self) -> Option<Ballot> {
        self.highest
    }

    /// Answers `ballot`, and says whether the promise changed and so has to be stored before the answer is sent.
    pub fn consider(&mut self, ballot: Ballot) -> (Answer, bool) {
        match self.highest {
            Some(highest) if highest.rank() > ballot.rank() => {
                (Answer::Refused { promised: highest }, false)
            }
            Some(highest) if highest.rank() == ballot.rank() && highest.leader != ballot.leader => {
                // One term has one leader; a second claim to it is a lie or a corrupted log. The first one stands.
                (Answer::Refused { promised: highest }, false)
            }
            Some(highest) if highest == ballot => (Answer::Granted, false),
            _ => {
                self.highest = Some(ballot);
                (Answer::Granted, true)
            }
        }
    }
}

/// The acknowledgements that a leader holds, each for as long as [`ACKNOWLEDGEMENT_LEASE`].
#[derive(Debug, Default)]
pub struct Tally {
    ballot: Option<Ballot>,
    granted: BTreeMap<MachineId, Duration>,
    superseded_by: Option<Ballot>,
}

impl Tally {
    /// Starts to count for `ballot`; acknowledgements of an earlier one are forgotten.
    pub fn open(&mut self, ballot: Ballot) {
        if self.ballot != Some(ballot) {
            *self = Self {
                ballot: Some(ballot),
                ..Self::default()
            };
        }
    }

    /// Counts one machine's answer to `ballot`, asked at `asked` (the lease runs from the question, not the answer).
    pub fn record(&mut self, ballot: Ballot, machine: MachineId, answer: Answer, asked: Duration) {
        if self.ballot != Some(ballot) {
            return;
        }
        match answer {
            Answer::Granted => {
                self.granted.insert(machine, asked);
            }
            Answer::Refused { promised } => {
                self.granted.remove(&machine);
                if self
                    .superseded_by
                    .is_none_or(|known| known.rank() < promised.rank())
                {
                    self.superseded_by = Some(promised);
                }
            }
        }
    }

    /// The machines whose acknowledgement still counts at `now`.
    pub fn fresh(&self, now: Duration) -> impl Iterator<Item = MachineId> + '_ {
        self.granted
            .iter()
            .filter(move |(_, asked)| now.saturating_sub(**asked) < ACKNOWLEDGEMENT_LEASE)
            .map(|(machine, _)| *machine)
    }

    /// A higher ballot that some machine has promised: whoever holds this tally must stop acting.
    pub fn superseded_by(&self) -> Option<Ballot> {
        self.superseded_by
    }

    /// Begins to ask these electors. Whose acknowledgement still counts at `until` is not asked again.
    pub fn poll(&self, electors: BTreeSet<MachineId>, until: Duration) -> Poll {
        let fresh = self.fresh(until);
        Poll {
            behind: fresh.filter(|machine| electors.contains(machine)).collect(),
            electors,
        }
    }
}

/// One round of asking for acknowledgements. Only electors count: whoever has left the roster since it acknowledged does
/// not stand for one that was not asked.
#[derive(Debug)]
pub struct Poll {
    electors: BTreeSet<MachineId>,
    behind: BTreeSet<MachineId>,
}

impl Poll {
    /// The electors that have to be asked.
    pub fn absent(&self) -> impl Iterator<Item = MachineId> + '_ {
        self.electors.difference(&self.behind).copied()
    }

    /// Takes in an answer. A refusal is none that counts.
    pub fn note(&mut self, machine: MachineId, answer: Answer) {
        if answer == Answer::Granted && self.electors.contains(&machine) {
            self.behind.insert(machine);
        }
    }

    /// Whether more than half of the electors stand behind the leader.
    pub fn suffices(&self) -> bool {
        self.behind.len() * 2 > self.electors.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(generation: u64, term: u64, leader: u64) -> Ballot {
        Ballot {
            generation,
            term,
            leader: machine(leader),
        }
    }

    fn machine(number: u64) -> MachineId {
        MachineId::new(number).expect("tests use numbers above zero")
    }

    #[test]
    fn a_lower_ballot_is_refused_after_a_higher_one() {
        let mut promise = Promise::default();
        assert_eq!(promise.consider(ballot(0, 5, 1)), (Answer::Granted, true));
        assert_eq!(promise.consider(ballot(0, 5, 1)), (Answer::Granted, false));
        let refused = Answer::Refused {
            promised: ballot(0, 5, 1),
        };
        assert_eq!(promise.consider(ballot(0, 4, 2)), (refused, false));
        assert_eq!(
            promise.consider(ballot(0, 5, 2)),
            (refused, false),
            "one term has one leader"
        );
        assert_eq!(
            promise.consider(ballot(1, 1, 2)),
            (Answer::Granted, true),
            "a generation outranks every term"
        );
    }

    #[test]
    fn acknowledgements_expire_and_do_not_pass_to_another_ballot() {
        let mut tally = Tally::default();
        tally.open(ballot(0, 1, 1));
        tally.record(
            ballot(0, 1, 1),
            machine(2),
            Answer::Granted,
            Duration::from_secs(10),
        );
        assert_eq!(tally.fresh(Duration::from_secs(12)).count(), 1);
        assert_eq!(
            tally.fresh(Duration::from_secs(15)).count(),
            0,
            "the lease has run out"
        );
        tally.record(
            ballot(0, 1, 1),
            machine(2),
            Answer::Granted,
            Duration::from_secs(20),
        );
        tally.open(ballot(0, 2, 1));
        assert_eq!(tally.fresh(Duration::from_secs(20)).count(), 0);
        tally.record(
            ballot(0, 1, 1),
            machine(3),
            Answer::Granted,
            Duration::from_secs(20),
        );
        assert_eq!(
            tally.fresh(Duration::from_secs(20)).count(),
            0,
            "a late answer to the old question"
        );
    }

    #[test]
    fn a_refusal_takes_the_grant_back_and_names_the_rival() {
        let mut tally = Tally::default();
        tally.open(ballot(0, 1, 1));
        tally.record(ballot(0, 1, 1), machine(2), Answer::Granted, Duration::ZERO);
        let refused = Answer::Refused {
            promised: ballot(0, 3, 9),
        };
        tally.record(ballot(0, 1, 1), machine(2), refused, Duration::ZERO);
        assert_eq!(tally.fresh(Duration::ZERO).count(), 0);
        assert_eq!(tally.superseded_by(), Some(ballot(0, 3, 9)));
    }

    #[test]
    fn who_left_the_roster_and_who_refuses_stand_for_nobody_who_was_not_asked() {
        let (mut tally, now) = (Tally::default(), Duration::from_secs(10));
        let asks = ballot(0, 1, 1);
        tally.open(asks);
        for number in 1..=3 {
            tally.record(asks, machine(number), Answer::Granted, now);
        }
        let five: BTreeSet<_> = (1..=5).map(machine).collect();
        let poll = tally.poll(five.clone(), now);
        assert!(poll.suffices(), "three of five");
        assert_eq!(poll.absent().collect::<Vec<_>>(), [machine(4), machine(5)]);
        // The third one is replaced.
        let four = five.into_iter().filter(|one| *one != machine(3)).collect();
        let mut poll = tally.poll(four, now);
        assert!(!poll.suffices(), "two of four, and two have to be asked");
        let promised = ballot(0, 3, 9);
        poll.note(machine(4), Answer::Refused { promised });
        poll.note(machine(3), Answer::Granted);
        assert!(!poll.suffices());
        poll.note(machine(5), Answer::Granted);
        assert!(poll.suffices());
    }
}
