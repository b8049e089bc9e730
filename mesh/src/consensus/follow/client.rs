//! The side that wants the log.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::choose::{Choice, Chooser};
use super::standing::Standing;
use super::{Ask, Assembly, Frame, FrameSource, SILENCE_MAX, Streams, decode, encode};
use crate::consensus::image::Image;
use crate::consensus::replica::{FeedError, Replica};
use crate::consensus::seat::LogGeneration;
use crate::consensus::{CallError, StateMachine};
use crate::identity::{MachineId, Peer};

/// An upstream must answer a first time within this.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);
/// A machine that lost its upstream and has followers looks for another of a lower depth for so long before it sends
/// them away: a coordinator's failure should not shake the whole tree.
const GRACE: Duration = Duration::from_secs(10);
/// An upstream that is behind what others have for this long is of no use: it is cut off and does not know.
const STALE_MAX: Duration = Duration::from_secs(5);

/// What the agent's membership knows, for choosing upstreams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The machines that are alive, at their current addresses.
    pub peers: Vec<Peer>,
    /// Those that say of themselves that they are coordinators, for a machine that has no log yet to tell.
    pub coordinators: Vec<MachineId>,
    /// The highest index of the log that any of them claims to have applied, if that is known. Changing it wakes the
    /// follower, so change it when it grows, and not more than about once a second.
    pub newest: Option<u64>,
    /// The latest log that is known to have been founded; the default value when that is not known.
    pub generation: LogGeneration,
}

/// Keeps a replica up to date by following other machines, for ever.
pub struct Follower<S, N> {
    replica: Replica<S>,
    standing: Standing,
    streams: N,
    view: watch::Receiver<View>,
    chooser: Chooser,
    origin: Instant,
    /// Since when there has been no upstream.
    lost: Option<Instant>,
}

/// Why a [`Follower`] stopped following one machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowOutcome {
    /// A coordinator runs on this machine and feeds the replica.
    #[error("a coordinator runs here")]
    Driven,
    /// The membership does not count the machine among the living any more.
    #[error("it is not alive any more")]
    Dead,
    /// Others have had newer entries for a while.
    #[error("others are ahead of it")]
    Stale,
    /// It has said nothing for too long.
    #[error("it is silent")]
    Silent,
    /// The stream could not be opened, or broke.
    #[error(transparent)]
    Broken(#[from] CallError),
    /// It ended the stream.
    #[error("it ended the stream")]
    Ended,
    /// It sent us elsewhere.
    #[error("it sent us elsewhere")]
    Elsewhere(Vec<Peer>),
    /// It is too far from the coordinators for us.
    #[error("it is too far from the coordinators")]
    TooDeep,
    /// What it sent makes no sense.
    #[error("what it sent makes no sense: {0}")]
    Senseless(String),
}

/// A stream that has been accepted.
struct Upstream {
    peer: Peer,
    source: Box<dyn FrameSource>,
    generation: LogGeneration,
    assembly: Assembly,
    /// Since when others have been ahead.
    behind: Option<Instant>,
}

impl<S: StateMachine, N: Streams> Follower<S, N> {
    /// A follower for machine `me`. `seed` should differ between machines and runs.
    pub fn new(
        me: MachineId,
        replica: Replica<S>,
        standing: Standing,
        streams: N,
        view: watch::Receiver<View>,
        seed: u64,
    ) -> Self {
        Self {
            replica,
            standing,
            streams,
            view,
            chooser: Chooser::new(me, seed),
            origin: Instant::now(),
            lost: None,
        }
    }

    /// Follows. Ends when the view's sender is gone.
    pub async fn run(mut self) {
        loop {
            if self.replica.is_driven() {
                self.standing.lead();
                self.replica.undriven().await;
                self.standing.leave();
            }
            let (peers, coordinators) = self.candidates();
            match self
                .chooser
                .next(self.origin.elapsed(), &peers, &coordinators)
            {
                Choice::Wait { until } => {
                    if !self.rest(self.origin + until).await {
                        return;
                    }
                }
                Choice::Try(peer) => {
                    let outcome = self.follow(peer).await;
                    tracing::debug!(upstream = %peer, %outcome, "follow another");
                    self.standing.lose();
                    self.lost.get_or_insert_with(Instant::now);
                    let now = self.origin.elapsed();
                    match outcome {
                        FollowOutcome::Elsewhere(others) => {
                            self.chooser.handle_elsewhere(now, peer.machine, others);
                        }
                        _ => self.chooser.handle_failed(now, peer.machine),
                    }
                }
            }
            let long_lost = self.lost.is_some_and(|lost| lost.elapsed() > GRACE);
            if long_lost && self.standing.followers() > 0 {
                self.standing.leave();
            }
        }
    }

    /// The living machines, and those of them that have a seat.
    fn candidates(&self) -> (Vec<Peer>, Vec<Peer>) {
        let seats = self.replica.seats();
        let view = self.view.borrow();
        let has_seat = |peer: &&Peer| {
            seats.of(peer.machine).is_some() || view.coordinators.contains(&peer.machine)
        };
        let coordinators = view.peers.iter().filter(has_seat).copied().collect();
        let peers = view.peers.clone();
        (peers, coordinators)
    }

