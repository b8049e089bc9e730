//! What must hold after every command, told from outside of the state machine.

use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::identity::MachineId;

use super::sim::Made;
use crate::fleet::limits::{
    DECISIONS_MAX, DEMANDS_ENDED_MAX, DEMANDS_OPEN_MAX, EVENTS_MAX, HOUR_MS, PROPOSALS_MAX,
};
use crate::fleet::*;
use crate::heal::timing::REPORT_MS;
use crate::heal::{Plan, Situation};

/// Remembers what has to be remembered to judge a history.
#[derive(Default)]
pub(super) struct Oracle {
    /// Every command, as bytes.
    pub(super) log: Vec<Vec<u8>>,
    spent: BTreeMap<GroupId, Vec<u64>>,
    ids: BTreeSet<MachineId>,
    seats: BTreeSet<u64>,
    decided: u64,
}

impl Oracle {
    /// What a leader proposes.
    pub(super) fn looked(
        &self,
        state: &FleetState,
        situation: &Situation,
        plan: &Plan,
        is_slow: impl Fn(MachineId) -> bool,
    ) {
        assert!(plan.proposals.len() <= PROPOSALS_MAX);
        assert!(
            plan.refused.is_empty(),
            "the rules and the state disagree: {:?}",
            plan.refused
        );
        for proposal in &plan.proposals {
            explains_itself(proposal);
            let Outcome::Act { action, .. } = &proposal.outcome else {
                continue;
            };
            let electors: BTreeSet<_> = state.electors().map(|machine| machine.id).collect();
            let heard = electors
                .intersection(&situation.authority.acknowledged)
                .count();
            let gone = |id: &&MachineId| {
                let since_ms = situation.authority.proven_gone.get(*id);
                let stood = since_ms.map(|at_ms| situation.now_ms.saturating_sub(*at_ms));
                !situation.authority.acknowledged.contains(*id)
                    && stood.is_some_and(|stood_ms| stood_ms >= 60_000)
            };
            let counted = electors.iter().filter(|id| !gone(id)).count();
            assert!(heard * 2 > counted, "a minority acts: {heard} of {counted}");
            let asked = proposal.cause.demand();
            let treated = action.treats().or(match action {
                Action::Replace { old, .. } | Action::Reimage { old, .. } => Some(*old),
                _ => None,
            });
            match (asked, treated) {
                (Some(demand), Some(machine)) => self.asked_for(state, demand, machine, proposal),
                (None, Some(machine)) => self.permitted(state, machine, *action, proposal),
                (_, None) => {}
            }
            if let Action::Replace { old, .. } | Action::Reimage { old, .. } = action {
                let reports = &situation.machines[old].witnesses;
                let joined = state.machines[old].phase == Phase::Joined;
                // What it answered before it fell silent, or too long ago, by the leader's clock of now, says nothing.
                let since_ms = situation.machines[old].member.map(|member| member.since_ms);
                let heard = reports.iter().any(|report| {
                    report.answer == Answer::Answered
                        && situation.now_ms.saturating_sub(report.at_ms) < REPORT_MS
                        && since_ms.is_none_or(|since_ms| report.at_ms >= since_ms)
                });
                let ailing = proposal.cause.diagnosis() == Some(Diagnosis::WorkloadFailed);
                let alive = situation.machines[old]
                    .member
                    .is_some_and(|member| member.status == MemberStatus::Alive);
                assert!(
                    !(joined && heard) || ailing || asked.is_some() && alive,
                    "somebody gets an answer from {old}, but {:?}",
                    proposal.cause
                );
                assert!(!(joined && is_slow(*old) && heard), "slow is not dead");
            }
        }
    }

    /// What is done by hand was asked for, about this machine, and stands; and only what may be forced was.
    fn asked_for(
        &self,
        state: &FleetState,
        demand: DemandId,
        machine: MachineId,
        proposal: &Proposal,
    ) {
        let demand = &state.demands[&demand];
        assert!(demand.waits() && demand.machine == machine);
        for check in &proposal.checks {
            let forced = check.verdict == Verdict::Forced;
            assert!(!forced || demand.forced.contains(&check.rule));
            assert!(!forced || unforcible(check.rule, demand.what).is_none());
        }
    }

