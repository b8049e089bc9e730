//! The decisions of one round, as they come together.

use std::borrow::Cow;

use super::board::Board;
use super::gate::Gate;
use super::ladder;
use super::trial::trial_ms;
use crate::fleet::limits::PROPOSALS_MAX;
use crate::fleet::{
    Action, Cause, Check, Command, Evidence, FleetState, Group, GroupId, Machine, Member, Order,
    Outcome, Proposal, Refusal, Rule, Rung, Subject, Would, machine_id, operation_id,
};

/// What a round of deciding has come to so far.
pub(super) struct Draft<'a> {
    /// The state with all actions so far rehearsed on it; copied when the first is.
    pub(super) state: Cow<'a, FleetState>,
    pub(super) board: &'a Board<'a>,
    pub(super) actions: Vec<Proposal>,
    pub(super) records: Vec<Proposal>,
    pub(super) next_look_ms: Option<u64>,
    pub(super) refused: Vec<Refusal>,
}

/// The grounds of one decision.
pub(super) struct Grounds {
    pub(super) subject: Subject,
    pub(super) group: GroupId,
    pub(super) cause: Cause,
    pub(super) evidence: Vec<Evidence>,
    pub(super) checks: Vec<Check>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(state: &'a FleetState, board: &'a Board<'a>) -> Self {
        Self {
            state: Cow::Borrowed(state),
            board,
            actions: Vec::new(),
            records: Vec::new(),
            next_look_ms: None,
            refused: Vec::new(),
        }
    }

    /// Replacements that are found to be in vain count at once: what is decided in the same round waits for them.
    pub(super) fn take_in(&mut self, facts: &[Command]) {
        let situation = self.board.situation;
        let now_ms = self.board.now_ms;
        for fact in facts {
            if let Command::TrialOver {
                op, works: false, ..
            } = fact
            {
                let state = self.state.to_mut();
                state.rehearse_trial(now_ms, situation.leader, situation.term, op);
            }
        }
    }

    /// Whether a machine's provisioner is being asked about it for the first time. Its first word comes in a moment, or
    /// that it can't say, and until then there is nothing to record.
    pub(super) fn is_being_asked(&self, machine: &Machine) -> bool {
        let seen = self.board.situation.machines.get(&machine.id);
        let made = machine.instance.is_some() || machine.order.is_some();
        made && seen.is_none_or(|seen| seen.provider.is_none())
    }

    /// Whether no further action fits into this round.
    pub(super) fn is_full(&self) -> bool {
        self.actions.len() >= PROPOSALS_MAX
    }

    /// Remembers when to look again.
    pub(super) fn look_at(&mut self, at_ms: Option<u64>) {
        self.next_look_ms = [self.next_look_ms, at_ms].into_iter().flatten().min();
    }

    /// Takes down what the gates said, and until when.
    pub(super) fn checks(&mut self, gates: Vec<Gate>) -> Vec<Check> {
        for gate in &gates {
            self.look_at(gate.until_ms);
        }
        gates.into_iter().map(|gate| gate.check).collect()
    }

    /// Proposes to take `old` away, and to make another machine in its place.
    fn replace(&mut self, grounds: Grounds, old: &Machine) {
        let Some(member) = self.next_member(&grounds.group, old) else {
            return;
        };
        let Some(order) = self.order_in_place_of(&grounds.group, old, member) else {
            return;
        };
        let action = Action::Replace {
            old: old.id,
            new: order.machine,
        };
        self.act(grounds, action, Some(order));
    }

    /// Proposes to write a machine's system anew: another machine comes of it, in the very same place.
    fn reimage(&mut self, grounds: Grounds, old: &Machine) {
        let Some(place) = &old.place else {
            return;
        };
        let Some(order) = self.order_in_place_of(&grounds.group, old, place.member.clone()) else {
            return;
        };
        let action = Action::Reimage {
            old: old.id,
            new: order.machine,
        };
        self.act(grounds, action, Some(order));
    }

    /// Proposes to take a machine away.
    pub(super) fn retire(&mut self, grounds: Grounds, machine: &Machine) {
        self.act(
            grounds,
            Action::Retire {
                machine: machine.id,
            },
            None,
        );
    }

