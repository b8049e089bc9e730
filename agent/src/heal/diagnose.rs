//! What is the matter with a machine, from all that was seen of it.
//!
//! The order of the questions matters. What the machine itself announced comes first, then what anyone still hears
//! from it (*slow is not dead*), then what its provider can prove, and mere silence last.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use super::history::history;
use super::proof::is_proved_off;
use super::situation::{MachineEvidence, Situation};
use super::testimony::{Word, last_reports, testimonies};
use super::timing::{
    DETECTION_MS, PROVIDER_WORD_MS, REBOOT_MS_MAX, REPORT_MS, WITNESSES_MIN, WORKLOAD_STANDS_MS,
};
use crate::fleet::{
    Answer, Diagnosis, Evidence, FleetState, Health, Leaving, Machine, MemberEvidence,
    MemberStatus, Phase, ProviderWord, RosterEvidence, Text, WitnessEvidence, Workload, span,
};

/// Witnesses whose reports are kept as evidence: enough to see who disagrees with whom.
const WITNESSES_KEPT: usize = 8;

/// Reasons for ill health that are kept as evidence.
const REASONS_KEPT: usize = 4;

/// A diagnosis with its grounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is the matter.
    pub diagnosis: Diagnosis,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// In a sentence.
    pub summary: Text,
    /// What was seen; nothing is kept of a machine that is well.
    pub evidence: Vec<Evidence>,
    /// Whether its provider proves that it is off, and nobody gets an answer from it.
    pub proved_off: bool,
}

/// Diagnoses every machine of the roster that is not being taken away.
pub fn diagnose_all(state: &FleetState, situation: &Situation) -> BTreeMap<MachineId, Finding> {
    let is_alive = |machine: &&Machine| {
        let evidence = situation.machines.get(&machine.id);
        let member = evidence.and_then(|evidence| evidence.member);
        member.is_some_and(|member| member.status == MemberStatus::Alive)
    };
    let alive = state.electors().filter(is_alive).count();
    state
        .machines
        .values()
        .filter(|machine| machine.phase != Phase::Retiring)
        .map(|machine| {
            let mut finding = diagnose(machine, situation, alive);
            if finding.diagnosis != Diagnosis::Healthy {
                let lately = history(state, machine, situation);
                finding.evidence.extend(lately.map(Evidence::History));
            }
            (machine.id, finding)
        })
        .collect()
}

/// Diagnoses one machine; `alive` is how many machines answer the mesh and could be witnesses.
pub fn diagnose(machine: &Machine, situation: &Situation, alive: usize) -> Finding {
    let nothing = MachineEvidence::default();
    let seen = situation.machines.get(&machine.id).unwrap_or(&nothing);
    let case = Case {
        machine,
        seen,
        situation,
        alive,
    };
    let (diagnosis, since_ms, summary) = case.judge();
    Finding {
        diagnosis,
        since_ms,
        summary: summary.into(),
        evidence: if diagnosis == Diagnosis::Healthy {
            Vec::new()
        } else {
            case.evidence()
        },
        proved_off: case.proof(0).is_some(),
    }
}

/// Whether a machine that said goodbye is in the mesh again: a newer life of it answers. Times would not tell: it may
/// have come back before its goodbye was put on record.
pub(super) fn is_back(machine: &Machine, seen: &MachineEvidence) -> bool {
    let Phase::Left {
        life: Some(life), ..
    } = machine.phase
    else {
        return false;
    };
    let answers =
        |member: MemberEvidence| member.status == MemberStatus::Alive && member.generation > life;
    !machine.condemned && seen.member.is_some_and(answers)
}

type Judgement = (Diagnosis, u64, String);

struct Case<'a> {
    machine: &'a Machine,
    seen: &'a MachineEvidence,
    situation: &'a Situation,
    alive: usize,
}

