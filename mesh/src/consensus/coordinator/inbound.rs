//! What other coordinators ask of this one.

use bytes::Bytes;
use openraft::error::RaftError;
use openraft::raft::AppendEntriesResponse;

use super::Coordinator;
use super::status::Role;
use crate::consensus::StateMachine;
use crate::consensus::raft::next_index;
use crate::consensus::seat::Seat;
use crate::consensus::wire::{
    Answer, Canvass, Canvassed, Envelope, Refusal, Request, decode, encode,
};
use crate::identity::MachineId;

impl<S: StateMachine> Coordinator<S> {
    /// Answers a request that came over a [`Network`](crate::consensus::Network) from the machine `from`, as the transport
    /// has authenticated it.
    ///
    /// Whatever the bytes are, the answer is bytes for the asker; a request that makes no sense, or that speaks for
    /// a seat on which `from` does not sit, is answered with a refusal and changes nothing.
    pub async fn handle(&self, from: MachineId, body: Bytes) -> Bytes {
        let answer = match self.admit(from, &body) {
            Ok(envelope) => self.answer(envelope).await,
            Err(refusal) => {
                tracing::debug!(%from, %refusal, "refused a coordinator's message");
                Answer::Refused(refusal)
            }
        };
        encode(&answer).into()
    }

    fn admit(&self, from: MachineId, body: &[u8]) -> Result<Envelope, Refusal> {
        let envelope: Envelope = decode(body)?;
        if envelope.generation != self.inner.config.generation {
            return Err(Refusal::Generation(self.inner.config.generation));
        }
        if envelope.to != self.inner.config.seat {
            return Err(Refusal::Misaddressed);
        }
        match self.check_sender(from, envelope.from) {
            // It shall learn that it has been removed, and that needs an answer which says since when.
            Err(Refusal::Removed) if matches!(envelope.request, Request::Canvass(_)) => {}
            checked => checked?,
        }
        envelope.check()?;
        Ok(envelope)
    }

    /// Whether `machine` may speak for `seat`, by what this coordinator's log or its machine's replica knows.
    fn check_sender(&self, machine: MachineId, seat: Seat) -> Result<(), Refusal> {
        let ours = self.inner.status.borrow().seats.clone();
        // A learner that has just begun has an empty log; its machine has followed the log before.
        let followed = self.inner.replica.seats();
        match ours.get(seat).or_else(|| followed.get(seat)) {
            Some(node) if node.machine == machine => Ok(()),
            Some(_) => Err(Refusal::Impostor),
            // Seats are given out in order: one below the highest that we know and not among them is gone. A
            // higher one may be newer than our log.
            None if Some(seat) < ours.highest().max(followed.highest()) => Err(Refusal::Removed),
            None => Ok(()),
        }
    }

    async fn answer(&self, envelope: Envelope) -> Answer {
        let raft = &self.inner.raft;
        let stopped = Answer::Refused(Refusal::Stopped);
        let from = envelope.from;
        match envelope.request {
            Request::Append(request) => match raft.append_entries(request).await {
                Ok(answer) => {
                    if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                        self.inner.presence.heard(from);
                    }
                    Answer::Append(answer)
                }
                Err(_) => stopped,
            },
            // Whoever stands has canvassed. One that does so all the same, or whose canvass was overtaken by a
            // leader's recovery, must not end its reign.
            Request::Vote(_) if self.is_led() => Answer::Refused(Refusal::Led),
            Request::Vote(request) => raft.vote(request).await.map_or(stopped, Answer::Vote),
            Request::Canvass(question) => Answer::Canvassed(self.canvassed(from, &question)),
            Request::Leaving => {
                self.inner.presence.doubt(from);
                Answer::Heard
            }
            Request::Snapshot(request) => {
                // In a task of its own: the asker may hang up, and the guard must outlast the installation.
                let raft = raft.clone();
                let expected = request.done.then(|| {
                    let upto = next_index(request.meta.last_log_id).saturating_sub(1);
                    self.inner.store.expect_snapshot(upto)
                });
                let installed = tokio::spawn(async move {
                    let installed = raft.install_snapshot(request).await;
                    drop(expected);
                    installed
                });
                match installed.await {
                    Ok(Ok(answer)) => {
                        self.inner.presence.heard(from);
                        Answer::Snapshot(Ok(answer))
                    }
                    Ok(Err(RaftError::APIError(error))) => Answer::Snapshot(Err(error)),
                    Ok(Err(RaftError::Fatal(_))) | Err(_) => stopped,
                }
            }
        }
    }

    /// Whether somebody leads, as far as this coordinator can tell.
    fn is_led(&self) -> bool {
        let timing = &self.inner.config.timing;
        let status = self.inner.status.borrow();
        if status.role == Role::Leader {
            return status.quorum_silence() < timing.patience;
        }
        self.inner.presence.is_led(timing.patience)
    }

    fn canvassed(&self, from: Seat, question: &Canvass) -> Canvassed {
        // Of the committed seats only: an uncommitted entry may be undone, and a removal is for good.
        let seats = self.inner.replica.seats();
        let effective = self.inner.status.borrow().seats.clone();
        let ours = self.inner.raft.data_metrics().borrow().last_log;
        let has_seat = seats.get(from).is_some() || effective.get(from).is_some();
        Canvassed {
            would: effective.get(from).is_some() && question.last_log >= ours && !self.is_led(),
            has_seat,
            seats_index: seats.index,
        }
    }
}
