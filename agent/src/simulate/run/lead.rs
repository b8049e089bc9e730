//! Who leads. Consensus itself is modelled: what its log says is what one state says, and whoever hears a majority of
//! the coordinators can lead.

use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::consensus::seats::target;
use muster_mesh::identity::MachineId;

use super::{Happening, Run};
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{Machine, MemberStatus};
use crate::heal::Proofs;

/// How long voters wait without a leader before one of them asks for votes, in milliseconds (`docs/timing.md`).
const PATIENCE_MS: (u64, u64) = (2500, 5000);

/// A coordinator that has been silent for this long gives its seat away, in milliseconds.
const SEAT_MS: u64 = 10 * SECOND_MS;

/// A coordinator that answers but stores nothing gives it away after this long, in milliseconds.
const USELESS_MS: u64 = 60 * SECOND_MS;

/// Machines look this often who belongs to the fleet, in milliseconds.
const ROSTER_EVERY_MS: u64 = 10 * SECOND_MS;

/// Who leads, and what it keeps while it does.
pub(super) struct Lead {
    pub(super) leader: Option<MachineId>,
    pub(super) term: u64,
    /// Since when it leads, or nobody does, in milliseconds since 1970.
    pub(super) since_ms: u64,
    pub(super) voters: Vec<MachineId>,
    /// Machines that their provider proves gone.
    pub(super) proofs: Proofs,
    /// Who tries which suspect, and since when, in milliseconds since 1970.
    pub(super) witnesses: BTreeMap<MachineId, (u64, Vec<MachineId>)>,
    /// Coordinators that do not answer, with since when.
    silent: BTreeMap<MachineId, u64>,
    /// What the leader had seen of the mesh when it last looked.
    changes: u64,
}

impl Lead {
    pub(super) fn new(founder: MachineId, now_ms: u64) -> Self {
        Self {
            leader: Some(founder),
            term: 1,
            since_ms: now_ms,
            voters: vec![founder],
            proofs: Proofs::default(),
            witnesses: BTreeMap::new(),
            silent: BTreeMap::new(),
            changes: 0,
        }
    }
}

