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

/// A coordinator that answers but stores nothing gives it away after this long, in milliseconds.
const USELESS_MS: u64 = 60 * SECOND_MS;

/// When most coordinators are lost, a former one whom most machines of the roster hear founds the log anew after so long,
/// in milliseconds: 5 s of doubt, 6 s until no older leader can act, and asking around.
const FOUNDED_ANEW_MS: u64 = 20 * SECOND_MS;

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

    /// Whether a coordinator can store what it votes for, and has lost nothing of what it stored.
    fn votes(&self, machine: MachineId) -> bool {
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
        let elected = self.random.pick(&able).copied();
        let Some(leader) = elected.or_else(|| self.found_anew()) else {
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

    /// Most coordinators are lost, and more than half of the roster finds so too and follows one that is left.
    fn found_anew(&mut self) -> Option<MachineId> {
        if self.now_ms.saturating_sub(self.lead.since_ms) < FOUNDED_ANEW_MS {
            return None;
        }
        let roster: Vec<MachineId> = self.state.electors().map(|machine| machine.id).collect();
        let hears_most = |machine: &MachineId| {
            let promises = |other: &&MachineId| {
                !self.full.contains(other) && self.mesh.hears(*machine, **other)
            };
            roster.iter().filter(promises).count() * 2 > roster.len()
        };
        let voters = self.lead.voters.iter().copied();
        let founder = voters
            .filter(|voter| self.votes(*voter) && self.mesh.is_running(*voter))
            .find(hears_most)?;
        self.lead.voters = vec![founder];
        self.torn.clear();
        let name = self.name(founder);
        self.account.tell(
            self.elapsed_ms(),
            "leader",
            None,
            "founds the log anew",
            [name],
        );
        Some(founder)
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
        let wanted = seats(self.state.electors().count());
        if self.lead.voters.len() < wanted {
            self.seat_another(leader, self.lead.voters.clone());
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
        if self.seat_another(leader, staying) {
            self.lead.silent.remove(&old);
            // What is left of its log is put aside, and it may begin anew.
            self.torn.remove(&old);
        }
    }

    /// One more coordinator besides those that stay.
    fn seat_another(&mut self, leader: MachineId, mut staying: Vec<MachineId>) -> bool {
        let new = self.next_voter(&staying, |machine| {
            self.believes_alive(leader, machine)
                && self.votes(machine)
                && self.mesh.hears(leader, machine)
        });
        staying.extend(new);
        if new.is_some() {
            self.lead.voters = staying;
        }
        new.is_some()
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
