//! Groups whose machines another tool made.
//!
//! They are on the roster from the first moment, so that nobody orders others in their place; and nothing is known of them but
//! what their provisioner says, until an agent of theirs joins.

use std::collections::BTreeSet;

use super::super::command::{Adopt, SpecChange};
use super::super::event::EventKind;
use super::super::limits::{INSTANCE_BYTES_MAX, MACHINES_MAX};
use super::super::machine::{Instance, Machine, Phase, Place};
use super::super::names::Member;
use super::super::rung::Treatments;
use super::super::spec::{Allocation, GroupSpec};
use super::super::state::FleetState;
use super::values::{at_most, invalid};
use super::{About, Applied, Context};

impl FleetState {
    pub(super) fn adopt(&mut self, context: &Context<'_>, adopt: Adopt) -> Applied {
        let Adopt { spec, instances } = adopt;
        let change = SpecChange {
            spec: spec.clone(),
            expected: None,
        };
        self.check_specs(std::slice::from_ref(&change))?;
        self.check_adopted(&spec, &instances)?;
        let reply = self.apply_specs(context, vec![change])?;
        for (member, instance) in instances {
            self.put_adopted(context, &spec, member, instance)?;
        }
        Ok(reply)
    }

    /// Whether each instance can be the member that it is to be, and is no machine's yet.
    fn check_adopted(
        &self,
        spec: &GroupSpec,
        instances: &[(Member, Instance)],
    ) -> Result<(), super::Refusal> {
        at_most(
            "machines in the roster",
            self.machines.len().saturating_add(instances.len()),
            MACHINES_MAX,
        )?;
        // A machine needs a number, and at most one number has no ID.
        let numbers = u64::try_from(instances.len())
            .unwrap_or(u64::MAX)
            .saturating_add(2);
        if self.sequence.checked_add(numbers).is_none() {
            return Err(invalid("this fleet has used up its machine IDs"));
        }
        let existing = self.group_machines(&spec.id).count();
        if instances.len().saturating_add(existing) > spec.desired() {
            return Err(invalid(format!(
                "{} machines are more than the {} that group {} wants",
                instances.len(),
                spec.desired(),
                spec.id
            )));
        }
        let key = |one: &Instance| (one.provisioner.clone(), one.id.clone());
        let machines = || self.machines.values();
        let names: BTreeSet<_> = machines().map(|one| one.name.clone()).collect();
        let mut known: BTreeSet<_> = machines()
            .filter_map(|one| one.instance.as_ref().map(key))
            .collect();
        let mut members = BTreeSet::new();
        for (member, instance) in instances {
            let fits = match (&spec.allocation, member) {
                (Allocation::Cattle { .. }, Member::Cattle(_)) => true,
                (Allocation::Pets { members }, Member::Pet(name)) => members.contains_key(name),
                _ => false,
            };
            let name = member.machine_name(&spec.id);
            if !fits || names.contains(&name) {
                return Err(invalid(format!(
                    "{name} can't be a machine of group {}, or is one already",
                    spec.id
                )));
            }
            if instance.provisioner != spec.instance.provisioner {
                return Err(invalid(format!(
                    "instance {} is of another provisioner",
                    instance.id
                )));
            }
            at_most(
                "bytes of what is known of an instance",
                instance.properties.canonical_json().len(),
                INSTANCE_BYTES_MAX,
            )?;
            if !known.insert(key(instance)) || !members.insert(member) {
                return Err(invalid(format!(
                    "instance {} is another machine's, or named twice",
                    instance.id
                )));
            }
        }
        Ok(())
    }

    fn put_adopted(
        &mut self,
        context: &Context<'_>,
        spec: &GroupSpec,
        member: Member,
        instance: Instance,
    ) -> Result<(), super::Refusal> {
        let (id, sequence) = self.next_machine_id()?;
        self.sequence = sequence;
        let place = Place {
            group: spec.id.clone(),
            member,
            generation: sequence,
        };
        self.use_ordinal(Some(&place));
        let detail = format!(
            "instance {} goes on as it is; no agent of it has joined yet",
            instance.id
        );
        let machine = Machine {
            id,
            name: place.member.machine_name(&place.group),
            place: Some(place),
            zone: None,
            revision: self.groups.get(&spec.id).map(|group| group.template),
            instance: Some(instance),
            order: None,
            addr: None,
            labels: spec.labels.clone(),
            phase: Phase::Adopted {
                at_ms: context.now_ms,
            },
            intent: None,
            token: None,
            admission: None,
            ordered_ms: context.now_ms,
            made_ms: Some(context.now_ms),
            joined_ms: None,
            condemned: false,
            treatments: Treatments::default(),
            drained_ms: None,
            lease: None,
            unfenceable: None,
            unaccounted_ms: None,
        };
        self.machines.insert(id, machine);
        self.note(context, EventKind::Adopted, About::machine(id, detail));
        Ok(())
    }
}
