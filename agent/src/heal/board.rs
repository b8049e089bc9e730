//! Everything that one round of deciding looks at, worked out once.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use super::diagnose::{Finding, diagnose_all};
use super::gate::Gate;
use super::quorum::quorum;
use super::situation::Situation;
use crate::fleet::{Diagnosis, FleetState, GroupId, Machine, Mandate, MemberStatus, Text};

/// What one round of deciding looks at.
pub(super) struct Board<'a> {
    pub(super) situation: &'a Situation,
    /// The fleet's clock, as the next command will find it: what the fleet state and, here, all evidence is dated by.
    pub(super) now_ms: u64,
    pub(super) findings: BTreeMap<MachineId, Finding>,
    /// The machines that something is the matter with, with since when, in milliseconds since 1970.
    pub(super) failed: Vec<(MachineId, u64)>,
    /// Since when each machine that should answer does not, in milliseconds since 1970.
    pub(super) silences: Vec<u64>,
    /// The version of the agent that more than half of the machines that are well run.
    pub(super) usual_version: Option<Text>,
    /// The machines of each declared group, in whatever phase.
    members: BTreeMap<GroupId, Vec<MachineId>>,
    pub(super) mandate: Mandate,
    pub(super) quorum: Gate,
}

impl<'a> Board<'a> {
    pub(super) fn new(state: &FleetState, situation: &'a Situation) -> Self {
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
            situation,
            now_ms: situation.now_ms,
            failed: failed(&findings),
            usual_version: usual_version(&findings, situation),
            findings,
            silences: silences(state, situation),
            members,
            mandate,
            quorum: gate,
        }
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

fn failed(findings: &BTreeMap<MachineId, Finding>) -> Vec<(MachineId, u64)> {
    let has_failed =
        |finding: &Finding| !finding.diagnosis.is_calm() && finding.diagnosis != Diagnosis::Left;
    let failed = findings.iter().filter(|(_, finding)| has_failed(finding));
    failed
        .map(|(id, finding)| (*id, finding.since_ms))
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
    state.electors().filter_map(silence).collect()
}
