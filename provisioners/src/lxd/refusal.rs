//! What a refusal of LXD's means. It has no codes for that, only words.

use crate::ProvisionError;

/// There is no room for it.
const FULL: [&str; 5] = [
    "no space left",
    "quota",
    "reached maximum",
    "no suitable cluster member",
    "limits.",
];
/// It would be refused again, however often it is tried.
const HOPELESS: [&str; 22] = [
    "not found",
    "couldn't find",
    "doesn't exist",
    "does not exist",
    "invalid config",
    "invalid device",
    "invalid name",
    "invalid option",
    "invalid value",
    "unknown configuration",
    "validation failed",
    "missing source path",
    "is required",
    "not supported",
    "isn't supported",
    "unsupported",
    "not allowed",
    "isn't allowed",
    "forbidden",
    "is protected",
    // It did not shut down within its grace.
    "failed shutting down instance",
    "cleanly shut",
];

/// The error for a refusal in these words. What is not known to be for good passes: a database that is locked, an image that
/// comes too slowly, a cluster without a leader.
pub(super) fn refusal(why: impl Into<String>) -> ProvisionError {
    let why = why.into();
    let lower = why.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&FULL) {
        ProvisionError::capacity(why)
    } else if says(&HOPELESS) {
        ProvisionError::failed(why)
    } else {
        ProvisionError::unavailable(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_is_for_good() {
        for why in [
            "Failed to create operation: database is locked",
            "Failed remote image download: context deadline exceeded",
            "no available dqlite leader server found",
            "",
        ] {
            let error = refusal(why);
            assert!(matches!(error, ProvisionError::Unavailable(_)), "{error}");
        }
        for why in [
            "Image not found",
            "Requested profile \"x\" doesn't exist",
            "Invalid config: Unknown configuration key: x",
            "Failed shutting down instance, status is \"Running\": context deadline exceeded",
        ] {
            let error = refusal(why);
            assert!(matches!(error, ProvisionError::Failed(_)), "{error}");
        }
        let error = refusal("write /x: No space left on device");
        assert!(matches!(error, ProvisionError::Capacity(_)), "{error}");
    }
}
