//! Orders by hand, and machines that are cordoned.

use muster_mesh::identity::MachineId;

use super::super::OperationId;
use super::super::command::Ask;
use super::super::decision::{Cause, Proposal, Subject, Would};
use super::super::demand::{Cordon, Demand, DemandEnd, DemandId, DemandState, unforcible};
use super::super::event::EventKind;
use super::super::intent::{Action, Intent};
use super::super::limits::{DEMAND_MS_MAX, DEMANDS_ENDED_MAX, DEMANDS_OPEN_MAX};
use super::super::machine::Machine;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::rule::{Rule, Verdict};
use super::super::state::FleetState;
use super::super::text::{Text, span};
use super::values::{at_most, invalid};
use super::{About, Applied, Context, roster};

impl FleetState {
    /// A demand is put on record. To drain a machine cordons it at once, for as long as the demand stands.
    pub(super) fn ask(&mut self, context: &Context<'_>, asked: Ask) -> Applied {
        let machine = self.machine_to_ask_for(&asked)?;
        let (name, group) = (machine.name.clone(), machine.group().cloned());
        let group = group.ok_or_else(|| invalid("it is of no group"))?;
        self.check_asked_values(context, &asked)?;
        let open = self.demands.values().filter(|demand| demand.is_open());
        at_most(
            "orders by hand at one time",
            open.count() + 1,
            DEMANDS_OPEN_MAX,
        )?;
        let Ask {
            machine,
            what,
            reason,
            until_ms,
            forced,
        } = asked;
        let id = DemandId(self.last_demand.0.saturating_add(1));
        self.last_demand = id;
        let rules: Vec<_> = forced.iter().map(Rule::to_string).collect();
        let force = match rules.as_slice() {
            [] => String::new(),
            rules => format!(", forcing {}", rules.join(", ")),
        };
        let left = span(until_ms.saturating_sub(context.now_ms));
        let detail = format!(
            "order {id}: to {}, within {left}{force}{}{}",
            what.of_it(),
            context.by_whom(),
            because(&reason)
        );
        self.note(context, EventKind::Asked, About::machine(machine, detail));
        let cordoned = what == Would::Drain && !self.cordons.contains_key(&machine);
        if cordoned {
            self.put_cordon(context, machine, reason.clone());
        }
        let demand = Demand {
            machine,
            name,
            group,
            what,
            reason,
            by: context.actor.cloned(),
            at_ms: context.now_ms,
            until_ms,
            forced,
            cordoned,
            state: DemandState::Waits,
        };
        self.demands.insert(id, demand);
        Ok(Reply::Asked(id))
    }

    fn machine_to_ask_for(&self, asked: &Ask) -> Result<&Machine, Refusal> {
        let id = asked.machine;
        let machine = self.machines.get(&id).ok_or(Refusal::NoMachine(id))?;
        let group = machine.group().and_then(|group| self.groups.get(group));
        match group {
            None => {
                return Err(invalid(format!(
                    "{} is of no declared group, so there is no provisioner and no budget to do that with; do it by other means",
                    machine.name
                )));
            }
            Some(group) if group.destroying => {
                return Err(Refusal::GroupDestroying(group.spec.id.clone()));
            }
            Some(_) => {}
        }
        if let Some(op) = machine.intent.clone() {
            return Err(Refusal::MachineBusy { machine: id, op });
        }
        if !asked.what.is_for(machine.phase) {
            let whom = match asked.what {
                Would::Replace => "only a machine that joined, or was given up, can be replaced",
                _ => "only a machine that joined can be treated",
            };
            return Err(roster::wrong_phase(machine, &format!("{whom} by hand")));
        }
        if let Some((number, demand)) = self.demand_on(id) {
            let what = demand.what;
            return Err(invalid(format!(
                "order {number} to {what} {} stands already; `muster cancel {number}` takes it back",
                machine.name
            )));
        }
        Ok(machine)
    }

    fn check_asked_values(&self, context: &Context<'_>, asked: &Ask) -> Result<(), Refusal> {
        if asked.what == Would::Retire {
            return Err(invalid(
                "machines are taken away by scaling their group in, or by taking the member out of its specification",
            ));
        }
        let lasts_ms = asked.until_ms.checked_sub(context.now_ms);
        if !lasts_ms.is_some_and(|ms| (1..=DEMAND_MS_MAX).contains(&ms)) {
            return Err(invalid(format!(
                "an order by hand stands for {} at most",
                span(DEMAND_MS_MAX)
            )));
        }
        for rule in &asked.forced {
            if let Some(why) = unforcible(*rule, asked.what) {
                return Err(invalid(format!("rule `{rule}` can't be forced: {why}")));
            }
        }
        Ok(())
    }

