//! What an action does to the state when it is committed.

use super::super::OperationId;
use super::super::decision::{DecisionId, Order, Proposal};
use super::super::event::EventKind;
use super::super::intent::{Action, Intent, IntentState, Origin, StepRecord};
use super::super::machine::{Machine, Phase, Place};
use super::super::names::{GroupId, Member};
use super::super::rung::Treatments;
use super::super::state::FleetState;
use super::{About, Context};

impl FleetState {
    /// Commits an action that [`check_act`](Self::check_act) let pass.
    pub(super) fn act(
        &mut self,
        context: &Context<'_>,
        decision: DecisionId,
        proposal: &Proposal,
        op: OperationId,
        action: Action,
    ) {
        let Some(group) = proposal.group.clone() else {
            return;
        };
        let heals = action.heals();
        // Also what was forced past an empty budget counts: in the fleet's and the zone's, and as under way.
        let paid = heals;
        if heals {
            self.spend(context, &group);
        }
        if let Some(machine) = action
            .finds()
            .and_then(|id| self.machines.get(&id))
            .filter(|_| paid)
        {
            let machine = machine.clone();
            self.spend_from_pools(&machine, context.now_ms);
        }
        let found = action
            .finds()
            .and_then(|id| self.machines.get(&id))
            .cloned();
        if let Some(order) = &proposal.order {
            self.put_ordered(context, &group, order, &op, found.as_ref());
        }
        self.pass_on_treatments(action);
        let pet = found.as_ref().is_some_and(Machine::is_pet);
        let asked = proposal.cause.demand();
        self.overtake(context, proposal, &op);
        match &found {
            Some(machine) if action.treats().is_some() => self.take_in_hand(machine, &op),
            Some(old) => self.take_away(context, old, &op, action, asked.is_some()),
            None => {}
        }
        let named = action.makes().or(action.finds());
        let Some(machine) = named.and_then(|id| self.machines.get(&id)) else {
            return;
        };
        let Some(member) = machine.place.as_ref().map(|place| place.member.clone()) else {
            return;
        };
        let intent = Intent {
            op: op.clone(),
            group: group.clone(),
            member,
            name: machine.name.clone(),
            action,
            was: found.as_ref().map(|machine| machine.phase),
            origin: found.as_ref().map(|machine| {
                let failed_ms = proposal.cause.since_ms();
                Origin::of(machine, proposal.agent_version(), failed_ms)
            }),
            plan: plan(
                action,
                (pet, asked.is_some(), proposal.strikes),
                context.now_ms,
            ),
            decision,
            fenced: None,
            undrained: false,
            paid,
            trial_ms: proposal.order.as_ref().map_or(0, |order| order.trial_ms),
            works: None,
            asked,
            opened_ms: context.now_ms,
            state: IntentState::Open,
        };
        self.note_action(context, decision, proposal, &intent, found.as_ref());
        self.intents.insert(op, intent);
    }

    fn spend(&mut self, context: &Context<'_>, id: &GroupId) {
        if let Some(group) = self.groups.get_mut(id) {
            let per_hour = group.per_hour();
            group.bucket.take(per_hour, context.now_ms);
        }
    }

    fn put_ordered(
        &mut self,
        context: &Context<'_>,
        group: &GroupId,
        order: &Order,
        op: &OperationId,
        replaces: Option<&Machine>,
    ) {
        let place = Place {
            group: group.clone(),
            member: order.member.clone(),
            generation: order.sequence,
        };
        self.sequence = order.sequence;
        self.use_ordinal(Some(&place));
        let machine = Machine {
            id: order.machine,
            name: order.member.machine_name(group),
            place: Some(place),
            zone: order
                .zone
                .clone()
                .or_else(|| replaces.and_then(|old| old.zone.clone())),
            revision: Some(order.revision),
            instance: None,
            order: Some(op.clone()),
            addr: None,
            labels: self
                .groups
                .get(group)
                .and_then(|group| group.templates.get(&order.revision))
                .map(|template| template.labels.clone())
                .unwrap_or_default(),
            phase: Phase::Ordered,
            intent: Some(op.clone()),
            token: order.token,
            admission: None,
            ordered_ms: context.now_ms,
            made_ms: None,
            joined_ms: None,
            condemned: false,
            treatments: Treatments::default(),
            drained_ms: None,
            lease: None,
            unfenceable: None,
            unaccounted_ms: None,
        };
        self.machines.insert(order.machine, machine);
    }

