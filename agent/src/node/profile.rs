//! What this machine says of itself that rarely changes, and how that is signed and checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_mesh::clock::unix_ms;
use muster_mesh::identity::MachineId;
use muster_mesh::pki::{ClusterTrust, Credentials, Envelope, EnvelopeSigner};
use muster_mesh::records::{Leaving, Profile, RecordSigner, RecordVerifier};
use tokio::sync::watch;

use super::mesh::Input;
use super::mesh::paint::{API_ADDRESS, COORDINATOR, FAILED_COORDINATOR, PID};
use super::shared::Shared;

/// What the signatures are for; a signature made for something else is none here.
const PURPOSE: &str = "record";

/// Publishes this machine's profile, now and whenever the fleet's state changes something in it.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut applied = shared.replica.watch();
    let mut council = shared.council.watch();
    let mut published = None;
    loop {
        let profile = compose(&shared, None);
        if published.as_ref() != Some(&profile) {
            shared
                .mesh
                .tell(Input::Profile(Box::new(profile.clone())))
                .await;
            published = Some(profile);
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.leave.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
            changed = council.changed() => if changed.is_err() { return },
        }
    }
}

/// This machine's profile as of now.
pub(super) fn compose(shared: &Shared, leaving: Option<Leaving>) -> Profile {
    let config = &shared.config;
    let role = if shared.council.coordinator().is_some() {
        COORDINATOR
    } else if shared.council.has_failed() {
        FAILED_COORDINATOR
    } else {
        "member"
    };
    let (name, group, member, mut labels) = shared.replica.read(|state, _| {
        let Some(machine) = state.machines.get(&shared.me) else {
            return (None, None, None, BTreeMap::new());
        };
        let place = machine.place.as_ref();
        (
            Some(machine.name.to_string()),
            place.map(|place| place.group.to_string()),
            place.map(|place| place.member.to_string()),
            machine.labels.clone(),
        )
    });
    labels.extend(config.machine.labels.clone());
    let api = config.api_socket().display().to_string();
    Profile {
        name: name
            .or_else(|| config.machine.name.clone())
            .unwrap_or_default(),
        labels,
        role: role.to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        group: group.or_else(|| config.instance.group.clone()),
        member: member.or_else(|| config.instance.member.clone()),
        addresses: BTreeMap::from([
            (API_ADDRESS.to_owned(), api),
            (PID.to_owned(), std::process::id().to_string()),
        ]),
        instance: config.instance.id.clone(),
        leaving,
    }
}

/// Signs with this machine's current key, and checks against the cluster's CA.
#[derive(Clone)]
pub(super) struct Signing {
    credentials: watch::Receiver<Arc<Credentials>>,
}

impl Signing {
    pub(super) fn new(credentials: watch::Receiver<Arc<Credentials>>) -> Self {
        Self { credentials }
    }
}

impl RecordSigner for Signing {
    fn sign(&self, payload: Vec<u8>) -> Result<Vec<u8>, String> {
        let credentials = self.credentials.borrow().clone();
        let signer = EnvelopeSigner::new(&credentials).map_err(|error| error.to_string())?;
        let envelope = signer
            .sign(PURPOSE, payload)
            .map_err(|error| error.to_string())?;
        Ok(envelope.encode())
    }
}

impl RecordVerifier for Signing {
    fn verify(&self, signed: &[u8]) -> Option<(MachineId, Vec<u8>)> {
        let trust = ClusterTrust::new(self.credentials.borrow().ca_certificate()).ok()?;
        let envelope = Envelope::decode(signed).ok()?;
        let verified = envelope.verify(PURPOSE, &trust, unix_ms()).ok()?;
        Some((verified.machine, envelope.payload))
    }
}
