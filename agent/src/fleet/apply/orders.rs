//! Whether an action may be committed: every invariant that the state itself can check.

use muster_mesh::identity::MachineId;

use super::super::OperationId;
use super::super::decision::{Cause, Order, Proposal, Subject, Would};
use super::super::demand::Demand;
use super::super::diagnosis::Diagnosis;
use super::super::group::Group;
use super::super::ids::operation_id;
use super::super::intent::Action;
use super::super::limits::APPROVAL_MS;
use super::super::machine::{Machine, Phase, Place};
use super::super::names::{GroupId, Member};
use super::super::pool::Limit;
use super::super::refusal::Refusal;
use super::super::rule::Rule;
use super::super::rung::Rung;
use super::super::spec::{Allocation, HealMode};
use super::super::state::FleetState;
use super::super::text::span;
use super::order::Former;
use super::values::invalid;
use super::{Context, roster};

impl FleetState {
    pub(super) fn check_act(
        &self,
        context: &Context<'_>,
        proposal: &Proposal,
        op: &OperationId,
        action: Action,
    ) -> Result<(), Refusal> {
        let id = proposal
            .group
            .as_ref()
            .ok_or_else(|| invalid("an action without a group"))?;
        let group = self
            .groups
            .get(id)
            .ok_or_else(|| Refusal::NoGroup(id.clone()))?;
        self.check_mandate(proposal)?;
        let demand = self.check_demand(context, proposal, action)?;
        if !forces(demand, Rule::Paused) {
            self.check_not_paused(context, id, proposal, action)?;
        }
        let place = match action {
            Action::Provision { machine } => {
                self.check_provision(context, id, group, proposal)?;
                let order = needed_order(proposal)?;
                self.check_order(id, group, order, machine, Former::Nobody)?
            }
            Action::Replace { old, new } => {
                let machine = self.free_machine(id, old)?;
                self.check_replace(context, group, proposal, machine, demand)?;
                let order = needed_order(proposal)?;
                self.check_order(id, group, order, new, Former::Replaced(machine))?
            }
            Action::Reimage { old, new } => {
                let machine = self.free_machine(id, old)?;
                self.check_reimage(context, group, proposal, machine, demand)?;
                let order = needed_order(proposal)?;
                self.check_order(id, group, order, new, Former::Reimaged(machine))?
            }
            Action::Retire { machine } => {
                let machine = self.free_machine(id, machine)?;
                self.check_retire(context, id, group, proposal, machine)?;
                if proposal.order.is_some() {
                    return Err(invalid("a retirement orders no machine"));
                }
                machine
                    .place
                    .clone()
                    .ok_or_else(|| Refusal::NoGroup(id.clone()))?
            }
            Action::Treat {
                machine,
                rung,
                number,
            } => {
                if rung == Rung::Reimage {
                    return Err(invalid("reimaging makes another machine"));
                }
                let machine = self.free_machine(id, machine)?;
                check_in_place(group, proposal, machine, number)?;
                self.check_treat(context, group, proposal, machine, rung, demand)?;
                machine
                    .place
                    .clone()
                    .ok_or_else(|| Refusal::NoGroup(id.clone()))?
            }
            Action::Drain { machine, number } => {
                let machine = self.free_machine(id, machine)?;
                check_in_place(group, proposal, machine, number)?;
                self.check_drain(group, machine, demand)?;
                machine
                    .place
                    .clone()
                    .ok_or_else(|| Refusal::NoGroup(id.clone()))?
            }
        };
        self.check_operation(id, &place, op, action)
    }

    /// Invariant 2: a minority never acts.
    fn check_mandate(&self, proposal: &Proposal) -> Result<(), Refusal> {
        let mandate = proposal.mandate;
        let electors = self.electors().count();
        if (mandate.roster as usize) < electors {
            return Err(Refusal::Stale(
                format!(
                    "it counted on a roster of {}, and it is {electors}",
                    mandate.roster
                )
                .into(),
            ));
        }
        if !mandate.suffices() {
            let detail = format!(
                "{} machines acknowledge, and {} must",
                mandate.acks,
                mandate.needed()
            );
            return Err(Refusal::Held {
                rule: Rule::Quorum,
                detail: detail.into(),
            });
        }
        Ok(())
    }

