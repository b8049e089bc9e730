//! Why a command didn't do what it was asked to, and how it ends then.

use std::fmt::Write as _;
use std::io;

use serde_json::json;

use super::output::{Paint, Tone};
use crate::api::types::{ApiError, ErrorKind, ExitCode};
use crate::config::ConfigError;
use crate::spec::SpecError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The node said so, or couldn't be asked.
    Api(ApiError),
    /// A spec is wrong.
    Spec(SpecError),
    /// The agent's configuration is wrong.
    Config(ConfigError),
    /// The command line makes no sense, in a way that only shows later.
    Usage {
        /// What is wrong.
        what: String,
        /// What to write.
        remedy: String,
    },
    /// `status --check` found something.
    NotHealthy(Vec<String>),
    /// Specs have so many errors and warnings, which have been shown.
    Found(usize),
    /// A simulation broke invariants.
    Broken(Vec<String>),
    /// Someone was asked and said no.
    Declined,
    /// Nobody reads what we write any more, as when `| head` has enough. No failure at all.
    BrokenPipe,
    /// Everything else.
    Other(anyhow::Error),
}

// === impl Failure ===

impl Failure {
    /// Anything else, in words.
    pub(crate) fn other(what: impl Into<String>) -> Self {
        Self::Other(anyhow::Error::msg(what.into()))
    }

    /// A wrong command line.
    pub(crate) fn usage(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Usage {
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// How the command ends.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Api(error) => error.exit_code(),
            Self::Spec(_) | Self::Config(_) => ExitCode::BadConfig,
            Self::Usage { .. } => ExitCode::Usage,
            Self::NotHealthy(_) | Self::Broken(_) => ExitCode::NotHealthy,
            Self::BrokenPipe => ExitCode::Fine,
            Self::Found(_) | Self::Declined | Self::Other(_) => ExitCode::Failed,
        }
    }

    /// What standard error gets to read.
    pub(crate) fn report(&self, json: bool, paint: Paint) -> String {
        if json {
            self.as_json().to_string()
        } else {
            self.as_text(paint)
        }
    }

    fn as_text(&self, paint: Paint) -> String {
        let error = paint.tone(Tone::Bad, "error:");
        let hint = paint.tone(Tone::Bold, "hint:");
        let with_hint = |what: &str, remedy: Option<&str>| {
            let mut text = format!("{error} {what}");
            if let Some(remedy) = remedy {
                let _ = write!(text, "\n{hint} {remedy}");
            }
            text
        };
        match self {
            Self::Api(api) => {
                let mut text = with_hint(&api.message, api.remedy.as_deref());
                for problem in &api.problems {
                    let _ = write!(text, "\n  {}: {}", problem.field, problem.message);
                    if let Some(remedy) = &problem.remedy {
                        let _ = write!(text, "; {remedy}");
                    }
                }
                text
            }
            Self::Spec(spec) => with_hint(&spec.to_string(), None),
            Self::Config(config) => with_hint(&config.to_string(), None),
            Self::Usage { what, remedy } => with_hint(what, Some(remedy)),
            Self::NotHealthy(complaints) => {
                let heading = paint.tone(Tone::Bad, "not healthy:");
                complaints
                    .iter()
                    .fold(heading, |text, complaint| format!("{text}\n  {complaint}"))
            }
            Self::Broken(violations) => {
                let heading = paint.tone(Tone::Bad, "broken invariants:");
                violations
                    .iter()
                    .fold(heading, |text, violation| format!("{text}\n  {violation}"))
            }
            Self::Found(count) => with_hint(
                &format!("{} found", crate::fleet::count(*count, "problem")),
                None,
            ),
            Self::Declined => "nothing was changed".into(),
            Self::BrokenPipe => String::new(),
            Self::Other(other) => with_hint(&format!("{other:#}"), None),
        }
    }

