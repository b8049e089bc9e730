//! What is wrong with a spec, where, and what to write instead.

use std::fmt;

use serde::Serialize;

use super::tree::{Span, line_and_column};

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpecProblem {
    /// The file, as it was named; `<stdin>` for standard input.
    pub file: String,
    /// The line, from 1; 0 where the file as a whole is at fault.
    pub line: usize,
    /// The column, from 1, in characters; 0 where the file as a whole is at fault.
    pub column: usize,
    /// The field, such as `group.web.heal.mode`; empty where the file itself is at fault.
    pub field: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
    /// The line itself, shortened where it is long.
    #[serde(skip)]
    pub excerpt: String,
    /// How many characters from `column` on are meant.
    #[serde(skip)]
    pub width: usize,
}

/// Specs that can't be used, with everything that is wrong with them: never nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpecError {
    /// All problems, in the order of the files and their lines.
    pub problems: Vec<SpecProblem>,
}

/// A problem whose place is still an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) span: Span,
    pub(super) field: String,
    pub(super) what: String,
    pub(super) remedy: String,
}

/// Longer lines are not shown: nobody reads them, and they may be machine-made.
const EXCERPT_CHARS_MAX: usize = 120;

// === impl Found ===

impl Found {
    /// The problem in the words of a user of `file`.
    pub(super) fn place(self, file: &str, text: &str) -> SpecProblem {
        let start = self.span.start.min(text.len());
        let (line, column) = line_and_column(text, start);
        let excerpt = text
            .lines()
            .nth(line - 1)
            .unwrap_or_default()
            .replace('\t', " ");
        let rest_of_line = excerpt.chars().count().saturating_sub(column - 1);
        let marked = text
            .get(start..self.span.end.min(text.len()))
            .unwrap_or_default();
        let width = marked.lines().next().unwrap_or_default().chars().count();
        SpecProblem {
            file: file.to_owned(),
            line,
            column,
            field: self.field,
            what: self.what,
            remedy: self.remedy,
            width: width.clamp(1, rest_of_line.max(1)),
            excerpt: if excerpt.chars().count() > EXCERPT_CHARS_MAX {
                String::new()
            } else {
                excerpt
            },
        }
    }
}

// === impl SpecProblem ===

/// The place, the field, what is wrong, what to do, and the line with the place marked.
impl fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: ", self.file)?,
            line => write!(f, "{}:{line}:{}: ", self.file, self.column)?,
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}; {}", self.what, self.remedy)?;
        if !self.excerpt.trim().is_empty() {
            let gutter = self.line.to_string();
            let pad = " ".repeat(gutter.len());
            let indent = " ".repeat(self.column - 1);
            let marks = "^".repeat(self.width);
            write!(
                f,
                "\n  {gutter} | {}\n  {pad} | {indent}{marks}",
                self.excerpt
            )?;
        }
        Ok(())
    }
}

// === impl SpecError ===

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("the spec can't be used")?,
            count => write!(f, "the spec can't be used: {count} problems")?,
        }
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl std::error::Error for SpecError {}
