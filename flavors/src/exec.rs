//! `exec`: any executable that speaks JSON, for those who bring their own flavor.
//!
//! | property | meaning | default |
//! |---|---|---|
//! | `command` | a line for `sh -c`, or a list of program and arguments; run on the machine itself | none; it has to be there |
//! | `does` | which of the methods `health`, `start`, `stop`, `restart`, `drain`, `tend`, `strike` and `prepare` it knows | `["health"]` |
//! | `health.interval`, `.timeout`, `.failures`, `.successes` | as for `vanilla` | as for `vanilla` |
//! | `timeout` | how long any other method may take | `30s` |
//! | `quorum` | `majority`, `none`, or `ensemble`: its answers to `health` say which part each member plays | `none` |
//! | `properties` | anything; handed to the executable | `{}` |
//!
//! For each method it is started once, in the workload's directory, with one JSON object on standard input
//! ([`Request`]) and answers with one on standard output ([`wire`]). Exit code 0 means that there is an answer;
//! any other that the method failed, and the end of standard error says why.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::{Deadline, MachineSpec, Problem, Properties};

use crate::run::{CommandLine, Ending, Limits, Outcome, converse};
use crate::{Allocation, Built, Flavor, FlavorError, Health, HealthPlan, Kind, Place, Workload};

mod config;
pub mod wire;

use config::{Config, Quorum};
use wire::{Method, Request};

/// This flavor for the [`Registry`](crate::Registry).
pub const KIND: Kind = Kind {
    name: "exec",
    about: "an executable of your own that speaks JSON",
    build,
};

/// The longest answer, in bytes: an object with a few words. As much of the end of standard error is kept.
const ANSWER_MAX: usize = 16 * 1024;

fn build(properties: &Properties, allocation: &Allocation) -> Built {
    Ok(Arc::new(Exec {
        config: Config::read(properties)?,
        allocation: allocation.clone(),
    }))
}

/// An executable, bound to a group's properties.
#[derive(Debug)]
struct Exec {
    config: Config,
    allocation: Allocation,
}

impl Exec {
    fn does(&self, method: Method) -> bool {
        self.config.does.contains(&method)
    }

    /// Has the executable do something, and gives its answer's text.
    async fn ask(
        &self,
        method: Method,
        workload: &Workload,
        member: Option<&str>,
        limit: Duration,
    ) -> Result<String, FlavorError> {
        let request = Request {
            member,
            ..Request::new(method, &self.config.properties, &self.allocation, workload)
        };
        let limits = Limits {
            timeout: limit,
            output_max: ANSWER_MAX,
            may_leave_processes: method != Method::Health,
        };
        let directory = workload.directory.as_deref();
        let (variables, input) = (workload.variables(), request.to_text());
        let (outcome, answer) = converse(
            &self.config.command,
            &variables,
            directory,
            input.as_bytes(),
            limits,
        )
        .await;
        told(method, outcome, answer, limit)
    }

    /// Has the executable do something that is answered with success or an error.
    async fn perform(
        &self,
        method: Method,
        workload: &Workload,
        member: Option<&str>,
        deadline: Deadline,
    ) -> Result<(), FlavorError> {
        if !self.does(method) {
            return Ok(());
        }
        let limit = self.config.timeout.min(deadline.remaining());
        let answer = self.ask(method, workload, member, limit).await?;
        wire::done(&answer).map_err(|why| FlavorError::failed(method.doing(), why))
    }
}

/// What a finished call has to say. Pure.
fn told(
    method: Method,
    outcome: Outcome,
    answer: Vec<u8>,
    limit: Duration,
) -> Result<String, FlavorError> {
    let failed = |why: String| {
        let said = outcome.output.trim();
        let why = if said.is_empty() {
            why
        } else {
            format!("{why}: {said}")
        };
        Err(FlavorError::failed(method.doing(), why))
    };
    match &outcome.ending {
        Ending::Exited(0) if answer.len() >= ANSWER_MAX => {
            failed(format!("its answer has {ANSWER_MAX} bytes or more"))
        }
        Ending::Exited(0) => {
            String::from_utf8(answer).or_else(|_| failed("its answer is no UTF-8".to_owned()))
        }
        Ending::Exited(code) => failed(format!("exit code {code}")),
        Ending::Signalled(signal) => failed(format!("signal {signal}")),
        Ending::TimedOut => Err(FlavorError::timeout(method.doing(), limit)),
        Ending::CannotRun(why) => failed(format!("it can't be run: {why}")),
    }
}