    /// Proposes to do something to a machine in its place.
    fn treat(&mut self, grounds: Grounds, machine: &Machine, rung: Rung) {
        let action = Action::Treat {
            machine: machine.id,
            rung,
            number: machine.treatments.count.saturating_add(1),
        };
        self.act(grounds, action, None);
    }

    /// Proposes to have a machine's workload hand over its duties.
    fn drain(&mut self, grounds: Grounds, machine: &Machine) {
        let action = Action::Drain {
            machine: machine.id,
            number: machine.treatments.count.saturating_add(1),
        };
        self.act(grounds, action, None);
    }

    /// Proposes to do to a machine what is to be done.
    pub(super) fn carry(&mut self, grounds: Grounds, machine: &Machine, would: Would) {
        match would {
            Would::Retire => self.retire(grounds, machine),
            Would::Replace => self.replace(grounds, machine),
            Would::Treat(Rung::Reimage) => self.reimage(grounds, machine),
            Would::Treat(rung) => self.treat(grounds, machine, rung),
            Would::Drain => self.drain(grounds, machine),
        }
    }

    /// Proposes to make a machine for a member of a group.
    pub(super) fn provision(&mut self, grounds: Grounds, member: Member) {
        let Some(group) = self.state.groups.get(&grounds.group) else {
            return;
        };
        let (revision, zone) = (group.template, self.emptiest_zone(group));
        let Some(order) = self.order(group, member, zone, revision) else {
            return;
        };
        self.act(
            grounds,
            Action::Provision {
                machine: order.machine,
            },
            Some(order),
        );
    }

    fn act(&mut self, grounds: Grounds, action: Action, order: Option<Order>) {
        let place = match (&order, action.finds()) {
            (Some(order), _) => Some((order.member.clone(), order.sequence)),
            (None, Some(id)) => self
                .state
                .machines
                .get(&id)
                .and_then(|machine| machine.place.as_ref())
                .map(|place| (place.member.clone(), place.generation)),
            (None, None) => None,
        };
        let (Some((member, generation)), Some(cluster)) = (place, self.state.cluster_id()) else {
            return;
        };
        let op = operation_id(cluster, &grounds.group, &member, generation, action);
        let strikes = self.strikes(&grounds.group, action);
        let mut proposal = self.proposal(grounds, Outcome::Act { op, action }, order);
        proposal.strikes = strikes;
        let situation = self.board.situation;
        let state = self.state.to_mut();
        match state.rehearse(
            self.board.now_ms,
            situation.leader,
            situation.term,
            &proposal,
        ) {
            Ok(()) => self.actions.push(proposal),
            Err(refusal) => self.refused.push(refusal),
        }
    }

    /// Puts what was not done on record, if that is news.
    pub(super) fn record(
        &mut self,
        subject: Subject,
        cause: Cause,
        evidence: Vec<Evidence>,
        checks: Vec<Check>,
        outcome: Outcome,
    ) {
        let group = match &subject {
            Subject::Group(group) => Some(group.clone()),
            Subject::Machine(id) => self
                .state
                .machines
                .get(id)
                .and_then(|machine| machine.group())
                .cloned(),
        };
        if self.is_news(&subject, &cause, &checks, &outcome) {
            let mandate = self.board.mandate;
            let order = None;
            let proposal = Proposal {
                subject,
                group,
                cause,
                evidence,
                checks,
                mandate,
                outcome,
                order,
                strikes: false,
            };
            self.records.push(proposal);
        }
    }

    fn is_news(
        &self,
        subject: &Subject,
        cause: &Cause,
        checks: &[Check],
        outcome: &Outcome,
    ) -> bool {
        let Some(concern) = self.state.concerns.get(subject) else {
            return true;
        };
        if concern.is_outdated(outcome, self.board.now_ms) {
            return true;
        }
        // What was to be over by now is no word to leave standing.
        let still_held = match concern.outcome {
            Outcome::Hold { rule, until_ms, .. } => {
                until_ms.is_none_or(|until_ms| self.board.now_ms < until_ms)
                    && checks
                        .iter()
                        .any(|check| check.rule == rule && check.holds())
            }
            _ => false,
        };
        let settling = matches!(
            outcome,
            Outcome::Hold {
                rule: Rule::Settled,
                ..
            }
        );
        let same = concern.cause.is_like(cause)
            // Every change of leadership has to settle; that is no news about a machine that another rule holds as before.
            && (concern.outcome.is_like(outcome) || still_held && settling);
        !same
    }

