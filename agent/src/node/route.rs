//! Finding the leader: whoever is asked something that only the leader can do passes it on.

use std::time::Duration;

use bytes::Bytes;
use muster_mesh::identity::MachineId;
use muster_mesh::transport::{RequestError, StreamKind};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::services;
use super::shared::Shared;

/// How long one coordinator has for an answer before the next one is tried: a commit and a half.
const TRY_DEADLINE: Duration = Duration::from_secs(5);

/// The pause before all coordinators are tried again: an election takes a few seconds.
const ROUND_PAUSE: Duration = Duration::from_millis(250);

/// An answer to something that only the leader can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Routed {
    /// It was done, or refused, by the leader; what came of it.
    Done(Vec<u8>),
    /// The asked machine doesn't lead.
    NotLeader(Option<MachineId>),
    /// The leader does not do this, and says why.
    Refused(String),
}

impl Routed {
    /// The bytes for the wire.
    pub(super) fn encode(&self) -> Bytes {
        postcard::to_stdvec(self)
            .expect("plain data serializes into memory without errors")
            .into()
    }

    /// Reads [`Self::encode`]'s bytes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// Why the leader could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RouteError {
    /// No coordinator answered that it leads, in time.
    #[error("no coordinator leads at the moment ({0})")]
    NoLeader(String),
    /// The leader was asked and did not answer in time; it may have done it.
    #[error("the leader did not answer in time; it may have been done all the same")]
    Unknown,
    /// The leader does not do this for this machine, and says why.
    #[error("{0}")]
    Refused(String),
}

/// Asks the leader, wherever it is, until `deadline` has passed.
///
/// # Errors
/// When nobody leads, or the leader's answer did not arrive.
pub(super) async fn ask_leader(
    shared: &Shared,
    kind: StreamKind,
    body: Bytes,
    deadline: Duration,
) -> Result<Vec<u8>, RouteError> {
    let end = Instant::now() + deadline;
    let mut last = "none is known".to_owned();
    loop {
        if shared.leads() && kind == StreamKind::API {
            // Orders are carried out by whoever answers them.
            return Err(RouteError::NoLeader("this machine leads by now".to_owned()));
        }
        if shared.leads() {
            // Boxed, because what the leader does itself may have it ask the leader.
            match Box::pin(services::as_leader(shared, shared.me, kind, &body)).await {
                Routed::Done(done) => return Ok(done),
                Routed::Refused(why) => return Err(RouteError::Refused(why)),
                Routed::NotLeader(_) => {}
            }
        }
        for machine in candidates(shared) {
            let mut next = Some(machine);
            // A hint from one that doesn't lead is followed once: two that point at each other are no circle.
            for _ in 0..2 {
                let Some(machine) = next.take() else { break };
                let left = end.saturating_duration_since(Instant::now());
                let Some(peer) = shared.peer(machine).filter(|_| !left.is_zero()) else {
                    break;
                };
                let asked =
                    shared
                        .transport
                        .request(peer, kind, body.clone(), left.min(TRY_DEADLINE));
                match asked.await {
                    Ok(answer) => match Routed::decode(&answer) {
                        Some(Routed::Done(done)) => return Ok(done),
                        Some(Routed::Refused(why)) => return Err(RouteError::Refused(why)),
                        Some(Routed::NotLeader(leader)) => {
                            last = format!("{} does not lead", shared.name(machine));
                            next = leader.filter(|leader| *leader != machine);
                        }
                        None => last = format!("{} answered rubbish", shared.name(machine)),
                    },
                    Err(error) if may_have_arrived(&error) && !kind.is_repeatable() => {
                        return Err(RouteError::Unknown);
                    }
                    Err(error) => last = format!("{}: {error}", shared.name(machine)),
                }
            }
        }
        if Instant::now() + ROUND_PAUSE >= end {
            return Err(RouteError::NoLeader(last));
        }
        tokio::time::sleep(ROUND_PAUSE).await;
    }
}

/// Whether the asked machine may have acted on a request in spite of an error.
fn may_have_arrived(error: &RequestError) -> bool {
    !matches!(
        error,
        RequestError::Unreachable(_) | RequestError::Refused(_) | RequestError::TooLong(_)
    )
}

/// Whom to try: the one that is known to lead first, then all other coordinators that answer.
fn candidates(shared: &Shared) -> Vec<MachineId> {
    let world = shared.mesh.look();
    let seats = shared.replica.seats();
    let mut candidates: Vec<MachineId> = shared.leader().into_iter().collect();
    candidates.extend(seats.voters.values().map(|node| node.machine));
    candidates.retain(|machine| world.is_active(*machine) && *machine != shared.me);
    let mut seen = std::collections::BTreeSet::new();
    candidates.retain(|machine| seen.insert(*machine));
    candidates
}
