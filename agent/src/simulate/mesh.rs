//! The shipped membership of all machines, in virtual time.
//!
//! While nothing happens to the mesh and nobody changes their mind about anybody, it is left alone: its clock stands
//! still until something happens again. With loss, or where a long calm might hide something, it is sampled: a few
//! seconds of each minute are driven. See `docs/simulating.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_mesh::identity::{Generation, MachineId};
use muster_mesh::membership::Status;
use muster_mesh::simulator::{Condition, Setup, Simulation, Way};

use crate::fleet::{MemberEvidence, MemberStatus};

/// The mesh is driven for so long after anything happened to it. Longer than a probe's window, a suspicion and a round
/// of gossip take together.
const UNREST: Duration = Duration::from_secs(8);

/// In a calm mesh, so much of each [`SAMPLE_EVERY`] is driven.
const SAMPLE: Duration = Duration::from_secs(2);

/// How long is driven at a time, before it is asked whether anything happened.
const SLICE: Duration = Duration::from_millis(50);

/// How long a mesh of machines that know each other is driven before the simulation begins.
const FORMING: Duration = Duration::from_secs(20);

/// How often a calm mesh is driven a little.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);

/// All machines' memberships.
pub(super) struct Mesh {
    simulation: Simulation,
    nodes: BTreeMap<MachineId, usize>,
    exact: bool,
    /// The fleet's time.
    now: Duration,
    /// When the clock was stopped: the mesh's time then, and how far it is behind since.
    behind: Vec<(Duration, Duration)>,
    sampled: Duration,
    cuts: u64,
    /// The machines that there should be, and those that have read so in the log.
    roster: Vec<usize>,
    readers: BTreeSet<usize>,
}

impl Mesh {
    pub(super) fn new(seed: u64, exact: bool) -> Self {
        let mut setup = Setup::new(seed, 0);
        setup.profiles = false;
        let simulation = Simulation::new(setup);
        Self {
            now: simulation.now(),
            simulation,
            nodes: BTreeMap::new(),
            exact,
            behind: vec![(Duration::ZERO, Duration::ZERO)],
            sampled: Duration::ZERO,
            cuts: 0,
            roster: Vec::new(),
            readers: BTreeSet::new(),
        }
    }

    /// All machines run, and know each other.
    pub(super) fn begin(&mut self, machines: impl IntoIterator<Item = MachineId>, loss: f64) {
        for machine in machines {
            self.node(machine);
        }
        self.roster = self.nodes.values().copied().collect();
        self.readers = self.nodes.values().copied().collect();
        self.simulation.start_acquainted();
        self.simulation.run_for(FORMING);
        self.now = self.simulation.now();
        self.sampled = self.now;
        if loss > 0.0 {
            self.simulation.network().loss = loss;
        }
    }

    fn node(&mut self, machine: MachineId) -> usize {
        match self.nodes.get(&machine) {
            Some(node) => *node,
            None => {
                let node = self.simulation.add(machine);
                self.nodes.insert(machine, node);
                node
            }
        }
    }

    fn known(&self, machine: MachineId) -> Option<usize> {
        self.nodes.get(&machine).copied()
    }

    // === time ===

    /// Whether the mesh has to be driven just now.
    fn is_restless(&self) -> bool {
        let mesh_now = self.simulation.now();
        self.exact
            || self
                .simulation
                .calm_since()
                .is_none_or(|since| mesh_now.saturating_sub(since) < UNREST)
    }

    /// Lets time pass, at most `limit`, and stops early where somebody may have changed their mind. How much passed.
    pub(super) fn step(&mut self, limit: Duration) -> Duration {
        let limit = limit.max(Duration::from_micros(1));
        let sampling = self.now.saturating_sub(self.sampled) < SAMPLE;
        let step = if sampling || self.is_restless() {
            let step = limit.min(SLICE);
            self.simulation.run_for(step);
            step
        } else {
            let next = self.sampled + SAMPLE_EVERY;
            if next <= self.now {
                self.sampled = self.now;
                return self.step(limit);
            }
            let step = limit.min(next - self.now);
            self.stand_still(step);
            step
        };
        self.now += step;
        step
    }

