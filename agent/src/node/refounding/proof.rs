//! What shows that an operator had a log founded: signed by the cluster's CA, kept beside the log until the log has it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use muster_mesh::consensus::LogGeneration;
use muster_mesh::identity::MachineId;
use muster_mesh::pki::{ClusterCa, verify_statement};
use muster_mesh::state_dir::{FileKind, StateDir, StateError};

use super::ballots::Stands;
use crate::fleet::{Recovered, Recovery};
use crate::node::authority::Ballot;
use crate::node::services::acknowledge;
use crate::node::shared::Shared;

/// What the CA's signature is for.
const PURPOSE: &str = "recover";

const RECOVERY: FileKind = FileKind {
    tag: *b"RCVR",
    version: 1,
    what: "the operator's order to found the log anew",
    remedy: "Leave it; the leader has those counted that have promised the log, and all others once they are back.",
    // Ten thousand machine IDs, and a few words.
    size_max: 256 * 1024,
};

const ACCEPTED: FileKind = FileKind {
    tag: *b"RCVD",
    version: 1,
    what: "the proof that an operator had a later log founded",
    remedy: "Delete it; this machine keeps to what it promised all the same.",
    size_max: 1024,
};

/// Signs that `machine` founds the log `generation` by an operator's order.
///
/// # Errors
/// When the key can't be used.
pub(super) fn sign(
    ca: &ClusterCa,
    generation: LogGeneration,
    machine: MachineId,
) -> anyhow::Result<Recovered> {
    let statement = Recovered::statement(generation.0, machine);
    Ok(Recovered {
        generation: generation.0,
        machine,
        signature: ca.sign_statement(PURPOSE, &statement)?,
    })
}

/// What some machine shows of the latest log after `ours` that an operator had founded.
pub(super) fn latest(shared: &Shared, ours: LogGeneration, stands: &Stands) -> Option<Recovered> {
    let credentials = shared.credentials.borrow().clone();
    latest_by(credentials.ca_certificate(), ours, stands)
}

fn latest_by(ca_der: &[u8], ours: LogGeneration, stands: &Stands) -> Option<Recovered> {
    let shown = stands.values().filter_map(|stand| stand.recovered.as_ref());
    let later = shown.filter(|one| one.generation > ours.0 && is_genuine(ca_der, one));
    later.max_by_key(|one| one.generation).cloned()
}

/// What this machine shows to others: what its copy of the log says, or what it has accepted and can't follow yet.
pub(super) fn shown(shared: &Shared) -> Option<Recovered> {
    let accepted = lock(&shared.refounding.accepted).clone();
    let of_the_log = shared.replica.read(|state, _| state.recovered.clone());
    accepted
        .into_iter()
        .chain(of_the_log)
        .max_by_key(|one| one.generation)
}

/// Believes for good that an operator had a later log founded: this machine stands behind no leader of an older one any
/// more and takes no lease of one, also after a restart, and shows the proof to others.
pub(super) async fn accept(shared: &Shared, order: &Recovered) {
    let ballot = Ballot {
        generation: order.generation,
        term: 0,
        leader: order.machine,
    };
    shared.refounding.note_promise(ballot);
    if let Err(error) = acknowledge(shared, ballot).await {
        tracing::error!(%error, "that there is a later log could not be stored; a restart forgets it");
    }
    let known = lock(&shared.refounding.accepted).replace(order.clone());
    if known.as_ref() != Some(order)
        && let Err(error) = store_accepted(&shared.state_dir, order)
    {
        tracing::error!(%error, "the proof that there is a later log could not be stored; a restart forgets it");
    }
}

fn store_accepted(state_dir: &StateDir, order: &Recovered) -> Result<(), StateError> {
    let bytes = postcard::to_stdvec(order).expect("plain data serializes into memory");
    ACCEPTED.write(&state_dir.file("recovered"), &bytes)
}

/// What this machine accepted in an earlier life. What can't be read is left out: the promise that was given with it holds.
pub(super) fn accepted(state_dir: &StateDir) -> Option<Recovered> {
    let path = state_dir.file("recovered");
    let read = ACCEPTED.read(&path).and_then(|bytes| {
        let read = bytes.map(|bytes| postcard::from_bytes(&bytes)).transpose();
        read.map_err(|_| ACCEPTED.damaged(&path, "its content makes no sense"))
    });
    read.unwrap_or_else(|error| {
        tracing::warn!(%error, "the proof of a later log can't be shown to others");
        None
    })
}

fn is_genuine(ca_der: &[u8], one: &Recovered) -> bool {
    let statement = Recovered::statement(one.generation, one.machine);
    verify_statement(ca_der, PURPOSE, &statement, &one.signature).is_ok()
}

