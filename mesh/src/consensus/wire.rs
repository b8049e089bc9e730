//! What coordinators say to each other, and the checks that a message must pass before the library sees it.
//!
//! A message is a version byte and the postcard form of [`Envelope`]; the answer is a version byte and [`Answer`].
//! The sender is authenticated by the transport as a *machine*; that the machine may speak for the envelope's seat
//! is for [`Coordinator::handle`](super::Coordinator::handle) to check. The checks here are those that need no
//! state: the library trusts its peers and asserts where we must refuse.

use openraft::error::InstallSnapshotError;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::COMMAND_BYTES_MAX;
use super::image::IMAGE_BYTES_MAX;
use super::raft::{EntryPayload, LogId, Types, Vote, is_sound, next_index};
use super::seat::{LogGeneration, Seat};
use crate::identity::MachineId;

/// The version of these messages. Others are refused.
const VERSION: u8 = 1;

/// A message with its address.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) generation: LogGeneration,
    pub(crate) from: Seat,
    pub(crate) to: Seat,
    pub(crate) request: Request,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Seat>),
    Snapshot(InstallSnapshotRequest<Types>),
    /// Would you vote for me?
    Canvass(Canvass),
    /// Who sits on this seat?
    WhoSits(Seat),
    /// I lead, and I am about to stop.
    Leaving,
}

/// A voter's question before an election. See `coordinator/elect.rs`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Canvass {
    pub(crate) last_log: Option<LogId>,
}

/// The answer to it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Canvassed {
    /// As things are, the asker would get this vote.
    pub(crate) would: bool,
    /// The asker has a seat.
    pub(crate) has_seat: bool,
    /// The entry that says so, which is committed.
    pub(crate) seats_index: Option<u64>,
}

impl Canvassed {
    /// Whether the asker, whose own seats are as of `seats_index`, has lost its seat since.
    pub(crate) fn is_removed(&self, seats_index: Option<u64>) -> bool {
        !self.has_seat && self.seats_index > seats_index
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Append(AppendEntriesResponse<Seat>),
    Vote(VoteResponse<Seat>),
    Snapshot(Result<InstallSnapshotResponse<Seat>, InstallSnapshotError>),
    Canvassed(Canvassed),
    Sits(Option<MachineId>),
    Heard,
    Refused(Refusal),
}

/// Why a coordinator did not even look at a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    /// It cannot be read, or it contradicts itself.
    #[error("it makes no sense: {0}")]
    Malformed(String),
    /// It is of another generation of the log; ours is given.
    #[error("it is of another generation of the log than {0}")]
    Generation(LogGeneration),
    /// It is for another seat than ours.
    #[error("it is for another seat")]
    Misaddressed,
    /// The machine that sent it does not sit on the seat that it speaks for.
    #[error("the sender does not sit on that seat")]
    Impostor,
    /// Nobody who could be asked knows the seat that it speaks for.
    #[error("nobody knows the sender's seat")]
    Stranger,
    /// The leader is well: there is nothing to elect.
    #[error("there is a leader")]
    Led,
    /// The coordinator has stopped.
    #[error("the coordinator has stopped")]
    Stopped,
}

/// A version byte and `message`.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_extend(message, vec![VERSION])
        .expect("plain data serializes into memory without errors")
}

/// The message in `bytes`, when all of it is understood.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let malformed = |what: String| Refusal::Malformed(what);
    match bytes.split_first() {
        Some((&VERSION, message)) => {
            postcard::from_bytes(message).map_err(|error| malformed(error.to_string()))
        }
        Some((version, _)) => Err(malformed(format!(
            "its version is {version}, not {VERSION}"
        ))),
        None => Err(malformed("it is empty".to_owned())),
    }
}

impl Envelope {
    /// Whether the request agrees with itself and with the seat that sends it.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let sound = match &self.request {
            Request::Append(request) => check_append(request, self.from),
            Request::Vote(request) => check_vote(&request.vote, false, self.from),
            Request::Snapshot(request) => check_snapshot(request, self.from),
            Request::Canvass(_) | Request::WhoSits(_) | Request::Leaving => Ok(()),
        };
        sound.map_err(|what| Refusal::Malformed(what.to_owned()))
    }
}

/// Terms grow by one an election; one beyond this was made up, and would leave no room for the next.
const TERM_MAX: u64 = 1 << 48;

impl Answer {
    /// Whether the answer can be handed to the library.
    pub(crate) fn is_sound(&self) -> bool {
        let vote = match self {
            Self::Append(AppendEntriesResponse::HigherVote(vote)) => vote,
            Self::Vote(answer) => &answer.vote,
            Self::Snapshot(Ok(answer)) => &answer.vote,
            // Ours never take a part of what they were sent.
            Self::Append(AppendEntriesResponse::PartialSuccess(_)) => return false,
            Self::Append(_)
            | Self::Snapshot(Err(_))
            | Self::Canvassed(_)
            | Self::Sits(_)
            | Self::Heard
            | Self::Refused(_) => return true,
        };
        vote.leader_id.term <= TERM_MAX
    }
}

/// A leader's or a candidate's vote must be for itself.
fn check_vote(vote: &Vote, committed: bool, from: Seat) -> Result<(), &'static str> {
    if vote.leader_id.term > TERM_MAX {
        return Err("no log has had so many terms");
    }
    if vote.leader_id.node_id != from {
        return Err("the vote is for another seat than the sender's");
    }
    if vote.committed != committed {
        return Err("a leader's vote is granted, and a candidate's is not");
    }
    Ok(())
}

fn check_append(request: &AppendEntriesRequest<Types>, from: Seat) -> Result<(), &'static str> {
    check_vote(&request.vote, true, from)?;
    let mut previous: Option<LogId> = request.prev_log_id;
    for entry in &request.entries {
        if entry.log_id.index != next_index(previous) {
            return Err("entries are missing in between");
        }
        if Some(entry.log_id.leader_id) < previous.map(|id| id.leader_id)
            || entry.log_id.leader_id > request.vote.leader_id
        {
            return Err("the entries' terms are out of order");
        }
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(command) if command.0.len() > COMMAND_BYTES_MAX => {
                return Err("a command is too long");
            }
            EntryPayload::Normal(_) => {}
            EntryPayload::Membership(membership) if !is_sound(membership) => {
                return Err("a seat has no machine, or there are no voters");
            }
            EntryPayload::Membership(_) => {}
        }
        previous = Some(entry.log_id);
    }
    Ok(())
}

fn check_snapshot(request: &InstallSnapshotRequest<Types>, from: Seat) -> Result<(), &'static str> {
    check_vote(&request.vote, true, from)?;
    if request.meta.last_log_id.is_none() {
        return Err("a snapshot of nothing");
    }
    if !is_sound(request.meta.last_membership.membership()) {
        return Err("a seat has no machine, or there are no voters");
    }
    let end = request.offset.checked_add(request.data.len() as u64);
    if end.is_none_or(|end| end > IMAGE_BYTES_MAX) {
        return Err("the snapshot is too long");
    }
    Ok(())
}
