//! What is wrong with a configuration or a spec, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that is wrong with a property: where, why, and how to put it right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The field as a path from the top of what was validated, such as `health.timeout` or `env.PATH`;
    /// empty for the whole.
    pub field: String,
    /// Why it can't be accepted.
    pub reason: String,
    /// What to write instead.
    pub remedy: String,
}

impl Problem {
    /// A problem with one field.
    pub fn new(
        field: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    /// The same problem seen from one level up: `prefix` is put before the field.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        if self.field.is_empty() {
            self.field = prefix.to_owned();
        } else if !prefix.is_empty() {
            self.field = format!("{prefix}.{}", self.field);
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_goes_before_the_field() {
        let problem = Problem::new("timeout", "zero", "write 5s");
        assert_eq!(problem.clone().under("health").field, "health.timeout");
        assert_eq!(problem.clone().under("").field, "timeout");
        assert_eq!(
            Problem::new("", "no object", "write {}")
                .under("health")
                .field,
            "health"
        );
        assert_eq!(problem.to_string(), "timeout: zero; write 5s");
    }
}