    fn stand_still(&mut self, step: Duration) {
        let mesh_now = self.simulation.now();
        match self.behind.last_mut() {
            Some((at, behind)) if *at == mesh_now => *behind += step,
            Some((_, behind)) => {
                let behind = *behind + step;
                self.behind.push((mesh_now, behind));
            }
            None => {}
        }
    }

    /// How long ago something was, by the fleet's clock.
    fn ago(&self, at: Duration) -> Duration {
        let before = self.behind.partition_point(|(stopped, _)| *stopped < at);
        let behind = before
            .checked_sub(1)
            .and_then(|last| self.behind.get(last))
            .map_or(Duration::ZERO, |(_, behind)| *behind);
        self.now.saturating_sub(at + behind)
    }

    /// When something was, by the fleet's clock, which shows `now_ms`.
    fn wall_ms(&self, at: Duration, now_ms: u64) -> u64 {
        let ago_ms = u64::try_from(self.ago(at).as_millis()).unwrap_or(u64::MAX);
        now_ms.saturating_sub(ago_ms)
    }

    // === what is done to machines ===

    pub(super) fn start(&mut self, machine: MachineId) {
        let node = self.node(machine);
        self.readers.remove(&node);
        self.simulation.start(node);
    }

    /// Machines that the leader hears read in the log which machines there should be; those that miss some look for them.
    pub(super) fn read_roster(
        &mut self,
        leader: MachineId,
        roster: impl Iterator<Item = MachineId>,
    ) {
        let roster: Vec<usize> = roster.filter_map(|machine| self.known(machine)).collect();
        if roster != self.roster {
            self.readers.clear();
            self.roster = roster;
        }
        if self.readers.len() >= self.roster.len() {
            return;
        }
        let hears = |node: &usize| self.hears(leader, self.simulation.machine(*node));
        let unread = self.roster.iter().copied();
        let unread = unread.filter(|node| !self.readers.contains(node) && hears(node));
        for node in unread.collect::<Vec<_>>() {
            self.readers.insert(node);
            if self.misses_any(node) {
                self.simulation.expect(node, &self.roster);
            }
        }
    }

    fn misses_any(&self, node: usize) -> bool {
        let membership = self.simulation.membership(node);
        membership.is_some_and(|membership| membership.active_count() + 1 < self.roster.len())
    }

    pub(super) fn kill(&mut self, machine: MachineId) {
        if let Some(node) = self.known(machine) {
            self.simulation.kill(node);
        }
    }

    pub(super) fn power_off(&mut self, machine: MachineId) {
        if let Some(node) = self.known(machine) {
            self.simulation.power_off(node);
        }
    }

    pub(super) fn pause(&mut self, machine: MachineId) {
        if let Some(node) = self.known(machine) {
            self.simulation.pause(node);
        }
    }

    pub(super) fn resume(&mut self, machine: MachineId) {
        if let Some(node) = self.known(machine) {
            self.simulation.resume(node);
        }
    }

    pub(super) fn announce_leaving(&mut self, machine: MachineId) {
        if let Some(node) = self.known(machine) {
            self.simulation.announce_leaving(node);
        }
    }

    pub(super) fn depart(&mut self, machine: MachineId) {
        if let Some(node) = self.known(machine) {
            self.simulation.depart(node);
        }
    }

    /// Cuts machines off from the rest; the number is for [`mend`](Self::mend).
    pub(super) fn cut(&mut self, machines: &[MachineId]) -> u64 {
        self.cuts += 1;
        let island: Vec<usize> = machines.iter().filter_map(|id| self.known(*id)).collect();
        self.simulation.cut(self.cuts, &island);
        self.cuts
    }

    pub(super) fn mend(&mut self, cut: u64) {
        self.simulation.mend(cut);
    }

    /// Blocks one way of a machine, or opens it again.
    pub(super) fn block(&mut self, machine: MachineId, way: Way, blocked: bool) {
        if let Some(node) = self.known(machine) {
            self.simulation.block(node, way, blocked);
        }
    }

