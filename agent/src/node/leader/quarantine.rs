//! Keeping on record what hardware is in quarantine, and having it released when a person wants that.
//!
//! Provisioners know what they leave out; somebody may have released it there, too. So they are asked from time to time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_provisioners::{Deadline, ProvisionError, Provisioner};
use tokio::time::Instant;

use super::patrol;
use crate::fleet::limits::QUARANTINE_MAX;
use crate::fleet::{Command, FleetState, ListedHardware, QuarantineChange, QuarantineListing};
use crate::node::propose::propose_in;
use crate::node::shared::Shared;

/// How often provisioners are asked what is in quarantine.
const PERIOD: Duration = Duration::from_secs(300);

/// How soon again while something is to be released and is not yet.
const AGAIN: Duration = Duration::from_secs(30);

/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);

/// A piece of hardware: its provisioner's name, and what that calls it.
type Key = (String, String);

/// Looks after the quarantine until it is dropped.
pub(super) async fn run(shared: &Arc<Shared>, term: u64) {
    let mut applied = shared.replica.watch();
    loop {
        let wanted = shared.replica.read(|state, _| wanted(state));
        for (provisioner, hardware) in &wanted {
            if let Err(error) = release(shared, provisioner, hardware).await {
                tracing::warn!(provisioner, hardware, %error, "it was not released from its quarantine");
            }
        }
        record(shared, term).await;
        let left = shared.replica.read(|state, _| self::wanted(state));
        let next = Instant::now() + if left.is_empty() { PERIOD } else { AGAIN };
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                changed = applied.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = shared.replica.read(|state, _| self::wanted(state));
                    if !now.is_subset(&left) {
                        break;
                    }
                }
            }
        }
    }
}

/// What people want to be released.
fn wanted(state: &FleetState) -> BTreeSet<Key> {
    let wanted = state.quarantine.iter();
    let wanted = wanted.filter(|known| known.released_ms.is_some());
    wanted
        .map(|known| (known.provisioner.clone(), known.hardware.clone()))
        .collect()
}

async fn release(shared: &Shared, provisioner: &str, hardware: &str) -> Result<(), ProvisionError> {
    let built = shared.provisioners.get(provisioner).cloned();
    let built = built.ok_or_else(|| {
        ProvisionError::unavailable(format!(
            "this coordinator has no provisioner `{provisioner}`"
        ))
    })?;
    built.release(hardware, Deadline::after(CALL)).await
}

/// Puts on record what provisioners have in quarantine, where that has changed. Of one that can't say, what is on record stays.
async fn record(shared: &Shared, term: u64) {
    for provisioner in shared.replica.read(|state, _| patrol::names(state)) {
        let Some(built) = shared.provisioners.get(&provisioner).cloned() else {
            continue;
        };
        let Ok(listed) = list(&*built).await else {
            continue;
        };
        let differs = shared
            .replica
            .read(|state, _| state.quarantine_differs(&provisioner, &listed));
        if !differs {
            continue;
        }
        let listing = QuarantineListing {
            provisioner,
            listed,
        };
        let command = Command::Quarantine(Box::new(QuarantineChange::Listed(listing)));
        if let Err(error) = propose_in(shared, Some(term), None, command).await {
            tracing::debug!(%error, "what is in quarantine was not put on record");
        }
    }
}

async fn list(built: &dyn Provisioner) -> Result<Vec<ListedHardware>, ProvisionError> {
    if !built.capabilities().hardware {
        return Ok(Vec::new());
    }
    let mut listed = built.quarantined(Deadline::after(CALL)).await?;
    listed.sort_by(|one, two| one.hardware.cmp(&two.hardware));
    listed.truncate(QUARANTINE_MAX);
    let of = |one: muster_provisioners::Quarantined| ListedHardware {
        hardware: one.hardware,
        why: one.why.into(),
    };
    Ok(listed.into_iter().map(of).collect())
}
