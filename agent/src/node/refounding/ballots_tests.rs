//! The rules one by one, and many machines in virtual time with faults, from a seed.

use std::time::Duration;

use muster_mesh::consensus::Seat;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::node::authority::{Answer, Promise, Tally};
use crate::node::refounding::LEASE_WAIT;

const MARK: RosterMark = RosterMark([0; 16]);

fn machine(number: u64) -> MachineId {
    MachineId::new(number).expect("above zero")
}

fn roster(count: u64) -> BTreeSet<MachineId> {
    (1..=count).map(machine).collect()
}

fn stand(index: u64) -> Stand {
    Stand {
        generation: LogGeneration::FIRST,
        at: Some(At {
            term: 1,
            leader: Seat(1),
            index,
        }),
        promised: None,
        orphaned: true,
        roster: MARK,
        has_key: true,
        recovered: None,
        given_up: false,
    }
}

fn stands(count: u64) -> Stands {
    (1..=count)
        .map(|number| (machine(number), stand(number)))
        .collect()
}

#[test]
fn more_than_half_of_every_roster_must_have_lost_the_coordinators() {
    let rosters = Rosters::from([(MARK, roster(10))]);
    let ours = LogGeneration::FIRST;
    let next = |stands: &Stands, rosters: &Rosters| next_generation(ours, rosters, stands);
    assert_eq!(next(&stands(6), &rosters), Ok(LogGeneration(2)));
    assert_eq!(
        next(&stands(5), &rosters),
        Err(Hold::TooFew { have: 5, of: 10 })
    );
    let mut some_see_them = stands(8);
    for number in 1..=3 {
        some_see_them
            .get_mut(&machine(number))
            .expect("there")
            .orphaned = false;
    }
    assert_eq!(
        next(&some_see_them, &rosters),
        Err(Hold::TooFew { have: 5, of: 10 })
    );
    // One has a later roster, of which most are not here.
    let other = RosterMark([1; 16]);
    let mut differing = stands(8);
    differing.get_mut(&machine(8)).expect("there").roster = other;
    assert_eq!(next(&differing, &rosters), Err(Hold::UnknownRoster));
    let mut both = rosters.clone();
    both.insert(other, (1..=20).map(machine).collect());
    assert_eq!(
        next(&differing, &both),
        Err(Hold::TooFew { have: 8, of: 20 })
    );
}

#[test]
fn a_generation_that_somebody_promised_is_not_asked_for_again() {
    let rosters = Rosters::from([(MARK, roster(3))]);
    let mut stands = stands(3);
    stands.get_mut(&machine(3)).expect("there").promised = Some(Ballot {
        generation: 4,
        term: 0,
        leader: machine(3),
    });
    let ours = LogGeneration::FIRST;
    assert_eq!(
        next_generation(ours, &rosters, &stands),
        Ok(LogGeneration(5))
    );
    // One that lies would leave no number for the next time.
    stands.get_mut(&machine(1)).expect("there").promised = Some(Ballot {
        generation: u64::MAX,
        term: 0,
        leader: machine(1),
    });
    assert_eq!(
        next_generation(ours, &rosters, &stands),
        Ok(LogGeneration(5))
    );
    stands.get_mut(&machine(2)).expect("there").generation = LogGeneration(2);
    let later = Err(Hold::Outlived(LogGeneration(2)));
    assert_eq!(next_generation(ours, &rosters, &stands), later);
}

#[test]
fn coordinators_that_are_back_and_enough_to_commit_have_to_promise() {
    let voters = [1, 2, 3].map(machine);
    let granted = |machines: &[u64], seen_by: u64| -> Stands {
        let stand = |number: &u64| Stand {
            orphaned: *number != seen_by,
            ..stand(1)
        };
        let all = machines.iter();
        all.map(|number| (machine(*number), stand(number)))
            .collect()
    };
    assert!(
        !may_go_on(&voters, &granted(&[1, 4, 5], 0)),
        "nobody sees them"
    );
    assert!(may_go_on(&voters, &granted(&[1, 4, 5], 5)));
    assert!(
        !may_go_on(&voters, &granted(&[1, 2, 4, 5], 5)),
        "one alone commits nothing"
    );
    assert!(!may_go_on(&[], &granted(&[1, 4, 5], 5)));
}

