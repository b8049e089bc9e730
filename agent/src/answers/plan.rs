//! What an apply or a change of size would do.

use std::collections::BTreeMap;

use super::refused::refused;
use super::snapshot::Snapshot;
use crate::api::ApiError;
use crate::api::types::{self, Change, GroupPlan, Plan};
use crate::fleet::{self, GroupId, GroupSpec, SpecChange, SpecRevision};
use crate::spec::{self, Current};

/// What making these specs come true would change.
///
/// # Errors
/// `conflict` where a group isn't at the revision that the asker expects, and what the fleet would refuse as a whole.
pub(super) fn apply(
    snapshot: &Snapshot<'_>,
    specs: &[GroupSpec],
    expected: &BTreeMap<String, Option<u64>>,
) -> Result<Plan, ApiError> {
    let mut groups = Vec::new();
    for spec in specs {
        let found = revision(snapshot, &spec.id);
        if let Some(expected) = expected.get(spec.id.as_str()) {
            let expected = expected.map(SpecRevision);
            if expected != found {
                let group = spec.id.clone();
                return Err(refused(&fleet::Refusal::RevisionMoved {
                    group,
                    expected,
                    found,
                }));
            }
        }
        let plan = spec::plan(current(snapshot, &spec.id), spec);
        groups.push(unless_destroying(snapshot, &spec.id, plan));
    }
    let plan = Plan {
        as_of: snapshot.as_of(),
        applied: false,
        groups,
    };
    if plan.refusal().is_none() && !plan.is_empty() {
        let checked = snapshot.state.check_specs(&changes(snapshot, specs));
        checked.map_err(|refusal| refused(&refusal))?;
    }
    Ok(plan)
}

/// What giving a group another size would change.
pub(super) fn scale(snapshot: &Snapshot<'_>, id: &str, size: u32) -> Result<Plan, ApiError> {
    let (id, group) = snapshot.find_group(id)?;
    let now = Current {
        spec: &group.spec,
        revision: group.revision.0,
        machines: machines(snapshot, id),
    };
    let (_, plan) = spec::plan_scale(now, size);
    let groups = vec![unless_destroying(snapshot, id, plan)];
    Ok(Plan {
        as_of: snapshot.as_of(),
        applied: false,
        groups,
    })
}

/// The command that makes specs come true, against the revisions that a plan was made from.
pub(super) fn changes(snapshot: &Snapshot<'_>, specs: &[GroupSpec]) -> Vec<SpecChange> {
    specs
        .iter()
        .map(|spec| SpecChange {
            expected: revision(snapshot, &spec.id),
            spec: spec.clone(),
        })
        .collect()
}

/// The plan's first refusal as an error, since nothing is done then.
pub(super) fn feasible(plan: &Plan) -> Result<(), ApiError> {
    match plan.refusal() {
        None => Ok(()),
        Some((_, refusal)) => {
            Err(ApiError::refused(refusal.reason.clone()).remedy(refusal.remedy.clone()))
        }
    }
}

/// The plan as it came true.
pub(super) fn applied(mut plan: Plan, revisions: &BTreeMap<String, u64>) -> Plan {
    plan.applied = true;
    for group in &mut plan.groups {
        if let Some(revision) = revisions.get(&group.id) {
            group.revision = Some(*revision);
        }
    }
    plan
}

fn revision(snapshot: &Snapshot<'_>, id: &GroupId) -> Option<SpecRevision> {
    snapshot.state.groups.get(id).map(|group| group.revision)
}

fn current<'a>(snapshot: &Snapshot<'a>, id: &GroupId) -> Option<Current<'a>> {
    let group = snapshot.state.groups.get(id)?;
    Some(Current {
        spec: &group.spec,
        revision: group.revision.0,
        machines: machines(snapshot, id),
    })
}

fn machines(snapshot: &Snapshot<'_>, id: &GroupId) -> usize {
    let roster = snapshot.state.machines.values();
    roster.filter(|machine| machine.group() == Some(id)).count()
}

fn unless_destroying(snapshot: &Snapshot<'_>, id: &GroupId, mut plan: GroupPlan) -> GroupPlan {
    let group = snapshot.state.groups.get(id);
    if group.is_some_and(|group| group.destroying) && plan.change != Change::Unchanged {
        plan.refused = Some(types::Refusal {
            reason: format!("group {id} is being destroyed"),
            remedy: format!(
                "wait until `muster group list` doesn't show {id} any more, then apply again"
            ),
        });
    }
    plan
}
