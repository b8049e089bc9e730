//! Budgets that take too much, or that can't be used.

use super::Case;
use super::Severity::{Error, Warning};
use crate::fleet::{Allocation, GroupSpec, HealMode};

/// A lost zone, or a fifth of a group, should be healed within so many hours.
const HOURS_MAX: usize = 24;

pub(super) fn look(case: &mut Case<'_>) {
    for (at, spec) in case.specs.iter().enumerate() {
        if spec.heal.mode == HealMode::Observe {
            idle(case, at, spec);
        } else {
            at_once(case, at, spec);
            per_hour(case, at, spec);
        }
    }
}

fn idle(case: &mut Case<'_>, at: usize, spec: &GroupSpec) {
    let written = spec.heal.budget;
    if written.at_once.is_some() || written.per_hour.is_some() {
        let what = "a group in mode `observe` spends nothing, so its budget has no effect";
        let remedy = "remove it, or write mode = \"auto\"";
        case.find(Warning, "idle-budget", (at, "heal.budget"), what, remedy);
    }
}

fn at_once(case: &mut Case<'_>, at: usize, spec: &GroupSpec) {
    let desired = spec.desired();
    let at_once = spec.heal.budget.at_once(desired);
    if desired < 2 || spec.heal.budget.at_once.is_none() || at_once * 2 <= desired {
        return;
    }
    let place = (at, "heal.budget.at_once");
    let remedy = format!("write at_once = {} or less, or remove it", desired / 2);
    if at_once >= desired {
        let what =
            format!("this allows all {desired} at once: one wrong diagnosis takes the whole group");
        case.find(Error, "all-at-once", place, what, remedy);
        return;
    }
    let what =
        format!("this allows {at_once} of {desired} at once, which is more than half of the group");
    let severity = match spec.allocation {
        Allocation::Pets { .. } => Error,
        Allocation::Cattle { .. } => Warning,
    };
    case.find(severity, "most-at-once", place, what, remedy);
}

fn per_hour(case: &mut Case<'_>, at: usize, spec: &GroupSpec) {
    let desired = spec.desired();
    let at_once = spec.heal.budget.at_once(desired);
    let per_hour = spec.heal.budget.per_hour(desired) as usize;
    let place = (at, "heal.budget.per_hour");
    if per_hour < at_once {
        let what = format!("{at_once} at once can never be: an hour's budget is {per_hour}");
        let remedy = format!("write per_hour = {at_once} or more, or at_once = {per_hour}");
        case.find(Warning, "hour-below-at-once", place, what, remedy);
    }
    let zones = spec.placement.zones.len().max(5);
    let hit = desired / zones;
    let hours = hit.saturating_sub(per_hour).div_ceil(per_hour.max(1));
    if hours > HOURS_MAX {
        let what = format!(
            "{hit} machines lost at one time, one in {zones}, take {hours} h to be replaced"
        );
        let remedy = format!("write per_hour = {} or more", hit.div_ceil(HOURS_MAX));
        case.find(Warning, "takes-days", place, what, remedy);
    }
}