impl Run<'_> {
    /// How many coordinators a fleet of this size and so many zones has.
    fn seats_wanted(&self) -> usize {
        let zones = self.state.electors().filter_map(Machine::known_zone);
        let zones: BTreeSet<&str> = zones.collect();
        target(self.state.electors().count(), zones.len())
    }

    /// Coordinators spread over the zones, `first` among them.
    pub(super) fn choose_voters(&self, first: MachineId) -> Vec<MachineId> {
        let mut voters = vec![first];
        let wanted = self.seats_wanted();
        while voters.len() < wanted {
            match self.next_voter(&voters, |_| true) {
                Some(next) => voters.push(next),
                None => break,
            }
        }
        voters
    }

    /// The machine whose zone has the fewest coordinators.
    fn next_voter(
        &self,
        voters: &[MachineId],
        may: impl Fn(MachineId) -> bool,
    ) -> Option<MachineId> {
        let zone = |id: MachineId| self.state.machines.get(&id).and_then(Machine::known_zone);
        let crowd = |id: MachineId| {
            voters
                .iter()
                .filter(|voter| zone(**voter) == zone(id))
                .count()
        };
        let free = self.state.electors().map(|machine| machine.id);
        free.filter(|id| !voters.contains(id) && may(*id))
            .min_by_key(|id| (crowd(*id), *id))
    }

    /// Whether a coordinator can store what it votes for, and has lost nothing of what it stored.
    pub(super) fn votes(&self, machine: MachineId) -> bool {
        !self.full.contains(&machine) && !self.torn.contains(&machine)
    }

    /// Whether a machine hears a majority of the coordinators, and may lead itself.
    fn is_able(&self, machine: MachineId) -> bool {
        let heard = self.voters_heard(machine);
        self.mesh.is_running(machine) && self.votes(machine) && heard * 2 > self.lead.voters.len()
    }

    /// The leader, if it can commit anything.
    pub(super) fn able_leader(&self) -> Option<MachineId> {
        self.lead.leader.filter(|leader| self.is_able(*leader))
    }

    /// How many coordinators that can vote the leader hears.
    pub(super) fn voters_heard(&self, leader: MachineId) -> usize {
        let hears = |voter: &&MachineId| self.votes(**voter) && self.mesh.hears(leader, **voter);
        self.lead.voters.iter().filter(hears).count()
    }

    /// A leader that lost its majority leads no longer.
    pub(super) fn check_leader(&mut self) {
        let Some(leader) = self.lead.leader.filter(|leader| !self.is_able(*leader)) else {
            return;
        };
        self.lead.leader = None;
        self.lead.since_ms = self.now_ms;
        let name = self.name(leader);
        self.account
            .tell(self.elapsed_ms(), "leader", None, "leads no longer", [name]);
        let patience_ms = self.random.between(PATIENCE_MS.0, PATIENCE_MS.1);
        self.schedule(self.now_ms + patience_ms, Happening::Elect);
    }

    pub(super) fn elect(&mut self) {
        if self.lead.leader.is_some() {
            return;
        }
        let able = self
            .lead
            .voters
            .iter()
            .copied()
            .filter(|voter| self.is_able(*voter));
        let able: Vec<MachineId> = able.collect();
        match self.random.pick(&able).copied() {
            Some(leader) => self.lead_by(leader),
            None => self.schedule(self.now_ms + SECOND_MS, Happening::Elect),
        }
    }

    pub(super) fn lead_by(&mut self, leader: MachineId) {
        self.lead.leader = Some(leader);
        self.lead.term += 1;
        self.lead.since_ms = self.now_ms;
        self.lead.proofs = Proofs::default();
        self.lead.witnesses.clear();
        self.lead.silent.clear();
        // What its predecessor had under way it finds in the log.
        self.under_way.clear();
        self.account.leader_changes += 1;
        let name = self.name(leader);
        self.account
            .tell(self.elapsed_ms(), "leader", None, "leads", [name]);
        self.news();
    }

    /// Once a second: has the leader a majority, and does every coordinator answer?
    pub(super) fn tick(&mut self) {
        self.check_leader();
        let Some(leader) = self.able_leader() else {
            return;
        };
        let voters = self.lead.voters.clone();
        for voter in voters {
            let alive =
                self.believes_alive(leader, voter) && self.state.machines.contains_key(&voter);
            if alive && self.votes(voter) {
                self.lead.silent.remove(&voter);
                continue;
            }
            let since_ms = *self.lead.silent.entry(voter).or_insert(self.now_ms);
            let patience_ms = if alive { USELESS_MS } else { SEAT_MS };
            if self.now_ms.saturating_sub(since_ms) >= patience_ms {
                self.replace_voter(leader, voter);
                return;
            }
        }
        if self.lead.voters.len() < self.seats_wanted() {
            self.seat_two(leader);
        }
    }

    /// Machines that follow the leader's log look for those that they have never met, as an agent does: who came while they were
    /// cut off knows nobody to ask for them.
    pub(super) fn read_roster(&mut self) {
        let Some(leader) = self.able_leader() else {
            return;
        };
        if self.elapsed_ms() % ROSTER_EVERY_MS < SECOND_MS {
            let belong = self.state.machines.values().filter(|one| one.belongs());
            self.mesh.read_roster(leader, belong.map(|one| one.id));
        }
    }

    pub(super) fn believes_alive(&self, leader: MachineId, machine: MachineId) -> bool {
        let belief = self.mesh.belief(leader, machine, self.now_ms);
        belief.is_some_and(|belief| belief.status == MemberStatus::Alive)
    }

    /// One at a time, and never fewer than before.
    fn replace_voter(&mut self, leader: MachineId, old: MachineId) {
        let staying: Vec<MachineId> = self
            .lead
            .voters
            .iter()
            .copied()
            .filter(|voter| *voter != old)
            .collect();
        if self.seat_another(leader, staying) {
            self.lead.silent.remove(&old);
            // What is left of its log is put aside, and it may begin anew.
            self.torn.remove(&old);
        }
    }

    /// Two more coordinators: an even number of them bears no more failures than one less.
    fn seat_two(&mut self, leader: MachineId) {
        let mut voters = self.lead.voters.clone();
        for _ in 0..2 {
            match self.candidate(leader, &voters) {
                Some(new) => voters.push(new),
                None => return,
            }
        }
        self.seat(voters);
    }

    /// One more coordinator besides those that stay.
    fn seat_another(&mut self, leader: MachineId, mut staying: Vec<MachineId>) -> bool {
        let Some(new) = self.candidate(leader, &staying) else {
            return false;
        };
        staying.push(new);
        self.seat(staying);
        true
    }

    fn candidate(&self, leader: MachineId, voters: &[MachineId]) -> Option<MachineId> {
        self.next_voter(voters, |machine| {
            self.believes_alive(leader, machine)
                && self.votes(machine)
                && self.mesh.hears(leader, machine)
        })
    }

    pub(super) fn seat(&mut self, voters: Vec<MachineId>) {
        self.founding.seated(&voters);
        self.lead.voters = voters;
    }

    /// Whether the leader has changed its mind about somebody since this was last asked.
    pub(super) fn notice(&mut self) -> bool {
        let Some(leader) = self.lead.leader else {
            return false;
        };
        let changes = self.mesh.changes(leader);
        let noticed = changes != self.lead.changes;
        self.lead.changes = changes;
        if noticed {
            self.news();
        }
        noticed
    }
}
