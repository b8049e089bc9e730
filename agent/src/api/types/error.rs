//! Refusals and failures, in words that say what to do.

use serde::{Deserialize, Serialize};

/// Why a request got no answer, with what was wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What sort of failure this is; decides the exit code.
    pub kind: ErrorKind,
    /// What was wrong, in one sentence without a full stop.
    pub message: String,
    /// What the asker can do about it.
    #[serde(default)]
    pub remedy: Option<String>,
    /// All the single problems, where a request had several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// The sorts of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing goes by the name or number asked for.
    NotFound,
    /// The request is no request, or its content breaks a rule that holds for everybody.
    Invalid,
    /// The fleet changed between plan and application; look again.
    Conflict,
    /// The fleet understood and declines; the message names the rule.
    Refused,
    /// The asker may not ask this.
    Forbidden,
    /// No coordinator leads at the moment, so nothing can be written.
    NoLeader,
    /// Too few coordinators answer for anything to be committed.
    NoQuorum,
    /// The node is up but can't serve this now (starting, stopping, busy).
    Unavailable,
    /// No answer within the deadline; a write may or may not have happened.
    Timeout,
    /// The request or its answer is larger than the limits allow.
    TooLarge,
    /// Nobody could be asked: no socket, no route, no agent. Made by clients only.
    Unreachable,
    /// A defect of muster, or of the disk beneath it.
    Internal,
    /// A kind that a newer node knows and this client doesn't.
    #[serde(other)]
    Unknown,
}

/// One thing wrong with what was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which field, as a path such as `group.web.instance.properties.bin`; empty for the whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// What to write instead.
    #[serde(default)]
    pub remedy: Option<String>,
}

/// How the `muster` command ends; the numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All is well.
    Fine = 0,
    /// The request was understood and failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No node could be asked.
    Unreachable = 3,
    /// The answer is "not healthy" (`status --check`).
    NotHealthy = 4,
    /// A configuration or spec file is wrong.
    BadConfig = 64,
}

// === impl ApiError ===

impl ApiError {
    /// An error of this kind, without a remedy.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            remedy: None,
            problems: Vec::new(),
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Nothing is called so.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Understood, and declined.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// A defect on our side.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self.kind {
            ErrorKind::Unreachable => ExitCode::Unreachable,
            _ => ExitCode::Failed,
        }
    }

    /// Whether the same request may succeed when it is sent again a little later, without having taken effect.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::NoLeader | ErrorKind::NoQuorum | ErrorKind::Unavailable
        )
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
