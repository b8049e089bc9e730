//! Founding the log anew by an operator's order, where too few of the roster are left to do it by themselves.
//!
//! It is done as ever, with two differences. The promises of all machines that answer are enough. And since most of the
//! roster may be elsewhere and promise nothing, the CA signs that it was ordered: whoever comes back believes that and
//! stands down. What machines elsewhere do until they come back, nobody here can know; so an operator vouches for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_mesh::clock::unix_ms;
use muster_mesh::consensus::LogGeneration;
use muster_mesh::identity::MachineId;
use muster_mesh::pki::ClusterCa;

use super::answers::Circle;
use super::assess::{Assessment, Loss, Seen, Sight, assess, generation};
use super::ballots::{Hold, Stands};
use super::founding::{found, take_longest};
use super::lost::orphaned;
use super::{LEASE_WAIT, asking, disk, proof};
use crate::api::types::{
    AbsentRow, LostCoordinatorRow, RecoverOrder, Recovery as RecoveryAnswer, SurvivorRow,
};
use crate::api::{ApiError, ErrorKind};
use crate::fleet::{MemberStatus, Recovery, Text};
use crate::node::authority::Ballot;
use crate::node::council::{self, MeshNetwork};
use crate::node::shared::Shared;
use crate::node::world::{Moment, World};

/// How long an order waits for a try of this machine's own to end.
const TURN_WITHIN: Duration = Duration::from_secs(15);

/// How long the new log may take until its state says who is in it.
const RECORDED_WITHIN: Duration = Duration::from_secs(20);

/// What was found, and what of it the order needs.
struct Stock {
    found: Assessment,
    answer: RecoveryAnswer,
    stands: Stands,
}

/// Says how things stand and what `muster recover` would do here. Changes nothing.
///
/// # Errors
/// When what other machines say can't be put together.
pub(in crate::node) async fn look(shared: &Arc<Shared>) -> Result<RecoveryAnswer, ApiError> {
    Ok(take_stock(shared).await?.answer)
}

/// Founds the log anew, on behalf of `by`. Goes on when whoever asked does not wait.
///
/// # Errors
/// Why it was not done. Machines may have promised by then; that does no harm but to the old log.
pub(in crate::node) async fn order(
    shared: &Arc<Shared>,
    by: Text,
    order: RecoverOrder,
) -> Result<RecoveryAnswer, ApiError> {
    let shared = Arc::clone(shared);
    let task = tokio::spawn(async move { carry_out(&shared, by, order).await });
    task.await
        .map_err(|error| ApiError::internal(error.to_string()))?
}

async fn carry_out(
    shared: &Arc<Shared>,
    by: Text,
    order: RecoverOrder,
) -> Result<RecoveryAnswer, ApiError> {
    // This machine tries by itself all the time, and each try is short where it can't.
    let founding = tokio::time::timeout(TURN_WITHIN, shared.refounding.founding.lock());
    let Ok(_founding) = founding.await else {
        return Err(ApiError::new(
            ErrorKind::Unavailable,
            "this machine is about to found the log anew by itself",
        )
        .remedy("look at `muster status` in half a minute"));
    };
    let mut stock = take_stock(shared).await?;
    permit(&stock.answer, &order)?;
    let failed = |error: anyhow::Error| ApiError::internal(format!("{error:#}"));
    disk::probe(shared.state_dir.path()).await.map_err(failed)?;
    let ca = council::stored_ca(&shared.state_dir).map_err(failed)?;
    let ca = ca.ok_or_else(|| ApiError::internal("the CA's key is gone"))?;
    let new = generation(shared.replica.generation(), &stock.stands, rand::random());
    tracing::warn!(generation = %new, %by, "founding the log anew by an operator's order");
    let ballot = Ballot {
        generation: new.0,
        term: 0,
        leader: shared.me,
    };
    let granted = promised_by_all(shared, ballot, &stock.found.present).await?;
    keep_order(shared, &ca, new, by, &granted)?;
    take_longest(shared, &granted, (Circle::Members, ballot))
        .await
        .map_err(failed)?;
    let network = MeshNetwork::of(&shared.transport, &shared.mesh);
    let coordinator = found(shared, ballot, network).await.map_err(failed)?;
    shared.council.seat(coordinator, Arc::new(ca));
    recorded(shared, new).await?;
    stock.answer.founded = Some(new.0);
    Ok(stock.answer)
}