#[test]
fn the_longest_copy_is_found_and_ones_own_preferred() {
    let mut stands = stands(3);
    assert_eq!(furthest(machine(1), &stands), Some(machine(3)));
    stands.insert(machine(1), stand(3));
    assert_eq!(furthest(machine(1), &stands), Some(machine(1)));
    let mut later_term = stand(1);
    later_term.at = Some(At {
        term: 2,
        leader: Seat(2),
        index: 1,
    });
    stands.insert(machine(2), later_term);
    assert_eq!(furthest(machine(1), &stands), Some(machine(2)));
}

#[test]
fn a_log_is_outlived_when_most_of_its_roster_has_promised_a_later_one() {
    let promised = |number| {
        let ballot = Ballot {
            generation: 2,
            term: 0,
            leader: machine(9),
        };
        let promised = Some(ballot);
        (
            machine(number),
            Stand {
                promised,
                ..stand(1)
            },
        )
    };
    let ours = LogGeneration::FIRST;
    let few: Stands = (1..=2).map(promised).collect();
    assert_eq!(outlived(ours, &roster(4), &few), None);
    let most: Stands = (1..=3).map(promised).collect();
    assert_eq!(outlived(ours, &roster(4), &most), Some(LogGeneration(2)));
    // One of two that tried at the same time has promised itself another one, which came to nothing.
    let mut rival = most.clone();
    rival.get_mut(&machine(3)).expect("there").promised = Some(Ballot {
        generation: 3,
        term: 0,
        leader: machine(3),
    });
    assert_eq!(outlived(ours, &roster(4), &rival), Some(LogGeneration(2)));
    assert_eq!(outlived(LogGeneration(2), &roster(4), &rival), None);
    let strangers: Stands = (7..=12).map(promised).collect();
    assert_eq!(outlived(ours, &roster(4), &strangers), None);
    // Two of five follow the later log, and the one that asks is left alone: no leader of the old log can act.
    let mut follow = few.clone();
    for stand in follow.values_mut() {
        stand.generation = LogGeneration(2);
    }
    follow.insert(machine(3), stand(1));
    assert_eq!(outlived(ours, &roster(5), &follow), Some(LogGeneration(2)));
    follow.insert(machine(4), stand(1));
    assert_eq!(
        outlived(ours, &roster(5), &follow),
        Some(LogGeneration(2)),
        "two are left"
    );
    follow.insert(machine(5), stand(1));
    assert_eq!(outlived(ours, &roster(5), &follow), None, "three stay");
}

#[test]
fn a_log_that_most_have_given_up_for_one_that_never_came_is_gone_on_from() {
    let ours = LogGeneration::FIRST;
    let rosters = Rosters::from([(MARK, roster(5))]);
    let promised = |generation| {
        Some(Ballot {
            generation,
            term: 0,
            leader: machine(3),
        })
    };
    // Two coordinators were lost for a moment: the third one asked, the others promised, and then they came back.
    let mut stands = stands(5);
    for (number, stand) in (1..).zip(stands.values_mut()) {
        stand.orphaned = false;
        stand.promised = promised(if number < 4 { 1 } else { 2 });
    }
    assert!(!is_abandoned(ours, &roster(5), &stands), "two of five");
    let few = Err(Hold::TooFew { have: 2, of: 5 });
    assert_eq!(next_generation(ours, &rosters, &stands), few);
    // With another one dead, those that are left are too few for any leader.
    let mut fewer = stands.clone();
    fewer.remove(&machine(3));
    assert!(
        is_abandoned(ours, &roster(5), &fewer),
        "two of five are left"
    );
    let next = next_generation(ours, &rosters, &fewer);
    assert_eq!(next, Ok(LogGeneration(3)));
    fewer.values_mut().for_each(|stand| stand.promised = None);
    assert!(!is_abandoned(ours, &roster(5), &fewer), "nobody promised");
    stands.get_mut(&machine(3)).expect("there").promised = promised(2);
    assert!(is_abandoned(ours, &roster(5), &stands), "three of five");
    let next = next_generation(ours, &rosters, &stands);
    assert_eq!(next, Ok(LogGeneration(3)));
    let mut founded = stands.clone();
    founded.get_mut(&machine(5)).expect("there").generation = LogGeneration(2);
    assert!(!is_abandoned(ours, &roster(5), &founded));
    // What an operator had founded acts with fewer, and is not to be passed over because nobody sees it.
    stands.get_mut(&machine(5)).expect("there").recovered = Some(Recovered {
        generation: 1_000_007,
        machine: machine(9),
        signature: Vec::new(),
    });
    assert!(!is_abandoned(ours, &roster(5), &stands));
    let later = Err(Hold::Outlived(LogGeneration(1_000_007)));
    assert_eq!(next_generation(ours, &rosters, &stands), later);
}

