//! Whom a coordinator believes to be another coordinator.
//!
//! The library trusts whoever sends it a leader's message, so that question must be answered before. A seat that
//! this coordinator's log or its machine's replica knows is its machine's, and nobody else's. A seat that neither
//! knows may still be right: the log may be behind. Then the voters that are known are asked who sits there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Coordinator;
use crate::consensus::StateMachine;
use crate::consensus::raft::Node;
use crate::consensus::seat::{Seat, SeatNode};
use crate::consensus::wire::{Answer, Refusal, Request};
use crate::identity::MachineId;

/// So many seats are remembered that voters vouched for. Our log learns of them within moments.
const VOUCHED_MAX: usize = 16;
/// And for so many beats: then the log knows them, or they are asked for again.
const VOUCHED_BEATS: u32 = 30;

/// What voters have said of seats that we don't know.
#[derive(Debug, Default)]
pub(super) struct Vouched {
    seats: Mutex<BTreeMap<Seat, (MachineId, Instant)>>,
    /// Held while they are being asked: when that was last. A machine that makes seats up costs one question at a
    /// time.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Vouched {
    fn get(&self, seat: Seat, beat: Duration) -> Option<MachineId> {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let (machine, at) = seats.get(&seat)?;
        (at.elapsed() < beat * VOUCHED_BEATS).then_some(*machine)
    }

    fn note(&self, seat: Seat, machine: MachineId) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if seats.len() >= VOUCHED_MAX {
            seats.clear();
        }
        seats.insert(seat, (machine, Instant::now()));
    }
}

impl<S: StateMachine> Coordinator<S> {
    /// Whether `machine` may speak for `seat`.
    pub(super) async fn check_sender(&self, machine: MachineId, seat: Seat) -> Result<(), Refusal> {
        let beat = self.inner.config.timing.beat;
        let sitting = match self.sitting(seat) {
            Some(node) => Some(node.machine),
            None => match self.inner.vouched.get(seat, beat) {
                Some(vouched) => Some(vouched),
                None => self.ask_who_sits(seat, beat).await,
            },
        };
        match sitting {
            Some(sitting) if sitting == machine => Ok(()),
            Some(_) => Err(Refusal::Impostor),
            None => Err(Refusal::Stranger),
        }
    }

    /// Who sits on `seat`, as far as is known here. In the log, committed or not, because a leader may be in the
    /// middle of a change; and in the replica, because an entry that is not committed may yet be undone.
    pub(super) fn sitting(&self, seat: Seat) -> Option<SeatNode> {
        let in_log = self.inner.status.borrow().seats.get(seat);
        in_log.or_else(|| self.inner.replica.seats().get(seat))
    }

    async fn ask_who_sits(&self, seat: Seat, beat: Duration) -> Option<MachineId> {
        let mut asked = self.inner.vouched.asked.lock().await;
        if let Some(vouched) = self.inner.vouched.get(seat, beat) {
            return Some(vouched);
        }
        if asked.is_some_and(|asked| asked.elapsed() < beat) {
            return None;
        }
        let found = self.ask_voters(seat, beat).await;
        *asked = Some(Instant::now());
        if let Some(machine) = found {
            tracing::info!(%seat, %machine, "a voter vouches for a seat that is new to us");
            self.inner.vouched.note(seat, machine);
        }
        found
    }

    async fn ask_voters(&self, seat: Seat, deadline: Duration) -> Option<MachineId> {
        let in_log = self.inner.status.borrow().seats.voters.clone();
        let in_replica = self.inner.replica.seats().voters;
        let voters: BTreeMap<_, _> = in_replica.into_iter().chain(in_log).collect();
        let own = self.inner.config.seat;
        let others: BTreeSet<_> = voters
            .keys()
            .copied()
            .filter(|voter| *voter != own)
            .collect();
        let mut asked: FuturesUnordered<_> = others
            .iter()
            .map(|voter| {
                let node = Node(voters.get(voter).copied());
                let question = self
                    .inner
                    .links
                    .ask(*voter, node, Request::WhoSits(seat), deadline);
                tokio::time::timeout(deadline, question)
            })
            .collect();
        while let Some(answer) = asked.next().await {
            if let Ok(Ok(Answer::Sits(Some(machine)))) = answer {
                return Some(machine);
            }
        }
        None
    }
}