/// Whether the order was given on what is found now.
fn permit(found: &RecoveryAnswer, order: &RecoverOrder) -> Result<(), ApiError> {
    if let (Some(obstacle), remedy) = (&found.obstacle, &found.remedy) {
        return Err(ApiError::refused(obstacle.clone()).remedy(remedy.clone().unwrap_or_default()));
    }
    if order.plan.as_ref().is_some_and(|plan| *plan != found.plan) {
        let changed = "other machines answer now than when that was shown";
        return Err(
            ApiError::new(ErrorKind::Conflict, changed).remedy("look again with `muster recover`")
        );
    }
    if !found.doubts.is_empty() && !order.despite_doubts {
        return Err(ApiError::refused(format!(
            "machines that are not there may run on: {}",
            found.doubts.join("; ")
        ))
        .remedy("make sure that they are off, then say `--they-are-off`"));
    }
    Ok(())
}

/// Has every machine that is there promise the new log, and waits until no old leader can hold their acknowledgement.
async fn promised_by_all(
    shared: &Arc<Shared>,
    ballot: Ballot,
    present: &BTreeSet<MachineId>,
) -> Result<Stands, ApiError> {
    let all = async || {
        let granted = asking::promises(shared, Circle::Members, ballot).await;
        let missing = present.iter().filter(|one| !granted.contains_key(one));
        let missing: BTreeSet<MachineId> = missing.copied().collect();
        if missing.is_empty() {
            return Ok(granted);
        }
        Err(ApiError::refused(format!(
            "{} did not promise to follow the new log",
            names(shared, &missing)
        ))
        .remedy("its agent's output says why; look again with `muster recover`"))
    };
    all().await?;
    tokio::time::sleep(LEASE_WAIT).await;
    all().await
}

fn keep_order(
    shared: &Shared,
    ca: &ClusterCa,
    new: LogGeneration,
    by: Text,
    granted: &Stands,
) -> Result<(), ApiError> {
    let failed = |error: &dyn std::fmt::Display| ApiError::internal(error.to_string());
    let recovery = Recovery {
        by,
        present: granted.keys().copied().collect(),
        proof: proof::sign(ca, new, shared.me).map_err(|error| failed(&error))?,
    };
    proof::store(&shared.state_dir, &recovery).map_err(|error| failed(&error))
}

