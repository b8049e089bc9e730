//! The hands: carries out the steps of committed intents through provisioners, and says how it went.
//!
//! One step at a time, and each from the state alone ([`job()`]): whoever leads next derives the same job, with the
//! same operation ID, and finishes what was begun. Nothing here decides: what may be done was decided, committed,
//! and confirmed again by the caller a moment ago.

use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use muster_flavors::{Place, Registry};
use muster_mesh::identity::MachineId;
use muster_provisioners::{
    Deadline, MachineSpec, OperationId, ProvisionError, Provisioner, Provisioners,
};

use crate::fleet::{Check, LeaseTerms, Progress, PutAside, Step, StepResult, Text, Undrained};

pub(crate) use job::peers;
pub use job::{Asked, Job, JobError, Surroundings, Target, Work, job};

mod call;
mod fence;
mod job;

#[cfg(test)]
mod tests;

/// How long one step may take. A provisioner that needs longer is asked again with the same operation ID, which
/// finds what was begun.
pub(crate) const STEP_DEADLINE: Duration = Duration::from_secs(60);

/// The first wait after a step that failed.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// The longest wait between two tries of a step.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What a step needs besides provisioners.
#[async_trait]
pub trait Helpers: Send + Sync {
    /// Asks a machine's agent to let its workload hand over its duties. Says why nothing was handed over where nothing went
    /// wrong; `None` when it was.
    ///
    /// # Errors
    /// Why it did not, in a sentence.
    async fn drain(
        &self,
        machine: MachineId,
        deadline: Duration,
    ) -> Result<Option<Undrained>, String>;

    /// Has one of some machines strike another one, which is this member, off the ensemble of their workload.
    ///
    /// # Errors
    /// Why none of them did, in a sentence.
    async fn strike(
        &self,
        machine: MachineId,
        member: &str,
        by: &[MachineId],
        deadline: Duration,
    ) -> Result<(), String>;

    /// Asks a machine's agent to restart its workload.
    ///
    /// # Errors
    /// Why it did not, in a sentence.
    async fn restart_workload(&self, machine: MachineId, deadline: Duration) -> Result<(), String>;

    /// The present by the fleet's clock, in milliseconds since 1970: what the state's times are compared with.
    fn now_ms(&self) -> u64;

    /// How long the workload of a machine may still run under a lease of these terms, as far as this leader can know; zero
    /// when it does not any more.
    fn lease_left(&self, machine: MachineId, terms: LeaseTerms) -> Duration;

    /// Puts on record that a step's call is about to be made: from now on it may have been carried out.
    ///
    /// # Errors
    /// Why that is not on record, in a sentence; then the call must not be made.
    async fn begin(&self, op: &OperationId, step: Step, attempt: u32) -> Result<(), String>;

    /// Puts on record that hardware is in quarantine.
    ///
    /// # Errors
    /// Why that is not on record, in a sentence.
    async fn put_aside(&self, aside: PutAside) -> Result<(), String>;

    /// Asks anew whether this machine may change anything at this very moment: whether it leads, and enough machines
    /// stand behind it. Asked right before each call that changes anything.
    ///
    /// # Errors
    /// The rule that forbids it.
    async fn permit(&self) -> Result<(), Check>;
}

/// Why a call was not made, or how it failed.
#[derive(Debug)]
enum Stop {
    Held(Check),
    /// It is on record by this very job that the call may have been made, and it was not.
    Uncalled(Check),
    Failed(ProvisionError),
    /// The call was made by this very job, which put that on record, and its provisioner says that nothing was done.
    Undone(ProvisionError),
    /// The call was made, and nothing proves that it was carried out, or that it was not.
    Unproved(ProvisionError),
}

impl From<ProvisionError> for Stop {
    fn from(error: ProvisionError) -> Self {
        Self::Failed(error)
    }
}

impl From<Check> for Stop {
    fn from(check: Check) -> Self {
        Self::Held(check)
    }
}

/// Carries out one job, within a minute, and says what to commit.
pub async fn carry_out(job: &Job, provisioners: &Provisioners, helpers: &dyn Helpers) -> Progress {
    let result = attempt(job, provisioners, helpers).await;
    let result = result.unwrap_or_else(|stop| match stop {
        Stop::Held(Check { rule, margin, .. }) => StepResult::Held {
            rule,
            detail: margin,
        },
        Stop::Uncalled(Check { rule, margin, .. }) => StepResult::Uncalled {
            rule,
            detail: margin,
        },
        Stop::Failed(error) => failure(job, &error, !is_certain(job, &error)),
        Stop::Undone(error) => failure(job, &error, false),
        Stop::Unproved(error) => failure(job, &error, true),
    });
    Progress {
        op: job.op.clone(),
        step: job.step,
        attempt: job.attempt,
        result,
    }
}

