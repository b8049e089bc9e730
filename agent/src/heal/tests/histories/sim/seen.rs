//! What a leader sees of how things really are.

use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::identity::{Generation, MachineId};

use super::{Condition, Sim};
use crate::fleet::*;
use crate::heal::{Authority, MachineEvidence, Situation};

impl Sim {
    fn is_heard(&self, id: MachineId) -> bool {
        let nearest = self
            .roster()
            .into_iter()
            .filter(|other| *other != self.fleet.leader);
        let heard = self
            .hears
            .map(|count| nearest.take(count).collect::<BTreeSet<_>>());
        id == self.fleet.leader || heard.is_none_or(|heard| heard.contains(&id))
    }

    pub(super) fn situation(&mut self) -> Situation {
        let machines: BTreeMap<_, _> = self
            .roster()
            .into_iter()
            .map(|id| (id, self.evidence(id)))
            .collect();
        let alive = |seen: &MachineEvidence| {
            seen.member
                .is_some_and(|member| member.status == MemberStatus::Alive)
        };
        let acknowledged: BTreeSet<_> = machines
            .iter()
            .filter(|(_, seen)| alive(seen))
            .map(|(id, _)| *id)
            .collect();
        let now_ms = self.clock_ms();
        let is_off = |seen: &MachineEvidence| {
            let word = seen.provider.as_ref().map(|provider| &provider.word);
            matches!(word, Some(ProviderWord::Stopped | ProviderWord::Unknown)) && !alive(seen)
        };
        self.proven
            .retain(|id, _| machines.get(id).is_some_and(is_off));
        for (id, _) in machines.iter().filter(|(_, seen)| is_off(seen)) {
            self.proven.entry(*id).or_insert(now_ms);
        }
        Situation {
            now_ms,
            leader: self.fleet.leader,
            term: self.fleet.term,
            leader_since_ms: self.leader_since_ms,
            authority: Authority {
                quorum_confirmed: true,
                voters: 3,
                voters_reachable: 3,
                acknowledged,
                proven_gone: self.proven.clone(),
            },
            machines,
            strangers: Vec::new(),
        }
    }

    fn evidence(&self, id: MachineId) -> MachineEvidence {
        let machine = &self.fleet.state.machines[&id];
        let truth = self.truth(id);
        let dated = |at_ms: u64| at_ms.saturating_add_signed(self.skew_ms);
        let now_ms = self.clock_ms();
        let word = self.word(machine);
        let can_prove_off = true;
        let provider = Some(ProviderEvidence {
            word,
            can_prove_off,
            list_lag_ms: 0,
            at_ms: now_ms,
        });
        if machine.joined_ms.is_none() {
            return MachineEvidence {
                provider,
                ..MachineEvidence::default()
            };
        }
        let heard = self.is_heard(id) && !machine.condemned;
        let silent_ms = self.fleet.now_ms.saturating_sub(truth.since_ms);
        let status = match truth.condition {
            Condition::Up if heard => MemberStatus::Alive,
            Condition::LeftForGood if heard => MemberStatus::Left,
            _ if silent_ms < 1000 => MemberStatus::Suspect,
            _ => MemberStatus::Down,
        };
        let answer = match truth.condition {
            _ if !self.is_heard(id) => Answer::Silent,
            Condition::Up | Condition::Slow => Answer::Answered,
            Condition::AgentDown => Answer::Refused,
            _ => Answer::Silent,
        };
        let others = self
            .roster()
            .into_iter()
            .filter(|by| *by != id && self.is_heard(*by));
        let witness = |by| WitnessEvidence {
            by,
            zone: None,
            path: Path::Probe,
            answer,
            at_ms: now_ms,
        };
        let record = (truth.condition == Condition::LeftForGood).then(|| RecordEvidence {
            health: Health::Ok,
            reasons: Vec::new(),
            workload: None,
            leaving: Some(Leaving::ForGood),
            as_of_ms: now_ms,
        });
        MachineEvidence {
            member: Some(MemberEvidence {
                status,
                since_ms: dated(truth.since_ms).min(now_ms),
                generation: Generation(1),
            }),
            record,
            provider,
            witnesses: others.take(3).map(witness).collect(),
        }
    }

    fn word(&self, machine: &Machine) -> ProviderWord {
        match &machine.order {
            _ if !self.provider_answers => ProviderWord::CannotSay {
                why: "no answer".into(),
            },
            Some(op) => match self.made.get(op).map(|made| made.running) {
                Some(true) => ProviderWord::Running,
                Some(false) => ProviderWord::Stopped,
                None => ProviderWord::Unknown,
            },
            None => ProviderWord::CannotSay {
                why: "not ours".into(),
            },
        }
    }
}
