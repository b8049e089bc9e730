//! Who leads. Consensus itself is modelled: what its log says is what one state says, and whoever hears a majority of
//! the coordinators can lead.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use super::{Happening, Run};
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{Machine, MemberStatus};
use crate::heal::Proofs;

/// How long voters wait without a leader before one of them asks for votes, in milliseconds (`docs/timing.md`).
const PATIENCE_MS: (u64, u64) = (2500, 5000);

/// A coordinator that has been silent for this long gives its seat away, in milliseconds.
const SEAT_MS: u64 = 10 * SECOND_MS;

/// Who leads, and what it keeps while it does.
pub(super) struct Lead {
    pub(super) leader: Option<MachineId>,
    pub(super) term: u64,
    /// Since when it leads, in milliseconds since 1970.
    pub(super) since_ms: u64,
    pub(super) voters: Vec<MachineId>,
    /// Machines that their provider proves gone.
    pub(super) proofs: Proofs,
    /// Who tries which suspect.
    pub(super) witnesses: BTreeMap<MachineId, Vec<MachineId>>,
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

/// How many coordinators a fleet of this size has.
fn seats(machines: usize) -> usize {
    match machines {
        0..3 => 1,
        3..=50 => 3,
        _ => 5,
    }
}

impl Run<'_> {
    /// Coordinators spread over the zones, `first` among them.
    pub(super) fn choose_voters(&self, first: MachineId) -> Vec<MachineId> {
        let mut voters = vec![first];
        let wanted = seats(self.state.electors().count());
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

    /// Whether a machine hears a majority of the coordinators.
    fn is_able(&self, machine: MachineId) -> bool {
        let hears = |voter: &&MachineId| self.mesh.hears(machine, **voter);
        let heard = self.lead.voters.iter().filter(hears).count();
        self.mesh.is_running(machine) && heard * 2 > self.lead.voters.len()
    }

    /// The leader, if it can commit anything.
    pub(super) fn able_leader(&self) -> Option<MachineId> {
        self.lead.leader.filter(|leader| self.is_able(*leader))
    }

    /// How many coordinators the leader hears.
    pub(super) fn voters_heard(&self, leader: MachineId) -> usize {
        let hears = |voter: &&MachineId| self.mesh.hears(leader, **voter);
        self.lead.voters.iter().filter(hears).count()
    }

    /// A leader that lost its majority leads no longer.
    pub(super) fn check_leader(&mut self) {
        let Some(leader) = self.lead.leader.filter(|leader| !self.is_able(*leader)) else {
            return;
        };
        self.lead.leader = None;
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
        let Some(leader) = self.random.pick(&able).copied() else {
            self.schedule(self.now_ms + SECOND_MS, Happening::Elect);
            return;
        };
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
            if alive {
                self.lead.silent.remove(&voter);
                continue;
            }
            let since_ms = *self.lead.silent.entry(voter).or_insert(self.now_ms);
            if self.now_ms.saturating_sub(since_ms) >= SEAT_MS {
                self.replace_voter(leader, voter);
                return;
            }
        }
    }

    fn believes_alive(&self, leader: MachineId, machine: MachineId) -> bool {
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
        let new = self.next_voter(&staying, |machine| {
            self.believes_alive(leader, machine) && self.mesh.hears(leader, machine)
        });
        if let Some(new) = new {
            self.lead.voters = staying;
            self.lead.voters.push(new);
            self.lead.silent.remove(&old);
        }
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
