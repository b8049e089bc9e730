//! The side that has the log.

use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::time::timeout;

use super::standing::{Admission, Standing};
use super::{
    Ask, FRAME_BYTES, Frame, FrameSink, Piece, SEND_DEADLINE, SUGGESTIONS_MAX, decode, encode,
};
use crate::consensus::replica::{Replica, Tail};
use crate::consensus::seat::LogGeneration;
use crate::consensus::{CallError, StateMachine};
use crate::identity::Peer;

/// Serves this machine's replica to those who follow it.
#[derive(Debug, Clone)]
pub struct FollowServer<S> {
    replica: Replica<S>,
    standing: Standing,
}

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// What the follower said cannot be read.
    #[error("the follower's request cannot be read")]
    Malformed,
    /// The follower is gone, or takes nothing any more.
    #[error(transparent)]
    Gone(#[from] CallError),
}

impl<S: StateMachine> FollowServer<S> {
    /// Serves `replica`, which the [`Follower`](super::Follower) with the same `standing` or a coordinator feeds.
    pub fn new(replica: Replica<S>, standing: Standing) -> Self {
        Self { replica, standing }
    }

    /// Serves one follower, until it or this machine ends it. `ask` is what its stream began with.
    ///
    /// # Errors
    /// When the follower makes no sense or is gone; there is nothing to be done about either.
    pub async fn serve(
        &self,
        follower: Peer,
        ask: Bytes,
        sink: &mut dyn FrameSink,
    ) -> Result<(), ServeError> {
        let ask: Ask = decode(&ask).ok_or(ServeError::Malformed)?;
        let mut admission = match self.admit(follower, &ask) {
            Ok(admission) => admission,
            Err(peers) => return Ok(send(sink, &self.elsewhere(follower, peers)).await?),
        };
        let accepted = Frame::Accepted {
            generation: self.replica.generation(),
            depth: admission.depth,
        };
        send(sink, &accepted).await?;
        self.stream(ask, &mut admission, sink).await?;
        // Sent away. Whom this machine follows next it doesn't know yet, so it names nobody.
        Ok(send(sink, &Frame::Elsewhere { peers: Vec::new() }).await?)
    }

    fn admit(&self, follower: Peer, ask: &Ask) -> Result<Admission, Vec<Peer>> {
        if self.replica.is_driven() {
            self.standing.lead();
        }
        let (generation, next) = (self.replica.generation(), self.next());
        // A coordinator that is a moment behind will catch up. Others are only of use to those who are not ahead.
        let ahead = ask.generation > generation
            || (ask.generation == generation && ask.next > next && !self.replica.is_driven());
        if ahead || next == 0 {
            return Err(Vec::new());
        }
        self.standing.admit(follower)
    }

    fn next(&self) -> u64 {
        self.replica.at().map_or(0, |at| at.index + 1)
    }

    fn elsewhere(&self, asker: Peer, mut peers: Vec<Peer>) -> Frame {
        let seats = self.replica.seats();
        // Two followers should not be sent the same way; any number that differs between them will do.
        peers.shuffle(&mut StdRng::seed_from_u64(asker.machine.get()));
        peers.truncate(SUGGESTIONS_MAX);
        if peers.is_empty() {
            peers.extend(
                seats
                    .iter()
                    .map(|(_, node)| Peer::from(node))
                    .take(SUGGESTIONS_MAX),
            );
        }
        Frame::Elsewhere { peers }
    }

    /// Sends what there is and what comes, until the followers are sent away.
    async fn stream(
        &self,
        ask: Ask,
        admission: &mut Admission,
        sink: &mut dyn FrameSink,
    ) -> Result<(), CallError> {
        let Ask {
            mut generation,
            mut next,
        } = ask;
        let mut at = self.replica.watch();
        loop {
            at.mark_unchanged();
            if admission.dismissed.has_changed().unwrap_or(true) {
                return Ok(());
            }
            match self.tail(generation, next) {
                Tail::Entries(entries) => {
                    next += entries.len() as u64;
                    let entries = entries.into_iter().map(Piece).collect();
                    send(sink, &Frame::Entries { entries }).await?;
                }
                Tail::Forgotten => {
                    (generation, next) = self.send_image(sink).await?;
                }
                Tail::UpToDate | Tail::Ahead => {
                    let beat = tokio::select! {
                        _ = at.changed() => false,
                        _ = admission.dismissed.changed() => return Ok(()),
                        () = sink.closed() => return Ok(()),
                        () = tokio::time::sleep_until(self.standing.next_beat()) => true,
                    };
                    if beat {
                        send(sink, &Frame::Beat { next: self.next() }).await?;
                    }
                }
            }
        }
    }

    fn tail(&self, generation: LogGeneration, next: u64) -> Tail {
        // From nothing, the whole state is shorter than its history, if there is any.
        if generation != self.replica.generation() {
            return Tail::Forgotten;
        }
        self.replica.tail(next, FRAME_BYTES)
    }

    async fn send_image(
        &self,
        sink: &mut dyn FrameSink,
    ) -> Result<(LogGeneration, u64), CallError> {
        let image = self.replica.image();
        let bytes = Bytes::from(image.to_bytes());
        let length = bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = Piece(rest.split_to(FRAME_BYTES.min(rest.len())));
            send(sink, &Frame::Image { length, piece }).await?;
        }
        let next = image.at().map_or(0, |at| at.index + 1);
        Ok((image.generation(), next))
    }
}

async fn send(sink: &mut dyn FrameSink, frame: &Frame) -> Result<(), CallError> {
    send_within(sink, frame, SEND_DEADLINE).await
}

async fn send_within(
    sink: &mut dyn FrameSink,
    frame: &Frame,
    deadline: Duration,
) -> Result<(), CallError> {
    timeout(deadline, sink.send(encode(frame)))
        .await
        .unwrap_or(Err(CallError::TimedOut))
}
