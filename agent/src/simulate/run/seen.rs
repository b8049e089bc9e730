//! What the leader sees, and what it decides.

use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::identity::MachineId;
use muster_mesh::simulator::Condition;

use super::Run;
use super::begin::fill_tokens;
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{
    Answer, Health, Leaving, Machine, MemberStatus, Path, RecordEvidence, Text, WitnessEvidence,
};
use crate::heal::{
    Authority, Domain, MachineEvidence, Situation, Suspect, choose_witnesses, decide, quorum,
    suspects,
};
use crate::simulate::invariants::Sight;

/// While anything is the matter, the leader looks at least this often, in milliseconds, as in `node::leader`: lists change
/// without news.
const BUSY_MS: u64 = 5 * SECOND_MS;

impl Run<'_> {
    /// The leader looks at everything, decides, and has what follows done.
    pub(super) fn look(&mut self) {
        let Some(leader) = self.able_leader() else {
            return;
        };
        if !self.is_needed(leader) {
            return;
        }
        let situation = self.situation(leader);
        let mut plan = decide(&self.state, &situation);
        let sight = Sight::Decided {
            state: &self.state,
            situation: &situation,
            plan: &plan,
        };
        let at_ms = self.now_ms.saturating_sub(self.began_ms);
        self.watch.see(at_ms, &sight);
        fill_tokens(&mut plan.proposals);
        let next_ms = plan.next_look_ms.unwrap_or(u64::MAX);
        for command in plan.into_commands() {
            self.commit(leader, command);
        }
        self.start_due();
        self.looked_ms = self.now_ms;
        let next_ms = next_ms.clamp(self.now_ms + super::DEBOUNCE_MS, self.now_ms + BUSY_MS);
        self.look_by(next_ms);
    }

    /// Whether anything is under way, on record as wrong, or other than it should be.
    fn is_needed(&self, leader: MachineId) -> bool {
        let silent = |machine: &Machine| {
            let belief = self.mesh.belief(leader, machine.id, self.now_ms);
            belief.is_none_or(|belief| belief.status != MemberStatus::Alive)
                || self.mesh.knows_leaving(leader, machine.id)
        };
        !self.state.is_at_rest() || self.state.electors().any(silent)
    }

    /// Whether as many stand behind the leader at this moment as must: asked again before each call that changes
    /// anything.
    pub(super) fn may_act(&self, leader: MachineId) -> bool {
        let acknowledged = self.answering(leader).into_keys().chain([leader]).collect();
        let authority = self.authority(leader, acknowledged);
        !quorum(&self.state, &authority, self.now_ms).1.check.holds()
    }

    fn authority(&self, leader: MachineId, acknowledged: BTreeSet<MachineId>) -> Authority {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Authority {
            quorum_confirmed: true,
            voters: count(self.lead.voters.len()),
            voters_reachable: count(self.voters_heard(leader)),
            acknowledged,
            proven_gone: self.lead.proofs.since().clone(),
        }
    }

    fn situation(&mut self, leader: MachineId) -> Situation {
        let (mesh, now_ms) = (&self.mesh, self.now_ms);
        let suspects = suspects(
            &self.state,
            |machine| Some(mesh.belief(leader, machine, now_ms)?.status),
            |_| false,
        );
        let answering = self.answering(leader);
        self.choose_witnesses(leader, &suspects, &answering);
        let mut machines = BTreeMap::new();
        for suspect in &suspects {
            if let Some(machine) = self.state.machines.get(&suspect.machine) {
                machines.insert(suspect.machine, self.evidence(leader, suspect, machine));
            }
        }
        self.lead.proofs.note(&self.state, &machines, self.now_ms);
        let electors = self.state.electors().map(|machine| machine.id);
        let stands = |id: &MachineId| *id == leader || answering.contains_key(id);
        let authority = self.authority(leader, electors.filter(stands).collect());
        let state = &self.state;
        let strangers = self.cloud.strangers(self.now_ms, |machine, id| {
            let known = state.machines.get(&machine);
            let instance = known.and_then(|machine| machine.instance.as_ref());
            instance.is_some_and(|instance| instance.id == *id)
        });
        Situation {
            now_ms: self.now_ms,
            leader,
            term: self.lead.term,
            leader_since_ms: self.lead.since_ms,
            authority,
            machines,
            strangers,
        }
    }

    fn evidence(&self, leader: MachineId, suspect: &Suspect, machine: &Machine) -> MachineEvidence {
        let asked = suspect.asked;
        let witnesses = self.lead.witnesses.get(&machine.id).into_iter().flatten();
        MachineEvidence {
            member: self.mesh.belief(leader, machine.id, self.now_ms),
            record: self.record(leader, machine.id),
            provider: asked.then(|| self.cloud.says(machine, self.now_ms)),
            witnesses: witnesses.map(|by| self.report(*by, machine.id)).collect(),
            silences: 0,
        }
    }

    fn record(&self, leader: MachineId, machine: MachineId) -> Option<RecordEvidence> {
        let leaves = self.mesh.knows_leaving(leader, machine);
        leaves.then(|| RecordEvidence {
            health: Health::Ok,
            reasons: Vec::new(),
            workload: None,
            leaving: Some(Leaving::ForGood),
            version: None,
            as_of_ms: self.now_ms,
        })
    }

    /// Machines that the leader hears, with their zones; itself excepted.
    fn answering(&self, leader: MachineId) -> BTreeMap<MachineId, Domain> {
        let hears = |machine: &&Machine| {
            let belief = self.mesh.belief(leader, machine.id, self.now_ms);
            let active = |status| matches!(status, MemberStatus::Alive | MemberStatus::Suspect);
            machine.id != leader
                && belief.is_some_and(|belief| active(belief.status))
                && self.mesh.hears(leader, machine.id)
        };
        let electors = self.state.electors().filter(hears);
        electors
            .map(|machine| (machine.id, Domain::of(machine)))
            .collect()
    }

    /// Keeps those who try a suspect as long as they answer.
    fn choose_witnesses(
        &mut self,
        leader: MachineId,
        suspects: &[Suspect],
        answering: &BTreeMap<MachineId, Domain>,
    ) {
        let mut witnesses = std::mem::take(&mut self.lead.witnesses);
        let mut kept = BTreeMap::new();
        for suspect in suspects.iter().filter(|suspect| suspect.troubled) {
            if suspect.addr.is_none() {
                continue;
            }
            let known = witnesses.remove(&suspect.machine).filter(|known| {
                let answers = |by: &MachineId| *by == leader || answering.contains_key(by);
                known.len() > answering.len().min(2) && known.iter().all(answers)
            });
            let chosen = known.unwrap_or_else(|| {
                let others = answering
                    .iter()
                    .map(|(machine, domain)| (*machine, domain.clone()));
                choose_witnesses(leader, suspect, others)
            });
            kept.insert(suspect.machine, chosen);
        }
        self.lead.witnesses = kept;
    }

    fn report(&self, by: MachineId, suspect: MachineId) -> WitnessEvidence {
        let domain = self.state.machines.get(&by).map(Domain::of);
        let Domain { zone, rack } = domain.unwrap_or_default();
        WitnessEvidence {
            by,
            zone: zone.map(Text::from),
            rack: rack.map(Text::from),
            path: Path::Probe,
            answer: self.answer(by, suspect),
            at_ms: self.now_ms,
        }
    }

    fn answer(&self, witness: MachineId, suspect: MachineId) -> Answer {
        match self.mesh.condition(suspect) {
            _ if !self.mesh.reaches(witness, suspect) => Answer::Silent,
            Condition::Running => Answer::Answered,
            Condition::Killed => Answer::Refused,
            Condition::Paused | Condition::Off => Answer::Silent,
        }
    }
}
