//! Checks of values that came from outside.

use super::super::limits::{
    INSTANCE_BYTES_MAX, LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, WORD_BYTES_MAX,
};
use super::super::machine::Instance;
use super::super::refusal::Refusal;
use super::super::spec::Labels;

/// A refusal because of a value.
pub(super) fn invalid(what: impl Into<String>) -> Refusal {
    Refusal::Invalid(what.into().into())
}

/// A refusal because a limit is reached.
pub(super) fn too_many(what: &str, max: usize) -> Refusal {
    Refusal::TooMany {
        what: what.into(),
        max: max as u64,
    }
}

/// Refuses more than `max` of something.
pub(super) fn at_most(what: &str, count: usize, max: usize) -> Result<(), Refusal> {
    if count > max {
        Err(too_many(what, max))
    } else {
        Ok(())
    }
}

pub(super) fn check_labels(labels: &Labels) -> Result<(), Refusal> {
    at_most("labels", labels.len(), LABELS_MAX)?;
    for (key, value) in labels {
        if key.is_empty() {
            return Err(invalid("a label has an empty key"));
        }
        at_most("bytes in a label's key", key.len(), LABEL_KEY_BYTES_MAX)?;
        at_most(
            "bytes in a label's value",
            value.len(),
            LABEL_VALUE_BYTES_MAX,
        )?;
    }
    Ok(())
}

/// The name of a provisioner, a flavor or a zone.
pub(super) fn check_word(what: &str, word: &str) -> Result<(), Refusal> {
    if word.is_empty() {
        return Err(invalid(format!("{what} is empty")));
    }
    at_most(&format!("bytes in {what}"), word.len(), WORD_BYTES_MAX)
}

pub(super) fn check_instance(instance: &Instance) -> Result<(), Refusal> {
    check_word("the provisioner's name", &instance.provisioner)?;
    let bytes = encoded_bytes(&instance.properties) + instance.id.as_str().len();
    at_most(
        "bytes in what a provisioner says of one instance",
        bytes,
        INSTANCE_BYTES_MAX,
    )
}

/// How many bytes a value takes in a snapshot.
pub(super) fn encoded_bytes<T: serde::Serialize>(value: &T) -> usize {
    // Sizing plain data doesn't fail; if it ever did, the value would be refused as too long.
    postcard::experimental::serialized_size(value).unwrap_or(usize::MAX)
}
