//! Whole meshes in virtual time: the shipped cores, a modelled network, and seeded faults.
//!
//! A [`Simulation`] is single-threaded and a pure function of its [`Setup`] and of what is done to it: the same seed
//! gives the same [`trace_hash`](Simulation::trace_hash). It watches every event of every member and keeps an account
//! ([`Findings`]) of what must never happen, so that no violation is masked by what comes after it.

mod engine;
mod findings;
mod history;
mod network;
mod node;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

pub use self::findings::{Death, Findings, Violation};
pub use self::history::{Failure, History, Step};
pub use self::network::{Network, Traffic, Way};
pub use self::node::Condition;

use self::engine::Happenings;
use self::node::Node;
use crate::identity::{MachineId, Peer};
use crate::membership::{self, Membership, Status};
use crate::records::{Leaving, Profile, Records, Vitals};

/// How often a condition that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a simulation starts from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setup {
    /// Decides everything that is random.
    pub seed: u64,
    /// How many machines.
    pub machines: usize,
    /// The network between them.
    pub network: Network,
    /// The membership's settings.
    pub membership: membership::Config,
    /// Whether every machine publishes a record when it starts. Default true; without, only leaving is announced, and
    /// a mesh of a thousand forms in a tenth of the time.
    pub profiles: bool,
}

impl Setup {
    /// A healthy network in one data centre, and default settings.
    pub fn new(seed: u64, machines: usize) -> Self {
        Self {
            seed,
            machines,
            network: Network::default(),
            membership: membership::Config::default(),
            profiles: true,
        }
    }
}

/// A mesh in virtual time.
pub struct Simulation {
    setup: Setup,
    now: Duration,
    rng: Xoshiro256PlusPlus,
    nodes: Vec<Node>,
    index: BTreeMap<MachineId, usize>,
    queue: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    happenings: Happenings,
    sequence: u64,
    network: Network,
    findings: Findings,
    traffic: Vec<Traffic>,
    trace: u64,
    disturbed_at: Duration,
}

