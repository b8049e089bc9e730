//! What a machine answers to one that wants to found the log anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use muster_mesh::consensus::{At, Coordinator, Image, LogGeneration};
use muster_mesh::identity::MachineId;
use muster_mesh::transport::Responder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ballots::{RosterMark, Stand};
use super::consent::{Objection, Situation, objection};
use super::lost::orphaned;
use super::proof;
use crate::fleet::FleetState;
use crate::node::authority::{Answer, Ballot};
use crate::node::council;
use crate::node::services::{acknowledge, promised, would_acknowledge};
use crate::node::shared::Shared;

/// To whom a machine has promised has so long to found before another is promised a later log.
pub(super) const FOUNDING_GRACE: Duration = Duration::from_secs(20);

/// Bytes of a copy per frame.
const PIECE: usize = 256 * 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::node) enum Question {
    /// How do things stand, by what you know?
    Look,
    /// Promise me this generation.
    Promise(Ballot),
    /// Which machines are on your roster?
    Roster,
    /// Would you promise me this generation? That promises nothing.
    Would(Ballot),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::node) enum Said {
    /// How things stand; to a promise that was asked for: it is given.
    Stand(Stand),
    /// It is not, and why.
    Refused(String),
    /// The roster.
    Roster(Vec<MachineId>),
}

impl Question {
    /// The bytes for the wire.
    pub(in crate::node) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a few numbers serialize into memory")
    }

    /// Reads [`Self::encode`]'s bytes; `None` for anything else.
    pub(in crate::node) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

impl Said {
    /// The bytes for the wire.
    pub(in crate::node) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data serializes into memory")
    }

    /// Reads [`Self::encode`]'s bytes; `None` for anything else.
    pub(in crate::node) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// Which machines are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Circle {
    /// Those whose promises count.
    Electors,
    /// All that belong to the fleet, also those that are unaccounted for.
    Members,
}

impl Circle {
    /// The machines, by this machine's copy.
    pub(super) fn machines(self, shared: &Shared) -> BTreeSet<MachineId> {
        shared.replica.read(|state, _| self.of(state))
    }

    fn of(self, state: &FleetState) -> BTreeSet<MachineId> {
        let all = state.machines.values().filter(|machine| match self {
            Self::Electors => machine.is_elector(),
            Self::Members => machine.belongs(),
        });
        all.map(|machine| machine.id).collect()
    }
}

/// The machines whose promises count, by this machine's copy.
pub(super) fn roster(shared: &Shared) -> BTreeSet<MachineId> {
    Circle::Electors.machines(shared)
}

/// A roster's mark.
pub(super) fn mark(roster: &BTreeSet<MachineId>) -> RosterMark {
    let mut hash = Sha256::new();
    for machine in roster {
        hash.update(machine.get().to_be_bytes());
    }
    let mut mark = RosterMark([0; 16]);
    mark.0.copy_from_slice(&hash.finalize()[..16]);
    mark
}

/// Answers another machine.
///
/// # Errors
/// When the promise can't be stored; then nothing is promised.
pub(in crate::node) async fn answer(
    shared: &Arc<Shared>,
    from: MachineId,
    question: Question,
) -> Result<Said, String> {
    match question {
        Question::Look => Ok(Said::Stand(stand(shared).await?)),
        Question::Roster => Ok(Said::Roster(roster(shared).into_iter().collect())),
        Question::Would(ballot) => match why_not(shared, from, ballot).await? {
            Some(why) => Ok(Said::Refused(why)),
            None => match would_acknowledge(shared, ballot).await? {
                Answer::Refused { promised } => Ok(already_promised(shared, promised)),
                Answer::Granted => Ok(Said::Stand(stand(shared).await?)),
            },
        },
        Question::Promise(ballot) => match why_not(shared, from, ballot).await? {
            Some(why) => Ok(Said::Refused(why)),
            None => promise(shared, ballot).await,
        },
    }
}

/// Answers the machine's own question.
pub(super) fn ask_self(
    shared: &Arc<Shared>,
    question: Question,
) -> BoxFuture<'_, Result<Said, String>> {
    // Boxed, because an answer may need what all say, this machine included.
    answer(shared, shared.me, question).boxed()
}