/// How far a machine is with founding.
#[derive(Debug, Clone)]
struct Attempt {
    ballot: Ballot,
    granted: BTreeSet<MachineId>,
    last_grant: Duration,
}

/// One machine in virtual time.
#[derive(Debug, Default)]
struct Node {
    up: bool,
    side: u8,
    /// On disk: survives restarts.
    promise: Promise,
    promised: Option<Ballot>,
    /// The logs that it leads, or takes itself to lead: old ones too, it may not know better.
    reigns: Vec<(Ballot, Tally)>,
    attempt: Option<Attempt>,
}

/// How the simulated machines differ from the real ones, to see that the simulation would notice.
#[derive(Debug, Clone, Copy, Default)]
struct Flaws {
    /// They don't wait until old acknowledgements have run out.
    hasty: bool,
    /// Their promises don't survive a restart.
    forgetful: bool,
}

struct Sim {
    flaws: Flaws,
    rng: StdRng,
    now: Duration,
    nodes: BTreeMap<MachineId, Node>,
    /// The latest log that any leader acted in.
    acted: u64,
    founded: u32,
    acts: u32,
}

const NODES: u64 = 7;
const STEP: Duration = Duration::from_millis(100);

impl Sim {
    fn new(seed: u64, flaws: Flaws) -> Self {
        let mut nodes: BTreeMap<_, _> =
            (1..=NODES).map(|n| (machine(n), Node::default())).collect();
        nodes.values_mut().for_each(|node| node.up = true);
        Self {
            flaws,
            rng: StdRng::seed_from_u64(seed),
            now: Duration::ZERO,
            nodes,
            acted: 1,
            founded: 0,
            acts: 0,
        }
    }

    fn reaches(&self, from: MachineId, to: MachineId) -> bool {
        let (from, to) = (&self.nodes[&from], &self.nodes[&to]);
        from.up && to.up && from.side == to.side
    }

    /// Machine `to` is asked to promise; `None` when question or answer is lost. A promise may be made although its
    /// answer is lost.
    fn ask(&mut self, from: MachineId, to: MachineId, ballot: Ballot) -> Option<Answer> {
        if !self.reaches(from, to) || self.rng.random_bool(0.1) {
            return None;
        }
        let lost = self.rng.random_bool(0.1);
        let node = self.nodes.get_mut(&to).expect("there");
        let (answer, raised) = node.promise.consider(ballot);
        if raised {
            node.promised = Some(ballot);
        }
        (!lost).then_some(answer)
    }

    /// Somebody is elected in a log. For that a log needs its coordinators and nothing else: any of the old ones may
    /// be back, with any of the logs that were ever founded.
    fn elect(&mut self, who: MachineId, generation: u64, term: u64) {
        let ballot = Ballot {
            generation,
            term,
            leader: who,
        };
        let mut tally = Tally::default();
        tally.open(ballot);
        let node = self.nodes.get_mut(&who).expect("there");
        node.reigns
            .retain(|(reign, _)| reign.generation != generation);
        node.reigns.push((ballot, tally));
    }

    fn gather(&mut self, who: MachineId) {
        let reigns = std::mem::take(&mut self.nodes.get_mut(&who).expect("there").reigns);
        let mut kept = Vec::new();
        for (ballot, mut tally) in reigns {
            for other in roster(NODES) {
                if let Some(answer) = self.ask(who, other, ballot) {
                    tally.record(ballot, other, answer, self.now);
                }
            }
            kept.push((ballot, tally));
        }
        self.nodes.get_mut(&who).expect("there").reigns = kept;
    }

    /// Begins to found, or goes on with it: all as the real one does, one step at a time, while others do the same.
    fn found(&mut self, who: MachineId) {
        let wait = if self.flaws.hasty {
            Duration::ZERO
        } else {
            LEASE_WAIT
        };
        let Some(mut attempt) = self.nodes[&who].attempt.clone() else {
            if self.rng.random_bool(0.98) {
                return;
            }
            let highest = self.nodes[&who]
                .promised
                .map_or(1, |ballot| ballot.generation);
            let ballot = Ballot {
                generation: highest + self.rng.random_range(1..3),
                term: 0,
                leader: who,
            };
            self.nodes.get_mut(&who).expect("there").attempt = Some(Attempt {
                ballot,
                granted: BTreeSet::new(),
                last_grant: self.now,
            });
            return;
        };
        let rosters = Rosters::from([(MARK, roster(NODES))]);
        if majority(&rosters, &attempt.granted).is_err() {
            let mut refused = false;
            for other in roster(NODES) {
                match self.ask(who, other, attempt.ballot) {
                    Some(Answer::Granted) if attempt.granted.insert(other) => {
                        attempt.last_grant = self.now;
                    }
                    Some(Answer::Refused { .. }) => refused = true,
                    Some(Answer::Granted) | None => {}
                }
            }
            let given_up = refused && majority(&rosters, &attempt.granted).is_err();
            self.nodes.get_mut(&who).expect("there").attempt = (!given_up).then_some(attempt);
        } else if self.now >= attempt.last_grant + wait {
            self.nodes.get_mut(&who).expect("there").attempt = None;
            self.founded += 1;
            self.elect(who, attempt.ballot.generation, 1);
        }
    }

