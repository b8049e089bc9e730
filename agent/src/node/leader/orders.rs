//! Carrying out open intents: each due step in a task of its own, its result committed when it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use muster_flavors::Part;
use muster_mesh::identity::MachineId;
use muster_mesh::pki::{ClusterCa, JoinToken};
use muster_provisioners::{Deadline, OperationId, Secret};
use tokio::time::Instant;

use super::background::Background;
use super::backing::Backing;
use super::leases::Leases;
use super::removals::Company;
use crate::execute::{self, Helpers, Job, Surroundings};
use crate::fleet::{
    Check, Command, FleetState, Intent, LeaseTerms, Progress, PutAside, QuarantineChange, Refusal,
    Rule, Step, StepResult, Text, Undrained,
};
use crate::heal::Spared;
use crate::node::propose::{ProposeFailure, propose, propose_in};
use crate::node::services::{self, DRAIN, RESTART_WORKLOAD, STRIKE};
use crate::node::shared::Shared;

/// Steps under way at once. A provider that is asked for more at a time tends to throttle.
const STEPS_MAX: usize = 16;

/// A step that a rule holds is looked at again after this at the latest.
const HELD_RETRY: Duration = Duration::from_secs(2);

/// How many machines are asked one after the other to strike another one off.
const STRIKERS_MAX: usize = 3;

/// Agents that a new machine is told to ask.
const SEEDS_MAX: usize = 8;

/// When a step can't be worked out from the state: look again after this, in milliseconds.
const UNWORKABLE_RETRY_MS: u64 = 30_000;

/// The steps that one leader has under way.
#[derive(Default)]
pub(super) struct Orders {
    under_way: Background<OperationId, Option<Progress>>,
    /// Held steps, with when they are looked at again.
    waiting: BTreeMap<OperationId, Instant>,
}

/// What there is to do about a step that is due.
enum Due {
    Job(Box<Job>),
    Report(Progress),
}

