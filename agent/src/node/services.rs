//! What this machine does for others: one function for each kind of request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_mesh::consensus::coordinator::answer_without_seat;
use muster_mesh::identity::{MachineId, Peer};
use muster_mesh::state_dir::{FileKind, StateDir, StateError};
use muster_mesh::transport::{DialError, InboundRequest, PeerIdentity, PortAnswer, StreamKind};
use muster_provisioners::Deadline;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};

use super::admission;
use super::authority::{Answer, Ballot, Promise};
use super::council::has_seat;
use super::desk::{self, NodeDesk};
use super::last_words::{self, LAST_WORDS};
use super::lease::{LEASE, LeaseRequest};
use super::places::Places;
use super::refounding::answers::{self, Question};
use super::route::Routed;
use super::shared::Shared;
use super::workload;
use crate::answers::Answers;

/// Draining this machine's workload, asked by the leader before the machine is taken away.
pub(super) const DRAIN: StreamKind = StreamKind(12);

/// Restarting this machine's workload, asked by the leader as a cure.
pub(super) const RESTART_WORKLOAD: StreamKind = StreamKind(14);

/// Striking another member of its group off the ensemble of their workload, asked by the leader before that one is taken away.
pub(super) const STRIKE: StreamKind = StreamKind(25);

/// A machine's request to join, passed on to the leader by the machine that it asked.
pub(super) const FORWARDED_JOIN: StreamKind = StreamKind(13);

/// What a machine asks the others that wants to found the log anew.
pub(super) const REFOUND: StreamKind = StreamKind(16);

/// This machine's longest copy of the log's state, for one that founds it anew.
pub(super) const COPY: StreamKind = StreamKind(15);

/// Requests that wait to be sorted. The mesh task drops what does not fit, and tells the asker.
pub(super) const WAITING_MAX: usize = 64;

/// How long a witness waits for a suspect, on either path. Two lost packets are made up for within that time; and one that
/// gets a little processor time once a second, as a computer may be set to give it, answers within it.
const TRIED_FOR: Duration = Duration::from_millis(1100);

/// How long draining or restarting a workload, or striking a member off, may take: less than whoever asks for it waits.
const FLAVOR_DEADLINE: Duration = Duration::from_secs(50);

const PROMISE: FileKind = FileKind {
    tag: *b"PROM",
    version: 1,
    what: "this machine's promise to the leader",
    remedy: "Do not delete it while the fleet runs elsewhere: restore it, or let the machine join anew.",
    size_max: 256,
};

/// What a witness found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WitnessAnswer {
    /// The agent's endpoint answered.
    Answered,
    /// The host said that nothing listens there.
    Refused,
    /// Nothing came back.
    Silent,
    /// Another machine of the mesh answered.
    Stranger,
}

/// What a witness found, over two fresh paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Testimony {
    /// From the port, asked by a connected UDP socket, so that a refusal is told from silence.
    pub port: WitnessAnswer,
    /// From a handshake on a new connection, in which whoever answers proves who it is.
    pub handshake: WitnessAnswer,
}

impl Testimony {
    /// Reads the bytes from the wire; `None` for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    fn encode(self) -> Vec<u8> {
        postcard::to_stdvec(&self).expect("two numbers serialize into memory")
    }
}

/// The bytes that name a suspect to a witness.
pub(super) fn encode_peer(peer: Peer) -> Vec<u8> {
    postcard::to_stdvec(&peer).expect("a number and an address serialize into memory")
}

/// Serves requests until the channel closes or the agent stops.
pub(super) async fn run(
    shared: Arc<Shared>,
    desk: Arc<Answers<NodeDesk>>,
    mut requests: mpsc::Receiver<InboundRequest>,
) {
    let places = Places::default();
    loop {
        let request = tokio::select! {
            () = shared.stop.cancelled() => return,
            request = requests.recv() => match request {
                Some(request) => request,
                None => return,
            },
        };
        let place = match places.take(&request.from, request.kind) {
            Ok(place) => place,
            Err(why) => {
                tracing::debug!(from = %request.from, kind = %request.kind, why, "no place for a request");
                tokio::spawn(async move { request.responder.fail(&why).await });
                continue;
            }
        };
        let (shared, desk) = (Arc::clone(&shared), Arc::clone(&desk));
        tokio::spawn(async move {
            serve(&shared, &desk, request).await;
            drop(place);
        });
    }
}