    pub(super) fn withdraw(&mut self, context: &Context<'_>, id: DemandId) -> Applied {
        let demand = self.demands.get(&id).ok_or(Refusal::NoDemand(id))?;
        match &demand.state {
            DemandState::Waits => {}
            DemandState::UnderWay { op } => {
                let op = op.clone();
                let machine = demand.machine;
                return Err(Refusal::MachineBusy { machine, op });
            }
            DemandState::Ended { .. } => return Err(Refusal::NoDemand(id)),
        }
        let detail = format!("order {id} is taken back{}", context.by_whom());
        self.end_demand(
            context,
            id,
            DemandEnd::Withdrawn,
            EventKind::Withdrawn,
            detail,
        );
        Ok(Reply::Done)
    }

    pub(super) fn expire(&mut self, context: &Context<'_>, id: DemandId) -> Applied {
        let demand = self.demands.get(&id).filter(|demand| demand.waits());
        let demand = demand.ok_or(Refusal::NoDemand(id))?;
        if context.now_ms < demand.until_ms {
            let left = span(demand.until_ms - context.now_ms);
            return Err(Refusal::Stale(format!("it has {left} left").into()));
        }
        let detail = format!(
            "order {id} to {} was not let pass in time",
            demand.what.of_it()
        );
        self.end_demand(context, id, DemandEnd::Expired, EventKind::Expired, detail);
        Ok(Reply::Done)
    }

    fn end_demand(
        &mut self,
        context: &Context<'_>,
        id: DemandId,
        end: DemandEnd,
        kind: EventKind,
        detail: String,
    ) {
        let Some(machine) = self.close_demand(context, id, end) else {
            return;
        };
        self.note(context, kind, About::machine(machine, detail));
    }

    /// Ends a demand, and what stands on record because of it.
    fn close_demand(
        &mut self,
        context: &Context<'_>,
        id: DemandId,
        end: DemandEnd,
    ) -> Option<MachineId> {
        let demand = self.demands.get_mut(&id)?;
        let (at_ms, machine) = (context.now_ms, demand.machine);
        let uncordons = demand.cordoned && end != DemandEnd::Done;
        demand.state = DemandState::Ended { at_ms, end };
        if uncordons && self.cordons.remove(&machine).is_some() {
            let detail =
                format!("is not cordoned any more: order {id}, which cordoned it, has ended");
            let about = About::machine(machine, detail);
            self.note(context, EventKind::Uncordoned, about);
        }
        let subject = Subject::Machine(machine);
        let concern = self.concerns.get(&subject);
        if concern.is_some_and(|concern| matches!(concern.cause, Cause::Asked { .. })) {
            self.concerns.remove(&subject);
        }
        self.forget_old_demands();
        Some(machine)
    }

    fn forget_old_demands(&mut self) {
        let ended = |demand: &Demand| !demand.is_open();
        let count = self.demands.values().filter(|demand| ended(demand)).count();
        let surplus = count.saturating_sub(DEMANDS_ENDED_MAX);
        let oldest: Vec<_> = self
            .demands
            .iter()
            .filter(|(_, demand)| ended(demand))
            .map(|(id, _)| *id)
            .take(surplus)
            .collect();
        for id in oldest {
            self.demands.remove(&id);
        }
    }

    /// Something was decided to be done to a machine: what stands about it is under way by that, or overtaken.
    pub(super) fn overtake(
        &mut self,
        context: &Context<'_>,
        proposal: &Proposal,
        op: &OperationId,
    ) {
        let Subject::Machine(machine) = proposal.subject else {
            return;
        };
        let Some(id) = self.demand_on(machine).map(|(id, _)| id) else {
            return;
        };
        match proposal.cause {
            Cause::Asked { demand, .. } if demand == id => {
                if let Some(demand) = self.demands.get_mut(&id) {
                    demand.state = DemandState::UnderWay { op: op.clone() };
                }
            }
            _ => {
                let detail = format!("order {id}: something else is done to it first");
                self.end_demand(
                    context,
                    id,
                    DemandEnd::Overtaken,
                    EventKind::Withdrawn,
                    detail,
                );
            }
        }
    }

    /// An intent has ended: so has what asked for it.
    pub(super) fn end_asked(
        &mut self,
        context: &Context<'_>,
        intent: &Intent,
        error: Option<&Text>,
    ) {
        if let (Action::Drain { machine, .. }, None) = (intent.action, error) {
            self.note_drained(context, machine);
        }
        let Some(id) = intent.asked else {
            return;
        };
        let end = match error {
            None => DemandEnd::Done,
            Some(error) => DemandEnd::Failed {
                error: error.clone(),
            },
        };
        self.close_demand(context, id, end);
    }

    /// What people asked for about a machine that has left, or that everyone refuses, comes to nothing.
    pub(super) fn drop_demand_on(&mut self, context: &Context<'_>, machine: MachineId) {
        if let Some(id) = self.demand_on(machine).map(|(id, _)| id) {
            self.close_demand(context, id, DemandEnd::Overtaken);
        }
    }

    // === cordons ===

