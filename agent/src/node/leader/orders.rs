//! Carrying out open intents: each due step in a task of its own, its result committed when it comes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use muster_mesh::clock::unix_ms;
use muster_mesh::consensus::Coordinator;
use muster_mesh::identity::MachineId;
use muster_mesh::pki::{ClusterCa, JoinToken};
use muster_provisioners::{OperationId, Secret};
use tokio::task::{self, JoinSet};

use crate::execute::{self, Helpers, Job, Surroundings};
use crate::fleet::{Command, FleetState, Progress, Refusal, StepResult, Text};
use crate::node::propose::{ProposeFailure, propose};
use crate::node::services::DRAIN;
use crate::node::shared::Shared;
use crate::node::world::World;

/// Steps under way at once. A provider that is asked for more at a time tends to throttle.
const STEPS_MAX: usize = 16;

/// How long the confirmation of leadership before each step may take.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(2);

/// Agents that a new machine is told to ask.
const SEEDS_MAX: usize = 8;

/// When a step can't be worked out from the state: look again after this, in milliseconds.
const UNWORKABLE_RETRY_MS: u64 = 30_000;

/// The steps that one leader has under way.
#[derive(Default)]
pub(super) struct Orders {
    under_way: BTreeSet<OperationId>,
    names: HashMap<task::Id, OperationId>,
    tasks: JoinSet<(OperationId, Option<Progress>)>,
}

impl Orders {
    /// Starts every due step that is not under way, as far as there is room.
    pub(super) fn start_due(
        &mut self,
        shared: &Arc<Shared>,
        coordinator: &Coordinator<FleetState>,
    ) {
        let Some(ca) = shared.council.ca() else {
            return;
        };
        let token = |machine: MachineId, _: &OperationId| {
            Secret::new(token(&ca, machine).reveal().as_str())
        };
        let surroundings = Surroundings {
            seeds: seeds(shared),
            token: &token,
        };
        let mut jobs = Vec::new();
        let world = shared.mesh.look();
        let voters: Vec<MachineId> = shared
            .replica
            .seats()
            .voters
            .values()
            .map(|node| node.machine)
            .collect();
        shared.replica.read(|state, _| {
            let mut leaving = BTreeSet::new();
            // Times in the state are by the state's clock, which an earlier leader may have put ahead of ours.
            let now_ms = state.clock_ms.max(unix_ms());
            for intent in state.intents.values() {
                let due = intent.due(now_ms).is_some() && !self.under_way.contains(&intent.op);
                let room = self.under_way.len() + jobs.len() < STEPS_MAX;
                if let Some(machine) = intent.action.removes().filter(|_| intent.is_open()) {
                    let stays = voters.contains(&machine)
                        && world.is_active(machine)
                        && !can_spare(state, &world, &voters, &leaving, machine);
                    leaving.insert(machine);
                    if stays && due {
                        tracing::debug!(op = %intent.op, "waits until another machine has its seat");
                        continue;
                    }
                }
                if due && room {
                    jobs.push((intent.op.clone(), work_out(state, intent, &surroundings)));
                }
            }
        });
        for (op, job) in jobs {
            self.under_way.insert(op.clone());
            let shared = Arc::clone(shared);
            let coordinator = coordinator.clone();
            let named = op.clone();
            let task = self.tasks.spawn(async move {
                let progress = match job {
                    Ok(Some(job)) => carry_out(&shared, &coordinator, &job).await,
                    Ok(None) => None,
                    Err(unworkable) => Some(unworkable),
                };
                (op, progress)
            });
            self.names.insert(task.id(), named);
        }
    }

    /// The next result; `None` while nothing is under way.
    pub(super) async fn next(&mut self) -> Option<(OperationId, Option<Progress>)> {
        loop {
            match self.tasks.join_next_with_id().await? {
                Ok((id, ended)) => {
                    self.names.remove(&id);
                    return Some(ended);
                }
                Err(error) => {
                    // A defect in a step must not keep its intent, or others, from being carried out.
                    tracing::error!(%error, "a step's task ended badly");
                    if let Some(op) = self.names.remove(&error.id()) {
                        return Some((op, None));
                    }
                }
            }
        }
    }

