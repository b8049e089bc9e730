//! Which machines run their workloads under a lease only, and which could not be fenced.

use muster_mesh::identity::MachineId;

use super::super::event::EventKind;
use super::super::lease::{Fenced, LeaseTerms};
use super::super::limits::MACHINES_MAX;
use super::super::machine::Phase;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::FleetState;
use super::super::text::{Text, span};
use super::super::{OperationId, Step};
use super::values::{at_most, invalid};
use super::{About, Applied, Context, roster};

impl FleetState {
    /// A machine promises to run its workload under a lease only, or is released from that. Terms only grow longer in a
    /// machine's life: a lease by the longer ones may still be out.
    pub(super) fn bind_lease(
        &mut self,
        context: &Context<'_>,
        id: MachineId,
        terms: Option<LeaseTerms>,
    ) -> Applied {
        let machine = self.machines.get_mut(&id).ok_or(Refusal::NoMachine(id))?;
        if machine.phase != Phase::Joined || machine.condemned || !machine.is_pet() {
            return Err(roster::wrong_phase(
                machine,
                "only a pet that is in the mesh runs under a lease",
            ));
        }
        if let (None, Some(op)) = (terms, machine.intent.clone()) {
            // Whatever is under way may count on it.
            return Err(Refusal::MachineBusy { machine: id, op });
        }
        if terms.is_some_and(|terms| !terms.is_sane()) {
            return Err(invalid(
                "a lease that is too short or too long, or leaves no time to stop or to renew it before",
            ));
        }
        let before = machine.lease;
        machine.lease = terms.map(|terms| before.map_or(terms, |before| before.or_longer(terms)));
        if machine.lease == before {
            return Err(Refusal::Stale("it runs under such a lease already".into()));
        }
        let detail = match machine.lease {
            Some(LeaseTerms { lease_ms, stop_ms }) => format!(
                "runs its workload under a lease of {} only, and stops it within {}",
                span(lease_ms),
                span(stop_ms)
            ),
            None => "runs its workload without a lease".to_owned(),
        };
        self.note(context, EventKind::Leased, About::machine(id, detail));
        Ok(Reply::Done)
    }

    /// Takes down for which machines it has changed whether they could be fenced today.
    pub(super) fn record_fencing(
        &mut self,
        context: &Context<'_>,
        changes: Vec<(MachineId, Option<Text>)>,
    ) -> Applied {
        at_most("machines in one command", changes.len(), MACHINES_MAX)?;
        let mut news = false;
        for (id, why) in changes {
            let Some(machine) = self.machines.get_mut(&id).filter(|one| one.is_pet()) else {
                continue;
            };
            let (was, is) = (machine.unfenceable.is_some(), why.is_some());
            news |= machine.unfenceable != why;
            machine.unfenceable.clone_from(&why);
            match why {
                Some(why) if !was => {
                    self.note(context, EventKind::NotHealable, About::machine(id, why));
                }
                None if was && !is => {
                    let detail = "its successor could be started safely again";
                    self.note(context, EventKind::Healable, About::machine(id, detail));
                }
                _ => {}
            }
        }
        if news {
            Ok(Reply::Done)
        } else {
            Err(Refusal::Stale("nothing of that has changed".into()))
        }
    }

    /// The old machine's lease is over: its successor may start, and itself is refused from now on.
    pub(super) fn lease_over(
        &mut self,
        context: &Context<'_>,
        op: &OperationId,
        step: Step,
    ) -> Applied {
        let none = || Refusal::NoIntent(op.clone());
        let intent = self.intents.get_mut(op).ok_or_else(none)?;
        let (decision, old) = (intent.decision, intent.action.removes().ok_or_else(none)?);
        let machine = self.machines.get(&old).ok_or(Refusal::NoMachine(old))?;
        if step != Step::Fence || machine.lease.is_none() {
            return Err(invalid(
                "the machine never promised to run under a lease only",
            ));
        }
        if machine.unaccounted_ms.is_some() {
            return Err(invalid(
                "whoever leads where it is may renew its lease: it is unaccounted for",
            ));
        }
        intent.fenced = Some(Fenced::LeaseOver);
        let detail = "its lease, and its time to stop, are over; nobody can prove it off";
        let about = About::machine(old, detail);
        self.note(context, EventKind::Fenced, about.decided(decision));
        self.condemn(context, old);
        self.advance(context, op);
        Ok(Reply::Done)
    }

    /// The old machine's instance is left as it is: it may hold what its successor has not got.
    pub(super) fn kept(&mut self, context: &Context<'_>, op: &OperationId, step: Step) -> Applied {
        let none = || Refusal::NoIntent(op.clone());
        let intent = self.intents.get(op).ok_or_else(none)?;
        let (decision, old) = (intent.decision, intent.action.removes().ok_or_else(none)?);
        if step != Step::Destroy || intent.fenced != Some(Fenced::LeaseOver) {
            return Err(invalid(
                "only what outlived its lease unproved is left as it is",
            ));
        }
        let machine = self.machines.get(&old).ok_or(Refusal::NoMachine(old))?;
        let what = machine.instance.as_ref().map_or_else(
            || "whatever its order may have made".to_owned(),
            |instance| format!("{} {}", instance.provisioner, instance.id),
        );
        let detail = format!("{what} is left as it is: it may run, and hold what is nowhere else");
        let about = About::machine(old, detail);
        self.note(context, EventKind::Kept, about.decided(decision));
        self.remove_machine(context, old);
        self.advance(context, op);
        Ok(Reply::Done)
    }
}
