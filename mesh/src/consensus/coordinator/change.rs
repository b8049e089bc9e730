//! Who is a coordinator: one change at a time, each an entry of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};

use tokio::sync::{Mutex, watch};
use tokio_util::task::AbortOnDropHandle;

use super::{Coordinator, Leader, Role, Status};
use crate::consensus::StateMachine;
use crate::consensus::raft::{Node, Raft};
use crate::consensus::seat::{Seat, SeatNode};

/// Why a change of seats was not made, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// This coordinator does not lead.
    #[error("this coordinator does not lead")]
    NotLeader {
        /// Who does, as far as this coordinator knows.
        leader: Option<Leader>,
    },
    /// Another change has not ended.
    #[error("another change of the coordinators has not ended")]
    InProgress,
    /// The seat was removed before, or is not above all others: seats are given out once and in order.
    #[error("seat {0} was given out before")]
    SeatUsed(Seat),
    /// There is no such seat, or no seats at all would be left.
    #[error("the change names seats that do not exist, or leaves none")]
    NoSuchSeat,
    /// The coordinator has stopped.
    #[error("the coordinator has stopped: {0}")]
    Stopped(String),
    /// It was proposed and its outcome is unknown; the seats in the [status](super::Status) will show it.
    #[error("the change was proposed, and its outcome is unknown")]
    Unknown,
}

impl<S: StateMachine> Coordinator<S> {
    /// Lets `node` take a new seat as a learner: it receives the log from now on and does not vote.
    ///
    /// Its coordinator must be running ([created](Self::create) on that seat), or it will catch up when it does.
    ///
    /// # Errors
    /// See [`ChangeError`]. The seat must be higher than all that are known.
    pub async fn add_learner(
        &self,
        seat: Seat,
        node: SeatNode,
        deadline: Duration,
    ) -> Result<(), ChangeError> {
        let seats = self.inner.status.borrow().seats.clone();
        match seats.get(seat) {
            // It is there already, as the answer to an earlier try may have got lost.
            Some(sitting) if sitting == node => return Ok(()),
            None if Some(seat) > seats.highest() => {}
            _ => return Err(ChangeError::SeatUsed(seat)),
        }
        let nodes = BTreeMap::from([(seat, Node(Some(node)))]);
        self.change(ChangeMembers::AddNodes(nodes), deadline).await
    }

    /// Makes `voters` the seats that vote. Those that are new to it must be learners; those that no longer are in it
    /// lose their seat for good.
    ///
    /// Both the old and the new voters must have a quorum that answers. A change that a leader began and did not
    /// end is ended by its successor.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn set_voters(
        &self,
        voters: BTreeSet<Seat>,
        deadline: Duration,
    ) -> Result<(), ChangeError> {
        if voters.is_empty() {
            return Err(ChangeError::NoSuchSeat);
        }
        self.change(ChangeMembers::ReplaceAllVoters(voters), deadline)
            .await
    }

    /// Takes a learner's seat away, for good.
    ///
    /// # Errors
    /// See [`ChangeError`]. Voters are removed by [`Self::set_voters`].
    pub async fn remove_learner(&self, seat: Seat, deadline: Duration) -> Result<(), ChangeError> {
        if self.inner.status.borrow().seats.get(seat).is_none() {
            return Ok(());
        }
        let seats = BTreeSet::from([seat]);
        self.change(ChangeMembers::RemoveNodes(seats), deadline)
            .await
    }

    async fn change(
        &self,
        change: ChangeMembers<Seat, Node>,
        deadline: Duration,
    ) -> Result<(), ChangeError> {
        let Ok(_alone) = self.inner.changing.try_lock() else {
            return Err(ChangeError::InProgress);
        };
        // Removed voters do not stay as learners: their seats are gone.
        let changing = self.inner.raft.change_membership(change, false);
        let error = match tokio::time::timeout(deadline, changing).await {
            Err(_) => return Err(ChangeError::Unknown),
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error,
        };
        Err(match error {
            RaftError::Fatal(fatal) => ChangeError::Stopped(fatal.to_string()),
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ChangeError::NotLeader {
                leader: self.leader(),
            },
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
                ChangeMembershipError::InProgress(_) => ChangeError::InProgress,
                ChangeMembershipError::EmptyMembership(_)
                | ChangeMembershipError::LearnerNotFound(_) => ChangeError::NoSuchSeat,
            },
        })
    }
}

/// Ends changes of the voters that another leader began, or that were given up half way: until then every decision
/// needs a majority of the old and of the new voters.
pub(super) fn start(
    raft: Raft,
    changing: Arc<Mutex<()>>,
    mut status: watch::Receiver<Status>,
    beat: Duration,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let unfinished =
            |status: &Status| status.role == Role::Leader && status.seats.changing.is_some();
        while status.wait_for(unfinished).await.is_ok() {
            // A change that is on its way here ends by itself.
            tokio::time::sleep(beat).await;
            let Ok(_alone) = changing.try_lock() else {
                continue;
            };
            let now = status.borrow().clone();
            if let Some(goal) = now.seats.changing.clone().filter(|_| unfinished(&now)) {
                tracing::info!(?goal, "ending a change of the voters that was begun before");
                let voters = goal.into_iter().collect();
                let change = raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), false);
                if let Err(error) = change.await {
                    tracing::warn!(%error, "the change of the voters has not ended yet");
                }
            }
        }
    }))
}
