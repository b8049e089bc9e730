//! Groups: declared, changed, scaled, destroyed, let go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::budget::Bucket;
use super::super::command::SpecChange;
use super::super::decision::Subject;
use super::super::event::EventKind;
use super::super::group::Group;
use super::super::limits::{GROUPS_MAX, MACHINES_MAX, SPECS_PER_COMMAND_MAX, TEMPLATES_MAX};
use super::super::names::{GroupId, Member};
use super::super::pause::PauseScope;
use super::super::refusal::Refusal;
use super::super::reply::{self, Reply};
use super::super::spec::{Allocation, GroupSpec, HealMode, SpecRevision};
use super::super::state::FleetState;
use super::super::text::count;
use super::specs::check_spec;
use super::values::{at_most, invalid, too_many};
use super::{About, Applied, Context};

impl FleetState {
    pub(super) fn apply_specs(
        &mut self,
        context: &Context<'_>,
        changes: Vec<SpecChange>,
    ) -> Applied {
        self.check_specs(&changes)?;
        let applied = changes
            .into_iter()
            .map(|change| self.put_spec(context, change.spec));
        Ok(Reply::Applied(applied.collect()))
    }

    /// Whether groups can be declared like this, all of them together.
    ///
    /// # Errors
    /// The refusal that the command would get.
    pub fn check_specs(&self, changes: &[SpecChange]) -> Result<(), Refusal> {
        at_most("groups in one change", changes.len(), SPECS_PER_COMMAND_MAX)?;
        let mut ids = BTreeSet::new();
        for change in changes {
            if !ids.insert(&change.spec.id) {
                return Err(invalid(format!(
                    "group {} is declared twice",
                    change.spec.id
                )));
            }
            self.check_change(change)?;
        }
        let new = ids
            .iter()
            .filter(|id| !self.groups.contains_key(**id))
            .count();
        at_most("groups", self.groups.len() + new, GROUPS_MAX)?;
        self.check_total(changes.iter().map(|change| &change.spec))?;
        self.check_pet_names(changes)
    }

    fn check_change(&self, SpecChange { spec, expected }: &SpecChange) -> Result<(), Refusal> {
        check_spec(spec)?;
        let group = self.groups.get(&spec.id);
        let found = group.map(|group| group.revision);
        if found != *expected {
            let group = spec.id.clone();
            return Err(Refusal::RevisionMoved {
                group,
                expected: *expected,
                found,
            });
        }
        match group {
            Some(group) if group.destroying => Err(Refusal::GroupDestroying(spec.id.clone())),
            Some(group) => self.check_running(group, spec),
            None => self.check_adoptable(spec),
        }
    }

    /// What must not change while machines run.
    fn check_running(&self, group: &Group, spec: &GroupSpec) -> Result<(), Refusal> {
        let templates =
            group.templates.len() + usize::from(group.spec.template() != spec.template());
        at_most(
            "versions of one group that machines still run",
            templates,
            TEMPLATES_MAX,
        )?;
        if self.group_machines(&spec.id).next().is_none() {
            return Ok(());
        }
        let (from, to) = (group.spec.allocation.kind(), spec.allocation.kind());
        if from != to {
            return Err(Refusal::KindChange {
                group: spec.id.clone(),
                from,
                to,
            });
        }
        let (from, to) = (&group.spec.instance.provisioner, &spec.instance.provisioner);
        if from != to {
            let (from, to) = (from.as_str().into(), to.as_str().into());
            return Err(Refusal::ProvisionerChange {
                group: spec.id.clone(),
                from,
                to,
            });
        }
        Ok(())
    }

    /// Whether machines that say they are of this group, from before it was declared, can be.
    fn check_adoptable(&self, spec: &GroupSpec) -> Result<(), Refusal> {
        for machine in self.group_machines(&spec.id) {
            let pets = matches!(spec.allocation, Allocation::Pets { .. });
            if machine.is_pet() != pets {
                return Err(invalid(format!(
                    "machine {} is of group {} already, and the group is declared with the other kind",
                    machine.name, spec.id
                )));
            }
            let made_by = machine
                .instance
                .as_ref()
                .map(|instance| &instance.provisioner);
            if let Some(from) = made_by.filter(|from| **from != spec.instance.provisioner) {
                let to = spec.instance.provisioner.as_str().into();
                let (group, from) = (spec.id.clone(), from.as_str().into());
                return Err(Refusal::ProvisionerChange { group, from, to });
            }
        }
        Ok(())
    }

