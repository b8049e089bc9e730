//! The whole exchange in virtual time, from a seed: machines that notice one another's absence late, ask, promise, wait and
//! found as the shipped rules say, several at once, while coordinators come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_mesh::consensus::{At, Seat};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::tests::{MARK, ballot, machine};
use super::*;
use crate::node::authority::{Answer, Promise, Tally};
use crate::node::refounding::ballots::{
    Rosters, Stand, furthest, is_abandoned, majority, may_go_on, next_generation, outlived,
};
use crate::node::refounding::{LEASE_WAIT, SETTLE, TURN};

const STEP: Duration = Duration::from_millis(100);

/// How long it takes until a machine that does not answer is taken for dead.
const NOTICED: Duration = Duration::from_secs(6);

/// For how long after its start a machine takes those for there that it has not heard of.
const UNHEARD: Duration = Duration::from_secs(120);

/// How long an election takes from the loss of the leader.
const ELECTION: Duration = Duration::from_secs(3);

const GRACE: Duration = Duration::from_secs(20);
const RETURNING: Duration = Duration::from_secs(10);

/// How long things go wrong, and how long they go well after that.
const TROUBLE: Duration = Duration::from_secs(150);
const CALM: Duration = Duration::from_secs(240);

/// What one who founds waits for.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// To ask for promises once it is sure that it would get enough.
    Willing,
    /// For old acknowledgements to run out.
    Lease { until: Duration },
    /// For coordinators that are back.
    Returning { since: Duration },
}

#[derive(Debug, Default)]
struct Node {
    up: bool,
    side: u8,
    started: Duration,
    /// On disk, as its copy of the log is.
    promise: Promise,
    generation: u64,
    copy: (u64, u64),
    /// When it reached each other machine last, in this life.
    reached: BTreeMap<u64, Duration>,
    /// What it promised last in this life, and when.
    noted: Option<(Ballot, Duration)>,
    /// No coordinator of a lower log runs here.
    lowest: u64,
    /// Whether it found at its last look that no leader of its log can act.
    knows: bool,
    /// Since when it finds the coordinators lost, or nobody able to act.
    since: Option<Duration>,
    stage: Option<(Ballot, Stage)>,
    not_before: Duration,
    tally: Tally,
}

/// A log that was founded.
#[derive(Debug, Default)]
struct Log {
    voters: BTreeSet<u64>,
    leader: Option<u64>,
    term: u64,
    elect_at: Duration,
}