async fn serve(shared: &Arc<Shared>, desk: &Arc<Answers<NodeDesk>>, request: InboundRequest) {
    let InboundRequest {
        from,
        kind,
        body,
        responder,
        addr,
    } = request;
    let answer = match (kind, &from) {
        (StreamKind::API, _) => return desk::serve(shared, desk, from, body, responder).await,
        (StreamKind::FOLLOW, PeerIdentity::Machine(machine)) => {
            return super::follow::serve(shared, *machine, body, responder).await;
        }
        (COPY, PeerIdentity::Machine(_)) => {
            return answers::serve_copy(shared, responder).await;
        }
        (StreamKind::JOIN, PeerIdentity::Joiner) => {
            let answer = admission::answer_join(shared, body).await;
            Ok(postcard::to_stdvec(&answer)
                .expect("plain data serializes into memory")
                .into())
        }
        (_, PeerIdentity::Machine(machine)) => machine_asks(shared, *machine, kind, body).await,
        _ => Err(format!("{from} may not ask this")),
    };
    match answer {
        Ok(answer) => {
            if let Err(error) = responder.reply(answer).await {
                tracing::debug!(%addr, %kind, %error, "an answer was not delivered");
            }
        }
        Err(why) => {
            tracing::debug!(%from, %addr, %kind, why, "refused a request");
            responder.fail(&why).await;
        }
    }
}

async fn machine_asks(
    shared: &Arc<Shared>,
    machine: MachineId,
    kind: StreamKind,
    body: Bytes,
) -> Result<Bytes, String> {
    match kind {
        StreamKind::CONSENSUS => match shared.council.coordinator() {
            Some(coordinator) => Ok(coordinator.handle(machine, body).await),
            // One that was away may ask a machine that had a seat: it is told who has them now.
            None => Ok(answer_without_seat(&shared.replica, &body)),
        },
        StreamKind::AUTHORITY => {
            let ballot = Ballot::decode(&body).ok_or("that is no ballot")?;
            if ballot.leader != machine {
                return Err("a machine can ask only for itself".to_owned());
            }
            // A promise is for ever: nobody gets one who could not be elected, or for a log that is not ours.
            let promised = promised(shared).await?;
            if let Some(promised) = promised.filter(|one| one.generation > ballot.generation) {
                return Ok(Answer::Refused { promised }.encode().into());
            }
            let could_lead = shared.replica.read(|state, _| has_seat(state, machine));
            if !could_lead || ballot.generation != shared.replica.generation().0 {
                return Err("only coordinators of this log are acknowledged".to_owned());
            }
            Ok(acknowledge(shared, ballot).await?.encode().into())
        }
        REFOUND => {
            let question = Question::decode(&body).ok_or("that is no question")?;
            Ok(answers::answer(shared, machine, question)
                .await?
                .encode()
                .into())
        }
        StreamKind::WITNESS => {
            let suspect = postcard::from_bytes(&body).map_err(|_| "that is no machine")?;
            Ok(witness(shared, suspect).await.encode().into())
        }
        FORWARDED_JOIN | StreamKind::RENEW | StreamKind::CA_KEY | LEASE => {
            Ok(as_leader(shared, machine, kind, &body).await.encode())
        }
        LAST_WORDS => last_words::answer(shared, &body),
        DRAIN => {
            if !shared.replica.read(|state, _| has_seat(state, machine)) {
                return Err("only coordinators drain machines".to_owned());
            }
            let drained = drain(shared).await?;
            Ok(Bytes::from(vec![u8::from(drained)]))
        }
        STRIKE => {
            if !shared.replica.read(|state, _| has_seat(state, machine)) {
                return Err("only coordinators have members struck off".to_owned());
            }
            let member = std::str::from_utf8(&body).map_err(|_| "that is no member")?;
            strike(shared, member).await?;
            Ok(Bytes::new())
        }
        RESTART_WORKLOAD => {
            if !shared.replica.read(|state, _| has_seat(state, machine)) {
                return Err("only coordinators have workloads restarted".to_owned());
            }
            restart_workload(shared).await?;
            Ok(Bytes::new())
        }
        _ => Err("this machine does not know that kind of request".to_owned()),
    }
}

/// Drains this machine's own workload. Says whether there was anything to drain.
///
/// # Errors
/// Why it did not.
pub(super) async fn drain(shared: &Shared) -> Result<bool, String> {
    workload::drain(shared, Deadline::after(FLAVOR_DEADLINE)).await
}

/// Restarts this machine's own workload.
///
/// # Errors
/// Why it did not.
pub(super) async fn restart_workload(shared: &Shared) -> Result<(), String> {
    workload::restart(shared, Deadline::after(FLAVOR_DEADLINE)).await
}

/// Strikes another member of this machine's group off the ensemble of their workload.
///
/// # Errors
/// Why it did not.
pub(super) async fn strike(shared: &Shared, member: &str) -> Result<(), String> {
    workload::strike(shared, member, Deadline::after(FLAVOR_DEADLINE)).await
}

