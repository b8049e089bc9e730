//! Founding the next log: from the promises to its first command.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use muster_mesh::consensus::{
    Coordinator, IMAGE_BYTES_MAX, Image, LogGeneration, Network, Seat, SeatNode,
};
use muster_mesh::identity::{MachineId, Peer};
use tokio::time::Instant;

use super::answers::Circle;
use super::asking::{look, promises, rosters, willing};
use super::ballots::{Hold, Rosters, Stands, furthest, majority, may_go_on, next_generation};
use super::{LEASE_WAIT, answers, asking, disk, proof};
use crate::fleet::{Command, Envelope, FleetState, Recovery};
use crate::node::authority::Ballot;
use crate::node::council;
use crate::node::services::{COPY, promised};
use crate::node::shared::Shared;

/// A machine whose own log failed lets others found the log anew for so long, if its disk takes writes again.
const FAILED_WAITS: Duration = Duration::from_secs(60);

/// How long one piece of a copy may take.
const COPY_DEADLINE: Duration = Duration::from_secs(30);

/// How long all of it may take: the largest that there can be, at the pace of a slow network.
const COPY_WITHIN: Duration = Duration::from_secs(120);

/// How often those that have promised are asked again while the copy is taken: each time they keep to it for
/// [`answers::FOUNDING_GRACE`] more, in which no one else gets the promise of a later log.
const RENEW_EVERY: Duration = Duration::from_secs(answers::FOUNDING_GRACE.as_secs() / 3);

/// For how long coordinators that came back are asked for their promise.
const RETURNING: Duration = Duration::from_secs(10);

/// And how often.
const ASK_AGAIN: Duration = Duration::from_secs(1);

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
    // Before it asks: whose own disk keeps it from founding would only keep another one from it.
    if shared.council.has_failed() && lost_for < FAILED_WAITS {
        return Err(Hold::OwnLog);
    }
    let _founding = shared.refounding.founding.lock().await;
    let ours = shared.replica.generation();
    let stands = look(shared, Circle::Electors).await;
    let rosters = rosters(shared, &stands).await?;
    let generation = next_generation(ours, &rosters, &stands)?;
    // Once it would be safe, and before anybody promises.
    disk::probe(shared.state_dir.path()).await.map_err(failed)?;
    proof::forget(&shared.state_dir)
        .context("an earlier order to recover can't be removed")
        .map_err(failed)?;
    let ballot = Ballot {
        generation: generation.0,
        term: 0,
        leader: shared.me,
    };
    // Of several that try at the same time one gets enough promises. The others must not have any, their own included, of a
    // later log that never comes: who gave one stands behind no leader of this one.
    let willing = willing(shared, Circle::Electors, ballot).await;
    enough(&rosters, &willing)?;
    if !willing.contains_key(&shared.me) {
        return Err(Hold::Unwilling);
    }
    tracing::warn!(%generation, "most coordinators are lost; asking for promises to found the log anew");
    let granted = promises(shared, Circle::Electors, ballot).await;
    // Those that have promised may know rosters that the first answers did not.
    let rosters = asking::rosters(shared, &granted).await?;
    enough(&rosters, &granted)?;
    tokio::time::sleep(LEASE_WAIT).await;
    let granted = promises_again(shared, &rosters, ballot).await?;
    take_longest(shared, &granted, (Circle::Electors, ballot))
        .await
        .map_err(failed)?;
    let coordinator = found(shared, ballot, network).await.map_err(failed)?;
    shared.council.seat(coordinator, Arc::new(ca));
    Ok(generation)
}