struct Sim {
    rng: StdRng,
    now: Duration,
    loss: f64,
    nodes: BTreeMap<u64, Node>,
    logs: BTreeMap<u64, Log>,
    acted: u64,
    acted_at: Duration,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = [4, 5, 7][rng.random_range(0..3)];
        let node = |number| {
            let node = Node {
                up: true,
                generation: 1,
                reached: (1..=count).map(|other| (other, Duration::ZERO)).collect(),
                ..Node::default()
            };
            (number, node)
        };
        let log = Log {
            voters: BTreeSet::from([1, 2, 3]),
            ..Log::default()
        };
        Self {
            rng,
            now: Duration::ZERO,
            loss: 0.05,
            nodes: (1..=count).map(node).collect(),
            logs: BTreeMap::from([(1, log)]),
            acted: 1,
            acted_at: Duration::ZERO,
        }
    }

    fn all(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    fn roster(&self) -> BTreeSet<MachineId> {
        self.nodes.keys().map(|number| machine(*number)).collect()
    }

    fn node(&mut self, number: u64) -> &mut Node {
        self.nodes.get_mut(&number).expect("there")
    }

    fn is_linked(&self, one: u64, two: u64) -> bool {
        let (one, two) = (&self.nodes[&one], &self.nodes[&two]);
        one.up && two.up && one.side == two.side
    }

    fn answers(&mut self, from: u64, to: u64) -> bool {
        self.is_linked(from, to) && (from == to || !self.rng.random_bool(self.loss))
    }

    fn is_active(&self, by: u64, other: u64) -> bool {
        let reached = self.nodes[&by].reached.get(&other);
        by == other || reached.is_some_and(|at| self.now - *at < NOTICED)
    }

    fn is_lost(&self, by: u64, other: u64) -> bool {
        let node = &self.nodes[&by];
        let heard_of = node.reached.contains_key(&other) || self.now - node.started >= UNHEARD;
        heard_of && !self.is_active(by, other)
    }

    fn orphaned(&self, number: u64) -> bool {
        let voters = &self.logs[&self.nodes[&number].generation].voters;
        let lost = voters.iter().filter(|voter| self.is_lost(number, **voter));
        (voters.len() - lost.count()) * 2 <= voters.len()
    }

    /// Whether a coordinator of this log runs there.
    fn coordinates(&self, number: u64, log: u64) -> bool {
        let node = &self.nodes[&number];
        let sits = self.logs[&log].voters.contains(&number);
        node.up && node.generation == log && node.lowest <= log && sits
    }

    fn has_key(&self, number: u64) -> bool {
        self.logs.values().any(|log| log.voters.contains(&number))
    }

    fn stand(&self, number: u64) -> Stand {
        let node = &self.nodes[&number];
        Stand {
            generation: LogGeneration(node.generation),
            at: Some(At {
                term: node.copy.0,
                leader: Seat(1),
                index: node.copy.1,
            }),
            promised: node.promise.highest(),
            orphaned: self.orphaned(number),
            roster: MARK,
            has_key: self.has_key(number),
            recovered: None,
            given_up: node.lowest > node.generation || node.knows,
        }
    }

    fn look(&mut self, who: u64) -> Stands {
        let mut stands = Stands::new();
        for other in self.all() {
            if self.is_active(who, other) && self.answers(who, other) {
                stands.insert(machine(other), self.stand(other));
            }
        }
        stands
    }

    /// Whether a machine would promise, by all that it knows and asks.
    fn consents(&mut self, to: u64, ballot: Ballot) -> bool {
        let node = &self.nodes[&to];
        let noted = node.noted.filter(|(_, at)| self.now - *at < GRACE);
        let busy = noted.map(|(last, _)| last.leader);
        let situation = Situation {
            ours: LogGeneration(node.generation),
            before: node.promise.highest(),
            busy_with: busy.filter(|other| self.is_active(to, other.get())),
            is_elector: true,
            belongs: true,
            orphaned: self.orphaned(to),
            given_up: node.lowest > node.generation,
        };
        let log = node.generation;
        match objection(&situation, ballot.leader, ballot) {
            None => true,
            Some(Objection::NotLost) if self.coordinates(to, log) => {
                let (stands, roster) = (self.look(to), self.roster());
                let is = is_abandoned(LogGeneration(log), &roster, &stands);
                self.node(to).knows = is;
                is
            }
            Some(Objection::NotLost) => {
                let stands = self.look(to);
                let voters = &self.logs[&log].voters;
                let there = voters.iter().filter(|voter| self.is_active(to, **voter));
                let there: Vec<_> = there.map(|voter| machine(*voter)).collect();
                have_let_go(LogGeneration(log), (&there, voters.len()), &stands)
            }
            Some(_) => false,
        }
    }

    /// Asks all for a promise, or whether they would give it.
    fn ask(&mut self, who: u64, ballot: Ballot, promise: bool) -> Stands {
        let mut granted = Stands::new();
        for other in self.all() {
            if !self.is_active(who, other) || !self.answers(who, other) {
                continue;
            }
            if !self.consents(other, ballot) {
                continue;
            }
            let now = self.now;
            let node = self.node(other);
            let mut kept = node.promise;
            if kept.consider(ballot).0 != Answer::Granted {
                continue;
            }
            if promise {
                node.promise = kept;
                node.noted = Some((ballot, now));
                node.lowest = node.lowest.max(ballot.generation);
                if !self.answers(other, who) {
                    continue;
                }
            }
            granted.insert(machine(other), self.stand(other));
        }
        granted
    }

    /// One try to found, a step at a time.
    fn found(&mut self, who: u64) -> Result<(), String> {
        let rosters = Rosters::from([(MARK, self.roster())]);
        let enough = |granted: &Stands| majority(&rosters, &granted.keys().copied().collect());
        let Some((ballot, stage)) = self.nodes[&who].stage.clone() else {
            return Ok(());
        };
        let next = match stage {
            Stage::Willing => {
                let willing = self.ask(who, ballot, false);
                let would = enough(&willing).is_ok() && willing.contains_key(&machine(who));
                let promised = would.then(|| self.ask(who, ballot, true));
                let until = self.now + LEASE_WAIT;
                promised
                    .filter(|granted| enough(granted).is_ok())
                    .map(|_| Stage::Lease { until })
            }
            Stage::Lease { until } if self.now < until => return Ok(()),
            Stage::Lease { .. } => Some(Stage::Returning { since: self.now }),
            Stage::Returning { since } => {
                let granted = self.ask(who, ballot, true);
                let voters = &self.logs[&self.nodes[&who].generation].voters;
                let voters: Vec<_> = voters.iter().map(|voter| machine(*voter)).collect();
                if enough(&granted).is_err() {
                    None
                } else if may_go_on(&voters, &granted) && self.now < since + RETURNING {
                    Some(Stage::Returning { since })
                } else {
                    return self.begin(who, ballot, &granted);
                }
            }
        };
        let (now, pause) = (self.now, self.rng.random_range(2.0..6.0));
        let node = self.node(who);
        if next.is_none() {
            node.not_before = now + Duration::from_secs_f64(pause);
        }
        node.stage = next.map(|stage| (ballot, stage));
        Ok(())
    }

    /// The new log begins, from the longest copy.
    fn begin(&mut self, who: u64, ballot: Ballot, granted: &Stands) -> Result<(), String> {
        let ours = self.nodes[&who].generation;
        let from = furthest(machine(who), granted).ok_or("nobody has a copy")?;
        let copy = self.nodes[&from.get()].copy;
        self.node(who).stage = None;
        if self.nodes[&from.get()].generation != ours
            || self.nodes[&who].promise.highest() != Some(ballot)
        {
            return Ok(());
        }
        // What a part that is cut off committed is given up, and a packet that is lost may be the last one.
        let reached = self.all().into_iter().filter(|other| {
            self.loss == 0.0 && self.is_linked(who, *other) && self.nodes[other].generation == ours
        });
        let longest = reached.map(|other| self.nodes[&other].copy).max();
        if longest > Some(copy) {
            return Err(format!(
                "{longest:?} is there, and {copy:?} is gone on from"
            ));
        }
        let log = Log {
            voters: BTreeSet::from([who]),
            term: copy.0,
            elect_at: self.now,
            ..Log::default()
        };
        if self.logs.insert(ballot.generation, log).is_some() {
            return Err(format!("generation {} is founded twice", ballot.generation));
        }
        let node = self.node(who);
        (node.generation, node.copy, node.since) = (ballot.generation, copy, None);
        Ok(())
    }

    /// What a machine does once a second.
    fn watch(&mut self, who: u64) {
        let stands = self.look(who);
        let roster = self.roster();
        let ours = self.nodes[&who].generation;
        let (now, log) = (self.now, LogGeneration(ours));
        // It follows whoever has a later log that most have promised.
        if let Some(later) = outlived(log, &roster, &stands) {
            self.node(who).lowest = self.nodes[&who].lowest.max(later.0);
        }
        let later = stands.iter().filter(|(_, stand)| stand.generation > log);
        let later = later.max_by_key(|(_, stand)| stand.generation);
        // Where a coordinator of the old log runs, it follows nobody.
        if let Some((source, _)) = later
            && self.nodes[&who].lowest > ours
        {
            let source = &self.nodes[&source.get()];
            let (generation, copy) = (source.generation, source.copy);
            let node = self.node(who);
            (node.generation, node.copy, node.since) = (generation, copy, None);
            return;
        }
        if !self.has_key(who) || self.nodes[&who].stage.is_some() {
            return;
        }
        self.node(who).knows = is_abandoned(log, &roster, &stands);
        if !self.orphaned(who) && !self.nodes[&who].knows {
            self.node(who).since = None;
            return;
        }
        let since = *self.node(who).since.get_or_insert(now);
        let voters = self.logs[&ours].voters.iter();
        let left = voters.filter(|voter| self.is_active(who, **voter));
        let before = left.filter(|voter| **voter < who).count();
        let turn = SETTLE + TURN * u32::try_from(before).expect("few");
        let rosters = Rosters::from([(MARK, roster)]);
        if now < since + turn || now < self.nodes[&who].not_before {
            return;
        }
        if let Ok(generation) = next_generation(log, &rosters, &stands) {
            let ballot = ballot(generation.0, who);
            self.node(who).stage = Some((ballot, Stage::Willing));
        }
    }

    /// The leader of one log: elected, asking for acknowledgements, committing. Whether it may act.
    fn lead(&mut self, log: u64) -> bool {
        let all = self.all().into_iter();
        let running: Vec<_> = all.filter(|one| self.coordinates(*one, log)).collect();
        let linked = |sim: &Self, one: u64| {
            let linked = running.iter().copied();
            linked
                .filter(|other| sim.is_linked(one, *other))
                .collect::<Vec<_>>()
        };
        let needed = self.logs[&log].voters.len() / 2 + 1;
        let now = self.now;
        let leader = self.logs[&log]
            .leader
            .filter(|leader| running.contains(leader) && linked(self, *leader).len() >= needed);
        let Some(leader) = leader else {
            let able = running.iter().copied().filter(|one| {
                let peers = linked(self, *one);
                let behind = peers.iter().filter(|other| {
                    let copy = self.nodes[*other].copy;
                    self.nodes[one].copy >= copy
                });
                behind.count() >= needed
            });
            let candidate = able.min();
            let known = self.logs.get_mut(&log).expect("there");
            if known.leader.take().is_some() {
                known.elect_at = now + ELECTION;
            }
            if let Some(candidate) = candidate.filter(|_| now >= known.elect_at) {
                known.leader = Some(candidate);
                known.term += 1;
                let term = known.term;
                let node = self.node(candidate);
                node.copy = (term, node.copy.1 + 1);
                node.tally = Tally::default();
            }
            return false;
        };
        self.commit(log, leader, &linked(self, leader))
    }

    fn commit(&mut self, log: u64, leader: u64, voters: &[u64]) -> bool {
        let asks = Ballot {
            generation: log,
            term: self.logs[&log].term,
            leader: machine(leader),
        };
        let mut tally = std::mem::take(&mut self.node(leader).tally);
        tally.open(asks);
        for other in self.all() {
            if self.nodes[&other].generation == log && self.answers(leader, other) {
                let (answer, _) = self.node(other).promise.consider(asks);
                tally.record(asks, machine(other), answer, self.now);
            }
        }
        let acts = tally.fresh(self.now).count() * 2 > self.nodes.len();
        self.node(leader).tally = tally;
        let copy = self.nodes[&leader].copy;
        let next = (asks.term, copy.1 + 1);
        for voter in voters {
            self.node(*voter).copy = next;
        }
        for other in self.all() {
            if self.nodes[&other].generation == log && self.answers(leader, other) {
                self.node(other).copy = next;
            }
        }
        if acts {
            let all = self.all().into_iter();
            let seats: BTreeSet<u64> = all
                .filter(|other| {
                    self.nodes[other].generation == log && self.is_linked(leader, *other)
                })
                .take(2)
                .chain([leader])
                .collect();
            let known = self.logs.get_mut(&log).expect("there");
            // A new log's seats are filled once there are three machines for them.
            if known.voters.len() == 1 && seats.len() == 3 {
                known.voters = seats;
            }
        }
        acts
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += STEP;
        for one in self.all() {
            for other in self.all() {
                if self.is_linked(one, other) {
                    let now = self.now;
                    self.node(one).reached.insert(other, now);
                }
            }
        }
        for who in self.all() {
            if !self.nodes[&who].up {
                continue;
            }
            if self.rng.random_bool(0.1) {
                self.watch(who);
            }
            self.found(who)?;
        }
        if !self.now.as_millis().is_multiple_of(500) {
            return Ok(());
        }
        let logs: Vec<_> = self.logs.keys().copied().collect();
        let acting: Vec<_> = logs.into_iter().filter(|log| self.lead(*log)).collect();
        match acting[..] {
            [] => {}
            [log] if log >= self.acted => (self.acted, self.acted_at) = (log, self.now),
            _ => return Err(format!("{acting:?} act after {}", self.acted)),
        }
        Ok(())
    }

    fn toggle(&mut self, who: u64) {
        let now = self.now;
        let node = self.node(who);
        node.up = !node.up;
        node.started = now;
        node.reached.clear();
        node.reached.insert(who, now);
        (node.noted, node.since, node.stage) = (None, None, None);
        node.tally = Tally::default();
    }

    /// Something goes wrong, or well again.
    fn trouble(&mut self) {
        let all = self.all();
        let who = all[self.rng.random_range(0..all.len())];
        match self.rng.random_range(0..10) {
            0..4 => {
                // Two coordinators at once, and later back at once.
                let voters = self.logs.last_key_value().expect("one").1.voters.clone();
                let voters = voters.into_iter().skip(self.rng.random_range(0..2)).take(2);
                voters.for_each(|voter| self.toggle(voter));
            }
            4..7 => self.toggle(who),
            7..9 => {
                for number in all {
                    let side = self.rng.random_range(0..2);
                    self.node(number).side = side;
                }
            }
            _ => self.nodes.values_mut().for_each(|node| node.side = 0),
        }
    }

    /// From then on nothing goes wrong any more, and more than half are there, one that can found among them.
    fn calm(&mut self) {
        self.loss = 0.0;
        let mut dead = (self.nodes.len() - 1) / 2;
        let keeps = self.all().into_iter().find(|one| self.has_key(*one));
        for number in self.all() {
            self.node(number).side = 0;
            let dies = dead > 0 && keeps != Some(number) && self.rng.random_bool(0.4);
            if dies {
                dead -= 1;
            }
            if self.nodes[&number].up == dies {
                self.toggle(number);
            }
        }
    }

    fn run(&mut self) -> Result<(), String> {
        while self.now < TROUBLE {
            if self.rng.random_bool(0.008) {
                self.trouble();
            }
            self.step()?;
        }
        self.calm();
        while self.now < TROUBLE + CALM {
            self.step()?;
        }
        if self.acted_at + Duration::from_secs(5) < self.now {
            let all = self.all().into_iter().map(|one| self.tell(one));
            let all: Vec<_> = all.collect();
            return Err(format!("nobody acts since {:?}: {all:?}", self.acted_at));
        }
        Ok(())
    }

    /// How one machine is, in a line.
    fn tell(&self, number: u64) -> String {
        let (node, orphaned) = (&self.nodes[&number], self.orphaned(number));
        let promised = node.promise.highest();
        let promised = promised.map(|one| (one.generation, one.term, one.leader.get()));
        let (up, log, copy, lowest) = (node.up, node.generation, node.copy, node.lowest);
        format!(
            "{number}: up {up}, log {log} {copy:?}, promised {promised:?}, lowest {lowest}, orphaned {orphaned}, {:?}",
            node.stage
        )
    }
}

#[test]
fn whoever_founds_and_returns_in_whichever_order_one_log_goes_on_and_nothing_is_lost() {
    const SEEDS: u64 = 60;
    let first: u64 = std::env::var("MUSTER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let (mut founded, mut wrong) = (0, Vec::new());
    for seed in first..first + SEEDS {
        let mut sim = Sim::new(seed);
        if let Err(broken) = sim.run() {
            wrong.push(format!("MUSTER_SEED={seed}: {broken}"));
        }
        founded += sim.logs.len() - 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Otherwise nothing was put to the test.
    assert!(founded > 10, "{founded} were founded");
}
