//! Judgements about a workload.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Part;

/// How a workload is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Why, in at most a few hundred characters; may be empty if all is well.
    pub reason: String,
    /// What part it plays in its ensemble, if it is a member of one and says so.
    pub part: Option<Part>,
}

/// The verdict on a workload, from best to worst; `Unknown` is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// It works.
    Ok,
    /// It works, but someone should look.
    Warning,
    /// It doesn't work.
    Critical,
    /// Nobody could look, which says nothing about the workload.
    Unknown,
}

/// How often, how long and how stubbornly the health of a workload is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPlan {
    /// From the start of one look to the start of the next.
    pub interval: Duration,
    /// How long one look may take.
    pub timeout: Duration,
    /// How many looks in a row have to fail before the workload counts as critical; a warning until then.
    pub failures: u32,
    /// How many looks in a row have to succeed before a critical workload counts as well again.
    pub successes: u32,
}

impl Health {
    /// The most that a reason may be long: it is part of a record that everybody keeps.
    pub const REASON_MAX_CHARS: usize = 240;

    /// A verdict with its reason, which is cut to a bounded length and to one line.
    pub fn new(status: HealthStatus, reason: impl AsRef<str>) -> Self {
        Self {
            status,
            reason: one_line(reason.as_ref()),
            part: None,
        }
    }

    /// All is well.
    pub fn ok(reason: impl AsRef<str>) -> Self {
        Self::new(HealthStatus::Ok, reason)
    }

    /// It works, but someone should look.
    pub fn warning(reason: impl AsRef<str>) -> Self {
        Self::new(HealthStatus::Warning, reason)
    }

    /// It doesn't work.
    pub fn critical(reason: impl AsRef<str>) -> Self {
        Self::new(HealthStatus::Critical, reason)
    }

    /// The same of a member that plays this part.
    #[must_use]
    pub fn playing(self, part: Part) -> Self {
        Self {
            part: Some(part),
            ..self
        }
    }

    /// Nobody could look.
    pub fn unknown(reason: impl AsRef<str>) -> Self {
        Self::new(HealthStatus::Unknown, reason)
    }
}

/// Joins the words of all lines with spaces, without control characters, cut to
/// [`Health::REASON_MAX_CHARS`].
fn one_line(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        // Enough for a full reason even if half of it is space; output of commands may be long.
        .take(4 * Health::REASON_MAX_CHARS)
        .collect();
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(Health::REASON_MAX_CHARS - 1) {
        Some((end, _)) if line.chars().count() > Health::REASON_MAX_CHARS => {
            format!("{}…", &line[..end])
        }
        _ => line,
    }
}

impl HealthStatus {
    /// The word for it in status output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_reason_is_one_bounded_line(text in any::<String>(), times in 1usize..300) {
            let health = Health::critical(text.repeat(times));
            prop_assert!(health.reason.chars().count() <= Health::REASON_MAX_CHARS);
            prop_assert!(!health.reason.contains(char::is_control));
        }
    }

    #[test]
    fn short_reasons_stay_as_they_are() {
        assert_eq!(Health::ok("fine\n").reason, "fine");
        assert_eq!(Health::ok("a\tb\n\nc").reason, "a b c");
        let exact = "x".repeat(Health::REASON_MAX_CHARS);
        assert_eq!(Health::ok(&exact).reason, exact);
    }
}