impl Orders {
    /// Starts every due step that is not under way, as far as there is room. `spared` are those whose machine
    /// is back, or may be.
    pub(super) fn start_due(
        &mut self,
        shared: &Arc<Shared>,
        backing: &Arc<Backing>,
        leases: &Arc<Leases>,
        (proven_gone, spared): (&BTreeMap<MachineId, u64>, &BTreeMap<OperationId, Spared>),
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
            settings: shared.provisioners.settings(),
        };
        let now = Instant::now();
        self.waiting.retain(|_, until| *until > now);
        let company = Company::of(shared);
        let now_ms = shared.fleet_now_ms();
        let due: Vec<_> = shared.replica.read(|state, _| {
            let held = company.held(state, now_ms);
            let room = STEPS_MAX.saturating_sub(self.under_way.len());
            let due = state.intents.values().filter(|intent| {
                intent.due(now_ms).is_some()
                    && !self.under_way.has(&intent.op)
                    && !self.waiting.contains_key(&intent.op)
            });
            due.filter_map(
                |intent| match (spared.get(&intent.op), held.get(&intent.op)) {
                    (Some(Spared::GivenUp(why)), _) => {
                        let why = why.clone();
                        report(intent, StepResult::Spared { why })
                    }
                    (Some(Spared::Held(check)), _) | (None, Some(check)) => {
                        hold(intent, check.clone())
                    }
                    (None, None) => prepare(state, intent, &surroundings),
                },
            )
            .take(room)
            .collect()
        });
        for due in due {
            let (shared, backing) = (Arc::clone(shared), Arc::clone(backing));
            match due {
                Due::Report(progress) => {
                    let op = progress.op.clone();
                    self.under_way.start(op, async { Some(progress) });
                }
                Due::Job(job) => {
                    let helpers = MeshHelpers {
                        shared: Arc::clone(&shared),
                        backing,
                        leases: Arc::clone(leases),
                        proven_gone: proven_gone.clone(),
                    };
                    self.under_way.start(job.op.clone(), async move {
                        Some(execute::carry_out(&job, &shared.provisioners, &helpers).await)
                    });
                }
            }
        }
    }

    /// How long until a step is due; `None` when none is waiting for its time.
    pub(super) fn due_in(&self, shared: &Shared) -> Option<Duration> {
        let now_ms = shared.fleet_now_ms();
        let steps = shared.replica.read(|state, _| {
            let open = state.open_intents();
            let waits = open.filter(|intent| {
                !self.under_way.has(&intent.op) && !self.waiting.contains_key(&intent.op)
            });
            waits
                .filter_map(|intent| intent.current())
                .filter(|record| record.step != Step::AwaitJoin)
                .map(|record| Duration::from_millis(record.next_attempt_ms.saturating_sub(now_ms)))
                .min()
        });
        let now = Instant::now();
        let held = self.waiting.values();
        let held = held.map(|until| until.saturating_duration_since(now));
        held.chain(steps).min()
    }

    /// The next result; `None` while nothing is under way.
    pub(super) async fn next(&mut self) -> Option<(OperationId, Option<Progress>)> {
        let (op, progress) = self.under_way.next().await?;
        Some((op, progress.flatten()))
    }

    /// Commits what came of a step. What can't be committed is found again: the step is still the current one. That a lease is
    /// over, and that a call did nothing, was judged by a leader of this `term`: another one may have granted it, or made the
    /// call, since.
    pub(super) async fn commit(
        &mut self,
        shared: &Arc<Shared>,
        (leases, term): (&Leases, u64),
        (op, progress): (OperationId, Option<Progress>),
    ) {
        let Some(progress) = progress else { return };
        if let StepResult::Held { rule, detail } | StepResult::Uncalled { rule, detail } =
            &progress.result
        {
            let wait =
                lease_left(shared, leases, &op).map_or(HELD_RETRY, |left| left.min(HELD_RETRY));
            self.waiting.insert(op.clone(), Instant::now() + wait);
            let says_more = matches!(progress.result, StepResult::Uncalled { .. });
            if !says_more && !is_news(shared, &progress, *rule, detail) {
                return;
            }
        }
        let (step, attempt) = (progress.step, progress.attempt);
        tracing::info!(%op, %step, attempt, result = ?progress.result, "a step has ended");
        let of_this_reign = matches!(
            progress.result,
            StepResult::LeaseOver | StepResult::Error { .. } | StepResult::Uncalled { .. }
        );
        let judged = of_this_reign.then_some(term);
        match propose_in(shared, judged, None, Command::Progress(progress)).await {
            Ok(_) => {}
            Err(ProposeFailure::Refused(Refusal::StaleProgress { .. } | Refusal::NoIntent(_))) => {
                tracing::info!(%op, %step, "the step's result is out of date");
            }
            Err(ProposeFailure::Refused(refusal)) => {
                // What the state doesn't take now it won't take in a moment either: wait like after any failure.
                tracing::warn!(%op, %step, %refusal, "the step's result was refused");
                let error = Text::from(format!("its result was refused: {refusal}"));
                let progress = unclear((op, step, attempt), error);
                if let Err(error) = propose(shared, None, Command::Progress(progress)).await {
                    tracing::warn!(%step, %error, "a step's failure was not committed");
                }
            }
            Err(error) => tracing::warn!(%op, %step, %error, "a step's result was not committed"),
        }
    }
}

/// How long the lease may last whose end a step waits for; `None` where it waits for none, or it is over.
fn lease_left(shared: &Shared, leases: &Leases, op: &OperationId) -> Option<Duration> {
    let (machine, terms) = shared.replica.read(|state, _| {
        let intent = state.intent(op)?;
        let waits = intent
            .current()
            .is_some_and(|record| record.step == Step::Fence);
        let machine = state
            .machines
            .get(&intent.action.removes().filter(|_| waits)?)?;
        Some((machine.id, machine.lease?))
    })?;
    Some(leases.left(machine, terms)).filter(|left| !left.is_zero())
}

/// Whether that a step is held is not on record yet.
fn is_news(shared: &Shared, progress: &Progress, rule: Rule, detail: &Text) -> bool {
    let now_ms = shared.fleet_now_ms();
    shared.replica.read(|state, _| {
        let record = state.intent(&progress.op).and_then(Intent::current);
        let held = record.and_then(|record| record.held.as_ref());
        held.is_none_or(|held| held.makes_news(rule, detail, now_ms))
    })
}