/// Why a promise is not even considered.
///
/// # Errors
/// When what was promised before can't be read.
async fn why_not(
    shared: &Arc<Shared>,
    from: MachineId,
    ballot: Ballot,
) -> Result<Option<String>, String> {
    let busy = shared
        .refounding
        .noted()
        .filter(|(_, at)| at.elapsed() < FOUNDING_GRACE)
        .map(|(last, _)| last.leader)
        .filter(|leader| shared.mesh.look().is_active(*leader));
    let situation = Situation {
        ours: shared.replica.generation(),
        before: promised(shared).await?,
        busy_with: busy,
        is_elector: roster(shared).contains(&from),
        belongs: Circle::Members.machines(shared).contains(&from),
        orphaned: orphaned(shared),
        given_up: shared.council.is_superseded(shared.replica.generation()),
    };
    Ok(match objection(&situation, from, ballot) {
        Some(Objection::NotLost) if shared.refounding.abandoned.is_told(shared).await => None,
        Some(Objection::Busy(other)) => {
            Some(format!("it has just promised {}", shared.name(other)))
        }
        other => other.map(|why| why.to_string()),
    })
}

fn already_promised(shared: &Shared, promised: Ballot) -> Said {
    Said::Refused(format!(
        "generation {} is promised to {}",
        promised.generation,
        shared.name(promised.leader)
    ))
}

/// Promises durably, and ends the coordinator of an older log here: it must not help an old leader any more.
async fn promise(shared: &Arc<Shared>, ballot: Ballot) -> Result<Said, String> {
    match acknowledge(shared, ballot).await? {
        Answer::Refused { promised } => Ok(already_promised(shared, promised)),
        Answer::Granted => {
            let to = shared.name(ballot.leader);
            if shared.refounding.note_promise(ballot) {
                tracing::warn!(generation = ballot.generation, %to, "has promised to stand behind no leader of an earlier log");
            }
            shared.council.supersede(LogGeneration(ballot.generation));
            shared.council.stood_down().await;
            salvage(shared).await;
            Ok(Said::Stand(stand(shared).await?))
        }
    }
}

/// Reads the store of the coordinator that ran here, once.
async fn salvage(shared: &Shared) {
    let mut salvaged = shared.refounding.salvaged.lock().await;
    let Ok(Some((seat, generation))) = council::stored_seat(&shared.state_dir) else {
        return;
    };
    if salvaged
        .as_ref()
        .is_some_and(|image| image.generation() == generation)
    {
        return;
    }
    let cluster = shared.credentials.borrow().cluster();
    let config = council::coordinator_config(&shared.state_dir, cluster, seat, generation);
    match Coordinator::<FleetState>::salvage(&config).await {
        Ok(image) => *salvaged = Some(Arc::new(image)),
        Err(error) => tracing::warn!(%error, "the log of this machine's old seat is of no use"),
    }
}

/// What the old seat's store holds, if that is more than the replica has.
pub(super) async fn longest(shared: &Shared) -> Option<Arc<Image>> {
    let salvaged = shared.refounding.salvaged.lock().await.clone();
    let rank = |generation, at: Option<At>| (generation, at.map(|at| (at.term, at.index)));
    let own = rank(shared.replica.generation(), shared.replica.at());
    salvaged.filter(|image| rank(image.generation(), image.at()) > own)
}

async fn stand(shared: &Shared) -> Result<Stand, String> {
    let salvaged = longest(shared).await.and_then(|image| image.at());
    Ok(Stand {
        generation: shared.replica.generation(),
        at: salvaged.or_else(|| shared.replica.at()),
        promised: promised(shared).await?,
        orphaned: orphaned(shared),
        roster: mark(&roster(shared)),
        has_key: council::ca_path(&shared.state_dir).is_file(),
        recovered: proof::shown(shared),
        given_up: shared.council.is_superseded(shared.replica.generation())
            || shared.refounding.abandoned.is_known(shared),
    })
}

/// Sends the longest copy here.
pub(in crate::node) async fn serve_copy(shared: &Shared, mut responder: Responder) {
    let image = match longest(shared).await {
        Some(image) => image.to_bytes(),
        None => shared.replica.image().to_bytes(),
    };
    let mut rest = bytes::Bytes::from(image);
    while !rest.is_empty() {
        let piece = rest.split_to(PIECE.min(rest.len()));
        if responder.send(piece).await.is_err() {
            return;
        }
    }
    responder.finish();
}
