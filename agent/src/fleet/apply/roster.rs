//! The roster: machines that leave, return, move, are shut out or forgotten.

use std::net::SocketAddr;

use muster_mesh::identity::{Generation, MachineId};

use super::super::decision::{Outcome, Subject};
use super::super::event::EventKind;
use super::super::limits::REVOKED_KEPT_MS;
use super::super::machine::{Machine, Phase};
use super::super::names::MachineName;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::rule::Rule;
use super::super::state::FleetState;
use super::{About, Applied, Context};

impl FleetState {
    pub(super) fn machine_left(
        &mut self,
        context: &Context<'_>,
        id: MachineId,
        life: Generation,
    ) -> Applied {
        let machine = self.machines.get_mut(&id).ok_or(Refusal::NoMachine(id))?;
        if machine.phase != Phase::Joined {
            return Err(wrong_phase(
                machine,
                "only a machine that is in the mesh can leave it",
            ));
        }
        machine.phase = Phase::Left {
            at_ms: context.now_ms,
            life: Some(life),
        };
        self.note(
            context,
            EventKind::Left,
            About::machine(id, "said goodbye for good"),
        );
        self.drop_demand_on(context, id);
        Ok(Reply::Done)
    }

    pub(super) fn machine_returned(&mut self, context: &Context<'_>, id: MachineId) -> Applied {
        let machine = self.machines.get_mut(&id).ok_or(Refusal::NoMachine(id))?;
        if !matches!(machine.phase, Phase::Left { .. }) {
            return Err(wrong_phase(machine, "only a machine that left can return"));
        }
        if machine.condemned {
            return Err(wrong_phase(machine, "its certificate has been revoked"));
        }
        machine.phase = Phase::Joined;
        self.note(
            context,
            EventKind::Returned,
            About::machine(id, "is back in the mesh"),
        );
        Ok(Reply::Done)
    }

    pub(super) fn record_address(
        &mut self,
        context: &Context<'_>,
        id: MachineId,
        addr: SocketAddr,
    ) -> Applied {
        let machine = self.machines.get_mut(&id).ok_or(Refusal::NoMachine(id))?;
        if machine.joined_ms.is_none() {
            return Err(wrong_phase(machine, "it has not joined yet"));
        }
        if machine.addr != Some(addr) {
            let from = machine.addr.replace(addr);
            let from = from.map_or_else(|| "nowhere".to_owned(), |from| from.to_string());
            let detail = format!("from {from} to {addr}");
            self.note(context, EventKind::Moved, About::machine(id, detail));
        }
        Ok(Reply::Done)
    }

    pub(super) fn revoke_machine(&mut self, context: &Context<'_>, id: MachineId) -> Applied {
        let machine = self.machines.get_mut(&id).ok_or(Refusal::NoMachine(id))?;
        if machine.condemned {
            return Err(wrong_phase(machine, "it has been revoked already"));
        }
        if machine.phase == Phase::Joined {
            machine.phase = Phase::Left {
                at_ms: context.now_ms,
                life: None,
            };
        }
        let detail = format!(
            "its certificate is refused from now on{}",
            context.by_whom()
        );
        self.condemn(context, id);
        self.note(context, EventKind::Revoked, About::machine(id, detail));
        Ok(Reply::Done)
    }

    pub(super) fn forget(&mut self, context: &Context<'_>, id: MachineId) -> Applied {
        let machine = self.machines.get(&id).ok_or(Refusal::NoMachine(id))?;
        if let Some(op) = machine.intent.clone() {
            return Err(Refusal::MachineBusy { machine: id, op });
        }
        self.check_unanswered(machine)?;
        let group = machine.group().cloned();
        let detail = format!(
            "taken off the roster{}; it was {}",
            context.by_whom(),
            machine.phase
        );
        self.note(context, EventKind::Forgotten, About::machine(id, detail));
        self.remove_machine(context, id);
        if let Some(group) = group {
            self.finish_destroying(context, &group);
        }
        Ok(Reply::Done)
    }

    /// Slow is not dead: what somebody still gets an answer from would run on, and nobody would look after it.
    fn check_unanswered(&self, machine: &Machine) -> Result<(), Refusal> {
        let concern = self.concerns.get(&Subject::Machine(machine.id));
        match concern.map(|concern| &concern.outcome) {
            Some(Outcome::Hold {
                rule: rule @ Rule::Evidence,
                detail,
                ..
            }) if !machine.condemned => {
                let name = &machine.name;
                let detail = format!(
                    "{detail}; shut it out with `muster revoke {name}` first, or forget it once nobody gets an answer"
                );
                let (rule, detail) = (*rule, detail.into());
                Err(Refusal::Held { rule, detail })
            }
            _ => Ok(()),
        }
    }

    /// Has everyone refuse the machine's certificate.
    pub(super) fn condemn(&mut self, context: &Context<'_>, id: MachineId) {
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.condemned = true;
        }
        self.drop_demand_on(context, id);
        let now_ms = context.now_ms;
        self.revoked
            .retain(|_, at_ms| now_ms.saturating_sub(*at_ms) < REVOKED_KEPT_MS);
        self.revoked.entry(id).or_insert(now_ms);
    }

    /// Takes a machine off the roster, with all that stood on record about it.
    pub(super) fn remove_machine(&mut self, context: &Context<'_>, id: MachineId) {
        self.condemn(context, id);
        self.machines.remove(&id);
        self.concerns.remove(&Subject::Machine(id));
        self.approvals.remove(&id);
        self.cordons.remove(&id);
    }

    /// Refuses a name that another machine has, `except` one that is about to give it up.
    pub(super) fn check_name_free(
        &self,
        name: &MachineName,
        except: Option<MachineId>,
    ) -> Result<(), Refusal> {
        let holder = self
            .machines
            .values()
            .find(|machine| machine.name == *name && Some(machine.id) != except);
        holder.map_or(Ok(()), |machine| {
            Err(Refusal::NameInUse {
                name: name.clone(),
                machine: machine.id,
            })
        })
    }
}

pub(super) fn wrong_phase(machine: &Machine, why: &str) -> Refusal {
    Refusal::WrongPhase {
        name: machine.name.clone(),
        phase: machine.phase.to_string().into(),
        why: why.into(),
    }
}