    /// All that act at this moment, by the rule that leaders go by.
    fn check(&mut self) -> Result<(), String> {
        let mut acting = BTreeSet::new();
        for node in self.nodes.values().filter(|node| node.up) {
            for (ballot, tally) in &node.reigns {
                let behind = tally.fresh(self.now).count() as u64;
                if behind * 2 > NODES {
                    acting.insert((ballot.generation, ballot.leader));
                }
            }
        }
        let generations: BTreeSet<_> = acting.iter().map(|(generation, _)| *generation).collect();
        if generations.len() > 1 {
            return Err(format!("two logs act at {:?}: {acting:?}", self.now));
        }
        if let Some(generation) = generations.first().copied() {
            self.acts += 1;
            if generation < self.acted {
                let (acted, now) = (self.acted, self.now);
                return Err(format!("log {generation} acts after {acted} at {now:?}"));
            }
            self.acted = generation;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += STEP;
        let who = machine(self.rng.random_range(1..=NODES));
        match self.rng.random_range(0..100) {
            0..3 => {
                // A crash takes all but what is on disk; the logs that it led are on its disk, too.
                let node = self.nodes.get_mut(&who).expect("there");
                node.up = !node.up;
                if self.flaws.forgetful {
                    node.promise = Promise::default();
                }
                node.attempt = None;
                for (ballot, tally) in &mut node.reigns {
                    *tally = Tally::default();
                    tally.open(*ballot);
                }
            }
            3..5 => {
                let sides = self.rng.random_range(1..3);
                for node in self.nodes.values_mut() {
                    node.side = self.rng.random_range(0..sides);
                }
            }
            5..7 => self.nodes.values_mut().for_each(|node| node.side = 0),
            7..12 => {
                let founded: Vec<_> = self.nodes[&who].reigns.iter().map(|(b, _)| *b).collect();
                let again = founded.get(self.rng.random_range(0..founded.len().max(1)));
                let (generation, term) = again.map_or((1, 1), |b| (b.generation, b.term + 1));
                // The first log has three coordinators, of which the simulation lets one lead.
                if generation > 1 || who == machine(1) {
                    self.elect(who, generation, term);
                }
            }
            12..70 => self.gather(who),
            70..95 if self.nodes[&who].up => self.found(who),
            _ => {}
        }
        self.check()
    }
}

const SEEDS: u64 = 200;
const STEPS: u32 = 2000;

/// The first broken rule, with its seed; how many logs were founded and how often one acted, where none is broken.
fn hunt(flaws: Flaws) -> Result<(u32, u32), String> {
    let first: u64 = std::env::var("MUSTER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let (mut founded, mut acts) = (0, 0);
    for seed in first..first + SEEDS {
        let mut sim = Sim::new(seed, flaws);
        for _ in 0..STEPS {
            sim.step()
                .map_err(|broken| format!("MUSTER_SEED={seed}: {broken}"))?;
        }
        founded += sim.founded;
        acts += sim.acts;
    }
    Ok((founded, acts))
}

#[test]
fn never_two_logs_act_at_once_and_never_an_old_one_after_a_new_one() {
    let (founded, acts) = hunt(Flaws::default()).unwrap_or_else(|broken| panic!("{broken}"));
    // Otherwise nothing was put to the test.
    assert!(
        founded > 200 && acts > 10_000,
        "{founded} founded, {acts} acts"
    );
}

#[test]
fn the_simulation_notices_who_does_not_wait_and_who_forgets() {
    let flaws = [
        Flaws {
            hasty: true,
            ..Flaws::default()
        },
        Flaws {
            forgetful: true,
            ..Flaws::default()
        },
    ];
    for flaws in flaws {
        assert!(hunt(flaws).is_err(), "{flaws:?} does no harm");
    }
}