/// Keeps the order before anything is founded by it, so that the first leader of the new log finds it.
///
/// # Errors
/// When it can't be stored.
pub(super) fn store(state_dir: &StateDir, recovery: &Recovery) -> Result<(), StateError> {
    let bytes = postcard::to_stdvec(recovery).expect("plain data serializes into memory");
    RECOVERY.write(&state_dir.file("recovery"), &bytes)
}

/// Forgets an order that nothing came of: the machines are about to found a log by themselves.
///
/// # Errors
/// When the file can't be removed.
pub(super) fn forget(state_dir: &StateDir) -> std::io::Result<()> {
    match std::fs::remove_file(state_dir.file("recovery")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The order that the log `generation` was founded by; `None` where the machines did it by themselves.
///
/// # Errors
/// When there is one that can't be read.
pub(super) fn stored(
    state_dir: &StateDir,
    generation: LogGeneration,
) -> Result<Option<Recovery>, StateError> {
    let path = state_dir.file("recovery");
    let Some(bytes) = RECOVERY.read(&path)? else {
        return Ok(None);
    };
    let recovery: Recovery = postcard::from_bytes(&bytes)
        .map_err(|_| RECOVERY.damaged(&path, "its content makes no sense"))?;
    Ok(Some(recovery).filter(|one| one.proof.generation == generation.0))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use muster_mesh::identity::ClusterId;

    use super::*;
    use crate::node::refounding::ballots::{RosterMark, Stand};

    fn machine(number: u64) -> MachineId {
        MachineId::new(number).expect("not zero")
    }

    fn ca() -> ClusterCa {
        let cluster = ClusterId::new(7).expect("not zero");
        ClusterCa::create(cluster, 1_700_000_000_000).expect("made")
    }

    fn shows(recovered: Recovered) -> Stand {
        Stand {
            generation: LogGeneration(recovered.generation),
            at: None,
            promised: None,
            orphaned: false,
            roster: RosterMark([0; 16]),
            has_key: false,
            recovered: Some(recovered),
            given_up: false,
        }
    }

    #[test]
    fn a_later_log_is_believed_by_the_cas_word_alone_and_by_no_one_elses() {
        let (ca, ours) = (ca(), LogGeneration(3));
        let genuine = sign(&ca, LogGeneration(9), machine(1)).expect("signed");
        let latest =
            |stand: Stand| latest_by(ca.certificate(), ours, &Stands::from([(machine(2), stand)]));
        assert_eq!(latest(shows(genuine.clone())), Some(genuine.clone()));
        let raised = Recovered {
            generation: 10,
            ..genuine.clone()
        };
        assert_eq!(latest(shows(raised)), None);
        let stranger = sign(&self::ca(), LogGeneration(9), machine(1)).expect("signed");
        assert_eq!(latest(shows(stranger)), None);
        let older = sign(&ca, ours, machine(1)).expect("signed");
        assert_eq!(latest(shows(older)), None, "it is no later one");
    }

    #[test]
    fn an_order_is_found_again_for_its_own_log_only() {
        let directory = tempfile::tempdir().expect("made");
        let state_dir = StateDir::open(directory.path()).expect("opened");
        let none = stored(&state_dir, LogGeneration(9)).expect("readable");
        assert_eq!(none, None);
        let recovery = Recovery {
            by: "somebody".into(),
            present: BTreeSet::from([machine(1)]),
            proof: sign(&ca(), LogGeneration(9), machine(1)).expect("signed"),
        };
        store(&state_dir, &recovery).expect("stored");
        let found = |generation| stored(&state_dir, LogGeneration(generation)).expect("readable");
        assert_eq!(found(9), Some(recovery));
        assert_eq!(found(10), None);
    }

    #[test]
    fn what_was_accepted_is_shown_in_the_next_life_and_what_is_damaged_is_left_out() {
        let directory = tempfile::tempdir().expect("made");
        let state_dir = StateDir::open(directory.path()).expect("opened");
        assert_eq!(accepted(&state_dir), None);
        let order = sign(&ca(), LogGeneration(9), machine(1)).expect("signed");
        store_accepted(&state_dir, &order).expect("stored");
        assert_eq!(accepted(&state_dir), Some(order));
        std::fs::write(state_dir.file("recovered"), "rubbish").expect("written");
        assert_eq!(accepted(&state_dir), None);
    }

    #[test]
    fn an_order_that_nothing_came_of_is_forgotten_damaged_or_not() {
        let directory = tempfile::tempdir().expect("made");
        let state_dir = StateDir::open(directory.path()).expect("opened");
        forget(&state_dir).expect("there is none");
        std::fs::write(state_dir.file("recovery"), "rubbish").expect("written");
        assert!(stored(&state_dir, LogGeneration(9)).is_err());
        forget(&state_dir).expect("removed");
        assert_eq!(stored(&state_dir, LogGeneration(9)).expect("none"), None);
    }
}
