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
pub use self::network::{Network, Traffic};
pub use self::node::Condition;

use self::engine::Happening;
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
}

impl Setup {
    /// A healthy network in one data centre, and default settings.
    pub fn new(seed: u64, machines: usize) -> Self {
        Self {
            seed,
            machines,
            network: Network::default(),
            membership: membership::Config::default(),
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
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    sequence: u64,
    network: Network,
    findings: Findings,
    traffic: Vec<Traffic>,
    trace: u64,
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
            happenings: BTreeMap::new(),
            sequence: 0,
            findings: Findings::default(),
            trace: 0,
        }
    }

    // === what is done to it ===

    /// Starts every machine that is off; the first one started is everybody's seed.
    pub fn start_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.start(node);
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
        let seed = self.rng.random();
        let now = self.now;
        let config = self.setup.membership.clone();
        self.nodes[node].start(now, config, seed, &seeds);
        let machine = self.nodes[node].peer.machine;
        self.findings.started(machine);
        if self.network.is_fair_to(node) {
            self.findings.well(now, machine);
        }
        self.settle(node);
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
        self.run_for(Duration::from_secs(2));
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
        &mut self.network
    }

    /// Cuts `island` off from the rest.
    pub fn partition(&mut self, island: &[usize]) {
        self.network.cut(island.iter().copied());
        for node in 0..self.nodes.len() {
            self.findings
                .unwell(self.now, self.nodes[node].peer.machine);
        }
    }

    /// Ends every fault of the network.
    pub fn heal(&mut self) {
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
        while let Some(Reverse((at, sequence))) = self.queue.peek().copied() {
            if at > until {
                break;
            }
            self.queue.pop();
            self.now = at;
            if let Some(happening) = self.happenings.remove(&sequence) {
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
