//! What a group may say about the flavor `vanilla`, and everything that may be wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_provisioners::{Attachment, Fields, MachineSpec, Problem, Properties, tag};

use crate::run::CommandLine;
use crate::{Allocation, HealthPlan, read};

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
    let plan = read::plan(fields);
    Some(HealthCheck {
        warning_exits: read_exit_codes(fields),
        command: command?,
        plan,
    })
}

fn read_task(fields: &mut Fields<'_>) -> Option<Task> {
    let command = read_command(fields);
    let timeout = read::duration(fields, "timeout").unwrap_or(read::TASK_TIMEOUT_DEFAULT);
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
    read::command(fields, "start")
}

fn read_command(fields: &mut Fields<'_>) -> Option<CommandLine> {
    read::command(fields, "command")
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
