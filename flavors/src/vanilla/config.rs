//! What a group may say about the flavor `vanilla`, and everything that may be wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_provisioners::{Attachment, Fields, MachineSpec, Problem, Properties, tag};
use serde_json::Value;

use crate::run::CommandLine;
use crate::{Allocation, HealthPlan};

const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const TASK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const FAILURES_DEFAULT: u64 = 3;
const SUCCESSES_DEFAULT: u64 = 1;
/// Looking more often than this would cost more than it tells.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Looking less often than once a day is a mistake in the unit.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// A streak longer than this is a mistake: nothing would ever be critical.
const STREAK_MAX: u64 = 1000;
/// Providers allow 10 (Azure) to 50 (EC2) tags on an instance; muster's own take seven.
const TAGS_MAX: usize = 40;
/// EC2 allows 28 attachments on an instance.
const ATTACHMENTS_MAX: usize = 28;
const PLACEHOLDERS: [&str; 2] = ["{group}", "{member}"];

/// The properties of the flavor, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VanillaConfig {
    /// Lines for the first boot.
    pub init: Vec<String>,
    /// Tags of the instance.
    pub tags: BTreeMap<String, String>,
    /// Attachments, with placeholders in their IDs.
    pub attachments: Vec<Attachment>,
    /// How the health of the workload is judged.
    pub health: Option<HealthCheck>,
    /// What starts the workload, or is it.
    pub start: Option<CommandLine>,
    /// How the workload hands over its duties.
    pub drain: Option<Task>,
    /// How the workload is stopped.
    pub stop: Option<Task>,
    /// How the workload is restarted.
    pub restart: Option<Task>,
    /// How many of its members the workload needs.
    pub quorum: Quorum,
}

/// How many of its members a workload needs to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quorum {
    /// None; each works for itself.
    #[default]
    None,
    /// More than half.
    Majority,
}

/// A command that judges the health of the workload by its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is run.
    pub command: CommandLine,
    /// When, and how long.
    pub plan: HealthPlan,
    /// Exit codes that mean a warning.
    pub warning_exits: BTreeSet<i32>,
}

/// A command that does something with the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// What is run.
    pub command: CommandLine,
    /// How long it may take.
    pub timeout: Duration,
}

impl VanillaConfig {
    /// Reads and checks a group's properties. Pure.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(properties: &Properties, allocation: &Allocation) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::ignoring_case(properties);
        let config = Self {
            init: read_init(&mut fields),
            tags: read_tags(&mut fields),
            attachments: read_attachments(&mut fields, allocation),
            health: fields.object("health", read_health).flatten(),
            start: read_start(&mut fields),
            drain: fields.object("drain", read_task).flatten(),
            stop: fields.object("stop", read_task).flatten(),
            restart: fields.object("restart", read_task).flatten(),
            quorum: read_quorum(&mut fields),
        };
        let problems = fields.finish();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// What is attached to one member of a group.
    pub fn attachments_of(&self, group: &str, member: &str) -> impl Iterator<Item = Attachment> {
        self.attachments.iter().map(move |attachment| Attachment {
            id: expand(&attachment.id, group, member),
            kind: attachment.kind.clone(),
        })
    }
}

/// Puts a member's own names in the place of `{group}` and `{member}`.
fn expand(id: &str, group: &str, member: &str) -> String {
    id.replace("{group}", group).replace("{member}", member)
}

fn read_init(fields: &mut Fields<'_>) -> Vec<String> {
    let lines = fields.strings("init").unwrap_or_default();
    let size: usize = lines.iter().map(|line| line.len() + 1).sum();
    if size > MachineSpec::INIT_MAX_BYTES {
        let reason = format!("the lines have {size} bytes");
        let remedy = format!(
            "keep below {}, or fetch the rest",
            MachineSpec::INIT_MAX_BYTES
        );
        fields.problem("init", reason, remedy);
    }
    if lines.iter().any(|line| line.contains('\0')) {
        fields.problem("init", "a line contains a NUL character", "remove it");
    }
    lines
}

fn read_tags(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let tags = fields.string_map("tags").unwrap_or_default();
    for name in tags.keys() {
        if name.is_empty() {
            fields.problem("tags", "a tag has no name", "name it");
        } else if name.starts_with(tag::PREFIX) {
            let reason = format!("tags that begin with `{}` are muster's own", tag::PREFIX);
            fields.problem(&format!("tags.{name}"), reason, "choose another name");
        }
    }
    if tags.len() > TAGS_MAX {
        let reason = format!("{} tags are more than providers allow", tags.len());
        fields.problem("tags", reason, format!("keep to {TAGS_MAX}"));
    }
    tags
}

