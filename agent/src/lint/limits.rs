//! Limits of what one command takes.

use super::Case;
use super::Severity::Error;
use crate::fleet::limits::SPECS_PER_COMMAND_MAX;

pub(super) fn look(case: &mut Case<'_>) {
    let count = case.specs.len();
    if count > SPECS_PER_COMMAND_MAX {
        case.find(
            Error,
            "too-many-groups",
            (SPECS_PER_COMMAND_MAX, "id"),
            format!("{count} groups, and `muster apply` takes {SPECS_PER_COMMAND_MAX} at a time"),
            "apply them in several files, one after the other",
        );
    }
}