    fn check_not_paused(
        &self,
        context: &Context<'_>,
        id: &GroupId,
        proposal: &Proposal,
        action: Action,
    ) -> Result<(), Refusal> {
        let machine = action.finds().and_then(|id| self.machines.get(&id));
        let zone = proposal
            .order
            .as_ref()
            .and_then(|order| order.zone.as_deref());
        let Some((key, pause)) = self.paused_in(id, machine, zone, context.now_ms) else {
            return Ok(());
        };
        let detail = match &*pause.reason {
            "" => format!("{} is paused", key.scope),
            reason => format!("{} is paused: {reason}", key.scope),
        };
        Err(Refusal::Held {
            rule: Rule::Paused,
            detail: detail.into(),
        })
    }

    fn check_provision(
        &self,
        context: &Context<'_>,
        id: &GroupId,
        group: &Group,
        proposal: &Proposal,
    ) -> Result<(), Refusal> {
        if !matches!(proposal.subject, Subject::Group(_))
            || !matches!(proposal.cause, Cause::TooFew { .. })
        {
            return Err(invalid("a machine is ordered for a group that has too few"));
        }
        let (desired, existing) = (group.desired(), self.existing(id));
        if existing >= desired {
            return Err(Refusal::Stale(
                format!("it has {existing} of {desired} machines").into(),
            ));
        }
        let kept = self.slots_kept(id);
        if existing + kept >= desired {
            let detail =
                format!("{kept} of its machines left; clear them away or forget them first");
            return Err(Refusal::Held {
                rule: Rule::Mode,
                detail: detail.into(),
            });
        }
        check_backoff(context, group)
    }

    fn check_replace(
        &self,
        context: &Context<'_>,
        group: &Group,
        proposal: &Proposal,
        old: &Machine,
        demand: Option<&Demand>,
    ) -> Result<(), Refusal> {
        if proposal.subject != Subject::Machine(old.id) {
            return Err(invalid("a decision about one machine replaces another one"));
        }
        let fits = match (proposal.cause.diagnosis(), old.phase) {
            (None, Phase::Adopted { .. } | Phase::Joined | Phase::Lost { .. }) => demand.is_some(),
            (Some(Diagnosis::Gone), Phase::Adopted { .. }) => true,
            (Some(Diagnosis::Gone | Diagnosis::Unreachable), Phase::Joined) => true,
            // The end of the ladder; which rungs there are is for the decision core to know.
            (Some(Diagnosis::AgentDown | Diagnosis::WorkloadFailed), Phase::Joined) => true,
            (Some(diagnosis), Phase::Lost { .. }) => !diagnosis.is_calm(),
            _ => false,
        };
        if !fits {
            return Err(roster::wrong_phase(
                old,
                "its diagnosis is none to replace it for",
            ));
        }
        if group.destroying {
            return Err(Refusal::Stale("the group is being destroyed".into()));
        }
        if demand.is_none() {
            self.check_by_itself(context, group, proposal, old.id, Would::Replace)?;
        }
        if !forces(demand, Rule::Backoff) {
            check_backoff(context, group)?;
            check_disk(context, group, old)?;
        }
        self.check_budget(context, group, old, demand)
    }

    /// What only stops what the fleet does by itself.
    fn check_by_itself(
        &self,
        context: &Context<'_>,
        group: &Group,
        proposal: &Proposal,
        machine: MachineId,
        would: Would,
    ) -> Result<(), Refusal> {
        if let Some(cordon) = self.cordons.get(&machine) {
            return Err(Refusal::Held {
                rule: Rule::Cordoned,
                detail: format!("it is cordoned: {}", cordon.reason).into(),
            });
        }
        let diagnosis = proposal.cause.diagnosis();
        self.check_permitted(context, group, machine, diagnosis, would)
    }

