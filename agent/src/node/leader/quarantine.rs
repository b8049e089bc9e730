//! Keeping on record what hardware is in quarantine, and having it released when a person wants that.
//!
//! Provisioners know what they leave out; somebody may have released it there, too. So they are asked from time to time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_provisioners::{Deadline, ProvisionError, Provisioner, Provisioners};
use tokio::time::Instant;

use super::backing::Backing;
use super::leases::{Leases, permit};
use super::patrol;
use crate::fleet::limits::QUARANTINE_MAX;
use crate::fleet::{
    Command, FleetState, ListedHardware, Quarantine, QuarantineChange, QuarantineListing,
};
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
pub(super) async fn run(shared: &Arc<Shared>, (backing, leases): (&Backing, &Leases), term: u64) {
    let mut applied = shared.replica.watch();
    loop {
        let wanted = || shared.replica.read(|state, _| wanted(state));
        let permit = || permit(shared, backing, leases);
        if let Err(why) = release(&shared.provisioners, wanted, permit).await {
            tracing::info!(
                why,
                "nothing is released from its quarantine at this moment"
            );
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

/// Has released what is `wanted`, each only where that is permitted at that very moment, and still wanted then.
///
/// # Errors
/// Why nothing is permitted.
async fn release<P>(
    provisioners: &Provisioners,
    wanted: impl Fn() -> BTreeSet<Key>,
    permit: impl Fn() -> P,
) -> Result<(), String>
where
    P: Future<Output = Result<(), String>>,
{
    for key in wanted() {
        permit().await?;
        if !wanted().contains(&key) {
            continue;
        }
        let (provisioner, hardware) = &key;
        let released = match provisioners.get(provisioner) {
            Some(built) => built.release(hardware, Deadline::after(CALL)).await,
            None => Err(ProvisionError::unavailable(format!(
                "this coordinator has no provisioner `{provisioner}`"
            ))),
        };
        if let Err(error) = released {
            tracing::warn!(provisioner, hardware, %error, "it was not released from its quarantine");
        }
    }
    Ok(())
}

/// Puts on record what provisioners have in quarantine, where that has changed. Of one that can't say, what is on record stays.
async fn record(shared: &Shared, term: u64) {
    for provisioner in shared.replica.read(|state, _| patrol::names(state)) {
        let Some(built) = shared.provisioners.get(&provisioner).cloned() else {
            continue;
        };
        let known = shared.replica.read(|state, _| known(state, &provisioner));
        let Ok(listed) = list(&*built).await else {
            continue;
        };
        let listing = compare(provisioner, known, listed);
        let differs = shared
            .replica
            .read(|state, _| state.quarantine_differs(&listing));
        if !differs {
            continue;
        }
        let command = Command::Quarantine(Box::new(QuarantineChange::Listed(listing)));
        if let Err(error) = propose_in(shared, Some(term), None, command).await {
            tracing::debug!(%error, "what is in quarantine was not put on record");
        }
    }
}

/// What is on record of a provisioner.
fn known(state: &FleetState, provisioner: &str) -> Vec<Quarantine> {
    let known = state.quarantine.iter();
    let known = known.filter(|known| known.provisioner == provisioner);
    known.cloned().collect()
}

/// What a provisioner says, against what was `known` before it was asked. Of a list that is too long nobody knows what is not
/// on it.
fn compare(
    provisioner: String,
    mut known: Vec<Quarantine>,
    mut listed: Vec<ListedHardware>,
) -> QuarantineListing {
    known.retain(|known| !listed.iter().any(|one| one.hardware == known.hardware));
    if listed.len() > QUARANTINE_MAX {
        listed.truncate(QUARANTINE_MAX);
        known.clear();
    }
    QuarantineListing {
        provisioner,
        listed,
        gone: known,
    }
}

async fn list(built: &dyn Provisioner) -> Result<Vec<ListedHardware>, ProvisionError> {
    if !built.capabilities().hardware {
        return Ok(Vec::new());
    }
    let mut listed = built.quarantined(Deadline::after(CALL)).await?;
    listed.sort_by(|one, two| one.hardware.cmp(&two.hardware));
    let of = |one: muster_provisioners::Quarantined| ListedHardware {
        hardware: one.hardware,
        why: one.why.into(),
    };
    Ok(listed.into_iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use muster_provisioners::fake::{Call, Fake};

    use super::*;

    fn key(hardware: &str) -> Key {
        ("rack".to_owned(), hardware.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn each_release_is_permitted_and_still_wanted_when_it_is_asked_for() {
        let rack = Fake::new();
        let mut provisioners = Provisioners::new();
        provisioners.insert("rack".to_owned(), Arc::new(rack.clone()));
        let permitted = Cell::new(0);
        let permit = || {
            permitted.set(permitted.get() + 1);
            std::future::ready(match permitted.get() {
                1 | 2 => Ok(()),
                _ => Err("1 of 3 machines answered".to_owned()),
            })
        };
        // The second one is put aside anew once the first one is released.
        let wanted = || match permitted.get() {
            0 | 1 => ["node-1", "node-2", "node-3"].map(key).into(),
            _ => ["node-1", "node-3"].map(key).into(),
        };
        let stopped = release(&provisioners, wanted, permit).await;
        assert_eq!(stopped, Err("1 of 3 machines answered".to_owned()));
        assert_eq!(permitted.get(), 3);
        assert_eq!(rack.calls(Call::Release), 1);
    }

    #[test]
    fn of_a_list_that_was_cut_nothing_is_gone() {
        let known = vec![Quarantine {
            provisioner: "rack".to_owned(),
            hardware: "node-x".to_owned(),
            why: "it fails to boot".into(),
            since_ms: 1,
            failed: None,
            released_ms: None,
        }];
        let listed = |count: usize| {
            let one = |n| ListedHardware {
                hardware: format!("node-{n}"),
                why: "it fails to boot".into(),
            };
            (0..count).map(one).collect()
        };
        let whole = compare("rack".to_owned(), known.clone(), listed(QUARANTINE_MAX));
        assert_eq!(whole.gone, known);
        let cut = compare("rack".to_owned(), known, listed(QUARANTINE_MAX + 1));
        assert_eq!((cut.listed.len(), cut.gone), (QUARANTINE_MAX, Vec::new()));
    }
}