    pub(super) fn cordon(
        &mut self,
        context: &Context<'_>,
        machine: MachineId,
        reason: Text,
    ) -> Applied {
        if !self.machines.contains_key(&machine) {
            return Err(Refusal::NoMachine(machine));
        }
        self.put_cordon(context, machine, reason);
        // From now on it is cordoned by this, whatever becomes of an order to drain it.
        let open = self.demands.values_mut().filter(|demand| demand.is_open());
        for demand in open.filter(|demand| demand.machine == machine) {
            demand.cordoned = false;
        }
        Ok(Reply::Done)
    }

    /// A machine that is cordoned already gets the new reason.
    fn put_cordon(&mut self, context: &Context<'_>, machine: MachineId, reason: Text) {
        let detail = format!("cordoned{}{}", context.by_whom(), because(&reason));
        let before = self.cordons.get(&machine);
        let cordon = Cordon {
            reason,
            by: context.actor.cloned(),
            since_ms: before.map_or(context.now_ms, |cordon| cordon.since_ms),
        };
        self.cordons.insert(machine, cordon);
        self.note(
            context,
            EventKind::Cordoned,
            About::machine(machine, detail),
        );
    }

    pub(super) fn uncordon(&mut self, context: &Context<'_>, machine: MachineId) -> Applied {
        let known = self.machines.get(&machine);
        let name = known.ok_or(Refusal::NoMachine(machine))?.name.clone();
        self.check_not_draining(machine)?;
        // What is about to be taken away serves nobody, whatever a person says.
        let is_free = known.is_some_and(|machine| machine.intent.is_none());
        let was_drained = is_free && self.is_drained(machine);
        let what = match self.cordons.remove(&machine) {
            Some(_) => "is not cordoned any more",
            None if was_drained => "serves again, as a person says",
            None => return Err(Refusal::NotCordoned(name)),
        };
        if was_drained {
            self.note_restarted(machine);
        }
        let detail = format!("{what}{}", context.by_whom());
        self.note(
            context,
            EventKind::Uncordoned,
            About::machine(machine, detail),
        );
        let drains = |(_, demand): &(DemandId, &Demand)| demand.what == Would::Drain;
        if let Some((id, _)) = self.demand_on(machine).filter(drains) {
            let detail = format!("order {id} is taken back: it is not cordoned any more");
            self.end_demand(
                context,
                id,
                DemandEnd::Withdrawn,
                EventKind::Withdrawn,
                detail,
            );
        }
        Ok(Reply::Done)
    }

    /// A machine that is just handing over its duties is given none.
    fn check_not_draining(&self, machine: MachineId) -> Result<(), Refusal> {
        let busy = self
            .machines
            .get(&machine)
            .and_then(|machine| machine.intent.clone());
        let intent = busy.and_then(|op| self.intents.get(&op));
        match intent.filter(|intent| matches!(intent.action, Action::Drain { .. })) {
            Some(intent) => {
                let op = intent.op.clone();
                Err(Refusal::MachineBusy { machine, op })
            }
            None => Ok(()),
        }
    }

    /// A machine whose workload has begun anew has duties again, as far as it takes them up.
    pub(super) fn note_restarted(&mut self, machine: MachineId) {
        if let Some(machine) = self.machines.get_mut(&machine) {
            machine.drained_ms = None;
        }
    }

    /// A machine's workload has handed over its duties, whatever was to come of that.
    pub(super) fn note_drained(&mut self, context: &Context<'_>, machine: MachineId) {
        if let Some(machine) = self.machines.get_mut(&machine) {
            machine.drained_ms = Some(context.now_ms);
        }
    }

    // === checks ===

    /// The demand that an action follows from, checked once more; `None` for what the fleet does by itself. No check
    /// may say that it was forced unless a person typed its rule.
    pub(super) fn check_demand(
        &self,
        context: &Context<'_>,
        proposal: &Proposal,
        action: Action,
    ) -> Result<Option<&Demand>, Refusal> {
        let demand = match proposal.cause {
            Cause::Asked { demand, .. } => {
                let demand = self.demands.get(&demand).ok_or(Refusal::NoDemand(demand))?;
                if !demand.stands(context.now_ms) {
                    return Err(Refusal::Stale("nobody asks for it any more".into()));
                }
                let done = match action {
                    Action::Replace { .. } => Some(Would::Replace),
                    Action::Treat { .. } | Action::Reimage { .. } => {
                        action.rung().map(Would::Treat)
                    }
                    Action::Drain { .. } => Some(Would::Drain),
                    Action::Provision { .. } | Action::Retire { .. } => None,
                };
                if action.finds() != Some(demand.machine) || done != Some(demand.what) {
                    return Err(invalid("an order by hand is for something else"));
                }
                Some(demand)
            }
            _ => None,
        };
        let is_forced = |rule: &Rule| demand.is_some_and(|demand| demand.forced.contains(rule));
        let mut forced = proposal.checks.iter();
        let unasked =
            forced.find(|check| check.verdict == Verdict::Forced && !is_forced(&check.rule));
        match unasked {
            None => Ok(demand),
            Some(check) => Err(invalid(format!("nobody forced the rule `{}`", check.rule))),
        }
    }
}

fn because(reason: &Text) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    }
}
