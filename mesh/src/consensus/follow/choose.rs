//! Whom to follow. Does no I/O and reads no clock: time, randomness and what is known come in as arguments.
//!
//! Times are since an arbitrary origin that never changes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use super::FOLLOWERS_OF_COORDINATOR_MAX;
use crate::identity::{MachineId, Peer};

/// While the coordinators have room for everybody they are asked first; in a larger mesh anybody is, and they only
/// when that fails.
const COORDINATORS_FIRST_PART: usize = 2;
/// So many random machines are asked before the coordinators, when there are many machines.
const RANDOM_FIRST: u32 = 3;
/// So many tries follow each other at once, along suggestions for example, before a pause.
const TRIES_AT_ONCE: u32 = 6;
/// Pauses between tries begin here and double,
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// up to here.
const PAUSE_LAST: Duration = Duration::from_secs(15);
/// A machine that failed is asked after all others for this long.
const AVOID: Duration = Duration::from_secs(20);
/// At most so many failed machines are remembered.
const AVOIDED_MAX: usize = 64;
/// At most so many suggestions are remembered; the newest first.
const SUGGESTED_MAX: usize = 32;

/// Chooses upstreams, one at a time.
///
/// Ask [`Self::next`]; try what it says; then tell what came of it by one of the `handle_` methods.
#[derive(Debug)]
pub struct Chooser {
    me: MachineId,
    rng: StdRng,
    suggested: VecDeque<Peer>,
    avoided: BTreeMap<MachineId, Duration>,
    tries: u32,
    pause: Duration,
    not_before: Duration,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Ask this machine.
    Try(Peer),
    /// Nothing before this time, unless what is known changes.
    Wait {
        /// When to ask again.
        until: Duration,
    },
}

impl Chooser {
    /// A chooser for machine `me`. Two choosers with the same seed choose the same.
    pub fn new(me: MachineId, seed: u64) -> Self {
        Self {
            me,
            rng: StdRng::seed_from_u64(seed ^ me.get()),
            suggested: VecDeque::new(),
            avoided: BTreeMap::new(),
            tries: 0,
            pause: PAUSE_FIRST,
            not_before: Duration::ZERO,
        }
    }

    /// Whom to ask now. `peers` are the machines that are alive, `coordinators` those of them that have a seat.
    pub fn next(&mut self, now: Duration, peers: &[Peer], coordinators: &[Peer]) -> Choice {
        if now < self.not_before {
            return Choice::Wait {
                until: self.not_before,
            };
        }
        self.avoided.retain(|_, until| now < *until);
        if self.tries >= TRIES_AT_ONCE {
            return self.rest(now);
        }
        match self.pick(peers, coordinators) {
            Some(peer) => {
                self.tries += 1;
                Choice::Try(peer)
            }
            None => self.rest(now),
        }
    }

    fn rest(&mut self, now: Duration) -> Choice {
        self.tries = 0;
        let jitter = self.rng.random_range(0.5..1.5);
        self.not_before = now + self.pause.mul_f64(jitter);
        self.pause = (self.pause * 2).min(PAUSE_LAST);
        Choice::Wait {
            until: self.not_before,
        }
    }

    fn pick(&mut self, peers: &[Peer], coordinators: &[Peer]) -> Option<Peer> {
        while let Some(suggested) = self.suggested.pop_front() {
            // The address that the membership knows is newer; one that it doesn't know may still be there.
            let known = peers.iter().find(|peer| peer.machine == suggested.machine);
            let peer = known.copied().unwrap_or(suggested);
            if self.is_usable(&peer) {
                return Some(peer);
            }
        }
        let room = coordinators.len() * FOLLOWERS_OF_COORDINATOR_MAX / COORDINATORS_FIRST_PART;
        let coordinators_first = peers.len() <= room || self.tries >= RANDOM_FIRST;
        let order = if coordinators_first {
            [coordinators, peers]
        } else {
            [peers, coordinators]
        };
        let fresh = order
            .into_iter()
            .find_map(|among| self.random(among, Self::is_usable));
        fresh.or_else(|| {
            // Everybody has failed lately. Perhaps somebody is back; one try a pause will show.
            self.tries = TRIES_AT_ONCE;
            self.random(peers, Self::is_other)
        })
    }

