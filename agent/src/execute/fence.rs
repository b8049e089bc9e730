//! Making sure that a pet's old copy runs no more: by its provider's proof, or because its lease is over.

use std::time::Duration;

use muster_mesh::identity::MachineId;
use muster_provisioners::{Deadline, Provisioner};

use super::call::{self, End};
use super::{Helpers, StepResult, Stop};
use crate::fleet::{Check, LeaseTerms, Rule, clock_time, span};

type Lease = (MachineId, LeaseTerms);

/// How long a proof is waited for at a time where a lease may be over before. What a call that was cut short did shows when
/// the proof is asked for again.
const PROOF_WITHIN: Duration = Duration::from_secs(5);

/// Proves an instance off. What runs under a lease is ended only where that would be a proof: otherwise its lease ends it.
pub(super) async fn prove(
    provisioner: &dyn Provisioner,
    helpers: &dyn Helpers,
    end: End<'_>,
    lease: Option<Lease>,
    deadline: Deadline,
) -> Result<StepResult, Stop> {
    if lease.is_some() && !provisioner.capabilities().prove_off {
        return call::look_off(provisioner, helpers, end.target, deadline).await;
    }
    let deadline = match lease {
        Some(_) => Deadline::after(deadline.at_most(PROOF_WITHIN).remaining()),
        None => deadline,
    };
    call::fence(provisioner, helpers, end, deadline).await
}

/// Where there is no proof, the lease decides.
pub(super) async fn or_outlived(
    proved: Result<StepResult, Stop>,
    helpers: &dyn Helpers,
    lease: Option<Lease>,
) -> Result<StepResult, Stop> {
    let (is_undone, lease) = match (&proved, lease) {
        (Err(Stop::Failed(_) | Stop::Unproved(_)), Some(lease)) => (false, lease),
        (Err(Stop::Undone(_)), Some(lease)) => (true, lease),
        _ => return proved,
    };
    match outlived(helpers, lease).await {
        Err(Stop::Held(check)) if is_undone => Err(Stop::Uncalled(check)),
        outlived => outlived,
    }
}

/// Whether a lease is over; held until it is.
pub(super) async fn outlived(
    helpers: &dyn Helpers,
    (machine, terms): Lease,
) -> Result<StepResult, Stop> {
    helpers.permit().await?;
    let left = helpers.lease_left(machine, terms);
    if left.is_zero() {
        return Ok(StepResult::LeaseOver);
    }
    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    // By the fleet's clock, as all else on record. Whole seconds, so that the words stay the same while it is waited.
    let due_s = helpers.now_ms().saturating_add(left_ms).div_ceil(1000);
    let long = span(terms.over_ms());
    let margin = format!(
        "nobody can prove it off; its lease, and its time to stop, are over at {} ({long} after it last got one)",
        clock_time(due_s.saturating_mul(1000))
    );
    Err(Stop::Held(Check::hold(Rule::Fence, margin)))
}

/// Destroys what is proved off by now. What is not may run, and hold what its successor has not got: it is left.
pub(super) async fn destroy_if_off(
    provisioner: &dyn Provisioner,
    helpers: &dyn Helpers,
    end: End<'_>,
    deadline: Deadline,
) -> Result<StepResult, Stop> {
    match call::look_off(provisioner, helpers, end.target, deadline).await {
        Ok(_) => call::destroy(provisioner, helpers, end, deadline).await,
        Err(Stop::Failed(_) | Stop::Undone(_) | Stop::Unproved(_)) => Ok(StepResult::Kept),
        Err(held) => Err(held),
    }
}