/// Does what only the leader does, for a machine that asks; or says who leads.
pub(super) async fn as_leader(
    shared: &Shared,
    machine: MachineId,
    kind: StreamKind,
    body: &[u8],
) -> Routed {
    let Some(ca) = shared.council.ca().filter(|_| shared.leads()) else {
        return Routed::NotLeader(shared.leader().filter(|leader| *leader != shared.me));
    };
    let refused = |why: &str| Routed::Refused(why.to_owned());
    match kind {
        FORWARDED_JOIN => {
            let answer = admission::admit(shared, &ca, body).await;
            Routed::Done(postcard::to_stdvec(&answer).expect("plain data serializes into memory"))
        }
        StreamKind::RENEW => match admission::renew(shared, &ca, machine, body) {
            Ok(certificate) => Routed::Done(certificate),
            Err(why) => Routed::Refused(why),
        },
        LEASE => match LeaseRequest::decode(body) {
            Some(request) => match shared.leases.ask(machine, request).await {
                Some(answer) => Routed::Done(answer.encode()),
                None => Routed::NotLeader(None),
            },
            None => refused("that is no question for a lease"),
        },
        StreamKind::CA_KEY if shared.replica.read(|state, _| has_seat(state, machine)) => {
            Routed::Done(ca.export().to_vec())
        }
        StreamKind::CA_KEY => refused("only coordinators get the CA's key"),
        _ => refused("that is nothing for a leader"),
    }
}

/// This machine's promise, read once and stored before each grant that raises it.
#[derive(Debug, Default)]
pub(super) struct Promised(Mutex<Option<Promise>>);

/// The highest ballot that this machine has promised.
///
/// # Errors
/// When the promise can't be read.
pub(super) async fn promised(shared: &Shared) -> Result<Option<Ballot>, String> {
    let mut known = shared.promised.0.lock().await;
    Ok(promise(&shared.state_dir, &mut known)?.highest())
}

/// The promise, read from its file the first time.
fn promise(state_dir: &StateDir, known: &mut Option<Promise>) -> Result<Promise, String> {
    if let Some(promise) = known {
        return Ok(*promise);
    }
    let promise = stored_promise(state_dir).map_err(|error| error.to_string())?;
    *known = Some(promise);
    Ok(promise)
}

/// The promise as it is stored; none when there is no file.
///
/// # Errors
/// When the file is damaged or can't be read.
pub(super) fn stored_promise(state_dir: &StateDir) -> Result<Promise, StateError> {
    let path = state_dir.file("promise");
    match PROMISE.read(&path)? {
        Some(bytes) => postcard::from_bytes(&bytes)
            .map_err(|_| PROMISE.damaged(&path, "its content makes no sense")),
        None => Ok(Promise::default()),
    }
}

/// What would be answered to a ballot; nothing is promised.
///
/// # Errors
/// When the promise can't be read.
pub(super) async fn would_acknowledge(shared: &Shared, ballot: Ballot) -> Result<Answer, String> {
    let mut known = shared.promised.0.lock().await;
    let mut promise = promise(&shared.state_dir, &mut known)?;
    Ok(promise.consider(ballot).0)
}

/// Answers a leader's ballot.
///
/// # Errors
/// When the promise can't be read or stored: then nothing is promised.
pub(super) async fn acknowledge(shared: &Shared, ballot: Ballot) -> Result<Answer, String> {
    let path = shared.state_dir.file("promise");
    let mut promised = shared.promised.0.lock().await;
    let mut promise = promise(&shared.state_dir, &mut promised)?;
    let (answer, raised) = promise.consider(ballot);
    if raised {
        let bytes = postcard::to_stdvec(&promise).expect("plain data serializes into memory");
        let written = tokio::task::spawn_blocking(move || PROMISE.write(&path, &bytes)).await;
        written
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
    }
    *promised = Some(promise);
    Ok(answer)
}

/// Tries to reach a suspect over a fresh path.
pub(super) async fn witness(shared: &Shared, suspect: Peer) -> Testimony {
    let transport = &shared.transport;
    let port = transport.probe_port(suspect.addr, TRIED_FOR);
    let handshake = transport.identify(suspect.addr, TRIED_FOR);
    let (port, shaken) = tokio::join!(port, handshake);
    Testimony {
        port: match port {
            PortAnswer::Answered => WitnessAnswer::Answered,
            PortAnswer::Refused => WitnessAnswer::Refused,
            PortAnswer::Silent => WitnessAnswer::Silent,
        },
        handshake: match shaken {
            Ok(peer) if peer.machine == suspect.machine => WitnessAnswer::Answered,
            Ok(_) | Err(DialError::Myself) => WitnessAnswer::Stranger,
            Err(DialError::Refused) => WitnessAnswer::Refused,
            // Whoever says no is there, and may be the suspect.
            Err(
                DialError::Peer(_)
                | DialError::NotMuster
                | DialError::NotAccepted(_)
                | DialError::Busy(_),
            ) => WitnessAnswer::Answered,
            Err(_) => WitnessAnswer::Silent,
        },
    }
}
