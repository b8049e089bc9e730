//! What other coordinators ask of this one.

use bytes::Bytes;
use openraft::error::RaftError;
use openraft::raft::AppendEntriesResponse;

use super::Coordinator;
use super::status::Role;
use crate::consensus::StateMachine;
use crate::consensus::raft::next_index;
use crate::consensus::replica::Replica;
use crate::consensus::seat::Seat;
use crate::consensus::wire::{
    Answer, Canvass, Canvassed, Envelope, Refusal, Request, decode, encode,
};
use crate::identity::MachineId;

/// Answers other coordinators' questions on a machine that has no coordinator (any more), from its replica.
///
/// A machine that had a seat should do so: coordinators that were away ask the voters that they knew who the new ones
/// are, and whether they themselves still have a seat. Whatever else comes is refused.
pub fn answer_without_seat<S: StateMachine>(replica: &Replica<S>, body: &[u8]) -> Bytes {
    let seats = replica.seats();
    let answer = match decode::<Envelope>(body) {
        Err(refusal) => Answer::Refused(refusal),
        Ok(envelope) if envelope.generation != replica.generation() => {
            Answer::Refused(Refusal::Generation(replica.generation()))
        }
        Ok(envelope) => match envelope.request {
            Request::WhoSits(seat) => Answer::Sits(seats.get(seat).map(|node| node.machine)),
            Request::Canvass(_) => Answer::Canvassed(Canvassed {
                would: false,
                has_seat: seats.get(envelope.from).is_some(),
                seats_index: seats.index,
            }),
            _ => Answer::Refused(Refusal::Stopped),
        },
    };
    encode(&answer).into()
}

impl<S: StateMachine> Coordinator<S> {
    /// Answers a request that came over a [`Network`](crate::consensus::Network) from the machine `from`, as the
    /// transport has authenticated it.
    ///
    /// Whatever the bytes are, the answer is bytes for the asker; a request that makes no sense, or that speaks for
    /// a seat on which `from` does not sit, is answered with a refusal and changes nothing.
    pub async fn handle(&self, from: MachineId, body: Bytes) -> Bytes {
        let answer = match self.admit(from, &body).await {
            Ok(envelope) => self.answer(from, envelope).await,
            Err(refusal) => {
                tracing::debug!(%from, %refusal, "refused a coordinator's message");
                Answer::Refused(refusal)
            }
        };
        encode(&answer).into()
    }

    async fn admit(&self, from: MachineId, body: &[u8]) -> Result<Envelope, Refusal> {
        let envelope: Envelope = decode(body)?;
        if envelope.generation != self.inner.config.generation {
            return Err(Refusal::Generation(self.inner.config.generation));
        }
        if envelope.to != self.inner.config.seat {
            return Err(Refusal::Misaddressed);
        }
        envelope.check()?;
        // Questions change nothing, and who asks may have to be told that its seat is gone.
        if !matches!(envelope.request, Request::Canvass(_) | Request::WhoSits(_)) {
            self.check_sender(from, envelope.from).await?;
        }
        Ok(envelope)
    }

    async fn answer(&self, machine: MachineId, envelope: Envelope) -> Answer {
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
            Request::Canvass(question) => {
                Answer::Canvassed(self.canvassed(machine, from, &question).await)
            }
            Request::WhoSits(seat) => Answer::Sits(self.sitting(seat).map(|node| node.machine)),
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
                // Installing it takes a while, in which whoever has no vote must not think that nobody knows it any more. A
                // voter has to be told by the state that this is its leader: until then it may vote for another.
                if !self.votes() {
                    self.inner.presence.heard(from);
                }
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

    /// Whether this seat has a vote, by its own log.
    fn votes(&self) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let mut voters = metrics.membership_config.membership().voter_ids();
        let own = self.inner.config.seat;
        voters.any(|seat| seat == own)
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

    async fn canvassed(&self, machine: MachineId, from: Seat, question: &Canvass) -> Canvassed {
        let has_seat = self.check_sender(machine, from).await.is_ok();
        let ours = self.inner.raft.data_metrics().borrow().last_log;
        Canvassed {
            would: has_seat && question.last_log >= ours && !self.is_led(),
            has_seat,
            // Of the committed seats: a removal that is not committed may be undone, and to be told of it is final.
            seats_index: self.inner.replica.seats().index,
        }
    }
}
