//! Letting machines in, and keeping their certificates fresh: what a new machine asks, and what the leader answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use muster_mesh::identity::{MachineId, Peer};
use muster_mesh::pki::{
    ClusterCa, ClusterTrust, Envelope, EnvelopeError, JoinToken, public_key_hash,
};
use serde::{Deserialize, Serialize};

use super::propose::{ProposeFailure, propose};
use super::route::{RouteError, ask_leader};
use super::services::FORWARDED_JOIN;
use super::shared::Shared;
use crate::fleet::{Admit, Command, KeyHash, MachineName, Reply, SecretHash, TokenId};

/// How long a machine that asks to come in may have to wait for the leader.
const ADMISSION_DEADLINE: Duration = Duration::from_secs(20);

/// Peers that a new machine is told about; it finds the rest from them.
const PEERS_TOLD_MAX: usize = 16;

/// What a signature on a request to come back is for.
pub(super) const REJOIN_PURPOSE: &str = "rejoin";

/// What a machine without a valid certificate asks.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum JoinRequest {
    /// A new machine wants to come in.
    New {
        /// The token, secret included: only who knows the secret may come in, and the log that everybody has knows
        /// its hash.
        token: String,
        /// The certificate request (PKCS #10, DER).
        request: Vec<u8>,
        /// The name that the machine would like; an ordered machine has its name already.
        name: Option<String>,
        /// Where it tells others to reach it.
        advertise: SocketAddr,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// A member whose certificate ran out while it was away wants a new one.
    Back {
        /// A certificate request, signed with the key of the certificate that ran out.
        envelope: Vec<u8>,
    },
}

/// What a new machine is answered.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum JoinAnswer {
    /// It may come in.
    Welcome(Box<Welcome>),
    /// It may not, and why.
    Refused(String),
    /// Nobody could decide just now; worth another try.
    Unavailable(String),
}

/// What a machine needs to be in the mesh.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// The machine's ID.
    pub machine: MachineId,
    /// Its name.
    pub name: String,
    /// The mesh's name.
    pub cluster_name: String,
    /// Its certificate (DER).
    pub certificate: Vec<u8>,
    /// The cluster CA's certificate (DER).
    pub ca: Vec<u8>,
    /// Machines to begin with.
    pub peers: Vec<Peer>,
}

/// Answers a machine that wants to come in, by asking the leader on its behalf.
pub(super) async fn answer_join(shared: &Shared, body: Bytes) -> JoinAnswer {
    if postcard::from_bytes::<JoinRequest>(&body).is_err() {
        return JoinAnswer::Refused(
            "the request to join cannot be read; is it the same version?".to_owned(),
        );
    }
    match ask_leader(shared, FORWARDED_JOIN, body, ADMISSION_DEADLINE).await {
        Ok(answer) => postcard::from_bytes(&answer).unwrap_or_else(|_| {
            JoinAnswer::Unavailable("the leader's answer cannot be read".to_owned())
        }),
        Err(RouteError::Refused(why)) => JoinAnswer::Refused(why),
        Err(error) => JoinAnswer::Unavailable(error.to_string()),
    }
}

/// The leader's part of a machine's coming in.
pub(super) async fn admit(shared: &Shared, ca: &ClusterCa, body: &[u8]) -> JoinAnswer {
    match postcard::from_bytes(body) {
        Ok(JoinRequest::New {
            token,
            request,
            name,
            advertise,
            labels,
        }) => {
            let name = match name.as_deref().map(str::parse::<MachineName>).transpose() {
                Ok(name) => name,
                Err(error) => return JoinAnswer::Refused(error.to_string()),
            };
            let key = match public_key_hash(&request) {
                Ok(hash) => KeyHash(hash),
                Err(error) => return JoinAnswer::Refused(error.to_string()),
            };
            let token: JoinToken = match token.parse() {
                Ok(token) => token,
                Err(error) => return JoinAnswer::Refused(error.to_string()),
            };
            let (token, secret) = (TokenId(token.id().0), SecretHash(token.hash().0));
            let admit = Admit {
                token,
                secret,
                key,
                name,
                addr: advertise,
                labels,
            };
            commit_admission(shared, ca, admit, &request).await
        }
        Ok(JoinRequest::Back { envelope }) => readmit(shared, ca, &envelope),
        Err(_) => JoinAnswer::Refused("the request to join can't be read".to_owned()),
    }
}