    /// Lets a machine lose this share of its packets; 0 ends that.
    pub(super) fn lose_at(&mut self, machine: MachineId, share: f64) {
        if let Some(node) = self.known(machine) {
            let network = self.simulation.network();
            if share > 0.0 {
                network.loss_at.insert(node, share);
            } else {
                network.loss_at.remove(&node);
            }
            self.simulation.excuse(node, share > 0.0);
        }
    }

    // === what can be seen ===

    pub(super) fn condition(&self, machine: MachineId) -> Condition {
        self.known(machine)
            .map_or(Condition::Off, |node| self.simulation.condition(node))
    }

    pub(super) fn is_running(&self, machine: MachineId) -> bool {
        self.condition(machine) == Condition::Running
    }

    /// Whether two machines run and reach each other.
    pub(super) fn hears(&self, one: MachineId, other: MachineId) -> bool {
        self.is_running(one) && self.is_running(other) && self.reaches(one, other)
    }

    /// Whether packets from one machine get to the host of the other, and answers back.
    pub(super) fn reaches(&self, one: MachineId, other: MachineId) -> bool {
        let nodes = self.known(one).zip(self.known(other));
        let reach = |from, to| self.simulation.connected(from, to);
        nodes.is_some_and(|(one, other)| reach(one, other) && reach(other, one))
    }

    /// How often a machine has changed its mind about another.
    pub(super) fn changes(&self, observer: MachineId) -> u64 {
        self.known(observer)
            .map_or(0, |node| self.simulation.changes(node))
    }

    /// What one machine believes of another; `now_ms` is its clock.
    pub(super) fn belief(
        &self,
        observer: MachineId,
        subject: MachineId,
        now_ms: u64,
    ) -> Option<MemberEvidence> {
        let node = self.known(observer)?;
        let membership = self.simulation.membership(node)?;
        if observer == subject {
            return Some(MemberEvidence {
                status: MemberStatus::Alive,
                since_ms: 0,
                generation: membership.generation(),
            });
        }
        let member = membership.member(subject)?;
        let since = member.silent_since.unwrap_or(member.since);
        Some(MemberEvidence {
            status: match member.status {
                Status::Alive => MemberStatus::Alive,
                Status::Suspect => MemberStatus::Suspect,
                Status::Down => MemberStatus::Down,
                Status::Left => MemberStatus::Left,
            },
            since_ms: self.wall_ms(since, now_ms),
            generation: Generation(member.generation.0),
        })
    }

    /// Since when a machine has watched the mesh without a break; `now_ms` is its clock.
    pub(super) fn watching_since_ms(&self, observer: MachineId, now_ms: u64) -> u64 {
        let membership = self
            .known(observer)
            .and_then(|node| self.simulation.membership(node));
        let since = membership.and_then(|membership| membership.attentive_since());
        since.map_or(now_ms, |since| self.wall_ms(since, now_ms))
    }

    /// Whether one machine has the other's word that it leaves for good.
    pub(super) fn knows_leaving(&self, observer: MachineId, subject: MachineId) -> bool {
        let records = self
            .known(observer)
            .and_then(|node| self.simulation.records(node));
        records
            .and_then(|records| records.get(subject))
            .and_then(|record| record.profile.as_ref())
            .is_some_and(|profile| profile.leaving.is_some())
    }

    /// What must never happen in a mesh, and did.
    pub(super) fn violations(&self) -> impl Iterator<Item = String> + '_ {
        let findings = self.simulation.findings();
        findings
            .violations
            .iter()
            .map(|violation| format!("{violation:?}"))
    }

    /// How many times a machine that was well was taken for dead by one that was well.
    pub(super) fn wrong_deaths(&self) -> usize {
        self.simulation.findings().wrong_deaths().count()
    }

    /// A fingerprint of everything that happened in it.
    pub(super) fn trace(&self) -> u64 {
        self.simulation.trace_hash()
    }
}
