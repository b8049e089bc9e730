//! `muster lint`.

use serde::Serialize;

use super::{Context, Failure};
use crate::cli::args::LintArgs;
use crate::cli::show;
use crate::lint::{LintFinding, Severity, lint};
use crate::spec::{Registries, read_sources};

/// What was found, and how much of it is bad.
#[derive(Debug, Serialize)]
pub(crate) struct Linted {
    /// All findings.
    pub(crate) findings: Vec<LintFinding>,
    /// How many are errors.
    pub(crate) errors: usize,
    /// How many are warnings.
    pub(crate) warnings: usize,
}

pub(super) fn run(context: &Context<'_>, args: &LintArgs) -> Result<(), Failure> {
    let sources = read_sources(&args.files)?;
    let findings = lint(&sources, &Registries::builtin());
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let linted = Linted {
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        findings,
    };
    context.out.either(&linted, show::linted)?;
    if linted.errors > 0 || args.strict && linted.warnings > 0 {
        Err(Failure::Found(linted.errors + linted.warnings))
    } else {
        Ok(())
    }
}
