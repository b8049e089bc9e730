//! What applying a spec would change. Pure.

use std::collections::BTreeSet;

use muster_flavors::Registry;
use serde_json::Value;

use super::document::document;
use super::for_flavor;
use crate::api::types::{Change, FieldChange, GroupKind, GroupPlan, Refusal};
use crate::fleet::spec::{self, Allocation, GroupSpec, HealMode};

/// A group as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// Its spec.
    pub spec: &'a GroupSpec,
    /// The revision of that.
    pub revision: u64,
    /// How many machines it has, wanted or not.
    pub machines: usize,
}

/// What making `new` of the group that exists now, if one does, would change.
pub fn plan(current: Option<Current<'_>>, new: &GroupSpec) -> GroupPlan {
    let before = current.map(|current| document(current.spec));
    let after = document(new);
    let mut fields = Vec::new();
    if let Some(before) = &before {
        differences(String::new(), before, &after, &mut fields);
        // The numbers and names have columns of their own.
        fields.retain(|change| {
            !change.field.starts_with("size") && !change.field.starts_with("members")
        });
    }
    let members = |spec: &GroupSpec| match &spec.allocation {
        Allocation::Cattle { .. } => BTreeSet::new(),
        Allocation::Pets { members } => members.keys().map(ToString::to_string).collect(),
    };
    let old_members: BTreeSet<String> = current
        .map(|current| members(current.spec))
        .unwrap_or_default();
    let new_members = members(new);
    let change = match current {
        None => Change::Create,
        Some(current) if current.spec == new => Change::Unchanged,
        Some(_) if fields.is_empty() => Change::Scale,
        Some(_) => Change::Update,
    };
    GroupPlan {
        id: new.id.to_string(),
        kind: kind(new),
        change,
        revision: current.map(|current| current.revision),
        desired_before: current.map_or(0, |current| count(current.spec)),
        desired_after: count(new),
        members_added: new_members.difference(&old_members).cloned().collect(),
        members_removed: old_members.difference(&new_members).cloned().collect(),
        warnings: current
            .map(|current| warnings(current, new))
            .unwrap_or_default(),
        refused: current.and_then(|current| refusal(current, new)),
        fields,
    }
}

/// What giving the group another size would change, or why it can't have one.
pub fn plan_scale(current: Current<'_>, size: u32) -> (GroupSpec, GroupPlan) {
    let mut new = current.spec.clone();
    let mut refused = None;
    match &mut new.allocation {
        Allocation::Cattle { size: old } => *old = size,
        Allocation::Pets { .. } => {
            refused = Some(Refusal {
                reason: format!(
                    "{} is a group of pets, which are named and not numbered",
                    new.id
                ),
                remedy: "edit `members` in its spec and `muster apply` that".into(),
            });
        }
    }
    let mut plan = plan(Some(current), &new);
    plan.refused = plan.refused.or(refused);
    (new, plan)
}

fn kind(spec: &GroupSpec) -> GroupKind {
    match spec.allocation.kind() {
        spec::GroupKind::Cattle => GroupKind::Cattle,
        spec::GroupKind::Pets => GroupKind::Pets,
    }
}

fn count(spec: &GroupSpec) -> u32 {
    u32::try_from(spec.desired()).unwrap_or(u32::MAX)
}

/// The leaves in which two documents differ.
fn differences(path: String, before: &Value, after: &Value, changes: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    let empty = serde_json::Map::new();
    let objects = match (before, after) {
        (Value::Object(before), Value::Object(after)) => Some((before, after)),
        // A table that comes or goes is shown by its leaves.
        (Value::Object(before), Value::Null) => Some((before, &empty)),
        (Value::Null, Value::Object(after)) => Some((&empty, after)),
        _ => None,
    };
    let Some((before, after)) = objects else {
        changes.push(FieldChange {
            field: path,
            before: before.clone(),
            after: after.clone(),
        });
        return;
    };
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let inner = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let at =
            |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
        differences(inner, &at(before), &at(after), changes);
    }
}

/// What the fleet won't do to a running group.
fn refusal(current: Current<'_>, new: &GroupSpec) -> Option<Refusal> {
    let old = current.spec;
    let id = &new.id;
    if old.allocation.kind() != new.allocation.kind() {
        return Some(Refusal {
            reason: format!(
                "{id} is a group of {}, and a running group can't become {}",
                old.allocation.kind(),
                new.allocation.kind()
            ),
            remedy: format!(
                "apply the new group under another ID; when it is well, `muster group destroy {id}`"
            ),
        });
    }
    if old.instance.provisioner != new.instance.provisioner && current.machines > 0 {
        return Some(Refusal {
            reason: format!(
                "the machines of {id} were made by `{}`, and `{}` can't repair or remove them",
                old.instance.provisioner, new.instance.provisioner
            ),
            remedy: format!(
                "apply the new group under another ID, or bring {id} to no machines first"
            ),
        });
    }
    None
}

/// Whether the flavor of a group starts and stops what runs under a lease.
fn can_run_leased(spec: &GroupSpec) -> bool {
    let allocation = for_flavor(&spec.allocation);
    let built = Registry::builtin().build(&spec.flavor.name, &spec.flavor.properties, &allocation);
    built.is_ok_and(|flavor| flavor.can_stop() && flavor.can_start())
}

/// What one should know before saying yes.
fn warnings(current: Current<'_>, new: &GroupSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    let old = current.spec;
    if old.template() != new.template() && current.machines > 0 {
        warnings.push(format!(
            "the {} machines that exist stay as they are, also when they are repaired; only further ones are made \
             from the new revision",
            current.machines
        ));
    }
    if new.heal.lease.is_some() && current.machines > 0 && !can_run_leased(old) {
        warnings.push(
            "the machines that exist were made without `start` and `stop`, so they go on without a lease, also when they are \
             repaired: to have one made anew, apply the group without its member, and then with it again"
                .into(),
        );
    }
    match (&old.allocation, &new.allocation) {
        (Allocation::Cattle { size: before }, Allocation::Cattle { size: after })
            if after < before =>
        {
            let fewer = before - after;
            let machines = if fewer == 1 {
                "machine is"
            } else {
                "machines are"
            };
            warnings.push(format!(
                "{fewer} {machines} taken away, the unhealthy and the newest first"
            ));
        }
        (Allocation::Pets { members: before }, Allocation::Pets { members: after }) => {
            for pet in before.keys().filter(|pet| !after.contains_key(*pet)) {
                warnings.push(format!(
                    "{pet} is taken away; what is attached to it stays with its provisioner"
                ));
            }
        }
        _ => {}
    }
    if new.heal.mode == HealMode::Observe && old.heal.mode != HealMode::Observe {
        warnings.push("with mode `observe` nothing is healed any more, only said".into());
    }
    warnings
}
