//! What the leader sees, and what it decides.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;
use muster_mesh::simulator::Condition;

use super::Run;
use super::begin::fill_tokens;
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{
    Answer, Health, Leaving, Machine, MemberStatus, OperationId, Path, ProviderEvidence,
    ProviderWord, RecordEvidence, Rule, Text, WitnessEvidence, Workload,
};
use crate::heal::{
    Authority, Domain, MachineEvidence, Situation, Spared, Suspect, choose_witnesses,
    decide_without, may_be_spared, quorum, spared, suspects,
};
use crate::simulate::fault::FaultKind;
use crate::simulate::invariants::Sight;
use crate::simulate::scenario::Safeguard;

/// While anything is the matter, the leader looks at least this often, in milliseconds, as in `node::leader`: lists change
/// without news.
const BUSY_MS: u64 = 5 * SECOND_MS;

/// How long a witness tries before it says that there is no answer, in milliseconds, as in `node::leader`.
const WITNESS_MS: u64 = 1500;

impl Run<'_> {
    /// The leader looks at everything, decides, and has what follows done.
    pub(super) fn look(&mut self) {
        let Some(leader) = self.able_leader() else {
            return;
        };
        if !self.is_needed(leader) {
            let at_ms = self.elapsed_ms();
            self.account.course.note_rest(at_ms);
            return;
        }
        let ahead_ms = self.clocks.ahead_ms(leader, self.now_ms);
        let situation = self.situation(leader);
        let mut plan = decide_without(&self.state, &situation, self.rule_left_out());
        let sight = Sight::Decided {
            state: &self.state,
            situation: &situation,
            plan: &plan,
            left_out: self.rule_left_out(),
        };
        let at_ms = self.now_ms.saturating_sub(self.began_ms);
        self.watch.see(at_ms, &sight);
        let course = &mut self.account.course;
        course.note_findings(at_ms, &self.state, &plan.findings);
        fill_tokens(&mut plan.proposals);
        let next_ms = plan.next_look_ms.unwrap_or(u64::MAX);
        for command in plan.into_commands() {
            self.commit(leader, command);
        }
        self.start_due();
        self.looked_ms = self.now_ms;
        let next_ms = next_ms.saturating_add_signed(ahead_ms.saturating_neg());
        let next_ms = next_ms.clamp(self.now_ms + super::DEBOUNCE_MS, self.now_ms + BUSY_MS);
        self.look_by(next_ms);
    }

    fn rule_left_out(&self) -> Option<Rule> {
        match self.scenario.left_out {
            Some(Safeguard::Rule(rule)) => Some(rule),
            _ => None,
        }
    }

    /// Whether anything is under way, on record as wrong, or other than it should be.
    fn is_needed(&self, leader: MachineId) -> bool {
        let silent = |machine: &Machine| {
            let belief = self.mesh.belief(leader, machine.id, self.now_ms);
            belief.is_none_or(|belief| belief.status != MemberStatus::Alive)
                || self.mesh.knows_leaving(leader, machine.id)
                || self.ailing.contains_key(&machine.id)
        };
        !self.state.is_at_rest() || self.is_talked_of() || self.state.electors().any(silent)
    }

    /// Whether as many stand behind the leader at this moment as must: asked again before each call that changes
    /// anything.
    pub(super) fn may_act(&self, leader: MachineId) -> bool {
        let authority = self.authority(leader, &self.answering(leader));
        !quorum(&self.state, &authority, self.now_ms).1.check.holds()
    }

    /// The steps that would take a machine away which is back, or which may be slow.
    pub(super) fn spared(&mut self, leader: MachineId) -> BTreeMap<OperationId, Spared> {
        let state = &self.state;
        let looks = self.scenario.left_out != Some(Safeguard::SecondLook);
        let may_be = |intent| may_be_spared(state, intent);
        if !looks || !state.open_intents().any(may_be) {
            return BTreeMap::new();
        }
        let situation = self.situation(leader);
        spared(&self.state, &situation)
    }

    /// Who stands behind the leader. A machine whose disk is full can't promise anything.
    fn authority(&self, leader: MachineId, answering: &BTreeMap<MachineId, Domain>) -> Authority {
        let promises = answering.keys().filter(|id| !self.full.contains(id));
        let acknowledged = promises.copied().chain([leader]).collect();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Authority {
            quorum_confirmed: true,
            rivalled: false,
            voters: count(self.lead.voters.len()),
            voters_reachable: count(self.voters_heard(leader)),
            acknowledged,
            proven_gone: self.lead.proofs.since().clone(),
        }
    }

    /// What the leader knows, dated by its clock.
    fn situation(&mut self, leader: MachineId) -> Situation {
        let situation = self.really(leader);
        let clock_ms = self.clock_ms(leader);
        situation.dated_by(clock_ms).into_owned()
    }

    /// What the leader knows, dated by the real time.
    fn really(&mut self, leader: MachineId) -> Situation {
        let (mesh, now_ms) = (&self.mesh, self.now_ms);
        let suspects = suspects(
            &self.state,
            |machine| Some(mesh.belief(leader, machine, now_ms)?.status),
            |machine| self.ailing.contains_key(&machine),
        );
        let answering = self.answering(leader);
        self.choose_witnesses(leader, &suspects, &answering);
        let mut machines = BTreeMap::new();
        let latency_ms = self.cloud.latency_ms();
        let mut answer_ms = None;
        for suspect in &suspects {
            if let Some(machine) = self.state.machines.get(&suspect.machine) {
                let evidence = self.evidence(leader, suspect, machine);
                let since_ms = evidence.member.map_or(0, |member| member.since_ms);
                if suspect.asked && since_ms + latency_ms > self.now_ms {
                    answer_ms = answer_ms.max(Some(since_ms + latency_ms));
                }
                machines.insert(suspect.machine, evidence);
            }
        }
        if let Some(at_ms) = answer_ms {
            self.look_by(at_ms);
        }
        self.lead.proofs.note(&self.state, &machines, self.now_ms);
        let authority = self.authority(leader, &answering);
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
            watching_since_ms: self.mesh.watching_since_ms(leader, self.now_ms),
            authority,
            machines,
            strangers,
        }
    }

    fn evidence(&self, leader: MachineId, suspect: &Suspect, machine: &Machine) -> MachineEvidence {
        let asked = suspect.asked;
        let (since_ms, witnesses) = self
            .lead
            .witnesses
            .get(&machine.id)
            .map_or((0, &[][..]), |(since_ms, by)| (*since_ms, by));
        let tried = self.now_ms.saturating_sub(since_ms) >= WITNESS_MS;
        let has_said = |report: &WitnessEvidence| tried || report.answer != Answer::Silent;
        let reports = witnesses.iter().map(|by| self.report(*by, machine.id));
        MachineEvidence {
            member: self.mesh.belief(leader, machine.id, self.now_ms),
            record: self.record(leader, machine.id),
            provider: asked.then(|| self.provider_says(machine)),
            witnesses: reports.filter(has_said).collect(),
            works_since_ms: self.mended.get(&machine.id).copied(),
            silences: 0,
        }
    }

    fn provider_says(&self, machine: &Machine) -> ProviderEvidence {
        let mut said = self.cloud.says(machine, self.now_ms);
        let mut faults = self.suffers(machine.id);
        if faults.any(|fault| fault.kind == FaultKind::Disowned) {
            said.word = ProviderWord::Unknown;
        }
        said
    }

    /// Whether a machine that stands still does so behind a port that answers.
    fn hangs(&self, machine: MachineId) -> bool {
        let mut faults = self.suffers(machine);
        faults.any(|fault| fault.kind == FaultKind::Hang)
    }

    fn record(&self, leader: MachineId, machine: MachineId) -> Option<RecordEvidence> {
        let kinds = || self.suffers(machine).map(|fault| fault.kind);
        let complaints = kinds().filter_map(|kind| match kind {
            FaultKind::Complains(complaint) => Some(Text::from(complaint.words())),
            _ => None,
        });
        let clock = self.clock_complaint(machine).map(Text::from);
        let reasons: Vec<_> = complaints.chain(clock).collect();
        let reboots = self.suffers(machine).find_map(|fault| {
            let ms = u64::try_from((fault.at + fault.lasts?).as_millis()).ok()?;
            // By its own clock; what is seen is dated by the leader's afterwards.
            let apart_ms = self.clocks.ahead_ms(machine, self.now_ms)
                - self.clocks.ahead_ms(leader, self.now_ms);
            let until_ms = self
                .began_ms
                .saturating_add(ms)
                .saturating_add_signed(apart_ms);
            (fault.kind == FaultKind::Reboot).then_some(Leaving::Rebooting { until_ms })
        });
        let leaves = self.mesh.knows_leaving(leader, machine);
        let leaving = if leaves {
            Some(Leaving::ForGood)
        } else {
            reboots
        };
        let failed = self.ailing.get(&machine).map(|ailment| Workload::Failed {
            since_ms: ailment.since_ms,
            detail: "exit code 1".into(),
        });
        let well = reasons.is_empty() && failed.is_none();
        (leaving.is_some() || !well).then_some(RecordEvidence {
            health: if well { Health::Ok } else { Health::Critical },
            reasons,
            workload: failed,
            part: None,
            leaving,
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
            let known = witnesses.remove(&suspect.machine).filter(|(_, known)| {
                let answers = |by: &MachineId| *by == leader || answering.contains_key(by);
                known.len() > answering.len().min(2) && known.iter().all(answers)
            });
            let chosen = known.unwrap_or_else(|| {
                let others = answering
                    .iter()
                    .map(|(machine, domain)| (*machine, domain.clone()));
                (self.now_ms, choose_witnesses(leader, suspect, others))
            });
            if self.now_ms < chosen.0 + WITNESS_MS {
                self.look_by(chosen.0 + WITNESS_MS);
            }
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
            Condition::Paused if self.hangs(suspect) => Answer::Answered,
            Condition::Killed => Answer::Refused,
            Condition::Paused | Condition::Off => Answer::Silent,
        }
    }
}