fn read_attachments(fields: &mut Fields<'_>, allocation: &Allocation) -> Vec<Attachment> {
    let mut seen = BTreeSet::new();
    let attachments = fields.objects("attachments", |item| {
        let kind = item.string("type").unwrap_or_default();
        let given = item.written("id").is_some();
        let id = item.string("id").unwrap_or_default();
        if id.is_empty() {
            if !given {
                item.problem(
                    "id",
                    "an attachment needs an ID",
                    "write id = \"{group}-{member}\"",
                );
            }
        } else if !PLACEHOLDERS
            .iter()
            .any(|placeholder| id.contains(placeholder))
            && allocation.len() > 1
        {
            let reason = format!(
                "`{id}` can be attached to only one of {} members",
                allocation.len()
            );
            item.problem(
                "id",
                reason,
                "put {member} into the ID, so that each has its own",
            );
        } else if allocation.len() > 1 && !id.contains("{member}") {
            let reason = format!("`{id}` is the same for all {} members", allocation.len());
            item.problem(
                "id",
                reason,
                "put {member} into the ID, so that each has its own",
            );
        }
        if !id.is_empty() && !seen.insert(id.clone()) {
            item.problem("id", format!("`{id}` is listed twice"), "list it once");
        }
        Attachment { id, kind }
    });
    let attachments = attachments.unwrap_or_default();
    if attachments.len() > ATTACHMENTS_MAX {
        let reason = format!(
            "{} attachments are more than providers allow",
            attachments.len()
        );
        fields.problem("attachments", reason, format!("keep to {ATTACHMENTS_MAX}"));
    }
    attachments
}

fn read_health(fields: &mut Fields<'_>) -> Option<HealthCheck> {
    let command = read_command(fields);
    let interval = read_duration(fields, "interval").unwrap_or(INTERVAL_DEFAULT);
    let timeout = read_duration(fields, "timeout").unwrap_or(TIMEOUT_DEFAULT.min(interval));
    if timeout > interval {
        let reason = format!(
            "a look of {} would overlap with the next one after {}",
            humantime::format_duration(timeout),
            humantime::format_duration(interval)
        );
        fields.problem("timeout", reason, "keep it within the interval");
    }
    let failures = read_streak(fields, "failures").unwrap_or(FAILURES_DEFAULT);
    let successes = read_streak(fields, "successes").unwrap_or(SUCCESSES_DEFAULT);
    Some(HealthCheck {
        warning_exits: read_exit_codes(fields),
        command: command?,
        plan: HealthPlan {
            interval,
            timeout,
            // At most STREAK_MAX, or a problem has been reported.
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
            successes: u32::try_from(successes).unwrap_or(u32::MAX),
        },
    })
}

fn read_task(fields: &mut Fields<'_>) -> Option<Task> {
    let command = read_command(fields);
    let timeout = read_duration(fields, "timeout").unwrap_or(TASK_TIMEOUT_DEFAULT);
    Some(Task {
        command: command?,
        timeout,
    })
}

fn read_quorum(fields: &mut Fields<'_>) -> Quorum {
    match fields.string("quorum").as_deref() {
        None | Some("none") => Quorum::None,
        Some("majority") => Quorum::Majority,
        Some(other) => {
            let reason = format!("`{other}` is no quorum");
            fields.problem("quorum", reason, "write \"majority\" or \"none\"");
            Quorum::None
        }
    }
}

fn read_start(fields: &mut Fields<'_>) -> Option<CommandLine> {
    fields.written("start")?;
    read_line(fields, "start")
}

fn read_command(fields: &mut Fields<'_>) -> Option<CommandLine> {
    read_line(fields, "command")
}

fn read_line(fields: &mut Fields<'_>, name: &str) -> Option<CommandLine> {
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

fn read_duration(fields: &mut Fields<'_>, name: &str) -> Option<Duration> {
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

fn read_streak(fields: &mut Fields<'_>, name: &str) -> Option<u64> {
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

fn read_exit_codes(fields: &mut Fields<'_>) -> BTreeSet<i32> {
    let mut codes = BTreeSet::new();
    for item in fields.items("warning_exits").unwrap_or_default() {
        match item.as_i64() {
            Some(code @ 1..=255) => {
                codes.insert(i32::try_from(code).unwrap_or_default());
            }
            _ => fields.problem(
                "warning_exits",
                format!("`{item}` is no exit code of a failure"),
                "write numbers from 1 to 255",
            ),
        }
    }
    codes
}