    /// Draining takes a machine's duties away, so it counts among the removals at one time. It costs nothing of the
    /// hour's budget, as scaling in doesn't.
    fn check_drain(
        &self,
        group: &Group,
        machine: &Machine,
        demand: Option<&Demand>,
    ) -> Result<(), Refusal> {
        if demand.is_none() || machine.phase != Phase::Joined {
            return Err(roster::wrong_phase(
                machine,
                "only a machine that joined is drained, and only by hand",
            ));
        }
        if forces(demand, Rule::Budget) {
            return Ok(());
        }
        self.check_at_once(group, "removals")
    }

    pub(super) fn check_treat(
        &self,
        context: &Context<'_>,
        group: &Group,
        proposal: &Proposal,
        machine: &Machine,
        rung: Rung,
        demand: Option<&Demand>,
    ) -> Result<(), Refusal> {
        let fits = match proposal.cause.diagnosis() {
            Some(diagnosis) => Rung::ladder(diagnosis).contains(&rung),
            None => demand.is_some(),
        };
        if !fits || machine.phase != Phase::Joined {
            let why = format!("its diagnosis is none to {rung} it for");
            return Err(roster::wrong_phase(machine, &why));
        }
        // A person who names the rung does not climb the ladder.
        let spent = machine.treatments.spent(rung, context.now_ms);
        if let Some(spent) = spent.filter(|_| demand.is_none()) {
            let ago = span(context.now_ms.saturating_sub(spent.at_ms));
            let detail = format!("{rung} was tried {ago} ago");
            return Err(Refusal::Held {
                rule: Rule::Ladder,
                detail: detail.into(),
            });
        }
        if demand.is_none() {
            self.check_by_itself(context, group, proposal, machine.id, Would::Treat(rung))?;
        }
        if !forces(demand, Rule::Backoff) {
            check_backoff(context, group)?;
        }
        self.check_budget(context, group, machine, demand)
    }

    /// Whether the group's mode lets us do this to the machine for what was found.
    fn check_permitted(
        &self,
        context: &Context<'_>,
        group: &Group,
        machine: MachineId,
        diagnosis: Option<Diagnosis>,
        would: Would,
    ) -> Result<(), Refusal> {
        let detail = match group.spec.heal.mode {
            HealMode::Auto => return Ok(()),
            HealMode::Approve => match self.approval(machine, context.now_ms) {
                None => format!("nobody approved it within the last {}", span(APPROVAL_MS)),
                Some(approval) => match approval.is_not_for(diagnosis, would) {
                    None => return Ok(()),
                    Some(why) => why,
                },
            },
            HealMode::Observe => "the group is only observed".to_owned(),
        };
        Err(Refusal::Held {
            rule: Rule::Mode,
            detail: detail.into(),
        })
    }

    /// Invariant 7: spending is conserved.
    fn check_budget(
        &self,
        context: &Context<'_>,
        group: &Group,
        machine: &Machine,
        demand: Option<&Demand>,
    ) -> Result<(), Refusal> {
        if forces(demand, Rule::Budget) {
            return Ok(());
        }
        self.check_at_once(group, "replacements")?;
        let detail = if group.bucket.tokens(group.per_hour(), context.now_ms) == 0 {
            format!("this hour's {} replacements are spent", group.per_hour())
        } else {
            let limits = self.limits_on(machine, context.now_ms);
            match limits.iter().find_map(Limit::held) {
                Some(detail) => detail,
                None => return Ok(()),
            }
        };
        Err(Refusal::Held {
            rule: Rule::Budget,
            detail: detail.into(),
        })
    }

    fn check_at_once(&self, group: &Group, what: &str) -> Result<(), Refusal> {
        let (under_way, at_once) = (self.removals(&group.spec.id), group.at_once());
        if under_way < at_once {
            return Ok(());
        }
        Err(Refusal::Held {
            rule: Rule::Budget,
            detail: format!("{under_way} of {at_once} {what} at once are under way").into(),
        })
    }

