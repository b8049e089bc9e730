//! What can be wrong with a configuration, said so that it can be put right at once.

use std::fmt;
use std::path::PathBuf;

/// The exit code of a program whose configuration is bad (`EX_USAGE` of `sysexits.h`).
pub const EXIT_BAD_CONFIGURATION: u8 = 64;

/// Where a bad value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line; `None` when the problem is the whole file.
        line: Option<usize>,
    },
    /// A flag of the command line.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
    /// No one place: a default, or several keys together.
    Whole,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Environment(variable) => write!(f, "${variable}"),
            Self::Whole => write!(f, "configuration"),
        }
    }
}

/// One thing that is wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub place: Place,
    /// The key, such as `health.interval`; `None` where the file itself is at fault.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// A configuration that cannot be used. Holds every problem that was found, never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// All that is wrong, in the order of the file, then of the keys.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// What a program that stops because of this exits with.
    pub const fn exit_code(&self) -> u8 {
        EXIT_BAD_CONFIGURATION
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "bad configuration")?,
            count => write!(f, "bad configuration, {count} problems")?,
        }
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
