//! What is said to an executable, and what it answers: one JSON object each way.
//!
//! | method | when | answer |
//! |---|---|---|
//! | `prepare` | in the first-boot script of a new machine, without `peers` that joined later | `{}` |
//! | `health` | every `health.interval` | `{"status": "ok" \| "warning" \| "critical" \| "unknown", "reason": "…"}`, for a member of an ensemble also `"role": "leader" \| "follower" \| "learner" \| "outside"`, `"voters": 3`, `"serving": 3` |
//! | `start` | before the workload is started under a lease | `{"command": "…"}`, a line for `sh -c` or a list of words, which becomes the workload |
//! | `stop` | its lease ends, or its machine goes | `{}` once nothing runs any more |
//! | `restart` | as a cure | `{}` |
//! | `drain` | before a machine that is well is taken away | `{}` once its duties are handed over |
//! | `tend` | after each look at its health | `{}` |
//! | `strike` | on another machine, before `member` goes for good | `{}` once `member` is no member any more |
//!
//! Any answer may be `{"error": "…"}` instead. Names that are not known are passed over, on both sides.

use muster_provisioners::Properties;
use serde::{Deserialize, Serialize};

use crate::run::CommandLine;
use crate::{Allocation, Health, HealthStatus, Part, Role, Workload};

/// The version of this protocol.
pub const VERSION: u32 = 1;

/// What an executable is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Prepare a new machine.
    Prepare,
    /// Judge the workload.
    Health,
    /// Make everything ready, and name the command that starts the workload.
    Start,
    /// Stop the workload.
    Stop,
    /// Restart the workload.
    Restart,
    /// Hand over the workload's duties.
    Drain,
    /// Do what this member does for its ensemble from time to time.
    Tend,
    /// Strike another member off the ensemble.
    Strike,
}

impl Method {
    /// All of them, in the order of a machine's life.
    pub const ALL: [Self; 8] = [
        Self::Prepare,
        Self::Health,
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Drain,
        Self::Tend,
        Self::Strike,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Health => "health",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Drain => "drain",
            Self::Tend => "tend",
            Self::Strike => "strike",
        }
    }

    /// What is being done, for errors.
    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Prepare => "preparing",
            Self::Health => "looking at its health",
            Self::Start => "starting",
            Self::Stop => "stopping",
            Self::Restart => "restarting",
            Self::Drain => "draining",
            Self::Tend => "tending its ensemble",
            Self::Strike => "striking a member off",
        }
    }
}

/// What an executable is told.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    /// [`VERSION`].
    pub version: u32,
    /// What to do.
    pub method: Method,
    /// What the group's specification says for it.
    pub properties: &'a Properties,
    /// Who the group declares: `{"cattle": {"size": 3}}` or `{"pets": {"members": ["a", "b"]}}`.
    pub allocation: &'a Allocation,
    /// The machine that it runs on, and the other members as far as they are known.
    pub workload: &'a Workload,
    /// Who is struck off; only for `strike`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<&'a str>,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        method: Method,
        properties: &'a Properties,
        allocation: &'a Allocation,
        workload: &'a Workload,
    ) -> Self {
        Self {
            version: VERSION,
            method,
            properties,
            allocation,
            workload,
            member: None,
        }
    }

    /// The object as one line of text.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("names, numbers and JSON values serialize into memory")
    }
}

/// An answer; each method looks at what it needs.
#[derive(Debug, Deserialize)]
struct Answer {
    error: Option<String>,
    status: Option<HealthStatus>,
    #[serde(default)]
    reason: String,
    role: Option<String>,
    #[serde(default)]
    voters: usize,
    #[serde(default)]
    serving: usize,
    command: Option<CommandLine>,
}

fn read(text: &str) -> Result<Answer, String> {
    let answer: Answer = serde_json::from_str(text.trim())
        .map_err(|error| format!("its answer is not as documented: {error}"))?;
    match answer.error {
        Some(error) => Err(error),
        None => Ok(answer),
    }
}

/// Whether a method was done.
///
/// # Errors
/// Why it was not.
pub(super) fn done(text: &str) -> Result<(), String> {
    read(text).map(|_| ())
}

/// The verdict in an answer to `health`.
///
/// # Errors
/// Why there is none.
pub(super) fn health(text: &str) -> Result<Health, String> {
    let answer = read(text)?;
    let status = answer.status.ok_or("its answer has no `status`")?;
    let health = Health::new(status, answer.reason);
    let Some(role) = answer.role else {
        return Ok(health);
    };
    let role = Role::named(&role)
        .ok_or_else(|| format!("`{}` is no role", role.chars().take(32).collect::<String>()))?;
    Ok(health.playing(Part::new(role).counting(answer.voters, answer.serving)))
}

/// The command in an answer to `start`.
///
/// # Errors
/// Why there is none.
pub(super) fn command(text: &str) -> Result<CommandLine, String> {
    let command = read(text)?.command.ok_or("its answer has no `command`")?;
    let words = match &command {
        CommandLine::Shell(line) => std::slice::from_ref(line),
        CommandLine::Program(words) => words.as_slice(),
    };
    let first = words.first().map(|word| word.trim()).unwrap_or_default();
    if first.is_empty() || words.iter().any(|word| word.contains('\0')) {
        return Err("its answer's `command` is empty or has a NUL character".to_owned());
    }
    Ok(command)
}

/// The line of a first-boot script that has the executable prepare the machine. What it answers stays in the boot's log; where
/// it fails, the first boot fails.
pub(super) fn first_boot(command: &CommandLine, request: &Request<'_>) -> String {
    let command = match command {
        CommandLine::Shell(line) => format!("sh -c {}", quoted(line)),
        CommandLine::Program(words) => {
            let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
            words.join(" ")
        }
    };
    format!("printf '%s' {} | {command}", quoted(&request.to_text()))
}

/// A word for the shell that stands for itself.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
