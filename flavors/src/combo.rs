//! `combo`: several flavors at once, as InfraKit's flavor of the same name has them.
//!
//! | property | meaning | default |
//! |---|---|---|
//! | `flavors` | list of `{ flavor, properties }`, from 1 to 8; `plugin`, InfraKit's word, means `flavor` | none; it has to be there |
//!
//! Each prepares the machine in the order of the list. The machine's health is the worst that any of them finds; the first
//! that is in an ensemble tells the part. They drain in order and stop in reverse order. At most one may start the workload.
//!
//! Names may be written in any case.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use muster_provisioners::{Deadline, Fields, MachineSpec, Problem, Properties};

use crate::run::CommandLine;
use crate::{
    Allocation, Built, Flavor, FlavorError, Health, HealthPlan, HealthStatus, Kind, Place,
    Registry, Workload,
};

/// This flavor for the [`Registry`].
pub const KIND: Kind = Kind {
    name: "combo",
    about: "several flavors at once",
    build,
};

/// More would be a mistake: each is looked at as often as the most frequent.
const FLAVORS_MAX: usize = 8;
/// What InfraKit's own flavors were called before they were named like ours.
const INFRAKIT_PREFIX: &str = "flavor-";

/// Several flavors, bound to a group's properties.
#[derive(Debug)]
struct Combo(Vec<Arc<dyn Flavor>>);

fn build(properties: &Properties, allocation: &Allocation) -> Built {
    let mut fields = Fields::ignoring_case(properties);
    let mut parts = Vec::new();
    let mut problems = Vec::new();
    let listed = fields.objects("flavors", |item| {
        let name = item.string("flavor").or_else(|| item.string("plugin"));
        (name, item.value("properties").cloned())
    });
    if listed.as_ref().is_none_or(Vec::is_empty) && fields.written("flavors").is_none() {
        fields.problem("flavors", "there is no list of flavors", EXAMPLE);
    }
    let listed = listed.unwrap_or_default();
    if listed.is_empty() && fields.written("flavors").is_some() {
        fields.problem("flavors", "the list is empty", EXAMPLE);
    }
    if listed.len() > FLAVORS_MAX {
        let reason = format!("{} flavors are too many", listed.len());
        fields.problem("flavors", reason, format!("keep to {FLAVORS_MAX}"));
    }
    let place = fields.written("flavors").unwrap_or("flavors");
    for (index, (name, properties)) in listed.into_iter().take(FLAVORS_MAX).enumerate() {
        let here = format!("{place}[{index}]");
        match part(name, properties, allocation) {
            Ok(flavor) => parts.push(flavor),
            Err(found) => problems.extend(found.into_iter().map(|problem| problem.under(&here))),
        }
    }
    if parts.iter().filter(|part| part.can_start()).count() > 1 {
        let reason = "more than one of them starts the workload";
        fields.problem("flavors", reason, "leave `start` to one of them");
    }
    problems.extend(fields.finish());
    if problems.is_empty() {
        Ok(Arc::new(Combo(parts)))
    } else {
        Err(problems)
    }
}

const EXAMPLE: &str = "write flavors = [{ flavor = \"vanilla\", properties = { … } }, …]";

fn part(
    name: Option<String>,
    properties: Option<serde_json::Value>,
    allocation: &Allocation,
) -> Built {
    let Some(name) = name else {
        let missing = Problem::new("flavor", "it has no name", EXAMPLE);
        return Err(vec![missing]);
    };
    let properties = match properties.map(Properties::from_value).transpose() {
        Ok(properties) => properties.unwrap_or_default(),
        Err(error) => {
            let wrong = Problem::new("properties", error.to_string(), "write { … }");
            return Err(vec![wrong]);
        }
    };
    let registry = Registry::builtin();
    let ours = |name: &str| registry.kinds().any(|kind| kind.name == name);
    let short = name.strip_prefix(INFRAKIT_PREFIX).filter(|name| ours(name));
    registry.build(short.unwrap_or(&name), &properties, allocation)
}

/// From best to worst; what nobody could look at is only told where nothing is wrong.
fn gravity(status: HealthStatus) -> u8 {
    match status {
        HealthStatus::Ok => 0,
        HealthStatus::Unknown => 1,
        HealthStatus::Warning => 2,
        HealthStatus::Critical => 3,
    }
}

