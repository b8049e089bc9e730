//! Founding the next log: from the promises to its first command.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use muster_mesh::consensus::{
    Coordinator, IMAGE_BYTES_MAX, Image, LogGeneration, Network, Seat, SeatNode,
};
use muster_mesh::identity::Peer;
use tokio::time::Instant;

use super::asking::{look, promises, rosters};
use super::ballots::{Hold, Stands, furthest, majority, next_generation};
use super::{LEASE_WAIT, answers, asking, disk, proof};
use crate::fleet::{Command, Envelope, FleetState};
use crate::node::authority::Ballot;
use crate::node::council;
use crate::node::services::COPY;
use crate::node::shared::Shared;

/// A machine whose own log failed lets others found the log anew for so long, if its disk takes writes again.
const FAILED_WAITS: Duration = Duration::from_secs(60);

/// How long fetching a copy may take, and one piece of it.
const COPY_DEADLINE: Duration = Duration::from_secs(30);

/// How long the first command of the new log may take.
const RECORD_DEADLINE: Duration = Duration::from_secs(10);

/// Founds the log anew, if that is safe.
pub(super) async fn attempt(
    shared: &Arc<Shared>,
    network: Arc<dyn Network>,
    lost_for: Duration,
) -> Result<LogGeneration, Hold> {
    let failed = |error: anyhow::Error| Hold::Failed(format!("{error:#}"));
    let ca = council::stored_ca(&shared.state_dir)
        .map_err(failed)?
        .ok_or(Hold::NoKey)?;
    // Before anybody promises: whose own disk keeps it from founding would only keep another one from it.
    if shared.council.has_failed() && lost_for < FAILED_WAITS {
        return Err(Hold::OwnLog);
    }
    disk::probe(shared.state_dir.path()).await.map_err(failed)?;
    let _founding = shared.refounding.founding.lock().await;
    let ours = shared.replica.generation();
    let stands = look(shared).await;
    let rosters = rosters(shared, &stands).await?;
    let generation = next_generation(ours, &rosters, &stands)?;
    let ballot = Ballot {
        generation: generation.0,
        term: 0,
        leader: shared.me,
    };
    tracing::warn!(%generation, "most coordinators are lost; asking for promises to found the log anew");
    let granted = promises(shared, ballot).await;
    // Those that have promised may know rosters that the first answers did not.
    let rosters = asking::rosters(shared, &granted).await?;
    let behind: BTreeSet<_> = granted.keys().copied().collect();
    majority(&rosters, &behind)?;
    tokio::time::sleep(LEASE_WAIT).await;
    // Whoever was promised a later one meanwhile goes on instead.
    let granted = promises(shared, ballot).await;
    majority(&rosters, &granted.keys().copied().collect())?;
    take_longest(shared, &granted).await.map_err(failed)?;
    let coordinator = found(shared, generation, network).await.map_err(failed)?;
    shared.council.seat(coordinator, Arc::new(ca));
    Ok(generation)
}

/// Makes this machine's copy the longest one that is left.
pub(super) async fn take_longest(shared: &Arc<Shared>, granted: &Stands) -> anyhow::Result<()> {
    let furthest = furthest(shared.me, granted).context("nobody has a copy")?;
    let image = if furthest == shared.me {
        let own = answers::longest(shared).await;
        own.unwrap_or_else(|| Arc::new(shared.replica.image()))
    } else {
        let peer = shared.peer(furthest).context("nobody knows where it is")?;
        Arc::new(fetch(shared, peer).await?)
    };
    let missing = granted.get(&furthest).and_then(|stand| stand.at);
    anyhow::ensure!(
        image.at() >= missing && image.generation() == shared.replica.generation(),
        "{furthest} sent another copy than it had said"
    );
    if image.at().map(|at| at.index) > shared.replica.at().map(|at| at.index) {
        tracing::warn!(from = %furthest, at = ?image.at(), "taking over the longest copy");
        shared.replica.install(&image)?;
    }
    Ok(())
}

async fn fetch(shared: &Shared, from: Peer) -> anyhow::Result<Image> {
    let asking = shared
        .transport
        .stream(from, COPY, Bytes::new(), COPY_DEADLINE);
    let mut stream = asking.await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next(COPY_DEADLINE).await? {
        anyhow::ensure!(
            (bytes.len() + piece.len()) as u64 <= IMAGE_BYTES_MAX,
            "the copy of {from} is longer than any can be"
        );
        bytes.extend_from_slice(&piece);
    }
    Ok(Image::from_bytes(&bytes)?)
}

/// Begins the new log on a seat that no log has had. The leader in it has the state say so.
pub(super) async fn found(
    shared: &Arc<Shared>,
    generation: LogGeneration,
    network: Arc<dyn Network>,
) -> anyhow::Result<Coordinator<FleetState>> {
    let given = shared.replica.read(|state, _| state.last_seat);
    let seat = Seat(
        given
            .max(shared.replica.seats().highest().unwrap_or_default())
            .0
            + 1,
    );
    let cluster = shared.credentials.borrow().cluster();
    let config = council::coordinator_config(&shared.state_dir, cluster, seat, generation);
    // Left by a start that was cut off before the seat was remembered: it has voted on nothing.
    let _ = tokio::fs::remove_file(&config.path).await;
    let node = SeatNode {
        machine: shared.me,
        addr: shared.here().addr,
    };
    let replica = shared.replica.clone();
    let coordinator = Coordinator::found_anew(config, node, replica, network).await?;
    council::store_seat(&shared.state_dir, seat, generation)?;
    Ok(coordinator)
}

/// Has the state of a new log say who its only coordinator is, if it does not yet. False while it does not.
pub(in crate::node) async fn record(
    shared: &Shared,
    coordinator: &Coordinator<FleetState>,
) -> bool {
    let seat = coordinator.seat();
    let stale = || {
        let named = shared.replica.seats();
        shared
            .replica
            .read(|state, _| state.last_seat < seat && named.highest() == Some(seat))
    };
    if coordinator.generation() == LogGeneration::FIRST || !stale() {
        return true;
    }
    let recovery = proof::stored(&shared.state_dir, coordinator.generation());
    let recovery = match recovery {
        Ok(recovery) => recovery.map(Box::new),
        Err(error) => {
            // Without it nobody would know who is unaccounted for: better nobody leads than by a false roster.
            tracing::error!(%error, "the order that this log was founded by can't be read");
            return false;
        }
    };
    let envelope = |term| Envelope {
        at_ms: shared.fleet_now_ms(),
        by: shared.me,
        term,
        actor: None,
        command: Command::Refound {
            generation: coordinator.generation().0,
            seat,
            machine: shared.me,
            recovery: recovery.clone(),
        },
    };
    let end = Instant::now() + RECORD_DEADLINE;
    while stale() && Instant::now() < end {
        let term = coordinator.status().borrow().term;
        let proposed = coordinator.propose(envelope(term).encode(), RECORD_DEADLINE);
        if let Err(error) = proposed.await {
            tracing::debug!(%error, "the new log does not take commands yet");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    !stale()
}
