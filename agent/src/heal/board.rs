//! Everything that one round of deciding looks at, worked out once.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use muster_flavors::Part;
use muster_mesh::identity::MachineId;

use super::diagnose::{Finding, diagnose_all};
use super::gate::Gate;
use super::quorum::quorum;
use super::situation::Situation;
use super::timing::TOGETHER_MS;
use crate::fleet::{
    Diagnosis, FleetState, GroupId, Machine, Mandate, MemberStatus, Origin, Rule, Text, Workload,
};

/// What one round of deciding looks at.
pub(super) struct Board<'a> {
    /// A rule that lets everything pass.
    pub(super) left_out: Option<Rule>,
    pub(super) situation: &'a Situation,
    /// The fleet's clock, as the next command will find it: what the fleet state and, here, all evidence is dated by.
    pub(super) now_ms: u64,
    pub(super) findings: BTreeMap<MachineId, Finding>,
    /// The machines of groups that something is the matter with.
    pub(super) failed: Vec<Failed>,
    /// Since when each machine that should answer does not, in milliseconds since 1970, in order.
    pub(super) silences: Vec<u64>,
    /// The version of the agent that more than half of the machines that are well run.
    pub(super) usual_version: Option<Text>,
    /// The machines of each declared group, in whatever phase.
    members: BTreeMap<GroupId, Vec<MachineId>>,
    pub(super) mandate: Mandate,
    pub(super) quorum: Gate,
    /// What `settled` says, once asked: the same of all.
    pub(super) settled: OnceCell<Gate>,
}

/// A machine that something is the matter with, and what it may have in common with others.
pub(super) struct Failed {
    pub(super) machine: MachineId,
    /// Since when, in milliseconds since 1970.
    pub(super) since_ms: u64,
    pub(super) group: GroupId,
    pub(super) origin: Origin,
}

impl<'a> Board<'a> {
    pub(super) fn new(
        state: &FleetState,
        situation: &'a Situation,
        left_out: Option<Rule>,
    ) -> Self {
        let mut members: BTreeMap<GroupId, Vec<MachineId>> = state
            .groups
            .keys()
            .map(|id| (id.clone(), Vec::new()))
            .collect();
        for machine in state.machines.values() {
            if let Some(group) = machine.group().and_then(|id| members.get_mut(id)) {
                group.push(machine.id);
            }
        }
        let (mandate, gate) = quorum(state, &situation.authority, situation.now_ms);
        let findings = diagnose_all(state, situation);
        Self {
            left_out,
            situation,
            now_ms: situation.now_ms,
            failed: failed(state, situation, &findings),
            usual_version: usual_version(&findings, situation),
            findings,
            silences: silences(state, situation),
            members,
            mandate,
            quorum: gate,
            settled: OnceCell::new(),
        }
    }

    /// Whether a machine is well and, as far as is known, does its work: one whose workload is stopped for want of a lease
    /// does not.
    pub(super) fn does_its_work(&self, machine: MachineId) -> bool {
        let finding = self.findings.get(&machine);
        let seen = self.situation.machines.get(&machine);
        let workload = seen.and_then(|seen| seen.record.as_ref()?.workload.as_ref());
        finding.is_some_and(|finding| finding.diagnosis == Diagnosis::Healthy)
            && workload != Some(&Workload::Unleased)
    }

    /// The part that a machine's workload plays in its ensemble, as it last said.
    pub(super) fn part(&self, machine: MachineId) -> Option<Part> {
        let seen = self.situation.machines.get(&machine)?;
        seen.record.as_ref()?.part
    }

    /// What a machine that failed at this time may have in common with others.
    pub(super) fn origin(&self, machine: &Machine, failed_ms: u64) -> Origin {
        origin(machine, self.situation, failed_ms)
    }

    /// How many machines fell silent together with one that did at this time.
    pub(super) fn silent_with(&self, since_ms: u64) -> usize {
        let before = |limit_ms: u64| self.silences.partition_point(|at_ms| *at_ms < limit_ms);
        let end_ms = since_ms.saturating_add(TOGETHER_MS + 1);
        before(end_ms) - before(since_ms.saturating_sub(TOGETHER_MS))
    }

    /// The machines that a group had when the round began, as they are in `state`.
    pub(super) fn members<'s>(
        &self,
        state: &'s FleetState,
        id: &GroupId,
    ) -> impl Iterator<Item = &'s Machine> {
        let ids = self.members.get(id).into_iter().flatten();
        ids.filter_map(|id| state.machines.get(id))
    }
}

fn usual_version(findings: &BTreeMap<MachineId, Finding>, situation: &Situation) -> Option<Text> {
    let is_well = |(_, finding): &(_, &Finding)| finding.diagnosis == Diagnosis::Healthy;
    let version = |id| {
        let record = situation.machines.get(id)?.record.as_ref()?;
        record.version.as_ref()
    };
    let mut counts: BTreeMap<&str, (usize, &Text)> = BTreeMap::new();
    for version in findings
        .iter()
        .filter(is_well)
        .filter_map(|(id, _)| version(id))
    {
        counts.entry(&**version).or_insert((0, version)).0 += 1;
    }
    let all: usize = counts.values().map(|(count, _)| count).sum();
    let usual = counts.into_values().find(|(count, _)| 2 * count > all);
    usual.map(|(_, version)| version.clone())
}

/// What a machine that failed at this time may have in common with others.
fn origin(machine: &Machine, situation: &Situation, failed_ms: u64) -> Origin {
    let seen = situation.machines.get(&machine.id);
    let record = seen.and_then(|seen| seen.record.as_ref());
    let version = record.and_then(|record| record.version.clone());
    Origin::of(machine, version, Some(failed_ms))
}

fn failed(
    state: &FleetState,
    situation: &Situation,
    findings: &BTreeMap<MachineId, Finding>,
) -> Vec<Failed> {
    let has_failed =
        |finding: &Finding| !finding.diagnosis.is_calm() && finding.diagnosis != Diagnosis::Left;
    let failed = findings.iter().filter(|(_, finding)| has_failed(finding));
    failed
        .filter_map(|(id, finding)| {
            let machine = state.machines.get(id)?;
            Some(Failed {
                machine: *id,
                since_ms: finding.since_ms,
                group: machine.group()?.clone(),
                origin: origin(machine, situation, finding.since_ms),
            })
        })
        .collect()
}

fn silences(state: &FleetState, situation: &Situation) -> Vec<u64> {
    let silence = |machine: &Machine| {
        let seen = situation.machines.get(&machine.id);
        match seen.and_then(|seen| seen.member) {
            Some(member) if member.status == MemberStatus::Alive => None,
            Some(member) => Some(member.since_ms),
            None => Some(
                situation
                    .leader_since_ms
                    .max(machine.joined_ms.unwrap_or(0)),
            ),
        }
    };
    let mut silences: Vec<u64> = state.electors().filter_map(silence).collect();
    silences.sort_unstable();
    silences
}
