//! The fleet's clock on the machine that leads: measured against peers when a reign begins, and now and then after.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use muster_mesh::clock::{boot_ms, unix_ms};
use muster_mesh::identity::Peer;

use super::shared::Shared;
use super::stamp::{Stamp, right_boot_ms};

/// Peers that a new leader asks what time it is.
const ASKED: usize = 5;

/// So many answers are enough: with its own clock, one that is wrong is outvoted.
const ENOUGH: usize = 4;

/// How long they have, all of them. Healing waits for it when a reign begins, so it is short; where peers are there they
/// answer within milliseconds.
const WITHIN: Duration = Duration::from_secs(1);

/// How soon they are asked again where nobody has answered yet: between a half and one and a half of that.
const AGAIN: Duration = Duration::from_secs(2);

/// What time it is by the fleet's clock.
#[derive(Debug, Default)]
pub(super) struct FleetClock(Mutex<Stamp>);

impl FleetClock {
    /// The present, in milliseconds since 1970; never behind the state's clock.
    pub(super) fn now_ms(&self, state_ms: u64) -> u64 {
        self.stamp().now_ms(since_boot(), unix_ms(), state_ms)
    }

    /// This machine's clock, put right by its peers': for what has nothing to do with the state.
    pub(super) fn right_ms(&self) -> u64 {
        self.stamp().right_ms(since_boot(), unix_ms())
    }

    /// Takes down when this machine booted by some peers' clocks, in milliseconds since 1970.
    pub(super) fn measured(&self, peers_ms: &[i64]) {
        let right_ms = right_boot_ms(own_boot_ms(), peers_ms.iter().copied());
        self.stamp().measured(right_ms);
    }

    fn stamp(&self) -> MutexGuard<'_, Stamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When this machine booted by its own wall clock, in milliseconds since 1970: another time as soon as that clock is set.
pub(super) fn own_boot_ms() -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(unix_ms()).saturating_sub(signed(boot_ms()))
}

/// When this machine booted by a peer's wall clock, in milliseconds since 1970.
///
/// # Errors
/// When the peer does not say what time it is.
pub(super) async fn peers_boot_ms(
    shared: &Shared,
    peer: Peer,
    within: Duration,
) -> Result<i64, muster_mesh::transport::RequestError> {
    let sample = shared.transport.booted_by(peer, within).await?;
    Ok(sample.offset_ms)
}

fn since_boot() -> Duration {
    Duration::from_millis(boot_ms())
}

/// Begins a reign: asks some peers what time it is. Where there are some and none answers, what was measured before goes on
/// to hold; where nothing was, the fleet's clock goes on from where it stood, until [`keep`] hears of one.
pub(super) async fn begin(shared: &Shared) {
    shared.clock.stamp().begin();
    if measure(shared).await {
        return;
    }
    let known = shared.clock.stamp().knows();
    tracing::warn!(
        known,
        "no peer says what time it is; the fleet's clock goes on from what is known"
    );
}

/// Asks again until somebody has said what time it is, then does nothing any more.
pub(super) async fn keep(shared: &Shared) {
    while !shared.clock.stamp().knows() {
        let jitter = 0.5 + rand::random::<f64>();
        tokio::time::sleep(AGAIN.mul_f64(jitter)).await;
        measure(shared).await;
    }
    std::future::pending().await
}

/// Whether it is known now what time it is, by peers or because there are none.
async fn measure(shared: &Shared) -> bool {
    let alone = |state: &crate::fleet::FleetState| {
        let all = state.machines.values();
        all.filter(|machine| machine.belongs()).count() <= 1
    };
    // By the roster: whom the mesh has lost sight of may know better.
    if shared.replica.read(|state, _| alone(state)) {
        shared.clock.measured(&[]);
        return true;
    }
    let heard = ask(shared).await;
    if heard.is_empty() {
        return false;
    }
    tracing::debug!(peers = heard.len(), "peers have said what time it is");
    shared.clock.measured(&heard);
    true
}

/// When this machine booted by the clock of each of some peers, as far as they answer in time.
async fn ask(shared: &Shared) -> Vec<i64> {
    let world = shared.mesh.look();
    let mut peers: Vec<Peer> = world
        .active()
        .filter(|peer| peer.machine != shared.me)
        .collect();
    // Others in each reign; the order of the machines' IDs is random.
    let first = rand::random::<u64>() % (peers.len().max(1) as u64);
    peers.rotate_left(usize::try_from(first).unwrap_or(0));
    peers.truncate(ASKED);
    let asked = peers
        .into_iter()
        .map(|peer| peers_boot_ms(shared, peer, WITHIN));
    let mut asked: FuturesUnordered<_> = asked.collect();
    let mut heard = Vec::new();
    let all = async {
        while heard.len() < ENOUGH
            && let Some(answer) = asked.next().await
        {
            heard.extend(answer.ok());
        }
    };
    // Connecting and asking have one time between them.
    let _ = tokio::time::timeout(WITHIN, all).await;
    heard
}
