//! Whether a specification is one that the state machine can rely on.

use super::super::limits::{DAY_MS, MACHINES_MAX, PETS_MAX, SECOND_MS, SPEC_BYTES_MAX, ZONES_MAX};
use super::super::refusal::Refusal;
use super::super::spec::{Allocation, GroupSpec};
use super::values::{at_most, check_labels, check_word, encoded_bytes, invalid};

/// Refuses a specification beyond the limits. Whether provisioner and flavor like it has been asked before.
pub(super) fn check_spec(spec: &GroupSpec) -> Result<(), Refusal> {
    let id = &spec.id;
    match &spec.allocation {
        Allocation::Cattle { size } => {
            at_most(
                &format!("machines in group {id}"),
                *size as usize,
                MACHINES_MAX,
            )?;
        }
        Allocation::Pets { members } => {
            if members.is_empty() {
                return Err(invalid(format!(
                    "group {id} has no members; to be rid of it use `muster group destroy {id}`"
                )));
            }
            at_most(&format!("members of group {id}"), members.len(), PETS_MAX)?;
        }
    }
    check_word("the provisioner's name", &spec.instance.provisioner)?;
    check_word("the flavor's name", &spec.flavor.name)?;
    check_labels(&spec.labels)?;
    at_most(
        &format!("zones of group {id}"),
        spec.placement.zones.len(),
        ZONES_MAX,
    )?;
    for zone in &spec.placement.zones {
        check_word("a zone's name", zone)?;
    }
    check_heal(spec)?;
    at_most(
        &format!("bytes in the specification of {id}"),
        encoded_bytes(spec),
        SPEC_BYTES_MAX,
    )
}

fn check_heal(spec: &GroupSpec) -> Result<(), Refusal> {
    let heal = &spec.heal;
    let graces = [
        ("boot grace", heal.boot_grace_ms, SECOND_MS),
        ("change grace", heal.change_grace_ms, 0),
        ("unreachable-after", heal.unreachable_after_ms, SECOND_MS),
        ("reimage-within", heal.reimage_within_ms, SECOND_MS),
    ];
    for (name, ms, min_ms) in graces {
        if !(min_ms..=30 * DAY_MS).contains(&ms) {
            return Err(invalid(format!(
                "group {}: a {name} of {ms} ms makes no sense; use {} s to 30 days",
                spec.id,
                min_ms / SECOND_MS
            )));
        }
    }
    if let Some(terms) = heal.lease {
        let pets = matches!(spec.allocation, Allocation::Pets { .. });
        if !pets || !terms.is_sane() {
            return Err(invalid(format!(
                "group {}: leases are for pets, of 5 s to 10 min, with 1 s to stop at least and 3 s before that",
                spec.id
            )));
        }
    }
    if heal.budget.at_once == Some(0) || heal.budget.per_hour == Some(0) {
        return Err(invalid(format!(
            "group {} could never be healed with a budget of 0; to only watch, use heal mode `observe`",
            spec.id
        )));
    }
    Ok(())
}
