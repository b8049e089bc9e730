//! `vanilla`: first-boot lines, tags and attachments as InfraKit's flavor of the same name has them, and
//! commands that judge, drain, stop and restart the workload.
//!
//! | property | meaning | default |
//! |---|---|---|
//! | `init` | list of lines of a shell script for the first boot, put after what is there | none |
//! | `tags` | tags of the instance | none |
//! | `attachments` | list of `{ id, type }`; `{group}` and `{member}` in an ID stand for the member's own | none |
//! | `health.command` | a line for `sh -c`, or a list of program and arguments; exit code 0 is well | no check |
//! | `health.interval` | from look to look | `10s` |
//! | `health.timeout` | how long a look may take | `5s`, or the interval if that is shorter |
//! | `health.failures` | failed looks in a row until the workload is critical | 3 |
//! | `health.successes` | good looks in a row until it is well again | 1 |
//! | `health.warning_exits` | exit codes that mean a warning | none |
//! | `start` | a line or a list as in `health.command`, for groups with a lease; what goes on running is the workload itself | the workload starts with the machine |
//! | `drain`, `stop`, `restart` | `{ command, timeout }`: hand over duties, stop the workload, restart it | nothing; `30s` |
//! | `quorum` | `majority`: more than half of the members have to be there; `none`: the workload needs none | `none` |
//!
//! Names may be written in any case, as InfraKit's may (`Init`, `Tags`, `Attachments`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::{Deadline, MachineSpec, Problem, Properties};

use crate::run::{CommandLine, Ending, Limits, Outcome, run};
use crate::{Allocation, Built, Flavor, FlavorError, Health, HealthPlan, Kind, Place, Workload};

mod config;

pub use config::{HealthCheck, Quorum, Task, VanillaConfig};

/// This flavor for the [`Registry`](crate::Registry).
pub const KIND: Kind = Kind {
    name: "vanilla",
    about: "first-boot lines, tags, attachments, and commands for health, drain, stop and restart",
    build,
};

/// How much of the end of a command's output is kept to say why it failed.
const OUTPUT_MAX: usize = 1024;
/// What shells answer if there is no such program, or it can't be executed.
const EXIT_CANNOT_RUN: [i32; 2] = [126, 127];

fn build(properties: &Properties, allocation: &Allocation) -> Built {
    Ok(Arc::new(Vanilla {
        config: VanillaConfig::read(properties, allocation)?,
    }))
}

/// The flavor, bound to a group's properties.
#[derive(Debug)]
pub struct Vanilla {
    config: VanillaConfig,
}

#[async_trait]
impl Flavor for Vanilla {
    fn prepare(
        &self,
        mut spec: MachineSpec,
        place: &Place<'_>,
    ) -> Result<MachineSpec, Vec<Problem>> {
        let lines = self.config.init.iter().map(String::as_str);
        let before = Some(spec.init.as_str()).filter(|init| !init.is_empty());
        spec.init = before
            .into_iter()
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n");
        if spec.init.len() > MachineSpec::INIT_MAX_BYTES {
            let reason = format!("the script of the first boot has {} bytes", spec.init.len());
            let remedy = format!("at most {} are possible", MachineSpec::INIT_MAX_BYTES);
            return Err(vec![Problem::new("init", reason, remedy)]);
        }
        spec.tags.extend(
            self.config
                .tags
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        for attachment in self.config.attachments_of(place.group, place.member) {
            if !spec.attachments.contains(&attachment) {
                spec.attachments.push(attachment);
            }
        }
        Ok(spec)
    }

    fn health_plan(&self) -> Option<HealthPlan> {
        self.config.health.as_ref().map(|check| check.plan.clone())
    }

    async fn healthy(&self, workload: &Workload) -> Health {
        match &self.config.health {
            Some(check) => {
                let outcome = execute(&check.command, workload, check.plan.timeout, false).await;
                judge(check, &outcome)
            }
            None => Health::unknown("no health command is configured"),
        }
    }

    fn can_drain(&self) -> bool {
        self.config.drain.is_some()
    }

    async fn drain(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        perform("draining", self.config.drain.as_ref(), workload, deadline).await
    }

    fn can_stop(&self) -> bool {
        self.config.stop.is_some()
    }

    fn can_start(&self) -> bool {
        self.config.start.is_some()
    }

    async fn start(&self, _: &Workload, _: Deadline) -> Result<CommandLine, FlavorError> {
        let start = self.config.start.clone();
        start.ok_or_else(|| FlavorError::nothing("start"))
    }

    async fn stop(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        perform("stopping", self.config.stop.as_ref(), workload, deadline).await
    }

    fn can_restart(&self) -> bool {
        self.config.restart.is_some()
    }

    async fn restart(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        perform(
            "restarting",
            self.config.restart.as_ref(),
            workload,
            deadline,
        )
        .await
    }

    fn may_be_missing(&self, members: usize) -> usize {
        match self.config.quorum {
            Quorum::None => members,
            Quorum::Majority => members.saturating_sub(1) / 2,
        }
    }
}

async fn execute(
    command: &CommandLine,
    workload: &Workload,
    timeout: Duration,
    may_leave_processes: bool,
) -> Outcome {
    let limits = Limits {
        timeout,
        output_max: OUTPUT_MAX,
        may_leave_processes,
    };
    run(
        command,
        &workload.variables(),
        workload.directory.as_deref(),
        limits,
    )
    .await
}

/// What the end of a health command says. Pure.
fn judge(check: &HealthCheck, outcome: &Outcome) -> Health {
    let said = |what: String| match outcome.output.trim() {
        "" => what,
        output => format!("{what}: {output}"),
    };
    match &outcome.ending {
        Ending::Exited(0) => Health::ok(&outcome.output),
        Ending::Exited(code) if check.warning_exits.contains(code) => {
            Health::warning(said(format!("exit code {code}")))
        }
        Ending::Exited(code) if EXIT_CANNOT_RUN.contains(code) => {
            Health::unknown(said("the health command can't be run".to_owned()))
        }
        Ending::Exited(code) => Health::critical(said(format!("exit code {code}"))),
        Ending::Signalled(signal) => Health::critical(said(format!("killed by signal {signal}"))),
        Ending::TimedOut => {
            let limit = humantime::format_duration(check.plan.timeout);
            Health::critical(said(format!("no answer within {limit}")))
        }
        Ending::CannotRun(why) => {
            Health::unknown(format!("the health command can't be run: {why}"))
        }
    }
}

async fn perform(
    what: &str,
    task: Option<&Task>,
    workload: &Workload,
    deadline: Deadline,
) -> Result<(), FlavorError> {
    let Some(task) = task else { return Ok(()) };
    let limit = task.timeout.min(deadline.remaining());
    let outcome = execute(&task.command, workload, limit, true).await;
    let what = what.to_owned();
    match &outcome.ending {
        Ending::Exited(0) => Ok(()),
        Ending::TimedOut => Err(FlavorError::Timeout {
            what,
            limit: humantime::format_duration(limit).to_string(),
        }),
        ending => {
            let mut why = match ending {
                Ending::Exited(code) => format!("exit code {code}"),
                Ending::Signalled(signal) => format!("signal {signal}"),
                Ending::CannotRun(why) => why.to_string(),
                Ending::TimedOut => String::new(),
            };
            if !outcome.output.is_empty() {
                why.push_str(": ");
                why.push_str(&outcome.output);
            }
            let why = Health::critical(why).reason;
            Err(FlavorError::Failed { what, why })
        }
    }
}

#[cfg(test)]
mod tests;
