//! What shows that an operator had a log founded: signed by the cluster's CA, kept beside the log until the log has it.

use muster_mesh::consensus::LogGeneration;
use muster_mesh::identity::MachineId;
use muster_mesh::pki::{ClusterCa, verify_statement};
use muster_mesh::state_dir::{FileKind, StateDir, StateError};

use super::ballots::Stands;
use crate::fleet::{Recovered, Recovery};
use crate::node::shared::Shared;

/// What the CA's signature is for.
const PURPOSE: &str = "recover";

const RECOVERY: FileKind = FileKind {
    tag: *b"RCVR",
    version: 1,
    what: "the operator's order to found the log anew",
    remedy: "Run `muster recover` again once another machine has founded no log; nothing else is lost.",
    // Ten thousand machine IDs, and a few words.
    size_max: 256 * 1024,
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

/// The latest log after `ours` of which some machine shows that an operator had it founded.
pub(super) fn latest(
    shared: &Shared,
    ours: LogGeneration,
    stands: &Stands,
) -> Option<LogGeneration> {
    let credentials = shared.credentials.borrow().clone();
    latest_by(credentials.ca_certificate(), ours, stands)
}

fn latest_by(ca_der: &[u8], ours: LogGeneration, stands: &Stands) -> Option<LogGeneration> {
    let shown = stands.values().filter_map(|stand| stand.recovered.as_ref());
    let later = shown.filter(|one| one.generation > ours.0 && is_genuine(ca_der, one));
    later.map(|one| LogGeneration(one.generation)).max()
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
        }
    }

    #[test]
    fn a_later_log_is_believed_by_the_cas_word_alone_and_by_no_one_elses() {
        let (ca, ours) = (ca(), LogGeneration(3));
        let genuine = sign(&ca, LogGeneration(9), machine(1)).expect("signed");
        let latest =
            |stand: Stand| latest_by(ca.certificate(), ours, &Stands::from([(machine(2), stand)]));
        assert_eq!(latest(shows(genuine.clone())), Some(LogGeneration(9)));
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
}