/// Commits the admission, then signs the certificate.
///
/// Asked again with the same token and the same key it gives the same machine again: answers get lost.
async fn commit_admission(
    shared: &Shared,
    ca: &ClusterCa,
    admit: Admit,
    request: &[u8],
) -> JoinAnswer {
    match propose(shared, None, Command::Admit(Box::new(admit))).await {
        Ok(Reply::Admitted(admitted)) => welcome(
            shared,
            ca,
            admitted.machine,
            admitted.name.to_string(),
            request,
        ),
        Ok(reply) => JoinAnswer::Unavailable(format!("unexpected answer {reply:?}")),
        Err(ProposeFailure::Refused(refusal)) => JoinAnswer::Refused(refusal.to_string()),
        Err(error) => JoinAnswer::Unavailable(error.to_string()),
    }
}

/// Gives a member whose certificate ran out a new one. Who it is, its old key proves; that it may come back, the
/// roster says.
fn readmit(shared: &Shared, ca: &ClusterCa, envelope: &[u8]) -> JoinAnswer {
    let verified = Envelope::decode(envelope).and_then(|envelope| {
        let trust = ClusterTrust::new(ca.certificate()).map_err(EnvelopeError::from)?;
        let verified = envelope.verify_expired(REJOIN_PURPOSE, &trust, shared.clock.right_ms())?;
        Ok((verified, envelope.payload))
    });
    let (verified, request) = match verified {
        Ok(verified) => verified,
        Err(error) => return JoinAnswer::Refused(error.to_string()),
    };
    let name = shared
        .replica
        .read(|state, _| Some(state.machines.get(&verified.machine)?.name.to_string()));
    match (name, renewable(shared, verified.machine)) {
        (Some(name), true) => welcome(shared, ca, verified.machine, name, &request),
        _ => JoinAnswer::Refused("this machine is not in the roster any more".to_owned()),
    }
}

fn welcome(
    shared: &Shared,
    ca: &ClusterCa,
    machine: MachineId,
    name: String,
    request: &[u8],
) -> JoinAnswer {
    match sign(shared, ca, machine, request) {
        Ok(certificate) => JoinAnswer::Welcome(Box::new(Welcome {
            machine,
            name,
            cluster_name: shared.replica.read(|state, _| {
                state
                    .cluster
                    .as_ref()
                    .map(|cluster| cluster.name.to_string())
                    .unwrap_or_default()
            }),
            certificate,
            ca: ca.certificate().to_vec(),
            peers: peers_to_tell(shared),
        })),
        Err(why) => JoinAnswer::Refused(why),
    }
}

fn sign(
    shared: &Shared,
    ca: &ClusterCa,
    machine: MachineId,
    request: &[u8],
) -> Result<Vec<u8>, String> {
    let lifetime = shared.config.machine.certificate_lifetime;
    ca.sign_machine_for(request, machine, shared.clock.right_ms(), lifetime)
        .map_err(|error| error.to_string())
}

/// Coordinators first: they know most.
fn peers_to_tell(shared: &Shared) -> Vec<Peer> {
    let world = shared.mesh.look();
    let seats = shared.replica.seats();
    let holds_seat = |machine: MachineId| seats.of(machine).is_some();
    let mut peers: Vec<Peer> = world.active().collect();
    peers.sort_by_key(|peer| (!holds_seat(peer.machine), peer.machine));
    peers.truncate(PEERS_TOLD_MAX);
    peers
}

/// The leader's answer to a machine that asks for a new certificate: the certificate, or why not.
///
/// The machine is the one that its present certificate proves; the roster must still have it.
pub(super) fn renew(
    shared: &Shared,
    ca: &ClusterCa,
    machine: MachineId,
    request: &[u8],
) -> Result<Vec<u8>, String> {
    if !renewable(shared, machine) {
        return Err("this machine is not in the roster any more".to_owned());
    }
    sign(shared, ca, machine, request)
}

fn renewable(shared: &Shared, machine: MachineId) -> bool {
    shared.replica.read(|state, _| {
        state
            .machines
            .get(&machine)
            .is_some_and(|machine| !machine.condemned)
            && !state.revoked.contains_key(&machine)
    })
}
