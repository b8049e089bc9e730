//! The agent's metrics, rendered when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_mesh::clock::unix_ms;
use tokio::sync::watch;

use super::shared::Shared;
use super::world::World;
use crate::fleet::{FleetState, MemberStatus, Outcome, Step};
use crate::health::Report;
use crate::observe::metrics::{Build, FleetStats, GroupStats, HealthStats, ProcessStats, render};

/// Renders all metrics as Prometheus text.
pub(super) fn renderer(
    shared: &Arc<Shared>,
    report: watch::Receiver<Report>,
) -> impl Fn() -> String + Clone + Send + Sync + 'static {
    let shared = Arc::clone(shared);
    move || {
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
            machine: shared.name(shared.me),
            cluster: shared.credentials.borrow().cluster().to_string(),
        };
        let fleet = fleet(&shared);
        let health = HealthStats(report.borrow().clone());
        let transport = shared.transport.stats();
        render(&[&build, &fleet, &health, &transport, &ProcessStats::read()])
    }
}

fn fleet(shared: &Shared) -> FleetStats {
    let world = shared.mesh.look();
    let seats = shared.replica.seats();
    let status = shared
        .council
        .coordinator()
        .map(|coordinator| coordinator.status().borrow().clone());
    let leader = shared.leader();
    let now_ms = unix_ms();
    let answering = seats
        .voters
        .values()
        .filter(|node| world.is_active(node.machine))
        .count();
    shared.replica.read(|state, at| {
        let electors: Vec<_> = state.electors().map(|machine| machine.id).collect();
        let present = electors
            .iter()
            .filter(|machine| world.is_active(**machine))
            .count();
        let as_of_ms = shared.as_of_ms(at.map(|at| at.index), now_ms);
        FleetStats {
            coordinator: status.is_some(),
            leading: shared.leads(),
            leader_known: leader.is_some(),
            quorum: answering > seats.voters.len() / 2 && present > electors.len() / 2,
            coordinators: seats.voters.len() as u64,
            term: status.as_ref().map_or(state.term, |status| status.term),
            applied_index: at.map_or(0, |at| at.index),
            copy_age_ms: now_ms.saturating_sub(as_of_ms),
            members: members(&world),
            groups: groups(state, &world, now_ms),
            decisions: decisions(state),
            holds: holds(state),
            intents: intents(state),
        }
    })
}

fn members(world: &World) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::from([("alive", 0), ("suspect", 0), ("down", 0), ("left", 0)]);
    for seen in world.members.values() {
        let name = match seen.status {
            MemberStatus::Alive => "alive",
            MemberStatus::Suspect => "suspect",
            MemberStatus::Down => "down",
            MemberStatus::Left => "left",
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn groups(state: &FleetState, world: &World, now_ms: u64) -> BTreeMap<String, GroupStats> {
    state
        .groups
        .iter()
        .map(|(id, group)| {
            let running = state
                .machines
                .values()
                .filter(|machine| machine.group() == Some(id) && machine.joined_ms.is_some())
                .filter(|machine| world.is_active(machine.id))
                .count();
            let stats = GroupStats {
                desired: group.desired() as u64,
                running: running as u64,
                budget_left: f64::from(group.bucket.tokens(group.per_hour(), now_ms)),
                paused: state.paused(id, now_ms).is_some(),
            };
            (id.to_string(), stats)
        })
        .collect()
}

/// Of the decisions that are kept: a gauge, not a counter.
fn decisions(state: &FleetState) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for decision in &state.decisions {
        let name = match decision.proposal.outcome {
            Outcome::Act { .. } => "act",
            Outcome::Hold { .. } => "hold",
            Outcome::Observe { .. } => "observe",
            Outcome::AwaitApproval { .. } => "approve",
            Outcome::Clear => continue,
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn holds(state: &FleetState) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for concern in state.concerns.values() {
        if let Outcome::Hold { rule, .. } = &concern.outcome {
            *counts.entry(rule.to_string()).or_default() += 1;
        }
    }
    counts
}

fn intents(state: &FleetState) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for intent in state.intents.values() {
        if let Some(record) = intent.current() {
            *counts.entry(step_name(record.step)).or_default() += 1;
        }
    }
    counts
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Fence => "fence",
        Step::Drain => "drain",
        Step::Destroy => "destroy",
        Step::Provision => "provision",
        Step::AwaitJoin => "await_join",
    }
}
