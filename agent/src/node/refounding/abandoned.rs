//! Whether no leader of this machine's log can act any more, by what the others say, although its coordinators may all be
//! there: as when they come back while the log is founded anew.

use std::sync::Arc;
use std::time::Duration;

use muster_mesh::consensus::LogGeneration;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::answers::{self, Circle};
use super::asking;
use super::ballots::is_abandoned;
use super::consent::have_let_go;
use crate::node::council::ca_path;
use crate::node::shared::Shared;

/// How old an answer of the others may be that a promise depends on. It bounds what somebody can cause who asks for promises
/// without end.
const RECENT: Duration = Duration::from_secs(1);

/// How long to wait at least before asking again what nothing depends on yet, while other machines come and go.
const NEWS: Duration = Duration::from_secs(4);

/// And while they don't.
const CALM: Duration = Duration::from_secs(30);

/// What the others said last.
#[derive(Debug, Default)]
pub(super) struct Abandoned(Mutex<Option<Found>>);

#[derive(Debug, Clone, Copy)]
struct Found {
    ours: LogGeneration,
    at: Instant,
    active: usize,
    is: bool,
}

impl Abandoned {
    /// Whether it is so for a machine that may have to go on from this log, asking now and then. Most machines have no reason
    /// to: here nobody has promised a later log, or heard that somebody has, or they have not got the CA's key.
    pub(super) async fn look(&self, shared: &Arc<Shared>) -> bool {
        let known = &shared.refounding;
        let ours = shared.replica.generation();
        let doubtful = shared.council.is_superseded(ours) || *known.refused.borrow() > ours;
        if ours == LogGeneration::default() || !doubtful || !ca_path(&shared.state_dir).is_file() {
            return false;
        }
        self.find(
            shared,
            |found, active| {
                if found.active == active { CALM } else { NEWS }
            },
        )
        .await
    }

    /// Whether it is so for a machine that is asked for its promise.
    ///
    /// A coordinator asks all: it has to let go before the copies are compared, or what it commits until it hears of the new
    /// log would be lost. The others ask the coordinators, who are few: otherwise whoever asks everybody for promises would
    /// have everybody ask everybody.
    pub(super) async fn is_told(&self, shared: &Arc<Shared>) -> bool {
        if shared.council.coordinator().is_some() {
            return self.find(shared, |_, _| RECENT).await;
        }
        let seats = shared.replica.seats();
        let voters = seats.voters.values().map(|node| node.machine);
        let world = shared.mesh.look();
        let there: Vec<_> = voters.filter(|voter| world.is_active(*voter)).collect();
        let stands = asking::look_at(shared, &there).await;
        let ours = shared.replica.generation();
        have_let_go(ours, (&there, seats.voters.len()), &stands)
    }

    /// Whether it was so when somebody here asked, not long ago. Asks nobody.
    pub(super) fn is_known(&self, shared: &Shared) -> bool {
        let ours = shared.replica.generation();
        let found = self.0.try_lock().ok().and_then(|found| *found);
        found.is_some_and(|found| found.is && found.ours == ours && found.at.elapsed() < CALM)
    }

    /// What the others say, or said not longer ago than `good_for`.
    async fn find(
        &self,
        shared: &Arc<Shared>,
        good_for: impl FnOnce(&Found, usize) -> Duration,
    ) -> bool {
        let mut found = self.0.lock().await;
        let ours = shared.replica.generation();
        let active = shared.mesh.look().active().count();
        let known = found.filter(|found| found.ours == ours);
        if let Some(known) = known.filter(|one| one.at.elapsed() < good_for(one, active)) {
            return known.is;
        }
        let stands = asking::look_quickly(shared, Circle::Electors).await;
        let is = is_abandoned(ours, &answers::roster(shared), &stands);
        *found = Some(Found {
            ours,
            at: Instant::now(),
            active,
            is,
        });
        is
    }
}
