//! The fleet's clock on the machine that leads: measured against peers when a reign begins, and now and then after.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use muster_mesh::clock::{Monotonic, unix_ms};
use muster_mesh::identity::Peer;

use super::shared::Shared;
use super::stamp::{Stamp, median_ahead};

/// Peers that a new leader asks what time it is.
const ASKED: usize = 5;

/// So many answers are enough: with its own clock, one that is wrong is outvoted.
const ENOUGH: usize = 4;

/// How long they have. A reign waits for it, so it is short; where peers are there they answer within milliseconds.
const WITHIN: Duration = Duration::from_secs(1);

/// What time it is by the fleet's clock.
#[derive(Debug)]
pub(super) struct FleetClock {
    stamp: Mutex<Stamp>,
    clock: Monotonic,
}

impl Default for FleetClock {
    fn default() -> Self {
        Self {
            stamp: Mutex::default(),
            clock: Monotonic::start(),
        }
    }
}

impl FleetClock {
    /// The present, in milliseconds since 1970; never behind the state's clock.
    pub(super) fn now_ms(&self, state_ms: u64) -> u64 {
        self.stamp().now_ms(self.clock.now(), unix_ms(), state_ms)
    }

    /// This machine's clock, put right by its peers': for what has nothing to do with the state.
    pub(super) fn right_ms(&self) -> u64 {
        self.stamp().right_ms(unix_ms())
    }

    /// Takes down how far this machine's clock was ahead of some peers', in milliseconds.
    pub(super) fn measured(&self, of_peers_ms: &[i64]) {
        self.stamp()
            .measured(median_ahead(of_peers_ms.iter().copied()));
    }

    fn stamp(&self) -> MutexGuard<'_, Stamp> {
        self.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a reign: asks some peers what time it is. Where there are some and none answers, the fleet's time stands still
/// until one does; a leader that nobody answers may do nothing anyway.
pub(super) async fn begin(shared: &Shared) {
    let world = shared.mesh.look();
    let mut peers: Vec<Peer> = world
        .active()
        .filter(|peer| peer.machine != shared.me)
        .collect();
    // Others in each reign; the order of the machines' IDs is random.
    let first = rand::random::<u64>() % (peers.len().max(1) as u64);
    peers.rotate_left(usize::try_from(first).unwrap_or(0));
    peers.truncate(ASKED);
    let alone = peers.is_empty();
    let aheads = aheads(shared, peers).await;
    let ahead_ms = (alone || !aheads.is_empty()).then(|| median_ahead(aheads));
    match ahead_ms {
        Some(ahead_ms) => tracing::debug!(ahead_ms, "this machine's clock, as its peers have it"),
        None => tracing::warn!("no peer says what time it is; the fleet's clock stands still"),
    }
    shared.clock.stamp().begin(ahead_ms);
}

/// How far this machine's clock is ahead of each of these peers', as far as they answer in time.
async fn aheads(shared: &Shared, peers: Vec<Peer>) -> Vec<i64> {
    let mut asked: FuturesUnordered<_> = peers
        .into_iter()
        .map(|peer| shared.transport.clock_offset(peer, WITHIN))
        .collect();
    let mut aheads = Vec::new();
    while aheads.len() < ENOUGH
        && let Some(answer) = asked.next().await
    {
        aheads.extend(answer.ok().map(|sample| sample.offset_ms.saturating_neg()));
    }
    aheads
}