    /// Commits what came of a step. What can't be committed is found again: the step is still the current one.
    pub(super) async fn commit(
        &mut self,
        shared: &Arc<Shared>,
        (op, progress): (OperationId, Option<Progress>),
    ) {
        self.under_way.remove(&op);
        let Some(progress) = progress else { return };
        let (step, attempt) = (progress.step, progress.attempt);
        tracing::info!(%op, %step, attempt, result = ?progress.result, "a step has ended");
        match propose(shared, None, Command::Progress(progress)).await {
            Ok(_) => {}
            Err(ProposeFailure::Refused(Refusal::StaleProgress { .. } | Refusal::NoIntent(_))) => {
                tracing::info!(%op, %step, "the step's result is out of date");
            }
            Err(ProposeFailure::Refused(refusal)) => {
                // What the state doesn't take now it won't take in a moment either: wait like after any failure.
                tracing::warn!(%op, %step, %refusal, "the step's result was refused");
                let error = Text::from(format!("its result was refused: {refusal}"));
                let result = StepResult::Error {
                    error,
                    retry_ms: UNWORKABLE_RETRY_MS,
                };
                let progress = Progress {
                    op,
                    step,
                    attempt,
                    result,
                };
                if let Err(error) = propose(shared, None, Command::Progress(progress)).await {
                    tracing::warn!(%step, %error, "a step's failure was not committed");
                }
            }
            Err(error) => tracing::warn!(%op, %step, %error, "a step's result was not committed"),
        }
    }
}

/// Whether the coordinators still have a quorum when a voter that is alive is taken away, and with it those that are on
/// their way out already. If not, its seat has to go to another machine first, which the seat keeper sees to.
fn can_spare(
    state: &FleetState,
    world: &World,
    voters: &[MachineId],
    leaving: &BTreeSet<MachineId>,
    machine: MachineId,
) -> bool {
    let staying = voters.iter().filter(|voter| {
        **voter != machine
            && !leaving.contains(voter)
            && world.is_active(**voter)
            && state.machines.contains_key(voter)
    });
    staying.count() > voters.len() / 2
}

fn work_out(
    state: &FleetState,
    intent: &crate::fleet::Intent,
    surroundings: &Surroundings<'_>,
) -> Result<Option<Job>, Progress> {
    execute::job(state, intent, surroundings).map_err(|error| {
        let (step, attempt) = intent
            .current()
            .map_or((crate::fleet::Step::Provision, 0), |record| {
                (record.step, record.attempts)
            });
        let error = Text::from(error.to_string());
        let result = StepResult::Error {
            error,
            retry_ms: UNWORKABLE_RETRY_MS,
        };
        Progress {
            op: intent.op.clone(),
            step,
            attempt,
            result,
        }
    })
}

/// Carries out one step, if this machine still leads at this very moment.
async fn carry_out(
    shared: &Arc<Shared>,
    coordinator: &Coordinator<FleetState>,
    job: &Job,
) -> Option<Progress> {
    if let Err(error) = coordinator.confirm(CONFIRM_DEADLINE).await {
        tracing::warn!(op = %job.op, step = %job.step, %error, "not carrying out a step");
        return None;
    }
    let helpers = MeshHelpers {
        shared: Arc::clone(shared),
    };
    Some(execute::carry_out(job, &shared.provisioners, &helpers).await)
}

/// The join token of an ordered machine: derived from the CA's key, so that each successor of a leader makes the same.
pub(super) fn token(ca: &ClusterCa, machine: MachineId) -> JoinToken {
    ca.derive_token(machine.get(), "ordered machine")
}

/// Machines that can let a new one in: those that take part, this one first.
fn seeds(shared: &Shared) -> Vec<std::net::SocketAddr> {
    let world = shared.mesh.look();
    let mut peers: Vec<_> = world.active().collect();
    let seats = shared.replica.seats();
    peers.sort_by_key(|peer| (peer.machine != shared.me, seats.of(peer.machine).is_none()));
    peers
        .into_iter()
        .take(SEEDS_MAX)
        .map(|peer| peer.addr)
        .collect()
}

struct MeshHelpers {
    shared: Arc<Shared>,
}

#[async_trait]
impl Helpers for MeshHelpers {
    async fn drain(&self, machine: MachineId, deadline: Duration) -> Result<(), String> {
        let world = self.shared.mesh.look();
        let Some(peer) = world.peer(machine).filter(|_| world.is_active(machine)) else {
            // It doesn't run in the mesh: there is nobody to hand anything over.
            return Ok(());
        };
        let asked = self
            .shared
            .transport
            .request(peer, DRAIN, Bytes::new(), deadline);
        asked
            .await
            .map(|_| ())
            .map_err(|error| format!("{} was not drained: {error}", self.shared.name(machine)))
    }
}