    fn as_json(&self) -> serde_json::Value {
        let error = match self {
            Self::Api(api) => json!(api),
            Self::Spec(spec) => json!({
                "kind": "bad_spec", "message": "the spec can't be used", "problems": spec.problems,
            }),
            Self::Config(config) => {
                json!({ "kind": "bad_configuration", "message": config.to_string() })
            }
            Self::Usage { what, remedy } => {
                json!({ "kind": "usage", "message": what, "remedy": remedy })
            }
            Self::NotHealthy(complaints) => {
                json!({ "kind": "not_healthy", "message": "not healthy", "complaints": complaints })
            }
            Self::Broken(violations) => {
                json!({ "kind": "broken_invariants", "message": "broken invariants", "violations": violations })
            }
            Self::Found(count) => {
                json!({ "kind": "problems_found", "message": "problems found", "count": count })
            }
            Self::Declined => json!({ "kind": "declined", "message": "nothing was changed" }),
            Self::BrokenPipe => json!({ "kind": "broken_pipe", "message": "nobody reads" }),
            Self::Other(other) => json!({ "kind": "failed", "message": format!("{other:#}") }),
        };
        json!({ "error": error })
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        Self::Spec(error)
    }
}

/// A command line that makes no sense: what is wrong with it, and how it is written.
impl From<&clap::Error> for Failure {
    fn from(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let is_help =
            error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        let words = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut parts = text.split("\n\n").map(words);
        let what = match parts.next() {
            Some(first) if !is_help => first.strip_prefix("error: ").unwrap_or(&first).to_owned(),
            _ => "the command is not complete".to_owned(),
        };
        let told = |part: &String| part.starts_with("tip: ") || part.starts_with("Usage: ");
        let remedy: Vec<_> = parts.filter(told).collect();
        let remedy = match remedy.as_slice() {
            [] => "`--help` says how it is written".to_owned(),
            told => told.join("; "),
        };
        Self::usage(what, remedy)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::Other(error.into())
        }
    }
}

/// Keeps what the error itself knows about its kind.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let error = match error.downcast::<ConfigError>() {
            Ok(config) => return Self::Config(config),
            Err(error) => error,
        };
        match error.downcast::<ApiError>() {
            Ok(api) => Self::Api(api),
            Err(error) => Self::Other(error),
        }
    }
}

/// The node answered with something else than was asked for.
pub(super) fn unexpected() -> Failure {
    let error = ApiError::new(ErrorKind::Internal, "the node answered another question");
    Failure::Api(error.remedy("is this command of the same version as the agent that answers?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_exit_code() {
        let api = |kind| Failure::from(ApiError::new(kind, "")).exit_code() as u8;
        assert_eq!(api(ErrorKind::Unreachable), 3);
        assert_eq!(api(ErrorKind::NotFound), 1);
        assert_eq!(Failure::usage("", "").exit_code() as u8, 2);
        assert_eq!(Failure::NotHealthy(vec![]).exit_code() as u8, 4);
        assert_eq!(
            Failure::from(SpecError { problems: vec![] }).exit_code() as u8,
            64
        );
        assert_eq!(
            Failure::from(ConfigError { problems: vec![] }).exit_code() as u8,
            64
        );
        let wrapped = anyhow::Error::new(ConfigError { problems: vec![] });
        assert_eq!(Failure::from(wrapped).exit_code() as u8, 64);
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::from(pipe).exit_code() as u8, 0);
    }

    #[test]
    fn a_command_line_that_makes_no_sense_is_told_in_json_too() {
        use clap::Parser;
        let report = |words: &[&str]| -> serde_json::Value {
            let read = crate::cli::Cli::try_parse_from(words);
            let failure = Failure::from(&read.expect_err("it makes no sense"));
            assert_eq!(failure.exit_code() as u8, 2);
            serde_json::from_str(&failure.report(true, Paint::default())).expect("JSON")
        };
        for (words, says) in [
            (vec!["muster", "nonsense", "--json"], "nonsense"),
            (vec!["muster", "group", "show", "--json"], "<"),
            (
                vec!["muster", "status", "--timeout", "5", "--json"],
                "--timeout",
            ),
            (vec!["muster", "group", "--json"], "requires a subcommand"),
        ] {
            let error = &report(&words)["error"];
            assert_eq!(error["kind"], "usage");
            let message = error["message"].as_str().expect("text");
            assert!(message.contains(says), "{error}");
            assert!(!message.contains('\n') && !message.starts_with("error:"));
            assert!(error["remedy"].is_string(), "{error}");
        }
    }

    #[test]
    fn a_report_says_what_and_what_to_do() {
        let failure =
            Failure::from(ApiError::not_found("no machine `x`").remedy("see `muster members`"));
        let text = failure.report(false, Paint::default());
        assert_eq!(text, "error: no machine `x`\nhint: see `muster members`");
        let json: serde_json::Value =
            serde_json::from_str(&failure.report(true, Paint::default())).expect("JSON");
        assert_eq!(json["error"]["kind"], "not_found");
    }
}
