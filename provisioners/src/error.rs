//! Why a call to a provisioner failed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{InstanceId, Problem};

/// The most of a provider's own words that an error keeps: errors are stored in the log with the decision.
const MESSAGE_MAX_CHARS: usize = 512;

/// Why a call to a provisioner failed.
///
/// The one distinction that matters most is [`is_outcome_unknown`](Self::is_outcome_unknown): after such an
/// error the change may or may not have happened, and only describing can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ProvisionError {
    /// The spec or its properties can't be carried out by this provisioner, now or later. Nothing was done.
    #[error("invalid: {}", join(.0))]
    Invalid(Vec<Problem>),
    /// The provider refused the credentials or the permission. Nothing was done. An operator has to act.
    #[error("denied: {0}")]
    Denied(String),
    /// There is no such instance, or none of ours.
    #[error("there is no instance {0}")]
    NotFound(InstanceId),
    /// Too many requests. Nothing was done; try again later.
    #[error("the provider asks for fewer requests")]
    Throttled {
        /// How long to wait, if the provider said so.
        retry_after: Option<Duration>,
    },
    /// The provider couldn't be asked at all, or refuses for now. Nothing was done; try again later.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// No (complete) answer in time. **The outcome is unknown**: the change may have happened, may be
    /// happening, or may happen still. A connection broken after the request was sent is this as well.
    #[error("no answer in time while {0}; whether it was done is unknown")]
    Timeout(String),
    /// The provider has no room (or quota) for it at present. Nothing was done.
    #[error("no capacity: {0}")]
    Capacity(String),
    /// An attachment is in use by another instance that may still be running. Nothing was started.
    #[error("attachment `{attachment}` is held by {holder}, which is not proven off")]
    Held {
        /// The attachment's ID.
        attachment: String,
        /// The instance that holds it.
        holder: InstanceId,
    },
    /// This provisioner can't do this at all; see [`Capabilities`](crate::Capabilities).
    #[error("this provisioner can't {0}")]
    Unsupported(String),
    /// It was tried and failed, for a reason that trying again is not expected to mend.
    #[error("failed: {0}")]
    Failed(String),
}

impl ProvisionError {
    /// [`Denied`](Self::Denied), with the provider's words cut to a bounded length.
    pub fn denied(why: impl std::fmt::Display) -> Self {
        Self::Denied(bounded(why))
    }

    /// [`Unavailable`](Self::Unavailable), with the provider's words cut to a bounded length.
    pub fn unavailable(why: impl std::fmt::Display) -> Self {
        Self::Unavailable(bounded(why))
    }

    /// [`Timeout`](Self::Timeout) while doing `what`.
    pub fn timeout(what: impl std::fmt::Display) -> Self {
        Self::Timeout(bounded(what))
    }

    /// [`Capacity`](Self::Capacity), with the provider's words cut to a bounded length.
    pub fn capacity(why: impl std::fmt::Display) -> Self {
        Self::Capacity(bounded(why))
    }

    /// [`Failed`](Self::Failed), with the provider's words cut to a bounded length.
    pub fn failed(why: impl std::fmt::Display) -> Self {
        Self::Failed(bounded(why))
    }

    /// Whether the change may have happened all the same. Describe before deciding anything else.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// Whether the same call with the same operation ID may succeed later without anybody's intervention.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::Unavailable(_)
            | Self::Timeout(_)
            | Self::Capacity(_)
            | Self::Held { .. } => true,
            Self::Invalid(_)
            | Self::Denied(_)
            | Self::NotFound(_)
            | Self::Unsupported(_)
            | Self::Failed(_) => false,
        }
    }
}

fn bounded(text: impl std::fmt::Display) -> String {
    let text = text.to_string();
    match text.char_indices().nth(MESSAGE_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn join(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_timeout_leaves_the_outcome_open() {
        assert!(ProvisionError::timeout("creating").is_outcome_unknown());
        for known in [
            ProvisionError::Throttled { retry_after: None },
            ProvisionError::unavailable("down"),
            ProvisionError::denied("no"),
            ProvisionError::failed("broken"),
        ] {
            assert!(!known.is_outcome_unknown(), "{known}");
        }
    }

    #[test]
    fn a_provider_cannot_fill_the_log() {
        let error = ProvisionError::failed("ü".repeat(100_000));
        assert!(error.to_string().chars().count() < 600);
    }

    #[test]
    fn errors_survive_the_log() {
        for error in [
            ProvisionError::Throttled {
                retry_after: Some(Duration::from_millis(1500)),
            },
            ProvisionError::Invalid(vec![Problem::new("zone", "no such zone", "write a")]),
            ProvisionError::Held {
                attachment: "disk".into(),
                holder: "i-1".parse().expect("valid"),
            },
        ] {
            let bytes = postcard::to_allocvec(&error).expect("serialises");
            assert_eq!(
                postcard::from_bytes::<ProvisionError>(&bytes).expect("parses"),
                error
            );
        }
    }
}