    fn proposal(&self, grounds: Grounds, outcome: Outcome, order: Option<Order>) -> Proposal {
        let Grounds {
            subject,
            group,
            cause,
            evidence,
            checks,
        } = grounds;
        let mandate = self.board.mandate;
        Proposal {
            subject,
            group: Some(group),
            cause,
            evidence,
            checks,
            mandate,
            outcome,
            order,
            strikes: false,
        }
    }

    /// Whether the machine that an action takes away has to be struck off an ensemble first. One whose group is destroyed
    /// leaves none behind.
    fn strikes(&self, group: &GroupId, action: Action) -> bool {
        let (id, replaced) = match action {
            Action::Retire { machine } => (machine, false),
            Action::Replace { old, .. } => (old, true),
            _ => return false,
        };
        let group = self.state.groups.get(group);
        let machine = self.state.machines.get(&id);
        let both = group.filter(|group| !group.destroying).zip(machine);
        let flavor = both.and_then(|(group, machine)| ladder::flavor_of(group, machine));
        flavor.is_some_and(|flavor| flavor.strikes(replaced))
    }

    /// Who takes the place of a machine that is replaced: a pet's successor is the same pet.
    fn next_member(&self, id: &GroupId, old: &Machine) -> Option<Member> {
        let group = self.state.groups.get(id)?;
        Some(match &old.place.as_ref()?.member {
            Member::Cattle(_) => Member::Cattle(self.state.free_ordinal(id, group.next_ordinal)),
            pet => pet.clone(),
        })
    }

    fn order_in_place_of(&self, id: &GroupId, old: &Machine, member: Member) -> Option<Order> {
        let group = self.state.groups.get(id)?;
        // Repair does not smuggle in a new version.
        let revision = old
            .revision
            .filter(|revision| group.templates.contains_key(revision));
        let zones = &group.spec.placement.zones;
        let kept = old.zone.clone().filter(|zone| zones.contains(zone));
        let zone = kept.or_else(|| self.emptiest_zone(group));
        self.order(group, member, zone, revision.unwrap_or(group.template))
    }

    fn order(
        &self,
        group: &Group,
        member: Member,
        zone: Option<String>,
        revision: crate::fleet::SpecRevision,
    ) -> Option<Order> {
        let cluster = self.state.cluster_id()?;
        // One number of all has no machine ID; the next one has.
        let (sequence, machine) = (1..=2)
            .map(|step| self.state.sequence.saturating_add(step))
            .find_map(|sequence| Some((sequence, machine_id(cluster, sequence)?)))?;
        let template = group.templates.get(&revision);
        Some(Order {
            machine,
            sequence,
            member,
            zone,
            revision,
            trial_ms: template.map_or(0, |template| trial_ms(group, template)),
            token: None,
        })
    }

    /// The zone of the group's placement with the fewest of its machines.
    fn emptiest_zone(&self, group: &Group) -> Option<String> {
        let taken: Vec<_> = self
            .state
            .group_machines(&group.spec.id)
            .filter(|machine| machine.fills_its_slot())
            .filter_map(Machine::known_zone)
            .collect();
        let count = |zone: &&String| taken.iter().filter(|other| *other == zone).count();
        let id = &group.spec.id;
        let zones = group.spec.placement.zones.iter();
        let open = zones.filter(|zone| {
            let paused = self
                .state
                .paused_in(id, None, Some(zone), self.board.now_ms);
            paused.is_none()
        });
        open.min_by_key(count).cloned()
    }
}

/// The outcome that the checks leave: the first rule that holds, where `mode` gives way to all others.
pub(super) fn held(checks: &[Check]) -> Option<&Check> {
    let holding = || checks.iter().filter(|check| check.holds());
    holding()
        .find(|check| check.rule != Rule::Mode)
        .or_else(|| holding().next())
}
