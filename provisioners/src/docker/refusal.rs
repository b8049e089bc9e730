//! What an Engine's refusals mean, and what the ways mean in which a request can break.

use std::io;
use std::path::Path;

use bollard::errors::Error;

use crate::ProvisionError;

/// Whether a request that was broken off may have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Some,
}

/// Why a request came to nothing, or to something unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What it is about isn't there: a container, an image, a network.
    Missing(String),
    /// It doesn't go with the state of things: the name is taken, the container runs.
    Conflict(String),
    /// The Engine failed at it: a change may have been made, or half of it.
    Broken(String),
    /// Everything else.
    Other(ProvisionError),
}

impl Refusal {
    /// What an error means, of a request that did `what`.
    pub(super) fn of(error: Error, what: &str, effect: Effect) -> Self {
        Self::Other(match error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => {
                return answered(status_code, &message, what, effect);
            }
            Error::SocketNotFoundError(socket) => ProvisionError::unavailable(format!(
                "{what}: there is no socket {socket}; start the Engine, or name its socket as `socket`"
            )),
            Error::HyperLegacyError { err } if err.is_connect() => not_connected(&err, what),
            Error::DockerStreamError { error } => return answered(500, &error, what, effect),
            other if effect == Effect::Some => {
                ProvisionError::timeout(format!("{what}: {}", chain(&other)))
            }
            other => ProvisionError::unavailable(format!("{what}: {}", chain(&other))),
        })
    }

    /// The error of a request that found no Engine to ask.
    pub(super) fn into_error(self, socket: &Path) -> ProvisionError {
        match self.into() {
            ProvisionError::Unavailable(why) => {
                ProvisionError::unavailable(format!("{} ({})", why, socket.display()))
            }
            ProvisionError::Denied(why) => {
                ProvisionError::denied(format!("{} ({})", why, socket.display()))
            }
            other => other,
        }
    }
}

impl From<Refusal> for ProvisionError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing(message) => Self::failed(message),
            // What is in the way goes by itself: a container that is being removed, or started by another call.
            Refusal::Conflict(message) => Self::unavailable(message),
            Refusal::Broken(message) => Self::timeout(message),
            Refusal::Other(error) => error,
        }
    }
}

impl From<ProvisionError> for Refusal {
    fn from(error: ProvisionError) -> Self {
        Self::Other(error)
    }
}

/// What an answer means that is no success.
fn answered(status: u16, message: &str, what: &str, effect: Effect) -> Refusal {
    let message = if message.trim().is_empty() {
        "without a reason"
    } else {
        message.trim()
    };
    let told = format!("{what}: {message}");
    // Engines of different age and kind give these under different numbers.
    let lacks = [
        "no space left",
        "no available ip",
        "no available ipv4",
        "address already in use",
        "requested ip address",
    ];
    let lower = message.to_ascii_lowercase();
    if lacks.iter().any(|lack| lower.contains(lack)) {
        return Refusal::Other(ProvisionError::capacity(told));
    }
    // Podman calls this an internal error.
    if lower.contains("name") && lower.contains("is already in use") {
        return Refusal::Conflict(told);
    }
    Refusal::Other(match status {
        401 | 403 => ProvisionError::denied(told),
        404 => return Refusal::Missing(told),
        409 => return Refusal::Conflict(told),
        429 | 503 => ProvisionError::Throttled { retry_after: None },
        500.. if effect == Effect::Some => return Refusal::Broken(told),
        500.. => ProvisionError::unavailable(told),
        _ => ProvisionError::failed(told),
    })
}

fn not_connected(error: &dyn std::error::Error, what: &str) -> ProvisionError {
    let mut cause = error.source();
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::PermissionDenied) {
            return ProvisionError::denied(format!(
                "{what}: the agent's user may not use the Engine's socket; add it to the socket's group"
            ));
        }
        cause = error.source();
    }
    ProvisionError::unavailable(format!("{what}: no Engine answers: {}", chain(error)))
}

/// An error with all that caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(status_code: u16, message: &str) -> Refusal {
        let message = message.to_owned();
        let error = Error::DockerResponseServerError {
            status_code,
            message,
        };
        Refusal::of(error, "starting", Effect::Some)
    }

    #[test]
    fn an_answer_says_what_was_done() {
        assert!(matches!(
            refusal(404, "no such container"),
            Refusal::Missing(_)
        ));
        assert!(matches!(
            refusal(409, "the name is in use"),
            Refusal::Conflict(_)
        ));
        assert!(matches!(
            refusal(500, "the container name \"a\" is already in use by 0a"),
            Refusal::Conflict(_)
        ));
        for (status, message, retryable) in [
            (401, "who are you?", false),
            (403, "authorization denied by plugin", false),
            (403, "Address already in use", true),
            (400, "executable file not found", false),
            (429, "", true),
            (503, "", true),
            (500, "mkdir: no space left on device", true),
        ] {
            let error = ProvisionError::from(refusal(status, message));
            assert!(!error.is_outcome_unknown(), "{error}");
            assert_eq!(error.is_retryable(), retryable, "{error}");
        }
    }

    #[test]
    fn a_change_that_the_engine_failed_at_may_have_been_made() {
        let message = "failed to remove root filesystem";
        let change = ProvisionError::from(refusal(500, message));
        assert!(change.is_outcome_unknown(), "{change}");
        let read = ProvisionError::from(answered(500, message, "listing", Effect::None));
        assert!(!read.is_outcome_unknown() && read.is_retryable());
    }

    #[test]
    fn what_broke_off_is_unknown_only_if_it_changed_something() {
        let broken = || Error::from(io::Error::from(io::ErrorKind::ConnectionReset));
        let change = ProvisionError::from(Refusal::of(broken(), "starting", Effect::Some));
        assert!(change.is_outcome_unknown());
        let read = ProvisionError::from(Refusal::of(broken(), "listing", Effect::None));
        assert!(!read.is_outcome_unknown() && read.is_retryable());
    }

    proptest! {
        #[test]
        fn no_answer_panics(status in any::<u16>(), message in any::<String>()) {
            let _ = ProvisionError::from(refusal(status, &message));
        }
    }
}
