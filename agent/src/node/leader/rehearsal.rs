//! Rehearsing, from time to time and when it may have changed, whether each pet could be fenced.
//!
//! Provisioners are asked for the proof itself, with the credentials that a fence would be asked with; of a machine that
//! runs, *it runs* is as good an answer as any. Nothing is done to a machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use muster_mesh::identity::MachineId;
use muster_provisioners::{Deadline, Proof};
use tokio::time::Instant;

use super::leases::Leases;
use crate::fleet::{FleetState, InstanceId, LeaseTerms, Machine};
use crate::heal::{Rehearsal, rehearsable, rehearsed};
use crate::node::propose::propose_in;
use crate::node::shared::Shared;

/// A new leader has other things to do first, and has granted all leases anew by then.
const FIRST: Duration = Duration::from_secs(20);

/// How often pets are rehearsed while nothing changes.
const PERIOD: Duration = Duration::from_secs(180);

/// How soon at the earliest again: after a change, or after one that could not be fenced, before that goes on record.
const AGAIN: Duration = Duration::from_secs(15);

/// Proofs asked for at the same time.
const AT_ONCE: usize = 8;

/// How long one proof may take.
const PROOF_DEADLINE: Duration = Duration::from_secs(10);

/// Rehearses until it is dropped.
pub(super) async fn run(shared: &Arc<Shared>, leases: &Leases, term: u64) {
    let mut applied = shared.replica.watch();
    let mut doubted = BTreeSet::new();
    tokio::time::sleep(FIRST).await;
    loop {
        let pets = shared.replica.read(|state, _| pets(state));
        let mut found = rehearse(shared, leases, &pets).await;
        // What failed once may have been a call that failed.
        let failing = |one: &Rehearsal| one.proof.is_err() && !one.leased;
        let newly: BTreeSet<_> = found
            .iter()
            .filter(|(id, one)| failing(one) && !doubted.contains(*id))
            .map(|(id, _)| *id)
            .collect();
        found.retain(|id, _| !newly.contains(id));
        let command = shared.replica.read(|state, _| rehearsed(state, &found));
        if let Some(command) = command
            && let Err(error) = propose_in(shared, Some(term), None, command).await
        {
            tracing::debug!(%error, "which pets could be fenced was not put on record");
        }
        let wait = if newly.is_empty() { PERIOD } else { AGAIN };
        doubted = newly
            .into_iter()
            .chain(
                found
                    .into_iter()
                    .filter(|(_, one)| failing(one))
                    .map(|(id, _)| id),
            )
            .collect();
        let next = Instant::now() + wait;
        tokio::time::sleep(AGAIN).await;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                changed = applied.changed() => {
                    if changed.is_err() || shared.replica.read(|state, _| pets != self::pets(state)) {
                        break;
                    }
                }
            }
        }
    }
}

/// What a pet's fence depends on.
#[derive(Debug, Clone, PartialEq)]
struct Pet {
    id: MachineId,
    lease: Option<LeaseTerms>,
    instance: Option<(String, InstanceId)>,
}

fn pets(state: &FleetState) -> Vec<Pet> {
    let pet = |machine: &Machine| Pet {
        id: machine.id,
        lease: machine.lease,
        instance: machine
            .instance
            .as_ref()
            .map(|instance| (instance.provisioner.clone(), instance.id.clone())),
    };
    rehearsable(state).map(pet).collect()
}

async fn rehearse(
    shared: &Shared,
    leases: &Leases,
    pets: &[Pet],
) -> BTreeMap<MachineId, Rehearsal> {
    let one = |pet: Pet| async move {
        let leased = pet.lease.is_some_and(|terms| leases.holds(pet.id, terms));
        let proof = prove(shared, pet.instance.as_ref()).await;
        (pet.id, Rehearsal { proof, leased })
    };
    let all = futures::stream::iter(pets.iter().cloned().map(one));
    all.buffer_unordered(AT_ONCE).collect().await
}

/// Whether a provisioner could tell that an instance is off.
async fn prove(shared: &Shared, instance: Option<&(String, InstanceId)>) -> Result<(), String> {
    let Some((name, id)) = instance else {
        return Err("no provisioner made it, so none can prove it off".to_owned());
    };
    let Some(built) = shared.provisioners.get(name) else {
        return Err(format!("the leader has no provisioner `{name}`"));
    };
    if !built.capabilities().prove_off {
        return Err(format!("`{name}` can't prove a machine off while it runs"));
    }
    match built.prove_off(id, Deadline::after(PROOF_DEADLINE)).await {
        Ok(Proof::Off { .. } | Proof::Running) => Ok(()),
        Ok(Proof::Unknown { why }) => Err(format!("`{name}` can't say whether it is off: {why}")),
        Err(error) => Err(format!("`{name}` can't say whether it is off: {error}")),
    }
}