/// Waits until the new log's first command is applied here.
async fn recorded(shared: &Shared, new: LogGeneration) -> Result<(), ApiError> {
    let mut applied = shared.replica.watch();
    let there = || {
        let recovered = |state: &crate::fleet::FleetState| state.recovered.clone();
        let recovered = shared.replica.read(|state, _| recovered(state));
        recovered.is_some_and(|one| one.generation == new.0)
    };
    let wait = async {
        while !there() {
            if applied.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(RECORDED_WITHIN, wait).await.is_err() {
        return Err(ApiError::new(
            ErrorKind::Timeout,
            format!("generation {new} of the log is founded, and has no leader yet"),
        )
        .remedy("look at `muster status`; this machine goes on trying"));
    }
    Ok(())
}

async fn take_stock(shared: &Arc<Shared>) -> Result<Stock, ApiError> {
    let stands = asking::look(shared, Circle::Members).await;
    let rosters = asking::rosters(shared, &stands).await;
    let rosters = rosters.map_err(|hold: Hold| ApiError::refused(hold.to_string()))?;
    let seats = shared.replica.seats();
    let voters = seats
        .voters
        .iter()
        .map(|(seat, node)| (*seat, node.machine));
    let world = shared.mesh.look();
    let moment = world.moment(unix_ms(), shared.mesh.clock().now());
    let sight = Sight {
        me: shared.me,
        ours: shared.replica.generation(),
        orphaned: orphaned(shared),
        voters: &voters.collect(),
        rosters: &rosters,
        members: &Circle::Members.machines(shared),
        stands: &stands,
        seen: &seen(&world, moment),
        announced: shared.hints.borrow().map(|hint| hint.index),
        now_ms: moment.now_ms,
    };
    let found = assess(&sight);
    let answer = say(shared, &sight, &found);
    Ok(Stock {
        found,
        answer,
        stands,
    })
}

/// How the mesh has each machine, by the clock of `moment`.
fn seen(world: &World, moment: Moment) -> BTreeMap<MachineId, Seen> {
    let one = |machine: MachineId, seen: &crate::node::world::Seen| Seen {
        status: seen.status,
        since_ms: moment.of(seen.since_ms),
        log_failed: world.has_no_log(machine),
    };
    let members = world.members.iter();
    members
        .map(|(machine, seen)| (*machine, one(*machine, seen)))
        .collect()
}

fn names(shared: &Shared, machines: &BTreeSet<MachineId>) -> String {
    let names: Vec<_> = machines
        .iter()
        .map(|machine| shared.name(*machine))
        .collect();
    names.join(", ")
}

/// In the words of the API.
fn say(shared: &Shared, sight: &Sight<'_>, found: &Assessment) -> RecoveryAnswer {
    let names = |machines: &BTreeSet<MachineId>| names(shared, machines);
    let seat = |machine: MachineId| {
        let mut voters = sight.voters.iter();
        voters
            .find(|(_, holder)| **holder == machine)
            .map(|(seat, _)| seat.0)
    };
    let survivors = found.present.iter().filter_map(|machine| {
        let stand = sight.stands.get(machine)?;
        Some(SurvivorRow {
            name: shared.name(*machine),
            log_term: stand.at.map(|at| at.term),
            log_index: stand.at.map(|at| at.index),
            seat: seat(*machine),
            has_key: stand.has_key,
        })
    });
    let absent = found.absent.iter().map(|machine| {
        let seen = sight.seen.get(machine);
        AbsentRow {
            name: shared.name(*machine),
            status: seen
                .map_or("unknown", |seen| status(seen.status))
                .to_owned(),
            since_ms: seen.map(|seen| seen.since_ms),
            seat: seat(*machine),
        }
    });
    let coordinators = sight
        .voters
        .iter()
        .map(|(seat, machine)| LostCoordinatorRow {
            seat: seat.0,
            name: shared.name(*machine),
            there: found.present.contains(machine),
        });
    let obstacle = found.obstacle.as_ref().map(|obstacle| obstacle.say(&names));
    let (obstacle, remedy) = obstacle.unzip();
    RecoveryAnswer {
        cluster: cluster_name(shared),
        machine: shared.name(shared.me),
        generation: sight.ours.0,
        survivors: survivors.collect(),
        absent: absent.collect(),
        coordinators: coordinators.collect(),
        newest: found.newest.map(|(machine, _)| shared.name(machine)),
        may_lose: lose(found.loss),
        doubts: found.doubts.iter().map(|doubt| doubt.say(&names)).collect(),
        obstacle,
        remedy,
        plan: found.mark(),
        founded: None,
    }
}

fn lose(loss: Loss) -> Option<String> {
    match loss {
        Loss::Nothing => None,
        Loss::After {
            index,
            announced: None,
        } => Some(format!(
            "whatever the coordinators that are missing committed after entry {index}; nothing of that kind was heard of here"
        )),
        Loss::After {
            index,
            announced: Some(announced),
        } => Some(format!(
            "entries {} to {announced} at least, which were committed, and which no machine has that answers",
            index.saturating_add(1)
        )),
    }
}

fn status(status: MemberStatus) -> &'static str {
    match status {
        MemberStatus::Alive => "alive",
        MemberStatus::Suspect => "suspect",
        MemberStatus::Down => "down",
        MemberStatus::Left => "left",
    }
}

fn cluster_name(shared: &Shared) -> String {
    shared.replica.read(|state, _| {
        let cluster = state.cluster.as_ref();
        cluster.map_or_else(String::new, |cluster| cluster.name.to_string())
    })
}
