//! A machine's system is written anew: another machine comes of it, on the same hardware and in the same place.

use muster_mesh::identity::MachineId;

use super::super::OperationId;
use super::super::decision::{Proposal, Subject};
use super::super::demand::Demand;
use super::super::event::EventKind;
use super::super::group::Group;
use super::super::intent::{Action, Intent, Step};
use super::super::machine::{Instance, Machine, Phase};
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::rung::Rung;
use super::super::state::FleetState;
use super::values::{check_instance, invalid};
use super::{About, Applied, Context, roster};

impl FleetState {
    /// Whether a machine may be reimaged: what goes for every rung, and that it is known what hardware it is on.
    pub(super) fn check_reimage(
        &self,
        context: &Context<'_>,
        group: &Group,
        proposal: &Proposal,
        old: &Machine,
        demand: Option<&Demand>,
    ) -> Result<(), Refusal> {
        if proposal.subject != Subject::Machine(old.id) {
            return Err(invalid("a decision about one machine reimages another one"));
        }
        if old.instance.is_none() {
            return Err(roster::wrong_phase(old, "what it runs on is not known"));
        }
        if group.destroying {
            return Err(Refusal::Stale("the group is being destroyed".into()));
        }
        self.check_treat(context, group, proposal, old, Rung::Reimage, demand)
    }

    /// Until when a reimage that may have begun is given time, in milliseconds since 1970; `None` for every other step.
    pub(super) fn reimage_until_ms(&self, op: &OperationId) -> Option<u64> {
        let intent = self.intents.get(op)?;
        let record = intent.current()?;
        let begun = record.begun.filter(|_| record.step == Step::Reimage)?;
        let heal = &self.groups.get(&intent.group)?.spec.heal;
        Some(begun.at_ms.saturating_add(heal.reimage_within_ms))
    }

    /// The old machine is no more; the new one is on its instance. `instance` is what the executor saw, or `None` where the
    /// new machine came before it could say so: nobody else has its token.
    pub(super) fn reimaged(
        &mut self,
        context: &Context<'_>,
        op: &OperationId,
        instance: Option<Instance>,
    ) -> Applied {
        let none = || Refusal::NoIntent(op.clone());
        let intent = self.intents.get(op).ok_or_else(none)?;
        let Action::Reimage { old, new } = intent.action else {
            return Err(none());
        };
        let decision = intent.decision;
        let before = self.machines.get(&old).ok_or(Refusal::NoMachine(old))?;
        let before = before.instance.clone().ok_or(Refusal::NoMachine(old))?;
        if let Some(instance) = &instance {
            check_instance(instance)?;
            if (&instance.provisioner, &instance.id) != (&before.provisioner, &before.id) {
                return Err(invalid("a machine that is reimaged stays on its instance"));
            }
        }
        let instance = instance.unwrap_or(before);
        let detail = format!("{} {} was reimaged", instance.provisioner, instance.id);
        let machine = self.machines.get_mut(&new).ok_or(Refusal::NoMachine(new))?;
        machine.instance = Some(instance);
        machine.made_ms = Some(context.now_ms);
        let joined = machine.phase == Phase::Joined;
        let about = About::machine(new, detail).decided(decision);
        self.note(context, EventKind::Treated, about);
        self.remove_machine(context, old);
        self.advance(context, op);
        if joined {
            self.finish_await(context, op);
        }
        Ok(Reply::Done)
    }

    /// What the machine does that came of a reimage is no better than before: it was no cure.
    pub(super) fn reimaged_in_vain(&mut self, new: MachineId) {
        let Some(machine) = self.machines.get_mut(&new) else {
            return;
        };
        let mut last = machine.treatments.last.iter_mut().rev();
        if let Some(treatment) = last.find(|treatment| treatment.rung == Rung::Reimage) {
            treatment.helped = false;
        }
    }

    /// A machine that was to come of a reimage has come, so that is done, whether or not anybody could say so.
    pub(super) fn reimaged_by_arrival(&mut self, context: &Context<'_>, op: &OperationId) {
        let current = self.intents.get(op).and_then(Intent::current);
        if current.is_some_and(|record| record.step == Step::Reimage) {
            // It fails only for an intent that is none of a reimage.
            let _ = self.reimaged(context, op, None);
        }
    }
}
