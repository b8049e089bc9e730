//! What several flavors read alike from a group's properties.

use std::time::Duration;

use muster_provisioners::Fields;
use serde_json::Value;

use crate::HealthPlan;
use crate::run::CommandLine;

/// How long a command may take that does something with the workload, where a group does not say so.
pub(crate) const TASK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const SERVER_INTERVAL: Duration = Duration::from_secs(5);
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
const FAILURES: u32 = 3;
const SUCCESSES: u32 = 1;
const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const FAILURES_DEFAULT: u64 = 3;
const SUCCESSES_DEFAULT: u64 = 1;
/// Looking more often than this would cost more than it tells.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Looking less often than once a day is a mistake in the unit.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// A streak longer than this is a mistake: nothing would ever be critical.
const STREAK_MAX: u64 = 1000;

/// When and how long is looked at a workload: `interval`, `timeout`, `failures` and `successes`.
pub(crate) fn plan(fields: &mut Fields<'_>) -> HealthPlan {
    let interval = duration(fields, "interval").unwrap_or(INTERVAL_DEFAULT);
    let timeout = duration(fields, "timeout").unwrap_or(TIMEOUT_DEFAULT.min(interval));
    if timeout > interval {
        let reason = format!(
            "a look of {} would overlap with the next one after {}",
            humantime::format_duration(timeout),
            humantime::format_duration(interval)
        );
        fields.problem("timeout", reason, "keep it within the interval");
    }
    let failures = streak(fields, "failures").unwrap_or(FAILURES_DEFAULT);
    let successes = streak(fields, "successes").unwrap_or(SUCCESSES_DEFAULT);
    HealthPlan {
        interval,
        timeout,
        // At most STREAK_MAX, or a problem has been reported.
        failures: u32::try_from(failures).unwrap_or(u32::MAX),
        successes: u32::try_from(successes).unwrap_or(u32::MAX),
    }
}

/// The same for a server that the flavor itself knows how to look at, in the object `health`: every five seconds, within two.
pub(crate) fn server_plan(fields: &mut Fields<'_>) -> HealthPlan {
    let looked = fields.object("health", |health| {
        let written = |name: &str| health.written(name).is_some();
        let (interval, timeout) = (written("interval"), written("timeout"));
        let mut plan = plan(health);
        if !interval {
            plan.interval = SERVER_INTERVAL.max(plan.timeout);
        }
        if !timeout {
            plan.timeout = SERVER_TIMEOUT.min(plan.interval);
        }
        plan
    });
    looked.unwrap_or(HealthPlan {
        interval: SERVER_INTERVAL,
        timeout: SERVER_TIMEOUT,
        failures: FAILURES,
        successes: SUCCESSES,
    })
}

/// A path, or a program's name: some text without a NUL character.
pub(crate) fn path(fields: &mut Fields<'_>, name: &str, default: &str) -> String {
    let Some(path) = fields.string(name) else {
        return default.to_owned();
    };
    if path.is_empty() || path.contains('\0') || path.ends_with('/') {
        let remedy = format!("write a path such as \"{default}\", or leave it out");
        fields.problem(name, "it names no file or directory", remedy);
    }
    path
}

/// A command: a line for the shell, or a list of program and arguments. It has to be there.
pub(crate) fn command(fields: &mut Fields<'_>, name: &str) -> Option<CommandLine> {
    let example =
        format!("write {name} = \"…\" (a line for sh), or a list of program and arguments");
    let command = match fields.value(name) {
        Some(Value::String(line)) => CommandLine::Shell(line.clone()),
        Some(Value::Array(items)) => {
            let words: Option<Vec<_>> = items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect();
            match words {
                Some(words) => CommandLine::Program(words),
                None => {
                    fields.problem(name, "not all of its words are texts", &example);
                    return None;
                }
            }
        }
        Some(_) => {
            fields.problem(name, "neither a text nor a list", &example);
            return None;
        }
        None => {
            fields.problem(name, "there is no command", &example);
            return None;
        }
    };
    let (first, all) = match &command {
        CommandLine::Shell(line) => (Some(line), std::slice::from_ref(line)),
        CommandLine::Program(words) => (words.first(), words.as_slice()),
    };
    if first.is_none_or(|first| first.trim().is_empty()) {
        fields.problem(name, "the command is empty", &example);
        return None;
    }
    if all.iter().any(|word| word.contains('\0')) {
        fields.problem(name, "it contains a NUL character", "remove it");
        return None;
    }
    Some(command)
}

/// How long something takes, from 100 ms to a day.
pub(crate) fn duration(fields: &mut Fields<'_>, name: &str) -> Option<Duration> {
    let text = fields.string(name)?;
    let remedy = "write a number with its unit, such as \"10s\", \"500ms\" or \"1m 30s\"";
    match humantime::parse_duration(&text) {
        Ok(duration) if (INTERVAL_MIN..=DURATION_MAX).contains(&duration) => Some(duration),
        Ok(_) => {
            let reason = format!("`{text}` is not between 100ms and 1day");
            fields.problem(name, reason, remedy);
            None
        }
        Err(error) => {
            fields.problem(name, format!("`{text}` is no duration: {error}"), remedy);
            None
        }
    }
}

fn streak(fields: &mut Fields<'_>, name: &str) -> Option<u64> {
    let count = fields.integer(name)?;
    if (1..=STREAK_MAX).contains(&count) {
        return Some(count);
    }
    let remedy = format!("write a number from 1 to {STREAK_MAX}");
    fields.problem(
        name,
        format!("{count} looks in a row make no sense"),
        remedy,
    );
    None
}