    fn check_retire(
        &self,
        context: &Context<'_>,
        id: &GroupId,
        group: &Group,
        proposal: &Proposal,
        machine: &Machine,
    ) -> Result<(), Refusal> {
        if proposal.subject != Subject::Machine(machine.id) {
            return Err(invalid("a decision about one machine retires another one"));
        }
        check_backoff(context, group)?;
        if group.destroying {
            return Ok(());
        }
        // To clear one away ends its instance, which nobody asked for.
        if matches!(machine.phase, Phase::Left { .. }) {
            let diagnosis = proposal.cause.diagnosis();
            return self.check_permitted(context, group, machine.id, diagnosis, Would::Retire);
        }
        let surplus = match (
            &group.spec.allocation,
            machine.place.as_ref().map(|p| &p.member),
        ) {
            (Allocation::Pets { members }, Some(Member::Pet(name))) => !members.contains_key(name),
            _ => self.existing(id) > group.desired(),
        };
        if !surplus {
            return Err(Refusal::Stale(
                format!(
                    "the group wants {} machines, and this is one of them",
                    group.desired()
                )
                .into(),
            ));
        }
        self.check_at_once(group, "removals")
    }

    /// A machine of the group that no intent is about.
    fn free_machine(&self, group: &GroupId, id: MachineId) -> Result<&Machine, Refusal> {
        let machine = self.machines.get(&id).ok_or(Refusal::NoMachine(id))?;
        if let Some(op) = machine.intent.clone() {
            return Err(Refusal::MachineBusy { machine: id, op });
        }
        if machine.group() != Some(group) {
            return Err(invalid(format!(
                "machine {} is not of group {group}",
                machine.name
            )));
        }
        match machine.phase {
            Phase::Adopted { .. } | Phase::Joined | Phase::Lost { .. } | Phase::Left { .. } => {
                Ok(machine)
            }
            Phase::Ordered | Phase::Retiring => {
                Err(roster::wrong_phase(machine, "it is on its way already"))
            }
        }
    }

    fn check_operation(
        &self,
        id: &GroupId,
        place: &Place,
        op: &OperationId,
        action: Action,
    ) -> Result<(), Refusal> {
        let cluster = self.cluster.as_ref().ok_or(Refusal::NotFounded)?.id;
        if *op != operation_id(cluster, id, &place.member, place.generation, action) {
            return Err(invalid(
                "an operation's ID does not follow from what it is for",
            ));
        }
        match self.intents.get(op) {
            Some(intent) if intent.is_open() => Err(Refusal::MemberBusy {
                group: id.clone(),
                member: place.member.clone(),
                op: op.clone(),
            }),
            _ => Ok(()),
        }
    }
}

fn needed_order(proposal: &Proposal) -> Result<&Order, Refusal> {
    proposal
        .order
        .as_ref()
        .ok_or_else(|| invalid("an action that makes a machine needs an order"))
}

/// What goes for everything that is done to a machine in its place.
fn check_in_place(
    group: &Group,
    proposal: &Proposal,
    machine: &Machine,
    number: u32,
) -> Result<(), Refusal> {
    if proposal.subject != Subject::Machine(machine.id) {
        return Err(invalid("a decision about one machine treats another one"));
    }
    if proposal.order.is_some() {
        return Err(invalid("a treatment orders no machine"));
    }
    if machine.treatments.count.checked_add(1) != Some(number) {
        return Err(Refusal::Stale(
            format!("it has had {} treatments", machine.treatments.count).into(),
        ));
    }
    if group.destroying {
        return Err(Refusal::Stale("the group is being destroyed".into()));
    }
    Ok(())
}

fn forces(demand: Option<&Demand>, rule: Rule) -> bool {
    demand.is_some_and(|demand| demand.forced.contains(&rule))
}

fn check_disk(context: &Context<'_>, group: &Group, old: &Machine) -> Result<(), Refusal> {
    let member = old.place.as_ref().map(|place| &place.member);
    match member.and_then(|member| group.suspects_disk(member, context.now_ms)) {
        None => Ok(()),
        Some(_) => Err(Refusal::Held {
            rule: Rule::Backoff,
            detail: "it died again and again with the same disk".into(),
        }),
    }
}

fn check_backoff(context: &Context<'_>, group: &Group) -> Result<(), Refusal> {
    group.backoff(context.now_ms).map_or(Ok(()), |backoff| {
        let wait = span(backoff.until_ms.saturating_sub(context.now_ms));
        let detail = format!("{} operations failed; next try in {wait}", backoff.failed);
        Err(Refusal::Held {
            rule: Rule::Backoff,
            detail: detail.into(),
        })
    })
}
