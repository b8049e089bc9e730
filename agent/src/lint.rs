//! # What can be proved about specs without running them
//!
//! [`lint()`] reads specs like `muster apply`, and then looks for what is allowed and yet wrong: a budget that takes the
//! whole group at once, times that contradict each other, a placement that leaves one zone. What the rules of healing
//! would do is not guessed: the shipped decision core is asked (`never_heals`).
//!
//! Every finding has its rule, file and line, field, and a remedy.

mod arguments;
mod attachments;
mod budget;
mod leases;
mod limits;
mod never_heals;
mod tasks;
mod times;
mod zones;

use std::fmt;

use serde::Serialize;

use crate::fleet::GroupSpec;
use crate::spec::{self, Registries, Source};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It does harm, or never does what it says.
    Error,
    /// It is hardly meant so.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Something that was found in a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LintFinding {
    /// How bad it is.
    pub severity: Severity,
    /// Which rule found it: `spec` for what `muster apply` refuses.
    pub rule: &'static str,
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; 0 for a file as a whole.
    pub line: usize,
    /// The field, as in `group.web.heal.budget`.
    pub field: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

/// A finding whose place is still a group and a field.
struct Found {
    severity: Severity,
    rule: &'static str,
    /// Which group, by its place in the specs.
    group: usize,
    field: &'static str,
    what: String,
    remedy: String,
}

/// What rules look at, and what they found.
struct Case<'a> {
    specs: &'a [GroupSpec],
    found: Vec<Found>,
}

impl Case<'_> {
    fn find(
        &mut self,
        severity: Severity,
        rule: &'static str,
        (group, field): (usize, &'static str),
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.found.push(Found {
            severity,
            rule,
            group,
            field,
            what: what.into(),
            remedy: remedy.into(),
        });
    }
}

/// Looks for all that can be proved to be wrong with these specs. Pure. Sorted by file, line and severity.
pub fn lint(sources: &[Source], registries: &Registries) -> Vec<LintFinding> {
    let specs = match spec::parse(sources, registries) {
        Ok(specs) => specs,
        Err(error) => return error.problems.into_iter().map(refused).collect(),
    };
    let mut case = Case {
        specs: &specs,
        found: Vec::new(),
    };
    for rule in [
        budget::look,
        times::look,
        tasks::look,
        leases::look,
        zones::look,
        attachments::look,
        arguments::look,
        never_heals::look,
        limits::look,
    ] {
        rule(&mut case);
    }
    let place = |found: Found| {
        let id = specs.get(found.group).map(|spec| &spec.id);
        let (file, line) = id
            .and_then(|id| spec::locate(sources, id, found.field))
            .unwrap_or_default();
        let group = id.map_or_else(String::new, |id| format!("group.{id}"));
        LintFinding {
            severity: found.severity,
            rule: found.rule,
            file,
            line,
            field: if found.field.is_empty() {
                group
            } else {
                format!("{group}.{}", found.field)
            },
            what: found.what,
            remedy: found.remedy,
        }
    };
    let mut findings: Vec<LintFinding> = case.found.into_iter().map(place).collect();
    findings.sort_by(|one, two| {
        let key = |finding: &LintFinding| (finding.file.clone(), finding.line, finding.severity);
        key(one).cmp(&key(two))
    });
    findings
}

/// What `muster apply` would refuse.
fn refused(problem: spec::SpecProblem) -> LintFinding {
    LintFinding {
        severity: Severity::Error,
        rule: "spec",
        file: problem.file,
        line: problem.line,
        field: problem.field,
        what: problem.what,
        remedy: problem.remedy,
    }
}

#[cfg(test)]
mod tests;