    /// Waits until the time, or until more is known. `false` when there is nothing to wait for any more.
    async fn rest(&mut self, until: Instant) -> bool {
        let known = self.view.borrow_and_update().peers.len();
        tokio::select! {
            () = sleep_until(until) => true,
            // A machine that is alone waits for the first other one rather than for the clock.
            changed = self.view.changed(), if known == 0 => changed.is_ok(),
        }
    }

    /// Follows one machine for as long as it is of use.
    async fn follow(&mut self, peer: Peer) -> FollowOutcome {
        let mut upstream = match self.open(peer).await {
            Ok(upstream) => upstream,
            Err(outcome) => return outcome,
        };
        let mut driven = self.replica.driver_watch();
        let mut last_word = Instant::now();
        loop {
            let stale_at = self.stale_at(&mut upstream);
            tokio::select! {
                frame = upstream.source.next() => match frame {
                    Ok(Some(frame)) => {
                        last_word = Instant::now();
                        if let Err(outcome) = self.take(&mut upstream, &frame) {
                            return outcome;
                        }
                    }
                    Ok(None) => return FollowOutcome::Ended,
                    Err(error) => return error.into(),
                },
                _ = driven.wait_for(Option::is_some) => return FollowOutcome::Driven,
                changed = self.view.changed() => {
                    let view = self.view.borrow_and_update();
                    if changed.is_err() || !view.peers.iter().any(|alive| alive.machine == peer.machine) {
                        return FollowOutcome::Dead;
                    }
                }
                () = sleep_until(last_word + SILENCE_MAX) => return FollowOutcome::Silent,
                () = sleep_until(stale_at.unwrap_or(last_word + SILENCE_MAX)), if stale_at.is_some() => {
                    return FollowOutcome::Stale;
                }
            }
        }
    }

    async fn open(&mut self, peer: Peer) -> Result<Upstream, FollowOutcome> {
        let ask = Ask {
            generation: self.replica.generation(),
            next: self.replica.at().map_or(0, |at| at.index + 1),
        };
        let opening = async {
            let mut source = self.streams.open(peer, encode(&ask), OPEN_DEADLINE).await?;
            Ok::<_, CallError>((source.next().await?, source))
        };
        let opened = timeout(OPEN_DEADLINE, opening).await;
        let (first, source) = opened.map_err(|_| CallError::TimedOut)??;
        let first = first.ok_or(FollowOutcome::Ended)?;
        match decode(&first) {
            Some(Frame::Accepted { generation, depth }) => {
                if !self.standing.may_follow(depth) {
                    return Err(FollowOutcome::TooDeep);
                }
                self.standing.follow(peer, depth);
                self.lost = None;
                self.chooser.handle_followed();
                tracing::debug!(upstream = %peer, depth, "following");
                Ok(Upstream {
                    peer,
                    source,
                    generation,
                    assembly: Assembly::default(),
                    behind: None,
                })
            }
            Some(Frame::Elsewhere { peers }) => Err(FollowOutcome::Elsewhere(peers)),
            _ => Err(FollowOutcome::Senseless(
                "it did not say whether it would have us".to_owned(),
            )),
        }
    }

    /// Takes a frame over into the replica.
    fn take(&self, upstream: &mut Upstream, frame: &[u8]) -> Result<(), FollowOutcome> {
        let senseless = |what: &dyn ToString| FollowOutcome::Senseless(what.to_string());
        let frame = decode(frame).ok_or_else(|| senseless(&"it cannot be read"))?;
        let fed = match frame {
            Frame::Entries { entries } => {
                let entries: Vec<Bytes> = entries.into_iter().map(|piece| piece.0).collect();
                self.replica
                    .extend(upstream.generation, &entries)
                    .map(|_| ())
            }
            Frame::Image { length, piece } => {
                let whole = upstream.assembly.add(length, &piece.0);
                let Some(bytes) = whole.map_err(|what| senseless(&what))? else {
                    return Ok(());
                };
                let image = Image::from_bytes(&bytes).map_err(|error| senseless(&error))?;
                upstream.generation = image.generation();
                self.replica.install(&image)
            }
            Frame::Beat { .. } => Ok(()),
            Frame::Elsewhere { peers } => return Err(FollowOutcome::Elsewhere(peers)),
            Frame::Accepted { .. } => return Err(senseless(&"it accepted us twice")),
        };
        match fed {
            // An image that is no newer than what came another way in between.
            Ok(()) | Err(FeedError::Old) => Ok(()),
            Err(FeedError::Driven) => Err(FollowOutcome::Driven),
            Err(error) => Err(senseless(&error)),
        }
    }

    /// When the upstream will have been behind the others for too long, if it is behind.
    fn stale_at(&self, upstream: &mut Upstream) -> Option<Instant> {
        let newest = self.view.borrow().newest;
        let ours = self.replica.at().map(|at| at.index);
        // Who serves a log that has been given up is left, however far it is.
        let outlived = self.view.borrow().generation > upstream.generation;
        let same_log = upstream.generation == self.replica.generation();
        if !outlived && (newest <= ours || !same_log) {
            upstream.behind = None;
            return None;
        }
        let behind = *upstream.behind.get_or_insert_with(Instant::now);
        tracing::trace!(upstream = %upstream.peer, ?newest, ?ours, "others are ahead");
        Some(behind + STALE_MAX)
    }
}