    /// Nothing is done to what people only want watched, and only what they approved to what they want to be asked about.
    fn permitted(&self, state: &FleetState, old: MachineId, action: Action, proposal: &Proposal) {
        let machine = &state.machines[&old];
        let group = machine
            .group()
            .and_then(|id| state.groups.get(id))
            .expect("declared");
        let permitted = match group.spec.heal.mode {
            HealMode::Auto => true,
            HealMode::Approve => state.approvals.get(&old).is_some_and(|approval| {
                let would = action.rung().map_or(Would::Replace, Would::Treat);
                approval.would == would && approval.diagnosis == proposal.cause.diagnosis()
            }),
            HealMode::Observe => false,
        };
        assert!(
            permitted,
            "{} is treated or replaced without permission",
            machine.name
        );
        assert!(
            !state.cordons.contains_key(&old),
            "{} is cordoned",
            machine.name
        );
    }

    /// What else runs as the pet that an operation is about to make.
    pub(super) fn copy<'a>(
        made: &'a BTreeMap<OperationId, Made>,
        op: &OperationId,
        place: &Place,
    ) -> Option<&'a Made> {
        let is_copy = |(other, made): &(&OperationId, &Made)| {
            *other != op && made.running && made.place.member == place.member
        };
        let (_, copy) = made.iter().find(is_copy)?;
        place.member.is_pet().then_some(copy)
    }

    /// A command was applied.
    pub(super) fn applied(
        &mut self,
        before: &FleetState,
        after: &FleetState,
        envelope: &Envelope,
        reply: &Reply,
        bytes: Vec<u8>,
    ) {
        self.log.push(bytes);
        if let Reply::Refused(refusal) = reply {
            assert!(before == after, "refused and yet changed: {refusal}");
            return;
        }
        assert!(after.clock_ms >= before.clock_ms, "time goes backwards");
        self.spending(before, after);
        self.identities(before, after);
        if let (Command::Decide(proposals), Reply::Decided(results)) = (&envelope.command, reply) {
            for (proposal, result) in proposals.iter().zip(results) {
                if result.is_ok() {
                    explains_itself(proposal);
                    assert!(envelope.term >= before.term, "a leader of the past decides");
                }
            }
        }
        self.sound(after);
    }

    /// What holds for every state, however it came about.
    pub(super) fn sound(&self, state: &FleetState) {
        one_intent_for_one_failure(state);
        bounded(state);
        places(state);
    }

    /// Never more than the budget, in any window of the fleet's time, whoever led.
    fn spending(&mut self, before: &FleetState, after: &FleetState) {
        for intent in after.open_intents().filter(|intent| intent.paid) {
            if before
                .intents
                .get(&intent.op)
                .is_none_or(|old| !old.is_open())
            {
                self.spent
                    .entry(intent.group.clone())
                    .or_default()
                    .push(intent.opened_ms);
            }
        }
        // A group that was let go and declared anew starts anew.
        self.spent.retain(|id, _| after.groups.contains_key(id));
        for (id, spent) in &self.spent {
            let Some(group) = after.groups.get(id) else {
                continue;
            };
            let per_hour = u64::from(group.per_hour());
            for (at, first) in spent.iter().enumerate() {
                for (number, last) in spent[at..].iter().enumerate() {
                    let earned = (last - first).saturating_mul(per_hour) / HOUR_MS;
                    let allowed = per_hour + earned + 1;
                    assert!(
                        (number as u64) < allowed,
                        "{id} spent more than its budget: {spent:?}"
                    );
                }
            }
        }
        for (id, group) in after.groups.iter().filter(|(_, group)| !group.destroying) {
            let (now, was) = (after.removals(id), before.removals(id));
            let forced = |intent: &&Intent| {
                let demand = intent.asked.and_then(|id| after.demands.get(&id));
                demand.is_some_and(|demand| demand.forced.contains(&Rule::Budget))
            };
            let forced = after.group_intents(id).filter(forced).count();
            assert!(
                now <= group.at_once().max(was) + forced,
                "{now} removals at once in {id}"
            );
        }
    }

    /// No machine ID, seat or decision number is given out twice.
    fn identities(&mut self, before: &FleetState, after: &FleetState) {
        for id in after
            .machines
            .keys()
            .filter(|id| !before.machines.contains_key(id))
        {
            assert!(self.ids.insert(*id), "machine ID {id} is given out twice");
        }
        for seat in after
            .seats
            .keys()
            .filter(|seat| !before.seats.contains_key(seat))
        {
            assert!(self.seats.insert(seat.0), "seat {seat} is given out twice");
        }
        assert!(after.next_decision.0 >= self.decided);
        self.decided = after.next_decision.0;
    }

    /// Whether the fleet is what it should be, and all of it works.
    pub(super) fn is_calm(&self, state: &FleetState, serves: impl Fn(MachineId) -> bool) -> bool {
        state.is_at_rest() && state.machines.values().all(|machine| serves(machine.id))
    }
}