impl Case<'_> {
    fn judge(&self) -> Judgement {
        match self.machine.phase {
            Phase::Ordered => {
                let ago = self.ago(self.machine.ordered_ms);
                (
                    Diagnosis::Starting,
                    self.machine.ordered_ms,
                    format!("ordered {ago} ago"),
                )
            }
            Phase::Adopted { at_ms } => self.judge_adopted(at_ms),
            Phase::Left { .. } if is_back(self.machine, self.seen) => self.judge_joined(),
            Phase::Left { at_ms, .. } if self.machine.condemned => (
                Diagnosis::Left,
                at_ms,
                "its certificate was revoked".to_owned(),
            ),
            Phase::Left { at_ms, .. } => (
                Diagnosis::Left,
                at_ms,
                "it said goodbye for good".to_owned(),
            ),
            Phase::Lost { at_ms } => self.judge_lost(at_ms),
            Phase::Joined | Phase::Retiring => self.judge_joined(),
        }
    }

    /// One that has no agent yet: only its provider can say anything of it.
    fn judge_adopted(&self, at_ms: u64) -> Judgement {
        match self.proof(at_ms) {
            Some(proof) => (Diagnosis::Gone, at_ms, proof),
            None => {
                let ago = self.ago(at_ms);
                let summary = format!("adopted {ago} ago; no agent of it has joined yet");
                (Diagnosis::Starting, at_ms, summary)
            }
        }
    }

    fn judge_lost(&self, at_ms: u64) -> Judgement {
        if self.machine.joined_ms.is_none() {
            let summary = format!(
                "it was ordered {} ago and never joined",
                self.ago(self.machine.ordered_ms)
            );
            return (Diagnosis::NeverJoined, at_ms, summary);
        }
        match self.proof(at_ms) {
            Some(proof) => (Diagnosis::Gone, at_ms, proof),
            None => {
                let summary = "it was given up before, and its instance could not be destroyed";
                (Diagnosis::Unreachable, at_ms, summary.to_owned())
            }
        }
    }

    fn judge_joined(&self) -> Judgement {
        // A machine that a leader never heard of counts as silent since the leader took over or, if that is later, since
        // it joined.
        let unheard_ms = self
            .situation
            .leader_since_ms
            .max(self.machine.joined_ms.unwrap_or(0));
        let (status, since_ms) = self
            .seen
            .member
            .map_or((MemberStatus::Down, unheard_ms), |member| {
                (member.status, member.since_ms)
            });
        if status == MemberStatus::Alive {
            return self.judge_alive(since_ms);
        }
        let is_new = self.seen.member.is_none()
            && self.situation.now_ms.saturating_sub(unheard_ms) < DETECTION_MS;
        if is_new {
            return self.judge_unheard(unheard_ms);
        }
        match self
            .seen
            .record
            .as_ref()
            .and_then(|record| Some((record.leaving?, record.as_of_ms)))
        {
            Some((Leaving::ForGood, _)) => (
                Diagnosis::Left,
                since_ms,
                "it said goodbye for good".to_owned(),
            ),
            Some((Leaving::Rebooting { until_ms }, as_of_ms)) => {
                let until_ms = until_ms.min(as_of_ms.saturating_add(REBOOT_MS_MAX));
                if self.situation.now_ms < until_ms {
                    let left = span(until_ms - self.situation.now_ms);
                    let summary = format!("it announced a reboot, and has {left} left");
                    return (Diagnosis::Rebooting, since_ms, summary);
                }
                // What was seen while it rebooted says nothing about how it is after.
                self.judge_silent(status, since_ms.max(until_ms))
            }
            None => self.judge_silent(status, since_ms),
        }
    }

    /// One that was let in, or whose leader began, a moment ago: word of it is still on its way, and it may not even have
    /// opened its port.
    fn judge_unheard(&self, since_ms: u64) -> Judgement {
        match self.proof(since_ms) {
            Some(proof) => (Diagnosis::Gone, since_ms, proof),
            None => {
                let summary = format!("nobody has heard of it yet, after {}", self.ago(since_ms));
                (Diagnosis::Suspected, since_ms, summary)
            }
        }
    }

    fn judge_alive(&self, since_ms: u64) -> Judgement {
        let workload = self
            .seen
            .record
            .as_ref()
            .and_then(|record| record.workload.as_ref());
        match workload {
            Some(Workload::Failed { since_ms, detail }) => {
                let summary = format!(
                    "its workload has failed for {}: {detail}",
                    self.ago(*since_ms)
                );
                let stands = self.situation.now_ms.saturating_sub(*since_ms) >= WORKLOAD_STANDS_MS
                    || self.machine.treatments.are_in_vain_since(*since_ms);
                let diagnosis = if stands {
                    Diagnosis::WorkloadFailed
                } else {
                    Diagnosis::Suspected
                };
                (diagnosis, *since_ms, summary)
            }
            _ => (Diagnosis::Healthy, since_ms, "it answers".to_owned()),
        }
    }

    fn judge_silent(&self, status: MemberStatus, since_ms: u64) -> Judgement {
        let words = testimonies(&self.reports(since_ms));
        let total = words.len();
        let got = |word: Word| words.values().filter(|got| **got == word).count();
        let (answered, refused) = (got(Word::Answered), got(Word::Refused));
        let witnesses = if total == 1 {
            "1 witness".to_owned()
        } else {
            format!("{total} witnesses")
        };
        if answered > 0 {
            let summary = format!("{answered} of {witnesses} still get an answer");
            let all = answered == total;
            let diagnosis = if all {
                Diagnosis::Slow
            } else {
                Diagnosis::Partitioned
            };
            return (diagnosis, since_ms, summary);
        }
        if let Some(proof) = self.proof(since_ms) {
            return (Diagnosis::Gone, since_ms, proof);
        }
        let silence = self.ago(since_ms);
        if status == MemberStatus::Suspect {
            let summary = format!("it has not answered for {silence}; others are being asked");
            return (Diagnosis::Suspected, since_ms, summary);
        }
        if self.awaits_provider(since_ms) {
            let summary = format!("it has not answered for {silence}; its provider is being asked");
            return (Diagnosis::Suspected, since_ms, summary);
        }
        if refused > 0 {
            let summary = format!(
                "its host refuses {refused} of {witnesses}: the host is up, its agent is not{}",
                self.last_words()
            );
            return (Diagnosis::AgentDown, since_ms, summary);
        }
        let needed = WITNESSES_MIN.min(self.alive).max(1);
        if total < needed {
            let summary = format!(
                "it has not answered for {silence}; {total} of {needed} witnesses have tried it"
            );
            return (Diagnosis::Suspected, since_ms, summary);
        }
        let provider = match self.seen.provider.as_ref().map(|provider| &provider.word) {
            Some(word) => format!("its provider says: {word}"),
            None => "its provider has said nothing".to_owned(),
        };
        let words = self.last_words();
        let summary = format!("none of {witnesses} got an answer for {silence}; {provider}{words}");
        (Diagnosis::Unreachable, since_ms, summary)
    }

    /// Whether its provider may still say something better than what witnesses can: it has not been heard since the
    /// machine fell silent, and there was little time for that.
    fn awaits_provider(&self, since_ms: u64) -> bool {
        let made = self.machine.instance.is_some() || self.machine.order.is_some();
        let asked = self.seen.provider.as_ref();
        let asked_ms = since_ms.max(self.situation.leader_since_ms);
        made && asked.is_none_or(|provider| provider.at_ms < since_ms)
            && self.situation.now_ms.saturating_sub(asked_ms) < PROVIDER_WORD_MS
    }

    /// What the machine itself had to complain of before it fell silent: a full disk, a file system gone read-only, memory
    /// that ran out.
    fn last_words(&self) -> String {
        let record = self.seen.record.as_ref();
        let unwell = record.filter(|record| record.health >= Health::Warning);
        let reasons: Vec<_> = unwell
            .iter()
            .flat_map(|record| record.reasons.iter().take(REASONS_KEPT))
            .map(ToString::to_string)
            .collect();
        if reasons.is_empty() {
            return String::new();
        }
        format!("; its last words: {}", reasons.join(", "))
    }

    /// The last report of each witness on each path that is still good and from after the machine fell silent.
    fn reports(&self, since_ms: u64) -> Vec<&WitnessEvidence> {
        let now_ms = self.situation.now_ms;
        last_reports(&self.seen.witnesses, |report| {
            report.at_ms >= since_ms
                && now_ms.saturating_sub(report.at_ms) < REPORT_MS
                && report.by != self.machine.id
        })
    }

    /// How its provider proves that it is off, with a word from after `since_ms`, while nobody gets an answer.
    fn proof(&self, since_ms: u64) -> Option<String> {
        let provider = self.seen.provider.as_ref();
        let provider = provider.filter(|provider| provider.at_ms >= since_ms)?;
        // Where the instance isn't known, the provider was asked for what the machine's order made.
        let instance = match (&self.machine.instance, &self.machine.order) {
            (Some(instance), _) => format!("instance {}", instance.id),
            (None, Some(op)) => format!("instance made by {op}"),
            (None, None) => return None,
        };
        let proved = is_proved_off(self.machine, self.seen);
        proved.then(|| match provider.word {
            ProviderWord::Stopped => format!("its provider says that {instance} is stopped"),
            _ => format!("its provider knows of no {instance}"),
        })
    }

    fn evidence(&self) -> Vec<Evidence> {
        let machine = self.machine;
        let mut evidence = vec![Evidence::Roster(RosterEvidence {
            phase: machine.phase,
            ordered_ms: machine.ordered_ms,
            joined_ms: machine.joined_ms,
        })];
        evidence.extend(self.seen.member.map(Evidence::Member));
        let record = self.seen.record.clone().map(|mut record| {
            record.reasons.truncate(REASONS_KEPT);
            Evidence::Record(record)
        });
        evidence.extend(record);
        evidence.extend(self.seen.provider.clone().map(Evidence::Provider));
        let mut reports = self.reports(self.seen.member.map_or(0, |member| member.since_ms));
        // Those that heard something first: they are what holds.
        reports.sort_by_key(|report| report.answer == Answer::Silent);
        let kept = reports.into_iter().take(WITNESSES_KEPT);
        evidence.extend(kept.cloned().map(Evidence::Witness));
        evidence
    }

    fn ago(&self, at_ms: u64) -> String {
        span(self.situation.now_ms.saturating_sub(at_ms))
    }
}
