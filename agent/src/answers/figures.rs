//! The fleet in figures, for metrics: the same as `status` says in words.

use std::collections::BTreeMap;

use super::group::group_status;
use super::snapshot::Snapshot;
use super::{census::Census, status::member_counts};
use crate::api::types::{GroupState, GroupStatus, MemberCounts};
use crate::fleet::{Group, Outcome, Rule};
use crate::observe::metrics::{FleetStats, GroupStats};

/// The fleet in figures. What only the node itself knows is left out: its seat, and how far its copy of the log is.
pub fn figures(snapshot: &Snapshot<'_>) -> FleetStats {
    let state = snapshot.state;
    let census = Census::of(snapshot);
    let groups = state.groups.iter();
    let groups: Vec<_> = groups
        .map(|(id, group)| (group_status(snapshot, &census, id, group), group))
        .collect();
    FleetStats {
        leader_known: snapshot.leader.is_some(),
        quorum: snapshot.quorum.ok,
        coordinators: snapshot.seats.voters.len() as u64,
        term: snapshot.term,
        copy_age_ms: snapshot.now_ms.saturating_sub(snapshot.as_of_ms),
        members: members(member_counts(snapshot)),
        holds: holds(&groups),
        groups: groups
            .iter()
            .map(|(row, group)| (row.id.clone(), group_stats(snapshot, row, group)))
            .collect(),
        decisions: decisions(snapshot),
        intents: intents(snapshot),
        orphans: state.orphans.len() as u64,
        ..FleetStats::default()
    }
}

fn members(counts: MemberCounts) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([
        ("alive", counts.alive.into()),
        ("suspect", counts.suspect.into()),
        ("down", counts.down.into()),
        ("left", counts.left.into()),
    ])
}

fn group_stats(snapshot: &Snapshot<'_>, row: &GroupStatus, group: &Group) -> GroupStats {
    let left = group.bucket.tokens(group.per_hour(), snapshot.now_ms);
    let machines = snapshot.state.group_machines(&group.spec.id);
    let not_healable = machines
        .filter(|machine| machine.unfenceable.is_some())
        .count();
    GroupStats {
        desired: row.desired.into(),
        running: row.running.into(),
        budget_left: f64::from(left),
        paused: row.state == GroupState::Paused,
        failed: row.failed.is_some(),
        not_healable: not_healable as u64,
    }
}

/// All rules, also those that hold nothing, so that an alert has something to compare from the beginning.
fn holds(groups: &[(GroupStatus, &Group)]) -> BTreeMap<String, u64> {
    let none = Rule::ORDER.iter().map(|rule| (rule.to_string(), 0));
    let mut counts: BTreeMap<_, _> = none.collect();
    for hold in groups.iter().flat_map(|(row, _)| &row.holds) {
        *counts.entry(hold.rule.clone()).or_default() += 1;
    }
    counts
}

fn decisions(snapshot: &Snapshot<'_>) -> BTreeMap<&'static str, u64> {
    let kinds = ["act", "hold", "observe", "approve"];
    let mut counts = BTreeMap::from(kinds.map(|kind| (kind, 0)));
    for decision in &snapshot.state.decisions {
        let kind = match decision.proposal.outcome {
            Outcome::Act { .. } => "act",
            Outcome::Hold { .. } => "hold",
            Outcome::Observe { .. } => "observe",
            Outcome::AwaitApproval { .. } => "approve",
            Outcome::Clear => continue,
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

fn intents(snapshot: &Snapshot<'_>) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for intent in snapshot.state.open_intents() {
        if let Some(record) = intent.current() {
            *counts.entry(record.step.word()).or_default() += 1;
        }
    }
    counts
}