/// A decision's checks lead to its outcome.
fn explains_itself(proposal: &Proposal) {
    let held: Vec<_> = proposal
        .checks
        .iter()
        .filter(|check| check.holds())
        .collect();
    let first = held
        .iter()
        .find(|check| check.rule != Rule::Mode)
        .or(held.first());
    assert!(proposal.checks.is_sorted_by(|one, two| one.rule < two.rule));
    assert!(proposal.checks.iter().all(|check| !check.margin.is_empty()));
    match (&proposal.outcome, first) {
        (Outcome::Act { .. } | Outcome::Clear, None) => {}
        (Outcome::Hold { rule, detail, .. }, Some(check)) => {
            assert_eq!((*rule, detail), (check.rule, &check.margin));
        }
        (Outcome::Observe { .. } | Outcome::AwaitApproval { .. }, Some(check)) => {
            assert_eq!(check.rule, Rule::Mode);
        }
        (outcome, first) => panic!("{outcome:?} does not follow from {first:?}"),
    }
}

fn one_intent_for_one_failure(state: &FleetState) {
    let mut machines = BTreeSet::new();
    let mut members = BTreeSet::new();
    for intent in state.open_intents() {
        for machine in [intent.action.makes(), intent.action.finds()]
            .into_iter()
            .flatten()
        {
            assert!(machines.insert(machine), "two intents for {machine}");
            // The old machine goes before the intent ends; whoever is there knows who deals with it.
            if let Some(machine) = state.machines.get(&machine) {
                assert_eq!(machine.intent.as_ref(), Some(&intent.op));
            }
        }
        let member = (intent.group.clone(), intent.member.clone());
        assert!(
            members.insert(member),
            "two intents for member {}",
            intent.member
        );
        assert!(intent.current().is_some(), "an open intent without a step");
    }
    for machine in state.machines.values() {
        let open = machine
            .intent
            .as_ref()
            .map(|op| state.intents[op].is_open());
        assert_ne!(
            open,
            Some(false),
            "{} is busy with what has ended",
            machine.name
        );
        let busy = matches!(machine.phase, Phase::Ordered | Phase::Retiring);
        assert!(
            !busy || open == Some(true),
            "{} is {} for ever",
            machine.name,
            machine.phase
        );
    }
}

fn bounded(state: &FleetState) {
    assert!(state.events.len() <= EVENTS_MAX);
    assert!(state.decisions.len() <= DECISIONS_MAX);
    let subjects = state.machines.len() + state.groups.len();
    let open = state.demands.values().filter(|demand| demand.is_open());
    for demand in open {
        assert!(
            state.machines.contains_key(&demand.machine)
                || matches!(demand.state, DemandState::UnderWay { .. }),
            "something is asked for about nobody"
        );
    }
    assert!(state.demands.len() <= DEMANDS_OPEN_MAX + DEMANDS_ENDED_MAX);
    assert!(
        state
            .cordons
            .keys()
            .all(|id| state.machines.contains_key(id)),
        "nobody is cordoned"
    );
    assert!(
        state.concerns.len() <= subjects,
        "something stands on record about nobody"
    );
}

/// Names are unique, except while one machine replaces another; no pet has two machines, except then.
fn places(state: &FleetState) {
    let mut names: BTreeMap<&str, Vec<&Machine>> = BTreeMap::new();
    for machine in state.machines.values() {
        names
            .entry(machine.name.as_str())
            .or_default()
            .push(machine);
    }
    for (name, machines) in names.iter().filter(|(_, machines)| machines.len() > 1) {
        let replaced = machines
            .iter()
            .filter(|machine| machine.phase == Phase::Retiring)
            .count();
        assert_eq!(
            (machines.len(), replaced),
            (2, 1),
            "{name} is the name of too many"
        );
        assert_eq!(
            machines[0].intent, machines[1].intent,
            "{name} has two machines"
        );
    }
}
