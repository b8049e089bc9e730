//! What was found in specs.

use crate::cli::commands::Linted;
use crate::cli::output::{Output, Tone};
use crate::fleet::count;
use crate::lint::{LintFinding, Severity};

/// Each finding with its remedy, and how many there are.
pub(in crate::cli) fn linted(linted: &Linted, out: &Output) -> String {
    let mut text: String = linted
        .findings
        .iter()
        .map(|finding| one(finding, out))
        .collect();
    let summary = match linted.findings.len() {
        0 => out.paint.tone(Tone::Good, "nothing found"),
        _ => format!(
            "{}, {}",
            count(linted.errors, "error"),
            count(linted.warnings, "warning")
        ),
    };
    text.push_str(&summary);
    text.push('\n');
    text
}

fn one(finding: &LintFinding, out: &Output) -> String {
    let place = match finding.line {
        0 => finding.file.clone(),
        line => format!("{}:{line}", finding.file),
    };
    let tone = match finding.severity {
        Severity::Error => Tone::Bad,
        Severity::Warning => Tone::Warn,
        Severity::Note => Tone::Dim,
    };
    let severity = out
        .paint
        .tone(tone, format!("{}: {}", finding.severity, finding.rule));
    let place = out.paint.tone(Tone::Bold, place);
    let field = if finding.field.is_empty() {
        String::new()
    } else {
        format!("{}: ", finding.field)
    };
    let what = out
        .paint
        .tone(Tone::Plain, format!("{field}{}", finding.what));
    let remedy = out.paint.tone(Tone::Dim, format!("  {}", finding.remedy));
    format!("{place}: {severity}\n  {what}\n{remedy}\n")
}