fn hold(intent: &Intent, check: Check) -> Option<Due> {
    let (rule, detail) = (check.rule, check.margin);
    report(intent, StepResult::Held { rule, detail })
}

fn report(intent: &Intent, result: StepResult) -> Option<Due> {
    let record = intent.current()?;
    Some(Due::Report(Progress {
        op: intent.op.clone(),
        step: record.step,
        attempt: record.attempts,
        result,
    }))
}

fn prepare(state: &FleetState, intent: &Intent, surroundings: &Surroundings<'_>) -> Option<Due> {
    match work_out(state, intent, surroundings) {
        Ok(job) => Some(Due::Job(Box::new(job?))),
        Err(unworkable) => Some(Due::Report(unworkable)),
    }
}

fn work_out(
    state: &FleetState,
    intent: &Intent,
    surroundings: &Surroundings<'_>,
) -> Result<Option<Job>, Progress> {
    execute::job(state, intent, surroundings).map_err(|error| {
        let (step, attempt) = intent.current().map_or((Step::Provision, 0), |record| {
            (record.step, record.attempts)
        });
        unclear((intent.op.clone(), step, attempt), error.to_string().into())
    })
}

/// A step that does not get on, which says nothing of whether its call was made, by this leader or another one.
fn unclear((op, step, attempt): (OperationId, Step, u32), error: Text) -> Progress {
    let result = StepResult::Unknown {
        error,
        retry_ms: UNWORKABLE_RETRY_MS,
    };
    Progress {
        op,
        step,
        attempt,
        result,
    }
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

/// Does to this machine itself what others are asked for. As with them, it goes on if this machine leads no more.
async fn here<T: Send + 'static>(
    work: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(format!("it ended by a defect: {error}")))
}

/// Those of some machines that may strike another one off: who votes in the ensemble first.
fn strikers(shared: &Shared, by: &[MachineId]) -> Vec<MachineId> {
    let world = shared.mesh.look();
    let votes = |id: &MachineId| {
        let said = world.members.get(id).and_then(|seen| seen.said.as_ref());
        said.and_then(|said| said.part).is_some_and(Part::votes)
    };
    let mut active: Vec<_> = by.iter().filter(|id| world.is_active(**id)).collect();
    active.sort_by_key(|id| !votes(id));
    active.into_iter().take(STRIKERS_MAX).copied().collect()
}

struct MeshHelpers {
    shared: Arc<Shared>,
    backing: Arc<Backing>,
    leases: Arc<Leases>,
    proven_gone: BTreeMap<MachineId, u64>,
}