/// The promises once more, after the wait: whoever was promised a later log meanwhile goes on instead.
///
/// Where coordinators came back that are enough to commit, one of them has to be among those that promise, or what they commit
/// until they hear of the new log would be lost. This machine may be the last to hear of them, so they are given some time; one
/// that others reach and this machine does not is not waited for longer.
async fn promises_again(
    shared: &Arc<Shared>,
    rosters: &Rosters,
    ballot: Ballot,
) -> Result<Stands, Hold> {
    let end = Instant::now() + RETURNING;
    loop {
        let granted = promises(shared, Circle::Electors, ballot).await;
        enough(rosters, &granted)?;
        let seats = shared.replica.seats();
        let voters: Vec<_> = seats.voters.values().map(|node| node.machine).collect();
        if !may_go_on(&voters, &granted) || Instant::now() >= end {
            return Ok(granted);
        }
        tracing::info!("coordinators are back that have not promised yet; asking once more");
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Whether those that promise, or would, are more than half of every roster.
fn enough(rosters: &Rosters, promising: &Stands) -> Result<(), Hold> {
    let promising: BTreeSet<_> = promising.keys().copied().collect();
    majority(rosters, &promising).map_err(Hold::of_promises)
}

/// Makes this machine's copy the longest one that is left. Those that were asked keep to their promise until then.
pub(super) async fn take_longest(
    shared: &Arc<Shared>,
    granted: &Stands,
    (circle, ballot): (Circle, Ballot),
) -> anyhow::Result<()> {
    let renew = async {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            promises(shared, circle, ballot).await;
        }
    };
    tokio::select! {
        taken = take(shared, granted) => taken,
        never = renew => never,
    }
}

async fn take(shared: &Arc<Shared>, granted: &Stands) -> anyhow::Result<()> {
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
    let fetched = tokio::time::timeout(COPY_WITHIN, fetch_pieces(shared, from)).await;
    fetched.with_context(|| {
        format!(
            "{} did not send all of its copy within {} s",
            shared.name(from.machine),
            COPY_WITHIN.as_secs()
        )
    })?
}

async fn fetch_pieces(shared: &Shared, from: Peer) -> anyhow::Result<Image> {
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

/// Begins the log of `ballot` on a seat that no log has had. The leader in it has the state say so.
///
/// # Errors
/// When this machine has promised another log since, which goes on instead; or the new one can't be written.
pub(super) async fn found(
    shared: &Arc<Shared>,
    ballot: Ballot,
    network: Arc<dyn Network>,
) -> anyhow::Result<Coordinator<FleetState>> {
    let generation = LogGeneration(ballot.generation);
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
    let before = council::stored_seat(&shared.state_dir).unwrap_or_default();
    let remember = || council::store_seat(&shared.state_dir, seat, generation);
    keeps_to(ballot, promised(shared).await.map_err(anyhow::Error::msg)?)?;
    let founded = Coordinator::found_anew(config, node, replica, network, || {
        remember().map_err(|error| format!("{error:#}"))
    });
    let founded = founded.await;
    if founded.is_err() {
        // The next try goes on from the old seat's log again.
        council::restore_seat(&shared.state_dir, before)?;
    }
    Ok(founded?)
}

/// Whether the founder's own promise still is the log that it is about to found: copying may take minutes, and whoever
/// promised a later one meanwhile must not coordinate an earlier one.
fn keeps_to(ballot: Ballot, promised: Option<Ballot>) -> anyhow::Result<()> {
    anyhow::ensure!(
        promised == Some(ballot),
        "generation {} of the log is not founded: this machine has promised {} since",
        ballot.generation,
        promised.map_or_else(
            || "nothing".to_owned(),
            |other| format!("generation {}", other.generation)
        )
    );
    Ok(())
}

/// Has the state of a new log say who its only coordinator is, if it does not yet. False while it does not.
pub(in crate::node) async fn record(
    shared: &Arc<Shared>,
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
    let recovery = match recovery(shared, coordinator.generation()).await {
        Ok(recovery) => recovery.map(Box::new),
        Err(error) => {
            // Without it nobody would know who is unaccounted for: better nobody leads than by a false roster.
            tracing::error!(
                error = format!("{error:#}"),
                "the order that this log was founded by can't be put on record"
            );
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

/// The order that this log was founded by; `None` where machines did it by themselves, who have no order lying about.
///
/// Where what was kept of it can't be read it is made anew: who has promised this log was there. All others are unaccounted
/// for, and counted once they stand behind its leader.
async fn recovery(
    shared: &Arc<Shared>,
    generation: LogGeneration,
) -> anyhow::Result<Option<Recovery>> {
    let error = match proof::stored(&shared.state_dir, generation) {
        Ok(recovery) => return Ok(recovery),
        Err(error) => error,
    };
    tracing::error!(%error, "the order that this log was founded by can't be read; asking who has promised the log");
    let ca = shared.council.ca().context("the CA's key is gone")?;
    let stands = look(shared, Circle::Members).await;
    Ok(Some(Recovery {
        by: "somebody whose order can't be read any more".into(),
        present: promised_to(shared.me, generation, &stands),
        proof: proof::sign(&ca, generation, shared.me)?,
    }))
}

/// Who has promised a log, or stands behind its leader, besides its founder.
fn promised_to(
    founder: MachineId,
    generation: LogGeneration,
    stands: &Stands,
) -> BTreeSet<MachineId> {
    let promised = stands.iter().filter(|(_, stand)| {
        stand
            .promised
            .is_some_and(|ballot| ballot.generation == generation.0)
    });
    promised
        .map(|(machine, _)| *machine)
        .chain([founder])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::refounding::ballots::{RosterMark, Stand};

    #[test]
    fn who_has_promised_another_log_meanwhile_founds_none() {
        let ballot = |generation, leader| Ballot {
            generation,
            term: 0,
            leader: MachineId::new(leader).expect("not zero"),
        };
        let mine = ballot(2, 1);
        assert!(keeps_to(mine, Some(mine)).is_ok());
        assert!(keeps_to(mine, None).is_err(), "its promise is gone");
        let error = keeps_to(mine, Some(ballot(3, 2))).expect_err("a later one");
        assert!(error.to_string().contains("generation 3"), "{error}");
    }

    #[test]
    fn of_an_order_that_can_not_be_read_those_were_there_that_have_promised_its_log() {
        let [founder, there, other] = [1, 2, 3].map(|id| MachineId::new(id).expect("not zero"));
        let generation = LogGeneration(1_000_007);
        let stand = |generation| Stand {
            generation: LogGeneration::FIRST,
            at: None,
            promised: Some(Ballot {
                generation,
                term: 0,
                leader: founder,
            }),
            orphaned: true,
            roster: RosterMark([0; 16]),
            has_key: false,
            recovered: None,
            given_up: false,
        };
        let stands = Stands::from([(there, stand(generation.0)), (other, stand(2))]);
        let present = promised_to(founder, generation, &stands);
        assert_eq!(present, BTreeSet::from([founder, there]));
    }
}
