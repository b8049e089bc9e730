//! What a leader sees of how things really are, gathered as the real observer gathers it.

use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::identity::{Generation, MachineId};
use muster_provisioners::{Instance as Listed, InstanceState, Tags, tag};

use super::hands::LAG_MS;
use super::{Condition, Made, Sim};
use crate::fleet::*;
use crate::heal::{
    Authority, Domain, Listing, MachineEvidence, Situation, Suspect, choose_witnesses, strangers,
    suspects,
};

/// How long a witness's word is believed without asking again.
const WITNESS_FRESH_MS: u64 = 3000;

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
        let now_ms = self.clock_ms();
        let listing = self.list();
        let members: BTreeMap<_, _> = self
            .roster()
            .into_iter()
            .filter_map(|id| Some((id, self.member(id)?)))
            .collect();
        let status = |id| {
            members
                .get(&id)
                .map(|member: &MemberEvidence| member.status)
        };
        let suspects = suspects(&self.fleet.state, status, |id| {
            self.truth(id).condition == Condition::Ailing
        });
        let alive = |id: &MachineId| status(*id) == Some(MemberStatus::Alive);
        let answering: Vec<_> = members.keys().copied().filter(alive).collect();
        self.ask_witnesses(&suspects, &answering);
        let machines: BTreeMap<_, _> = suspects
            .iter()
            .map(|suspect| {
                let id = suspect.machine;
                let heard = self.heard.get(&id);
                let evidence = MachineEvidence {
                    member: members.get(&id).copied(),
                    record: self.record(id),
                    provider: suspect
                        .provisioner
                        .as_ref()
                        .and_then(|_| suspect.word(&listing)),
                    witnesses: heard.map_or_else(Vec::new, |(_, reports)| reports.clone()),
                    works_since_ms: None,
                    silences: 0,
                };
                (id, evidence)
            })
            .collect();
        self.proofs.note(&self.fleet.state, &machines, now_ms);
        Situation {
            now_ms,
            leader: self.fleet.leader,
            term: self.fleet.term,
            leader_since_ms: self.leader_since_ms,
            watching_since_ms: self.watching_since_ms,
            authority: Authority {
                quorum_confirmed: true,
                rivalled: false,
                voters: 3,
                voters_reachable: 3,
                acknowledged: answering.into_iter().collect(),
                proven_gone: self.proofs.since().clone(),
            },
            machines,
            strangers: strangers(&self.fleet.state, [("process", &listing)]),
        }
    }

    /// The provider's list: what was destroyed is not on it, nor what was made a moment ago.
    fn list(&self) -> Listing {
        let listed = |(op, made): (&OperationId, &Made)| {
            let old_enough = made.made_ms.saturating_add(LAG_MS) <= self.fleet.now_ms;
            (!made.destroyed && old_enough).then(|| Listed {
                id: made.instance.parse().unwrap(),
                state: if made.running {
                    InstanceState::Running
                } else {
                    InstanceState::Stopped
                },
                tags: Tags::new().with(tag::OPERATION, op.as_str()),
                address: None,
                properties: Properties::new(),
                created_at_ms: made.made_ms,
                attachments: Vec::new(),
            })
        };
        let answers = self.provider_answers;
        Listing {
            at_ms: self.clock_ms(),
            list_lag_ms: LAG_MS,
            can_prove_off: true,
            can_reboot: true,
            can_power_cycle: true,
            can_reimage: true,
            is_hardware: false,
            said: if answers {
                Ok(self.made.iter().filter_map(listed).collect())
            } else {
                Err("no answer".to_owned())
            },
        }
    }

    fn member(&self, id: MachineId) -> Option<MemberEvidence> {
        let machine = &self.fleet.state.machines[&id];
        machine.joined_ms?;
        let truth = self.truth(id);
        let heard = self.is_heard(id) && !machine.condemned;
        let silent_ms = self.fleet.now_ms.saturating_sub(truth.since_ms);
        let status = match truth.condition {
            Condition::Up | Condition::Ailing if heard => MemberStatus::Alive,
            Condition::LeftForGood if heard => MemberStatus::Left,
            _ if silent_ms < 1000 => MemberStatus::Suspect,
            _ => MemberStatus::Down,
        };
        let since_ms = truth.since_ms.saturating_add_signed(self.skew_ms);
        Some(MemberEvidence {
            status,
            since_ms: since_ms.min(self.clock_ms()),
            generation: Generation(truth.life),
        })
    }

    fn record(&self, id: MachineId) -> Option<RecordEvidence> {
        let truth = self.truth(id);
        let left = truth.condition == Condition::LeftForGood;
        let failed = truth.condition == Condition::Ailing;
        let since_ms = truth.since_ms.saturating_add_signed(self.skew_ms);
        Some(RecordEvidence {
            health: Health::Ok,
            reasons: Vec::new(),
            workload: failed.then(|| Workload::Failed {
                since_ms,
                detail: "exit code 1".into(),
            }),
            part: None,
            leaving: left.then_some(Leaving::ForGood),
            version: None,
            as_of_ms: self.clock_ms(),
        })
    }

    fn ask_witnesses(&mut self, suspects: &[Suspect], answering: &[MachineId]) {
        let troubled: BTreeSet<_> = suspects
            .iter()
            .filter(|suspect| suspect.troubled)
            .map(|suspect| suspect.machine)
            .collect();
        self.heard.retain(|id, _| troubled.contains(id));
        for suspect in suspects.iter().filter(|suspect| suspect.troubled) {
            let id = suspect.machine;
            let now_ms = self.fleet.now_ms;
            let fresh = |at_ms: u64| now_ms.saturating_sub(at_ms) <= WITNESS_FRESH_MS;
            let known = self.heard.get(&id).is_some_and(|(at_ms, _)| fresh(*at_ms));
            if known || self.fleet.state.machines[&id].joined_ms.is_none() {
                continue;
            }
            let zoned = answering.iter().map(|id| (*id, Domain::default()));
            let chosen = choose_witnesses(self.fleet.leader, suspect, zoned);
            let reports = chosen.into_iter().map(|by| self.witness(id, by)).collect();
            self.heard.insert(id, (now_ms, reports));
        }
    }

    fn witness(&self, id: MachineId, by: MachineId) -> WitnessEvidence {
        let answer = match self.truth(id).condition {
            _ if !self.is_heard(id) => Answer::Silent,
            Condition::Up | Condition::Ailing | Condition::Slow => Answer::Answered,
            Condition::AgentDown => Answer::Refused,
            _ => Answer::Silent,
        };
        WitnessEvidence {
            by,
            zone: None,
            rack: None,
            path: Path::Probe,
            answer,
            at_ms: self.clock_ms(),
        }
    }
}