async fn attempt(
    job: &Job,
    provisioners: &Provisioners,
    helpers: &dyn Helpers,
) -> Result<StepResult, Stop> {
    let deadline = Deadline::after(STEP_DEADLINE);
    let built = |name: &str| match provisioners.get(name) {
        Some(built) => Ok(&**built),
        None => Err(unavailable(name)),
    };
    match &job.work {
        Work::Fence {
            provisioner,
            instance,
            lease,
            failed,
            begins,
            ..
        } => {
            let end = call::End::of(job, provisioner, instance, failed.as_deref(), *begins);
            let proved = match built(provisioner) {
                Ok(built) => fence::prove(built, helpers, end, *lease, deadline).await,
                Err(stop) => Err(stop),
            };
            fence::or_outlived(proved, helpers, *lease).await
        }
        Work::AwaitLease { lease } => fence::outlived(helpers, *lease).await,
        Work::DestroyIfOff {
            provisioner,
            instance,
            failed,
        } => match built(provisioner) {
            Ok(built) => {
                let end = call::End::of(job, provisioner, instance, failed.as_deref(), false);
                fence::destroy_if_off(built, helpers, end, deadline).await
            }
            Err(_) => Ok(StepResult::Kept),
        },
        Work::Drain { machine } => drain(helpers, *machine).await,
        Work::Strike {
            machine,
            member,
            by,
        } => strike(helpers, *machine, member, by).await,
        Work::Destroy {
            provisioner,
            instance,
            failed,
            begins,
            ..
        } => {
            let end = call::End::of(job, provisioner, instance, failed.as_deref(), *begins);
            call::destroy(built(provisioner)?, helpers, end, deadline).await
        }
        Work::RestartWorkload { machine } => restart(helpers, *machine).await,
        Work::Reboot {
            provisioner,
            instance,
            rung,
        } => call::reboot(built(provisioner)?, helpers, instance, *rung, deadline).await,
        Work::Reimage { provisioner, .. } | Work::Provision { provisioner, .. } => {
            make(job, built(provisioner)?, helpers, deadline).await
        }
        Work::Nothing => Ok(StepResult::Done),
    }
}

/// Makes a machine, or makes one anew on its hardware.
async fn make(
    job: &Job,
    built: &dyn Provisioner,
    helpers: &dyn Helpers,
    deadline: Deadline,
) -> Result<StepResult, Stop> {
    match &job.work {
        Work::Reimage {
            provisioner,
            instance,
            spec,
            asked,
            begun,
        } => {
            let spec = &complete(spec, asked.as_deref(), deadline).await?;
            if !begun {
                begin(job, helpers).await?;
            }
            let order = (provisioner.as_str(), spec, &job.op);
            match call::reimage(built, helpers, instance, order, deadline).await {
                Err(Stop::Held(check)) if !begun => Err(Stop::Uncalled(check)),
                called => called,
            }
        }
        Work::Provision {
            provisioner,
            spec,
            asked,
        } => {
            let spec = &complete(spec, asked.as_deref(), deadline).await?;
            let order = (provisioner.as_str(), spec, &job.op);
            call::provision(built, helpers, order, deadline).await
        }
        _ => Ok(StepResult::Done),
    }
}

/// How long a flavor may take to complete a machine, so that there is time left to make it.
const COMPLETE_WITHIN: Duration = Duration::from_secs(20);

/// The machine with what its flavor has to be asked about it. Nothing is changed by that, so a failure is tried again.
async fn complete(
    spec: &MachineSpec,
    asked: Option<&Asked>,
    deadline: Deadline,
) -> Result<MachineSpec, Stop> {
    let spec = spec.clone();
    let Some(asked) = asked else {
        return Ok(spec);
    };
    let (name, properties) = (&asked.flavor.name, &asked.flavor.properties);
    let flavor = Registry::builtin().build(name, properties, &asked.allocation);
    let flavor = flavor.map_err(ProvisionError::Invalid)?;
    let place = Place {
        group: &asked.group,
        member: &asked.member,
        allocation: &asked.allocation,
        peers: &asked.peers,
    };
    let completed = flavor.complete(spec, &place, deadline.at_most(COMPLETE_WITHIN));
    completed
        .await
        .map_err(|error| ProvisionError::unavailable(error).into())
}