    /// Whether the roster has room for all that is declared.
    fn check_total<'a>(
        &'a self,
        changed: impl Iterator<Item = &'a GroupSpec>,
    ) -> Result<(), Refusal> {
        let mut desired: BTreeMap<_, _> = self
            .groups
            .iter()
            .map(|(id, group)| (id, group.desired()))
            .collect();
        desired.extend(changed.map(|spec| (&spec.id, spec.desired())));
        let total = desired
            .values()
            .fold(0usize, |sum, count| sum.saturating_add(*count));
        at_most("machines in all groups together", total, MACHINES_MAX)
    }

    /// Whether every pet can have its name.
    fn check_pet_names(&self, changes: &[SpecChange]) -> Result<(), Refusal> {
        let changed: BTreeSet<_> = changes.iter().map(|change| &change.spec.id).collect();
        let kept = self.groups.values().map(|group| &group.spec);
        let specs = kept
            .filter(|spec| !changed.contains(&spec.id))
            .chain(changes.iter().map(|change| &change.spec));
        let mut owners = BTreeMap::new();
        for spec in specs {
            let Allocation::Pets { members } = &spec.allocation else {
                continue;
            };
            for name in members.keys() {
                if let Some(other) = owners.insert(name, &spec.id) {
                    return Err(Refusal::PetNameInUse {
                        group: spec.id.clone(),
                        name: name.clone(),
                        other: format!("a member of group {other}").into(),
                    });
                }
            }
        }
        let mut taken = self.machines.values().filter_map(|machine| {
            let owner = owners.get(&machine.name)?;
            (machine.group() != Some(*owner)).then_some((machine, *owner))
        });
        taken.next().map_or(Ok(()), |(machine, owner)| {
            let other = match machine.group() {
                Some(group) => format!("machine {} of group {group}", machine.id),
                None => format!("machine {}, which is of no group", machine.id),
            };
            Err(Refusal::PetNameInUse {
                group: owner.clone(),
                name: machine.name.clone(),
                other: other.into(),
            })
        })
    }

    fn put_spec(&mut self, context: &Context<'_>, spec: GroupSpec) -> reply::Applied {
        let id = spec.id.clone();
        let revision = match self.groups.get(&id).map(|group| &group.spec) {
            None => self.create_group(context, spec),
            Some(old) if *old == spec => None,
            Some(_) => self.change_group(context, spec),
        };
        let current = self
            .groups
            .get(&id)
            .map_or(SpecRevision(1), |group| group.revision);
        reply::Applied {
            group: id,
            revision: current,
            changed: revision.is_some(),
        }
    }

    fn create_group(&mut self, context: &Context<'_>, spec: GroupSpec) -> Option<SpecRevision> {
        let id = spec.id.clone();
        let revision = SpecRevision(1);
        let ordinal = |member: &Member| match member {
            Member::Cattle(ordinal) => *ordinal,
            Member::Pet(_) => 0,
        };
        let places = self
            .machines
            .values_mut()
            .filter(|machine| machine.group() == Some(&id));
        let mut highest = 0;
        for machine in places {
            machine.revision = Some(revision);
            highest = highest.max(
                machine
                    .place
                    .as_ref()
                    .map_or(0, |place| ordinal(&place.member)),
            );
        }
        let group = Group {
            revision,
            templates: BTreeMap::from([(revision, spec.template())]),
            template: revision,
            changed_ms: context.now_ms,
            next_ordinal: highest.saturating_add(1),
            bucket: Bucket::full(spec.heal.budget.per_hour(spec.desired()), context.now_ms),
            failures: VecDeque::new(),
            replaced: BTreeMap::new(),
            ensemble_ms: None,
            destroying: false,
            spec,
        };
        let detail = format!(
            "{} wanted, as declared{}",
            count(group.spec.desired(), "machine"),
            context.by_whom()
        );
        self.groups.insert(id.clone(), group);
        self.note(context, EventKind::GroupCreated, About::group(&id, detail));
        Some(revision)
    }

    fn change_group(&mut self, context: &Context<'_>, spec: GroupSpec) -> Option<SpecRevision> {
        let id = spec.id.clone();
        let group = self.groups.get_mut(&id)?;
        group.bucket.settle(group.per_hour(), context.now_ms);
        group.revision = SpecRevision(group.revision.0.saturating_add(1));
        let template = spec.template();
        if group.spec.template() != template {
            group.templates.insert(group.revision, template);
            group.template = group.revision;
            group.changed_ms = context.now_ms;
        }
        group.failures.clear();
        group.spec = spec;
        let revision = group.revision;
        let detail = format!("revision {revision}{}", context.by_whom());
        self.drop_unused_templates(&id);
        self.note(context, EventKind::GroupChanged, About::group(&id, detail));
        Some(revision)
    }

    pub(super) fn drop_unused_templates(&mut self, id: &GroupId) {
        let used: BTreeSet<_> = self
            .group_machines(id)
            .filter_map(|machine| machine.revision)
            .collect();
        if let Some(group) = self.groups.get_mut(id) {
            let current = group.template;
            group
                .templates
                .retain(|revision, _| *revision == current || used.contains(revision));
        }
    }

    pub(super) fn scale_group(
        &mut self,
        context: &Context<'_>,
        id: &GroupId,
        size: u32,
    ) -> Applied {
        let group = self.live_group(id)?;
        let Allocation::Cattle { size: old } = group.spec.allocation else {
            return Err(Refusal::PetsHaveNoSize(id.clone()));
        };
        let mut spec = group.spec.clone();
        spec.allocation = Allocation::Cattle { size };
        check_spec(&spec)?;
        self.check_total(std::iter::once(&spec))?;
        if old != size {
            let group = self
                .groups
                .get_mut(id)
                .ok_or_else(|| Refusal::NoGroup(id.clone()))?;
            group.bucket.settle(group.per_hour(), context.now_ms);
            group.revision = SpecRevision(group.revision.0.saturating_add(1));
            group.spec = spec;
            let detail = format!("from {old} to {size}{}", context.by_whom());
            self.note(context, EventKind::GroupScaled, About::group(id, detail));
        }
        Ok(Reply::Done)
    }

    pub(super) fn set_heal_mode(
        &mut self,
        context: &Context<'_>,
        id: &GroupId,
        mode: HealMode,
    ) -> Applied {
        let old = self.live_group(id)?.spec.heal.mode;
        if let Some(group) = self.groups.get_mut(id).filter(|_| old != mode) {
            group.spec.heal.mode = mode;
            group.revision = SpecRevision(group.revision.0.saturating_add(1));
            let detail = format!("from {old} to {mode}{}", context.by_whom());
            self.note(context, EventKind::HealMode, About::group(id, detail));
        }
        Ok(Reply::Done)
    }

    pub(super) fn destroy_group(&mut self, context: &Context<'_>, id: &GroupId) -> Applied {
        if let Some(group) = self.groups.get_mut(id).filter(|group| !group.destroying) {
            group.destroying = true;
            let machines = count(self.group_machines(id).count(), "machine");
            let detail = format!("{machines} to go{}", context.by_whom());
            self.note(
                context,
                EventKind::GroupDestroying,
                About::group(id, detail),
            );
            self.finish_destroying(context, id);
            Ok(Reply::Done)
        } else {
            self.live_group(id).map(|_| Reply::Done)
        }
    }

    /// Forgets a group that is being destroyed once its last machine is gone.
    pub(super) fn finish_destroying(&mut self, context: &Context<'_>, id: &GroupId) {
        let over = self.groups.get(id).is_some_and(|group| group.destroying)
            && self.group_machines(id).next().is_none();
        if over {
            self.drop_group(id);
            self.note(
                context,
                EventKind::GroupDestroyed,
                About::group(id, "its last machine is gone"),
            );
        }
    }

    pub(super) fn free_group(&mut self, context: &Context<'_>, id: &GroupId) -> Applied {
        if !self.groups.contains_key(id) {
            return Err(Refusal::NoGroup(id.clone()));
        }
        let open = self.group_intents(id).count();
        if open > 0 {
            let open = u32::try_from(open).unwrap_or(u32::MAX);
            return Err(Refusal::GroupBusy {
                group: id.clone(),
                open,
            });
        }
        let mut freed = Vec::new();
        for machine in self
            .machines
            .values_mut()
            .filter(|machine| machine.group() == Some(id))
        {
            machine.revision = None;
            freed.push(machine.id);
        }
        for machine in &freed {
            self.concerns.remove(&Subject::Machine(*machine));
            self.approvals.remove(machine);
        }
        self.drop_group(id);
        let detail = format!(
            "{} let go{}",
            count(freed.len(), "machine"),
            context.by_whom()
        );
        self.note(context, EventKind::GroupFreed, About::group(id, detail));
        Ok(Reply::Done)
    }

    fn drop_group(&mut self, id: &GroupId) {
        self.groups.remove(id);
        let scope = PauseScope::Group(id.clone());
        self.pauses.retain(|key, _| key.scope != scope);
        self.concerns.remove(&Subject::Group(id.clone()));
    }

    /// A group that is not on its way out.
    fn live_group(&self, id: &GroupId) -> Result<&Group, Refusal> {
        match self.groups.get(id) {
            None => Err(Refusal::NoGroup(id.clone())),
            Some(group) if group.destroying => Err(Refusal::GroupDestroying(id.clone())),
            Some(group) => Ok(group),
        }
    }

    /// Refuses one more machine than the roster holds.
    pub(super) fn check_roster_room(&self) -> Result<(), Refusal> {
        if self.machines.len() >= MACHINES_MAX {
            return Err(too_many("machines in the roster", MACHINES_MAX));
        }
        Ok(())
    }
}