#[async_trait]
impl Flavor for Exec {
    fn prepare(
        &self,
        mut spec: MachineSpec,
        place: &Place<'_>,
    ) -> Result<MachineSpec, Vec<Problem>> {
        if !self.does(Method::Prepare) {
            return Ok(spec);
        }
        let workload = Workload {
            machine: spec.name.clone(),
            group: place.group.to_owned(),
            member: place.member.to_owned(),
            peers: place.peers.to_vec(),
            ..Workload::default()
        };
        let request = Request::new(
            Method::Prepare,
            &self.config.properties,
            &self.allocation,
            &workload,
        );
        let line = wire::first_boot(&self.config.command, &request);
        if !spec.init.is_empty() {
            spec.init.push('\n');
        }
        spec.init.push_str(&line);
        if spec.init.len() > MachineSpec::INIT_MAX_BYTES {
            let reason = format!("the script of the first boot has {} bytes", spec.init.len());
            let remedy = format!("at most {} are possible", MachineSpec::INIT_MAX_BYTES);
            return Err(vec![Problem::new("properties", reason, remedy)]);
        }
        Ok(spec)
    }

    fn health_plan(&self) -> Option<HealthPlan> {
        self.does(Method::Health).then(|| self.config.plan.clone())
    }

    async fn healthy(&self, workload: &Workload) -> Health {
        let limit = self.config.plan.timeout;
        match self.ask(Method::Health, workload, None, limit).await {
            Ok(answer) => wire::health(&answer)
                .unwrap_or_else(|why| Health::unknown(format!("the executable: {why}"))),
            // It is the executable that failed; but one that hangs may wait for the workload.
            Err(error @ FlavorError::Timeout { .. }) => Health::critical(error.to_string()),
            Err(error) => Health::unknown(error.to_string()),
        }
    }

    fn can_drain(&self) -> bool {
        self.does(Method::Drain)
    }

    async fn drain(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        self.perform(Method::Drain, workload, None, deadline).await
    }

    fn can_stop(&self) -> bool {
        self.does(Method::Stop)
    }

    fn can_start(&self) -> bool {
        self.does(Method::Start)
    }

    async fn start(
        &self,
        workload: &Workload,
        deadline: Deadline,
    ) -> Result<CommandLine, FlavorError> {
        let limit = self.config.timeout.min(deadline.remaining());
        let answer = self.ask(Method::Start, workload, None, limit).await?;
        wire::command(&answer).map_err(|why| FlavorError::failed(Method::Start.doing(), why))
    }

    async fn stop(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        self.perform(Method::Stop, workload, None, deadline).await
    }

    fn can_restart(&self) -> bool {
        self.does(Method::Restart)
    }

    async fn restart(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        self.perform(Method::Restart, workload, None, deadline)
            .await
    }

    fn may_be_missing(&self, members: usize) -> usize {
        match self.config.quorum {
            Quorum::None => members,
            Quorum::Majority | Quorum::Ensemble => members.saturating_sub(1) / 2,
        }
    }

    fn is_ensemble(&self) -> bool {
        self.config.quorum == Quorum::Ensemble
    }

    async fn tend(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        self.perform(Method::Tend, workload, None, deadline).await
    }

    fn strikes(&self, replaced: bool) -> bool {
        !replaced && self.does(Method::Strike)
    }

    async fn strike(
        &self,
        workload: &Workload,
        member: &str,
        deadline: Deadline,
    ) -> Result<(), FlavorError> {
        self.perform(Method::Strike, workload, Some(member), deadline)
            .await
    }
}

#[cfg(test)]
mod tests;
