//! A machine comes in with a token.

use muster_mesh::identity::MachineId;

use super::super::command::Admit;
use super::super::decision::Subject;
use super::super::event::EventKind;
use super::super::ids::machine_id;
use super::super::machine::{Admission, Machine, Phase, Place};
use super::super::names::{GroupId, MachineName, Member};
use super::super::refusal::Refusal;
use super::super::reply::{Admitted, Reply};
use super::super::rung::Treatments;
use super::super::spec::Allocation;
use super::super::state::FleetState;
use super::super::token::{Token, TokenId};
use super::values::{check_labels, invalid};
use super::{About, Applied, Context};

impl FleetState {
    pub(super) fn admit(&mut self, context: &Context<'_>, admit: Admit) -> Applied {
        check_labels(&admit.labels)?;
        let admission = Admission {
            token: admit.token,
            key: admit.key,
        };
        let again = |machine: &&Machine| machine.admission.as_ref() == Some(&admission);
        if let Some(machine) = self.machines.values().find(again) {
            // The answer was lost on the way: the same key, which it proved to hold, gets it once more.
            return match machine.condemned {
                true => Err(Refusal::TokenUsedUp(admit.token)),
                false => self.admitted(machine),
            };
        }
        match MachineId::new(admit.token.0).filter(|id| self.machines.contains_key(id)) {
            Some(ordered) => self.admit_ordered(context, ordered, admit, admission),
            None => self.admit_newcomer(context, admit, admission),
        }
    }

    /// The machine that was ordered, with the token that was made for it. It may be late: as long as it has not
    /// been replaced, it is welcome.
    fn admit_ordered(
        &mut self,
        context: &Context<'_>,
        id: MachineId,
        admit: Admit,
        admission: Admission,
    ) -> Applied {
        let token = admit.token;
        let machine = self
            .machines
            .get_mut(&id)
            .ok_or(Refusal::TokenInvalid(token))?;
        if machine.token != Some(admit.secret) || machine.condemned {
            return Err(Refusal::TokenInvalid(token));
        }
        if machine.admission.is_some() {
            return Err(Refusal::TokenUsedUp(token));
        }
        if !matches!(machine.phase, Phase::Ordered | Phase::Lost { .. }) {
            return Err(Refusal::TokenInvalid(token));
        }
        machine.phase = Phase::Joined;
        machine.joined_ms = Some(context.now_ms);
        machine.addr = Some(admit.addr);
        machine.labels = admit.labels;
        machine.admission = Some(admission);
        let took_ms = context.now_ms.saturating_sub(machine.ordered_ms);
        let intent = machine.intent.clone();
        let detail = format!(
            "from {}, {} after its order",
            admit.addr,
            super::super::span(took_ms)
        );
        self.concerns.remove(&Subject::Machine(id));
        self.note(context, EventKind::Joined, About::machine(id, detail));
        if let Some(op) = intent {
            self.reimaged_by_arrival(context, &op);
            self.finish_await(context, &op);
        }
        self.admitted_by_id(id, token)
    }

    /// A machine that nobody ordered, with a token that a person made.
    fn admit_newcomer(
        &mut self,
        context: &Context<'_>,
        admit: Admit,
        admission: Admission,
    ) -> Applied {
        let group = self.good_token(context, &admit)?.group.clone();
        if let Some(id) = self.adopted_as(group.as_ref(), admit.name.as_ref()) {
            return self.admit_adopted(context, id, admit, admission);
        }
        let token = self.good_token(context, &admit)?;
        let (id, sequence) = self.next_machine_id()?;
        let place = match &token.group {
            Some(group) => Some(self.newcomers_place(group, &admit, sequence)?),
            None => None,
        };
        let name = match &place {
            Some(place) => place.member.machine_name(&place.group),
            None => self.newcomers_name(&admit, sequence)?,
        };
        let former = self.former_holder(&name);
        self.check_name_free(&name, former)?;
        if former.is_none() {
            self.check_roster_room()?;
        }
        let revision = token
            .group
            .as_ref()
            .and_then(|id| self.groups.get(id))
            .map(|g| g.template);
        if let Some(token) = self.tokens.get_mut(&admit.token) {
            token.uses_left = token.uses_left.saturating_sub(1);
            token.used = token.used.saturating_add(1);
        }
        self.sequence = sequence;
        self.use_ordinal(place.as_ref());
        if let Some(former) = former {
            let detail = format!("had left, and another machine takes the name {name}");
            self.note(
                context,
                EventKind::Forgotten,
                About::machine(former, detail),
            );
            self.remove_machine(context, former);
        }
        self.machines.insert(
            id,
            Machine {
                id,
                name,
                place,
                zone: None,
                revision,
                instance: None,
                order: None,
                addr: Some(admit.addr),
                labels: admit.labels,
                phase: Phase::Joined,
                intent: None,
                token: None,
                admission: Some(admission),
                ordered_ms: context.now_ms,
                made_ms: None,
                joined_ms: Some(context.now_ms),
                condemned: false,
                treatments: Treatments::default(),
                drained_ms: None,
                lease: None,
                unfenceable: None,
                unaccounted_ms: None,
            },
        );
        let detail = format!("from {}, with token {}", admit.addr, admit.token);
        self.note(context, EventKind::Joined, About::machine(id, detail));
        self.admitted_by_id(id, admit.token)
    }