impl Simulation {
    /// Machines that do not run yet; see [`start_all`](Self::start_all).
    pub fn new(setup: Setup) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(setup.seed);
        let nodes: Vec<Node> = (0..setup.machines)
            .map(|number| Node::new(number, &mut rng))
            .collect();
        let index = nodes
            .iter()
            .enumerate()
            .map(|(at, node)| (node.peer.machine, at))
            .collect();
        Self {
            network: setup.network.clone(),
            traffic: vec![Traffic::default(); setup.machines],
            setup,
            now: Duration::from_secs(1),
            rng,
            nodes,
            index,
            queue: BinaryHeap::new(),
            happenings: Happenings::default(),
            sequence: 0,
            findings: Findings::default(),
            trace: 0,
            disturbed_at: Duration::ZERO,
        }
    }

    // === what is done to it ===

    /// Adds a machine of this ID, which does not run yet; its number.
    pub fn add(&mut self, machine: MachineId) -> usize {
        let number = self.nodes.len();
        self.nodes.push(Node::of(number, machine));
        self.index.insert(machine, number);
        self.traffic.push(Traffic::default());
        number
    }

    /// Starts every machine that is off; the first one started is everybody's seed.
    pub fn start_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.start(node);
        }
    }

    /// Starts every machine that is off as after days of running: all know all. Costs a small part of what it takes
    /// to have them find each other.
    pub fn start_acquainted(&mut self) {
        let off = |node: &usize| !self.nodes[*node].condition.runs();
        let started: Vec<usize> = (0..self.nodes.len()).filter(off).collect();
        let Some((&host, guests)) = started.split_first() else {
            return;
        };
        for node in &started {
            self.begin(*node, &[]);
        }
        for guest in guests {
            self.acquaint(*guest, host);
        }
        for guest in guests {
            self.acquaint(host, *guest);
        }
        for node in started {
            self.settle(node);
        }
    }

    /// Gives the table of `from` to `to`.
    fn acquaint(&mut self, from: usize, to: usize) {
        let (now, giver) = (self.now, self.machine(from));
        let table = self.nodes[from]
            .life
            .as_mut()
            .map(|life| life.membership.full_state());
        if let (Some(table), Some(life)) = (table, self.nodes[to].life.as_mut()) {
            let taken = life.membership.handle_full_state(now, giver, &table);
            taken.expect("a core's own state decodes");
        }
    }

    /// Starts a process, in a new generation if it ran before. Nothing if it runs.
    pub fn start(&mut self, node: usize) {
        if self.nodes[node].condition.runs() {
            return;
        }
        // As an agent remembers: whoever runs, and some that may not.
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        let (running, rest): (Vec<_>, Vec<_>) =
            others.partition(|other| self.nodes[*other].condition.runs());
        let seeds = running.iter().take(3).chain(rest.iter().take(2));
        let seeds: Vec<Peer> = seeds.map(|other| self.nodes[*other].peer).collect();
        self.begin(node, &seeds);
        self.settle(node);
    }

    fn begin(&mut self, node: usize, seeds: &[Peer]) {
        let seed = self.rng.random();
        let now = self.now;
        let config = self.setup.membership.clone();
        let profiles = self.setup.profiles;
        self.disturbed_at = now;
        self.nodes[node].start(now, config, seed, seeds, profiles);
        let machine = self.nodes[node].peer.machine;
        self.findings.started(machine);
        if self.network.is_fair_to(node) {
            self.findings.well(now, machine);
        }
    }

    /// Tells a machine that runs which machines there should be, itself included, as an agent reads it from the log.
    pub fn expect(&mut self, node: usize, roster: &[usize]) {
        let (now, life) = (self.now, self.nodes[node].life_number());
        let peers: Vec<Peer> = roster.iter().map(|other| self.nodes[*other].peer).collect();
        self.with(node, life, |cores| {
            cores.membership.expect_members(now, peers.len());
            cores.membership.join(now, &peers);
        });
    }

    /// `kill -9`: the process is gone, its host answers that nothing listens.
    pub fn kill(&mut self, node: usize) {
        self.stop(node, Condition::Killed);
    }

    /// The host is gone, or hangs: nothing answers.
    pub fn power_off(&mut self, node: usize) {
        self.stop(node, Condition::Off);
    }

    /// The process stands still (a stopped virtual machine) until [`resume`](Self::resume).
    pub fn pause(&mut self, node: usize) {
        if self.nodes[node].condition == Condition::Running {
            self.disturbed_at = self.now;
            self.nodes[node].condition = Condition::Paused;
            self.findings
                .unwell(self.now, self.nodes[node].peer.machine);
        }
    }

    /// A paused process goes on, as if no time had passed for it.
    pub fn resume(&mut self, node: usize) {
        if self.nodes[node].condition != Condition::Paused {
            return;
        }
        self.disturbed_at = self.now;
        self.nodes[node].condition = Condition::Running;
        if self.network.is_fair_to(node) {
            self.findings.well(self.now, self.nodes[node].peer.machine);
        }
        // The worst order: what it missed is judged before what waits in its socket is read.
        self.wake(node);
        for (from, bytes) in std::mem::take(&mut self.nodes[node].inbox) {
            self.deliver(node, from, &bytes);
        }
    }

    /// Announces its leaving in its record, waits two seconds, and leaves.
    pub fn leave(&mut self, node: usize) {
        self.announce_leaving(node);
        self.run_for(Duration::from_secs(2));
        self.depart(node);
    }

    /// Announces in its record that a machine will leave for good.
    pub fn announce_leaving(&mut self, node: usize) {
        let now = self.now;
        let Some(life) = self.nodes[node].life.as_mut() else {
            return;
        };
        let at_ms = now.as_millis() as u64;
        let leaving = Leaving {
            at_ms,
            until_ms: None,
            reason: "asked to".into(),
        };
        let profile = Profile {
            leaving: Some(leaving),
            ..life.profile.clone()
        };
        life.records
            .set_profile(now, profile)
            .expect("a small profile");
        self.settle(node);
    }

    /// Leaves, and ends the process.
    pub fn depart(&mut self, node: usize) {
        let now = self.now;
        if let Some(life) = self.nodes[node].life.as_mut() {
            life.membership.leave(now);
            self.settle(node);
            self.stop(node, Condition::Killed);
        }
    }

    /// Changes the vitals of a machine.
    pub fn set_vitals(&mut self, node: usize, vitals: Vitals) {
        let now = self.now;
        if let Some(life) = self.nodes[node].life.as_mut() {
            life.records.set_vitals(now, vitals);
            self.settle(node);
        }
    }

    /// The network, to change its faults. Takes effect for what is sent from now on; machines that lose more than
    /// others, or are cut off, count as unwell until [`heal`](Self::heal).
    pub fn network(&mut self) -> &mut Network {
        self.disturbed_at = self.now;
        &mut self.network
    }

    /// Cuts `island` off from the rest, in place of what was cut off before.
    pub fn partition(&mut self, island: &[usize]) {
        self.network.mend_all();
        self.cut(0, island);
    }

    /// Cuts `island` off from the rest, besides other cuts. `name` is for [`mend`](Self::mend).
    pub fn cut(&mut self, name: u64, island: &[usize]) {
        self.network.cut(name, island.iter().copied());
        self.disturb_all();
    }

    /// Nobody is at fault for what they believe of others from now on.
    fn disturb_all(&mut self) {
        self.disturbed_at = self.now;
        for node in &self.nodes {
            self.findings.unwell(self.now, node.peer.machine);
        }
    }

    /// Ends one cut.
    pub fn mend(&mut self, name: u64) {
        self.network.mend(name);
        self.calm_all();
    }

    /// Blocks one way of a machine, as a broken cable or a wrong rule of a firewall does, until it is opened again.
    pub fn block(&mut self, node: usize, way: Way, blocked: bool) {
        self.network.block(node, way, blocked);
        if blocked {
            self.disturb_all();
        } else {
            self.calm_all();
        }
    }

    /// Whoever runs and reaches everybody is well.
    fn calm_all(&mut self) {
        self.disturbed_at = self.now;
        for (number, node) in self.nodes.iter().enumerate() {
            if node.condition == Condition::Running && self.network.is_fair_to(number) {
                self.findings.well(self.now, node.peer.machine);
            }
        }
    }

    /// Ends every fault of the network.
    pub fn heal(&mut self) {
        self.disturbed_at = self.now;
        self.network.heal();
        for node in &self.nodes {
            if node.condition == Condition::Running {
                self.findings.well(self.now, node.peer.machine);
            }
        }
    }

    /// Says that a machine is not at fault if others take it for dead from now on, or that it is again.
    pub fn excuse(&mut self, node: usize, excused: bool) {
        let machine = self.nodes[node].peer.machine;
        if excused {
            self.findings.unwell(self.now, machine);
        } else {
            self.findings.well(self.now, machine);
        }
    }

    /// Lets `duration` pass.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(Reverse((at, _, place))) = self.queue.peek().copied() {
            if at > until {
                break;
            }
            self.queue.pop();
            self.now = at;
            if let Some(happening) = self.happenings.take(place) {
                self.happen(happening);
            }
        }
        self.now = until;
    }

    /// Lets time pass until `reached`, asked every 50 ms, or `limit` is over; whether it was.
    pub fn run_until(&mut self, limit: Duration, reached: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !reached(self) {
            if self.now >= end {
                return false;
            }
            self.run_for(LOOK_EVERY);
        }
        true
    }

    // === what can be seen ===

    /// The virtual time.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// How a machine fares.
    pub fn condition(&self, node: usize) -> Condition {
        self.nodes[node].condition
    }

    /// The machine's ID.
    pub fn machine(&self, node: usize) -> MachineId {
        self.nodes[node].peer.machine
    }

    /// The membership core of a machine that runs.
    pub fn membership(&self, node: usize) -> Option<&Membership> {
        self.nodes[node].life.as_ref().map(|life| &life.membership)
    }

    /// The records core of a machine that runs.
    pub fn records(&self, node: usize) -> Option<&Records> {
        self.nodes[node].life.as_ref().map(|life| &life.records)
    }

    /// What `observer` believes of `subject`.
    pub fn status(&self, observer: usize, subject: usize) -> Option<Status> {
        let machine = self.machine(subject);
        self.membership(observer)?
            .member(machine)
            .map(|member| member.status)
    }

    /// The machines that run.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].condition == Condition::Running)
    }

    /// Whether every running machine takes every other running machine for alive, in its present life, and no other.
    pub fn agrees(&self) -> bool {
        self.disagreement().is_none()
    }

    /// Since when nothing has happened to any machine or to the network, and no machine has changed its mind about
    /// another. `None` while a machine is paused or part of the network is worse than the rest: then something is
    /// always about to happen.
    pub fn calm_since(&self) -> Option<Duration> {
        let paused = |node: &Node| node.condition == Condition::Paused;
        let calm = self.network.is_even() && !self.nodes.iter().any(paused);
        calm.then_some(self.disturbed_at)
    }

    /// Whether packets from one machine can reach the other now.
    pub fn connected(&self, from: usize, to: usize) -> bool {
        self.network.connects(from, to)
    }

    /// How often a machine has changed its mind about another.
    pub fn changes(&self, node: usize) -> u64 {
        self.nodes[node].changes
    }

    /// The first pair of observer and subject that keeps the mesh from agreeing.
    pub fn disagreement(&self) -> Option<(usize, usize, Option<Status>)> {
        for observer in self.running() {
            for subject in (0..self.nodes.len()).filter(|subject| *subject != observer) {
                let status = self.status(observer, subject);
                let known = self.membership(observer)?.member(self.machine(subject));
                let present =
                    known.map(|member| member.generation) == self.nodes[subject].generation();
                let fine = match self.nodes[subject].condition {
                    Condition::Running => status == Some(Status::Alive) && present,
                    _ => !status.is_some_and(Status::is_active),
                };
                if !fine {
                    return Some((observer, subject, status));
                }
            }
        }
        None
    }

    /// What was found out so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// What a machine sent so far.
    pub fn traffic(&self, node: usize) -> Traffic {
        self.traffic[node]
    }

    /// A fingerprint of everything that happened so far.
    pub fn trace_hash(&self) -> u64 {
        self.trace
    }
}
