//! What a group may say about the flavor `exec`.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_provisioners::{Fields, Problem, Properties};

use super::wire::Method;
use crate::run::CommandLine;
use crate::{HealthPlan, read};

/// The properties of the flavor, checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) command: CommandLine,
    pub(super) does: BTreeSet<Method>,
    pub(super) plan: HealthPlan,
    pub(super) timeout: Duration,
    pub(super) quorum: Quorum,
    pub(super) properties: Properties,
}

/// How many of its members the workload needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quorum {
    /// None; each works for itself.
    None,
    /// More than half of those that the group declares.
    Majority,
    /// A majority of those that its members count.
    Ensemble,
}

impl Config {
    pub(super) fn read(properties: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::ignoring_case(properties);
        let command = read::command(&mut fields, "command");
        let does = read_does(&mut fields);
        let plan = fields.object("health", read::plan);
        let plan = plan.unwrap_or_else(|| read::plan(&mut Fields::new(&Properties::new())));
        let timeout = read::duration(&mut fields, "timeout");
        let quorum = read_quorum(&mut fields);
        if quorum == Quorum::Ensemble && !does.contains(&Method::Health) {
            let reason =
                "who plays which part in an ensemble is told by `health`, which is not in `does`";
            fields.problem("quorum", reason, "add \"health\" to `does`");
        }
        let given = fields.value("properties").cloned();
        let given = given.map(Properties::from_value).transpose();
        let given = given.unwrap_or_else(|error| {
            fields.problem("properties", error.to_string(), "write { … }");
            None
        });
        let problems = fields.finish();
        match command {
            Some(command) if problems.is_empty() => Ok(Self {
                command,
                does,
                plan,
                timeout: timeout.unwrap_or(read::TASK_TIMEOUT_DEFAULT),
                quorum,
                properties: given.unwrap_or_default(),
            }),
            _ => Err(problems),
        }
    }
}

fn read_does(fields: &mut Fields<'_>) -> BTreeSet<Method> {
    let Some(words) = fields.strings("does") else {
        return BTreeSet::from([Method::Health]);
    };
    let mut does = BTreeSet::new();
    for (index, word) in words.iter().enumerate() {
        match Method::ALL
            .into_iter()
            .find(|method| method.as_str() == word)
        {
            Some(method) => {
                does.insert(method);
            }
            None => {
                let names = Method::ALL.map(Method::as_str).join(", ");
                let word: String = word.chars().take(32).collect();
                let reason = format!("`{word}` is no method");
                fields.problem(
                    &format!("does[{index}]"),
                    reason,
                    format!("write some of: {names}"),
                );
            }
        }
    }
    does
}

fn read_quorum(fields: &mut Fields<'_>) -> Quorum {
    match fields.string("quorum").as_deref() {
        None | Some("none") => Quorum::None,
        Some("majority") => Quorum::Majority,
        Some("ensemble") => Quorum::Ensemble,
        Some(other) => {
            let other: String = other.chars().take(32).collect();
            let remedy = "write \"majority\", \"ensemble\" or \"none\"";
            fields.problem("quorum", format!("`{other}` is no quorum"), remedy);
            Quorum::None
        }
    }
}