/// The worst of several verdicts, the first of those that are as bad, with the first part that is told. Pure.
fn worst(looks: Vec<Health>) -> Health {
    let part = looks.iter().find_map(|look| look.part);
    let worst = looks.into_iter().reduce(|worst, look| {
        if gravity(look.status) > gravity(worst.status) {
            look
        } else {
            worst
        }
    });
    Health {
        part,
        ..worst.unwrap_or_else(|| Health::unknown("none of the flavors looks at the workload"))
    }
}

#[async_trait]
impl Flavor for Combo {
    fn prepare(&self, spec: MachineSpec, place: &Place<'_>) -> Result<MachineSpec, Vec<Problem>> {
        self.0
            .iter()
            .try_fold(spec, |spec, part| part.prepare(spec, place))
    }

    fn must_be_asked(&self) -> bool {
        self.0.iter().any(|part| part.must_be_asked())
    }

    async fn complete(
        &self,
        mut spec: MachineSpec,
        place: &Place<'_>,
        deadline: Deadline,
    ) -> Result<MachineSpec, FlavorError> {
        for part in &self.0 {
            spec = part.complete(spec, place, deadline).await?;
        }
        Ok(spec)
    }

    fn health_plan(&self) -> Option<HealthPlan> {
        let plans: Vec<_> = self
            .0
            .iter()
            .filter_map(|part| part.health_plan())
            .collect();
        let interval = plans.iter().map(|plan| plan.interval).min()?;
        let timeout = plans.iter().map(|plan| plan.timeout).max()?;
        let failures = plans.iter().map(|plan| plan.failures).max()?;
        let successes = plans.iter().map(|plan| plan.successes).max()?;
        Some(HealthPlan {
            interval: interval.max(timeout),
            timeout,
            failures,
            successes,
        })
    }

    async fn healthy(&self, workload: &Workload) -> Health {
        let looking = self.0.iter().filter(|part| part.health_plan().is_some());
        worst(join_all(looking.map(|part| part.healthy(workload))).await)
    }

    fn can_drain(&self) -> bool {
        self.0.iter().any(|part| part.can_drain())
    }

    async fn drain(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        for part in self.0.iter().filter(|part| part.can_drain()) {
            part.drain(workload, deadline).await?;
        }
        Ok(())
    }

    fn can_stop(&self) -> bool {
        self.0.iter().any(|part| part.can_stop())
    }

    fn can_start(&self) -> bool {
        self.0.iter().any(|part| part.can_start())
    }

    fn is_kept(&self) -> bool {
        self.0.iter().any(|part| part.is_kept())
    }

    async fn start(
        &self,
        workload: &Workload,
        deadline: Deadline,
    ) -> Result<CommandLine, FlavorError> {
        match self.0.iter().find(|part| part.can_start()) {
            Some(part) => part.start(workload, deadline).await,
            None => Err(FlavorError::nothing("start")),
        }
    }

    /// All of them are stopped, also where one of them fails.
    async fn stop(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        let mut failed = Ok(());
        for part in self.0.iter().rev().filter(|part| part.can_stop()) {
            let stopped = part.stop(workload, deadline).await;
            failed = failed.and(stopped);
        }
        failed
    }

    fn can_restart(&self) -> bool {
        self.0.iter().any(|part| part.can_restart())
    }

    async fn restart(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        for part in self.0.iter().filter(|part| part.can_restart()) {
            part.restart(workload, deadline).await?;
        }
        Ok(())
    }

    fn may_be_missing(&self, members: usize) -> usize {
        let missing = self.0.iter().map(|part| part.may_be_missing(members));
        missing.min().unwrap_or(members)
    }

    fn is_ensemble(&self) -> bool {
        self.0.iter().any(|part| part.is_ensemble())
    }

    async fn tend(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        let tending = self.0.iter().map(|part| part.tend(workload, deadline));
        join_all(tending).await.into_iter().collect()
    }

    fn strikes(&self, replaced: bool) -> bool {
        self.0.iter().any(|part| part.strikes(replaced))
    }

    async fn strike(
        &self,
        workload: &Workload,
        member: &str,
        deadline: Deadline,
    ) -> Result<(), FlavorError> {
        for part in self.0.iter().filter(|part| part.strikes(false)) {
            part.strike(workload, member, deadline).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