    /// What has been tried on a machine's hardware is remembered when it is reimaged.
    fn pass_on_treatments(&mut self, action: Action) {
        let Action::Reimage { old, new } = action else {
            return;
        };
        let before = self.machines.get(&old).map(|old| old.treatments.clone());
        if let (Some(treatments), Some(machine)) = (before, self.machines.get_mut(&new)) {
            machine.treatments = treatments;
        }
    }

    /// The ordinal of `place` and all below it are used from now on.
    pub(super) fn use_ordinal(&mut self, place: Option<&Place>) {
        let Some(Place {
            group,
            member: Member::Cattle(ordinal),
            ..
        }) = place
        else {
            return;
        };
        if let Some(group) = self.groups.get_mut(group) {
            group.next_ordinal = group.next_ordinal.max(ordinal.saturating_add(1));
        }
    }

    /// A machine that is treated stays what it is. An approval was for this treatment, not for the next.
    fn take_in_hand(&mut self, machine: &Machine, op: &OperationId) {
        if let Some(machine) = self.machines.get_mut(&machine.id) {
            machine.intent = Some(op.clone());
            machine.treatments.count = machine.treatments.count.saturating_add(1);
        }
        self.approvals.remove(&machine.id);
    }

    /// A machine that is replaced, or that left, is refused by everyone from now on. Not so a pet that is replaced:
    /// it may still turn out to run and to be impossible to fence, and is refused only once it is proved off. Nor one
    /// that a person asked to have replaced, until it is drained.
    fn take_away(
        &mut self,
        context: &Context<'_>,
        old: &Machine,
        op: &OperationId,
        action: Action,
        asked: bool,
    ) {
        if let Some(machine) = self.machines.get_mut(&old.id) {
            machine.phase = Phase::Retiring;
            machine.intent = Some(op.clone());
        }
        self.approvals.remove(&old.id);
        let replaced = matches!(action, Action::Replace { .. }) && !old.is_pet() && !asked;
        if replaced || matches!(old.phase, Phase::Left { .. }) {
            self.condemn(context, old.id);
        }
    }

    fn note_action(
        &mut self,
        context: &Context<'_>,
        decision: DecisionId,
        proposal: &Proposal,
        intent: &Intent,
        found: Option<&Machine>,
    ) {
        let cause = &proposal.cause;
        let about = match (intent.action, found) {
            (Action::Provision { machine }, _) => About::machine(machine, cause.to_string()),
            (Action::Replace { old, .. }, Some(machine)) if machine.name != intent.name => {
                About::machine(old, format!("by {}: {cause}", intent.name))
            }
            (Action::Replace { old, .. }, _) => About::machine(old, cause.to_string()),
            (Action::Retire { machine }, _) => About::machine(machine, cause.to_string()),
            (Action::Treat { machine, .. } | Action::Reimage { old: machine, .. }, _) => {
                About::machine(machine, format!("{}: {cause}", intent.action))
            }
            (Action::Drain { machine, .. }, _) => About::machine(machine, cause.to_string()),
        };
        let kind = match intent.action {
            Action::Provision { .. } => EventKind::Ordered,
            Action::Replace { .. } => EventKind::Replacing,
            Action::Retire { .. } => EventKind::Retiring,
            Action::Treat { .. } | Action::Reimage { .. } => EventKind::Treating,
            Action::Drain { .. } => EventKind::Draining,
        };
        self.note(context, kind, about.decided(decision));
    }
}

fn plan(action: Action, (pet, asked, strikes): (bool, bool, bool), now_ms: u64) -> Vec<StepRecord> {
    let mut plan: Vec<_> = action
        .steps(pet, asked, strikes)
        .into_iter()
        .map(StepRecord::new)
        .collect();
    if let Some(first) = plan.first_mut() {
        first.started_ms = Some(now_ms);
        first.next_attempt_ms = now_ms;
    }
    plan
}