/// What is not permitted is not begun either, and the call itself asks once more: to put it on record takes a moment.
async fn begin(job: &Job, helpers: &dyn Helpers) -> Result<(), Stop> {
    helpers.permit().await?;
    let begun = helpers.begin(&job.op, job.step, job.attempt).await;
    begun.map_err(|error| ProvisionError::Unavailable(error).into())
}

async fn drain(helpers: &dyn Helpers, machine: MachineId) -> Result<StepResult, Stop> {
    helpers.permit().await?;
    let drained = helpers.drain(machine, STEP_DEADLINE).await;
    let undrained = drained.map_err(ProvisionError::Unavailable)?;
    Ok(undrained.map_or(StepResult::Done, StepResult::Undrained))
}

async fn strike(
    helpers: &dyn Helpers,
    machine: MachineId,
    member: &str,
    by: &[MachineId],
) -> Result<StepResult, Stop> {
    if by.is_empty() {
        return Ok(StepResult::Done);
    }
    helpers.permit().await?;
    let struck = helpers.strike(machine, member, by, STEP_DEADLINE).await;
    struck.map_err(ProvisionError::Unavailable)?;
    Ok(StepResult::Done)
}

async fn restart(helpers: &dyn Helpers, machine: MachineId) -> Result<StepResult, Stop> {
    helpers.permit().await?;
    let restarted = helpers.restart_workload(machine, STEP_DEADLINE).await;
    restarted.map_err(ProvisionError::Unavailable)?;
    Ok(StepResult::Done)
}

/// What to commit after an error: another try later, or giving up where no try can succeed. `is_unknown` where something may
/// have been done.
fn failure(job: &Job, error: &ProvisionError, is_unknown: bool) -> StepResult {
    let text = Text::from(error.to_string());
    // A machine can't be left half taken away because its provider said no once; an order that is invalid or
    // denied won't get better by asking again.
    let hopeless = job.step == Step::Provision && !error.is_retryable();
    if hopeless {
        return StepResult::GiveUp { error: text };
    }
    let wait = match error {
        ProvisionError::Throttled {
            retry_after: Some(wait),
        } => (*wait).min(RETRY_MAX),
        _ => back_off(job.attempt),
    };
    let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    if is_unknown {
        return StepResult::Unknown {
            error: text,
            retry_ms,
        };
    }
    StepResult::Error {
        error: text,
        retry_ms,
    }
}

/// Whether it is certain after an error that the step has done nothing.
fn is_certain(job: &Job, error: &ProvisionError) -> bool {
    match job.work {
        // That this call did nothing says nothing of one before it.
        Work::Reimage { begun, .. } => !begun && did_nothing(error),
        Work::Fence { begun, .. } | Work::Destroy { begun, .. } => !begun && did_nothing(error),
        _ => !error.is_outcome_unknown(),
    }
}

/// Whether an error says that nothing was done. Half of it may be done where a call has failed.
fn did_nothing(error: &ProvisionError) -> bool {
    match error {
        ProvisionError::Invalid(_)
        | ProvisionError::Denied(_)
        | ProvisionError::Throttled { .. }
        | ProvisionError::Unavailable(_)
        | ProvisionError::Capacity(_)
        | ProvisionError::Unsupported(_) => true,
        ProvisionError::NotFound(_)
        | ProvisionError::Timeout(_)
        | ProvisionError::Held { .. }
        | ProvisionError::Failed(_) => false,
    }
}

/// Doubles from [`RETRY_MIN`] to [`RETRY_MAX`], with jitter, so that many steps which failed together don't come
/// back together.
fn back_off(attempt: u32) -> Duration {
    ExponentialBuilder::default()
        .with_min_delay(RETRY_MIN)
        .with_max_delay(RETRY_MAX)
        .with_jitter()
        .without_max_times()
        .build()
        // Ten doublings are beyond the longest wait.
        .nth(attempt.min(10) as usize)
        .unwrap_or(RETRY_MAX)
        .min(RETRY_MAX)
}

fn unavailable(provisioner: &str) -> Stop {
    Stop::Failed(ProvisionError::unavailable(format_args!(
        "this coordinator has no provisioner `{provisioner}`; configure it on every machine that may coordinate"
    )))
}
