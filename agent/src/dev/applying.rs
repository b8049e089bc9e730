//! Handing the specs to the fleet, as anybody could with `muster apply`.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::place::{Machines, name_of};
use super::root::FleetRoot;
use super::say::Say;
use crate::api::types::{ApiError, ApplyRequest, ErrorKind, Plan, Request, Response};
use crate::cli::failure::Failure;
use crate::dashboard::Nodes;
use crate::fleet::spec::GroupSpec;
use muster_provisioners::InstanceState;

/// How long a fleet may take until it has a leader that commits something: founding takes a second or two, an
/// election after a restart a few.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// So much of the log of a machine that failed is shown.
const LOG_LINES: usize = 15;

/// Makes the fleet be as the specs say.
///
/// # Errors
/// When it refuses, or nobody answers in time; with the end of the log where a machine has died.
pub(super) async fn apply(root: &FleetRoot, specs: &[GroupSpec], say: Say) -> Result<(), Failure> {
    let machines = Machines::new(&root.dir);
    let deadline = Instant::now() + PATIENCE;
    let plan = loop {
        let error = match apply_once(&machines, specs).await {
            Ok(plan) => break plan,
            Err(error) => error,
        };
        let may_pass = error.is_transient()
            || matches!(
                error.kind,
                ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Conflict
            );
        if !may_pass {
            return Err(error.into());
        }
        if let Some(end) = dead_machine(root).await? {
            return Err(end);
        }
        if Instant::now() >= deadline {
            return Err(error.into());
        }
        sleep(PAUSE).await;
    };
    if let Some((id, refusal)) = plan.refusal() {
        let message = format!("group {id}: {}", refusal.reason);
        return Err(ApiError::refused(message)
            .remedy(refusal.remedy.clone())
            .into());
    }
    let groups: Vec<_> = plan
        .groups
        .iter()
        .map(|group| format!("{} ({})", group.id, group.desired_after))
        .collect();
    say.own(
        "applied",
        None,
        format!("the specs of {}", groups.join(", ")),
    )
}

async fn apply_once(machines: &Machines, specs: &[GroupSpec]) -> Result<Plan, ApiError> {
    let client = machines.connect().await?;
    let plan = async |dry_run, expected| {
        let request = ApplyRequest {
            specs: specs.to_vec(),
            dry_run,
            expected,
        };
        match client.call(&Request::Apply(request)).await? {
            Response::Plan(plan) => Ok(plan),
            _ => Err(ApiError::internal("the machine answered another question")),
        }
    };
    let planned = plan(true, Default::default()).await?;
    if planned.is_empty() || planned.refusal().is_some() {
        return Ok(planned);
    }
    let expected = planned
        .groups
        .iter()
        .map(|group| (group.id.clone(), group.revision))
        .collect();
    plan(false, expected).await
}

/// Where no machine runs any more, the end of the log of one says why.
async fn dead_machine(root: &FleetRoot) -> Result<Option<Failure>, Failure> {
    let machines = root.machines().await?;
    let dead =
        |machine: &&super::root::DevMachine| machine.instance.state == InstanceState::Stopped;
    if machines.iter().any(|machine| !dead(&machine)) {
        return Ok(None);
    }
    let Some(machine) = machines.first() else {
        return Ok(None);
    };
    let log = machine.property("log");
    let name = name_of(machine.property("dir").as_ref()).unwrap_or_else(|| machine.name.clone());
    let text = std::fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
    Ok(Some(Failure::other(format!(
        "{name} has ended; the end of its log, {log}:\n  {end}"
    ))))
}