impl MeshHelpers {
    /// Has one machine strike a member off.
    async fn struck_by(
        &self,
        machine: MachineId,
        member: &str,
        within: Duration,
    ) -> Result<(), String> {
        if machine == self.shared.me {
            let (shared, member) = (Arc::clone(&self.shared), member.to_owned());
            return here(async move { services::strike(&shared, &member).await }).await;
        }
        let world = self.shared.mesh.look();
        let peer = world.peer(machine).ok_or("it is not in the mesh")?;
        let body = Bytes::copy_from_slice(member.as_bytes());
        let asked = self.shared.transport.request(peer, STRIKE, body, within);
        asked.await.map(|_| ()).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Helpers for MeshHelpers {
    async fn drain(
        &self,
        machine: MachineId,
        deadline: Duration,
    ) -> Result<Option<Undrained>, String> {
        let why = |error: String| format!("{} was not drained: {error}", self.shared.name(machine));
        if machine == self.shared.me {
            let shared = Arc::clone(&self.shared);
            let drained = here(async move { services::drain(&shared).await });
            let drained = drained.await.map_err(why)?;
            return Ok((!drained).then_some(Undrained::Nothing));
        }
        let world = self.shared.mesh.look();
        let Some(peer) = world.peer(machine).filter(|_| world.is_active(machine)) else {
            return Ok(Some(Undrained::Absent));
        };
        let asked = self
            .shared
            .transport
            .request(peer, DRAIN, Bytes::new(), deadline);
        let answer = asked.await.map_err(|error| why(error.to_string()))?;
        Ok((*answer == [0]).then_some(Undrained::Nothing))
    }

    async fn strike(
        &self,
        machine: MachineId,
        member: &str,
        by: &[MachineId],
        deadline: Duration,
    ) -> Result<(), String> {
        let deadline = Deadline::after(deadline);
        let mut why = "nobody else of its group is in the mesh".to_owned();
        for other in strikers(&self.shared, by) {
            match self.struck_by(other, member, deadline.remaining()).await {
                Ok(()) => return Ok(()),
                Err(error) => why = format!("{}: {error}", self.shared.name(other)),
            }
        }
        let name = self.shared.name(machine);
        Err(format!("{name} was not struck off its ensemble: {why}"))
    }

    async fn restart_workload(&self, machine: MachineId, deadline: Duration) -> Result<(), String> {
        let name = self.shared.name(machine);
        let why = |error: String| format!("the workload of {name} was not restarted: {error}");
        if machine == self.shared.me {
            let shared = Arc::clone(&self.shared);
            let restarted = here(async move { services::restart_workload(&shared).await });
            return restarted.await.map_err(why);
        }
        let world = self.shared.mesh.look();
        let Some(peer) = world.peer(machine).filter(|_| world.is_active(machine)) else {
            return Err(format!("{name} is not in the mesh"));
        };
        let asked = self
            .shared
            .transport
            .request(peer, RESTART_WORKLOAD, Bytes::new(), deadline);
        let asked = asked.await.map_err(|error| why(error.to_string()));
        asked.map(|_| ())
    }

    fn now_ms(&self) -> u64 {
        self.shared.fleet_now_ms()
    }

    fn lease_left(&self, machine: MachineId, terms: LeaseTerms) -> Duration {
        self.leases.left(machine, terms)
    }

    async fn begin(&self, op: &OperationId, step: Step, attempt: u32) -> Result<(), String> {
        let progress = Progress {
            op: op.clone(),
            step,
            attempt,
            result: StepResult::Begun,
        };
        let put = propose_in(
            &self.shared,
            Some(self.backing.term()),
            None,
            Command::Progress(progress),
        );
        let put = put.await;
        put.map(|_| ())
            .map_err(|error| format!("that it begins could not be put on record: {error}"))
    }

    async fn put_aside(&self, aside: PutAside) -> Result<(), String> {
        let command = Command::Quarantine(Box::new(QuarantineChange::PutAside(aside)));
        let put = propose_in(&self.shared, Some(self.backing.term()), None, command);
        let put = put.await;
        put.map(|_| ())
            .map_err(|error| format!("the quarantine could not be put on record: {error}"))
    }

    async fn permit(&self) -> Result<(), Check> {
        let permitted = self.backing.permit(self.proven_gone.clone()).await;
        permitted.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use muster_provisioners::{Properties, Secret};

    use super::*;
    use crate::fleet::Diagnosis;
    use crate::fleet::testing::{Fleet, cattle};

    #[test]
    fn a_reimage_that_the_next_leader_cannot_make_has_begun_all_the_same() {
        let mut fleet = Fleet::with(&[cattle("web", 2)]);
        let new = fleet.act(fleet.reimage(fleet.id("web-1"), Diagnosis::AgentDown));
        fleet.report(new, StepResult::Begun);
        let token = |_: MachineId, _: &OperationId| Secret::new("muster1-token");
        let surroundings = Surroundings {
            seeds: Vec::new(),
            token: &token,
            settings: Properties::new(),
        };
        let mut unknown = fleet.state.clone();
        unknown.groups.clear();
        let stuck = work_out(&unknown, fleet.intent_of(new), &surroundings);
        fleet.ok(Command::Progress(stuck.expect_err("its group is missing")));
        let record = fleet.intent_of(new).current().expect("open");
        assert_eq!(record.attempts, 1);
        assert!(record.begun.is_some(), "{record:?}");
    }
}