    /// A random one of those that may be asked.
    fn random(&mut self, among: &[Peer], may: impl Fn(&Self, &Peer) -> bool) -> Option<Peer> {
        // A few blind tries find one in a large mesh without going through all of it.
        for _ in 0..8 {
            let peer = *among.choose(&mut self.rng)?;
            if may(self, &peer) {
                return Some(peer);
            }
        }
        let usable: Vec<_> = among
            .iter()
            .filter(|peer| may(self, peer))
            .copied()
            .collect();
        usable.choose(&mut self.rng).copied()
    }

    fn is_other(&self, peer: &Peer) -> bool {
        peer.machine != self.me
    }

    fn is_usable(&self, peer: &Peer) -> bool {
        self.is_other(peer) && !self.avoided.contains_key(&peer.machine)
    }

    /// The machine could not be reached, would not have us, or stopped being of use.
    pub fn handle_failed(&mut self, now: Duration, machine: MachineId) {
        if self.avoided.len() < AVOIDED_MAX {
            self.avoided.insert(machine, now + AVOID);
        }
    }

    /// The machine was full and named others.
    pub fn handle_elsewhere(&mut self, now: Duration, machine: MachineId, mut others: Vec<Peer>) {
        self.handle_failed(now, machine);
        // Everybody who asks gets the same names.
        others.shuffle(&mut self.rng);
        for other in others {
            self.suggested.push_front(other);
        }
        self.suggested.truncate(SUGGESTED_MAX);
    }

    /// The machine took us on, and has sent something since.
    pub fn handle_followed(&mut self) {
        self.tries = 0;
        self.pause = PAUSE_FIRST;
        self.suggested.clear();
        self.avoided.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(numbers: impl IntoIterator<Item = u64>) -> Vec<Peer> {
        let peer = |number| Peer {
            machine: MachineId::new(number).expect("not zero"),
            addr: "127.0.0.1:1".parse().expect("an address"),
        };
        numbers.into_iter().map(peer).collect()
    }

    fn tried(choice: Choice) -> u64 {
        match choice {
            Choice::Try(peer) => peer.machine.get(),
            Choice::Wait { until } => panic!("waits until {until:?}"),
        }
    }

    #[test]
    fn few_machines_ask_the_coordinators() {
        let all = peers(1..=50);
        for seed in 0..20 {
            let mut chooser = Chooser::new(MachineId::new(50).expect("not zero"), seed);
            assert!(tried(chooser.next(Duration::ZERO, &all, &all[..3])) <= 3);
        }
    }

    #[test]
    fn many_machines_ask_anybody_and_then_the_coordinators() {
        let all = peers(1..=5000);
        let mut by_coordinator = 0;
        for seed in 0..100 {
            let mut chooser = Chooser::new(MachineId::new(77).expect("not zero"), seed);
            let first = tried(chooser.next(Duration::ZERO, &all, &all[..3]));
            by_coordinator += u32::from(first <= 3);
            for _ in 0..2 {
                tried(chooser.next(Duration::ZERO, &all, &all[..3]));
            }
            assert!(tried(chooser.next(Duration::ZERO, &all, &all[..3])) <= 3);
        }
        assert!(by_coordinator < 10, "{by_coordinator}");
    }

    #[test]
    fn suggestions_come_first_and_failures_last() {
        let all = peers(1..=10);
        let me = MachineId::new(10).expect("not zero");
        let mut chooser = Chooser::new(me, 1);
        let now = Duration::from_secs(1);
        chooser.handle_elsewhere(now, all[0].machine, peers([7, 10]));
        assert_eq!(tried(chooser.next(now, &all, &all[..1])), 7, "never itself");
        chooser.handle_failed(now, all[6].machine);
        for _ in 0..4 {
            let other = tried(chooser.next(now, &all, &all[..1]));
            assert!(![1, 7, 10].contains(&other), "{other}");
        }
    }

    #[test]
    fn it_rests_longer_and_longer_but_tries_for_ever() {
        let all = peers(1..=2);
        let mut chooser = Chooser::new(all[1].machine, 3);
        let (mut now, mut tries, mut waits) = (Duration::ZERO, 0, Vec::new());
        while now < Duration::from_secs(600) {
            match chooser.next(now, &all, &all[..1]) {
                Choice::Try(peer) => {
                    tries += 1;
                    chooser.handle_failed(now, peer.machine);
                }
                Choice::Wait { until } => {
                    waits.push(until - now);
                    now = until;
                }
            }
        }
        assert!((20..100).contains(&tries), "{tries} tries in ten minutes");
        assert!(waits.iter().all(|wait| *wait <= PAUSE_LAST * 3 / 2));
        assert!(waits[0] < Duration::from_secs(1));
    }
}