    /// The machine of this name that was taken over with the group, and has no agent yet.
    fn adopted_as(&self, group: Option<&GroupId>, name: Option<&MachineName>) -> Option<MachineId> {
        let (group, name) = (group?, name?);
        let mut adopted = self.group_machines(group);
        let is_it = |machine: &&Machine| {
            let waits = matches!(machine.phase, Phase::Adopted { .. });
            waits && machine.intent.is_none() && machine.name == *name
        };
        adopted.find(is_it).map(|machine| machine.id)
    }

    /// The agent of a machine that was taken over, with a token that a person made for its group.
    fn admit_adopted(
        &mut self,
        context: &Context<'_>,
        id: MachineId,
        admit: Admit,
        admission: Admission,
    ) -> Applied {
        if let Some(token) = self.tokens.get_mut(&admit.token) {
            token.uses_left = token.uses_left.saturating_sub(1);
            token.used = token.used.saturating_add(1);
        }
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.phase = Phase::Joined;
            machine.joined_ms = Some(context.now_ms);
            machine.addr = Some(admit.addr);
            machine.labels = admit.labels;
            machine.admission = Some(admission);
        }
        let detail = format!("from {}, with token {}", admit.addr, admit.token);
        self.concerns.remove(&Subject::Machine(id));
        self.note(context, EventKind::Joined, About::machine(id, detail));
        self.admitted_by_id(id, admit.token)
    }

    fn good_token(&self, context: &Context<'_>, admit: &Admit) -> Result<&Token, Refusal> {
        let token = self
            .tokens
            .get(&admit.token)
            .filter(|token| token.secret == admit.secret)
            .ok_or(Refusal::TokenInvalid(admit.token))?;
        if token.expires_ms <= context.now_ms {
            return Err(Refusal::TokenExpired(admit.token));
        }
        if token.uses_left == 0 {
            return Err(Refusal::TokenUsedUp(admit.token));
        }
        Ok(token)
    }

    fn newcomers_place(
        &self,
        id: &GroupId,
        admit: &Admit,
        generation: u64,
    ) -> Result<Place, Refusal> {
        let group = self
            .groups
            .get(id)
            .ok_or_else(|| Refusal::NoGroup(id.clone()))?;
        if group.destroying {
            return Err(Refusal::GroupDestroying(id.clone()));
        }
        let member = match &group.spec.allocation {
            Allocation::Cattle { .. } => {
                if self.existing(id) >= group.desired() {
                    let desired = u32::try_from(group.desired()).unwrap_or(u32::MAX);
                    return Err(Refusal::GroupFull {
                        group: id.clone(),
                        desired,
                    });
                }
                Member::Cattle(self.free_ordinal(id, group.next_ordinal))
            }
            Allocation::Pets { members } => {
                let wanted = admit.name.clone().filter(|name| {
                    members.contains_key(name) && !self.is_taken(id, &Member::Pet(name.clone()))
                });
                let name = admit.name.as_ref().map_or("(no name)", MachineName::as_str);
                Member::Pet(wanted.ok_or_else(|| Refusal::NotAVacantMember {
                    group: id.clone(),
                    name: name.into(),
                })?)
            }
        };
        Ok(Place {
            group: id.clone(),
            member,
            generation,
        })
    }

    /// The name that a machine without a group asked for, or `machine-<number>`.
    fn newcomers_name(&self, admit: &Admit, sequence: u64) -> Result<MachineName, Refusal> {
        let Some(name) = admit.name.clone() else {
            return MachineName::new(format!("machine-{sequence}"))
                .map_err(|error| invalid(error.to_string()));
        };
        let is_pet = self
            .groups
            .iter()
            .find(|(_, group)| match &group.spec.allocation {
                Allocation::Pets { members } => members.contains_key(&name),
                Allocation::Cattle { .. } => false,
            });
        match is_pet {
            Some((group, _)) => Err(invalid(format!(
                "the name {name} belongs to a member of group {group}; join with a token for that group, or with another name"
            ))),
            None => Ok(name),
        }
    }

    /// The machine without a group that had this name and left for good, or was revoked. Its name is free for the next
    /// one: most often the same computer, made anew. (A group's machine that left is taken away by the leader.)
    fn former_holder(&self, name: &MachineName) -> Option<MachineId> {
        let mut holders = self.machines.values();
        let holder = holders.find(|machine| machine.name == *name)?;
        let is_over = matches!(holder.phase, Phase::Left { .. });
        (is_over && holder.place.is_none() && holder.intent.is_none()).then_some(holder.id)
    }

    fn admitted_by_id(&self, id: MachineId, token: TokenId) -> Applied {
        self.admitted(self.machines.get(&id).ok_or(Refusal::TokenInvalid(token))?)
    }

    fn admitted(&self, machine: &Machine) -> Applied {
        let cluster = self.cluster.as_ref().ok_or(Refusal::NotFounded)?.id;
        Ok(Reply::Admitted(Box::new(Admitted {
            cluster,
            machine: machine.id,
            name: machine.name.clone(),
            place: machine.place.clone(),
            labels: machine.labels.clone(),
        })))
    }

    pub(super) fn next_machine_id(&self) -> Result<(MachineId, u64), Refusal> {
        let cluster = self.cluster.as_ref().ok_or(Refusal::NotFounded)?.id;
        // At most one number has no ID, so two tries are enough.
        (1..=2)
            .map(|step| self.sequence.saturating_add(step))
            .find_map(|sequence| Some((machine_id(cluster, sequence)?, sequence)))
            .ok_or_else(|| invalid("this fleet has used up its machine IDs"))
    }
}
