//! What a leader does while it leads: gathers evidence, has it judged, commits what follows, and has intents
//! carried out.
//!
//! A reign is one term of one leader. It ends with the first sign that another leads; whatever was under way then is
//! in the log, and the next leader goes on from there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_mesh::clock::Monotonic;
use muster_mesh::consensus::Coordinator;
use muster_mesh::consensus::coordinator::Role;
use muster_mesh::membership::Hint;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::clock;
use super::mesh::Input;
use super::propose::{ProposeFailure, propose_in};
use super::recorder::{self, Recorder};
use super::shared::Shared;
use crate::fleet::{FleetState, OperationId, SecretHash};
use crate::heal::{self, Spared};
use crate::replay;

use backing::Backing;
use evidence::{Observed, Observer};
use leases::Leases;
use orders::Orders;
use pace::{Glimpse, LOOKS_APART};

pub(super) use leases::LeaseDesk;

mod accounts;
mod addresses;
mod attention;
mod authority;
mod background;
mod backing;
mod drift;
mod evidence;
mod leases;
mod lists;
mod orders;
mod pace;
mod patrol;
mod quarantine;
mod rehearsal;
mod removals;
mod seats;

/// How often a leader looks although nothing seems to be the matter.
const IDLE_PERIOD: Duration = Duration::from_secs(30);

/// How often a leader says, on datagrams that are sent anyway, that it leads and how far the log is.
const HINT_PERIOD: Duration = Duration::from_secs(1);

/// Changes that come together are looked at together.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// When decisions could not be committed, or it is not known whether they were: the pause before the next try.
const RETRY: Duration = Duration::from_millis(500);

/// Leads whenever this machine is the leader, until the agent stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut council = shared.council.watch();
    loop {
        let coordinator = council.borrow_and_update().clone();
        let ended = async {
            match &coordinator {
                Some(coordinator) => lead_when_elected(&shared, coordinator).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = council.changed() => if changed.is_err() { return },
            () = ended => {}
        }
    }
}

async fn lead_when_elected(shared: &Arc<Shared>, coordinator: &Coordinator<FleetState>) {
    let mut status = coordinator.status();
    loop {
        let (role, term) = {
            let status = status.borrow_and_update();
            (status.role, status.term)
        };
        if role == Role::Leader {
            tracing::info!(term, "this machine leads");
            // Leases are granted from now on: those can't wait for what healing waits for.
            let mut reign = Reign::new(shared, coordinator.clone(), term);
            clock::begin(shared).await;
            let leases = Arc::clone(&reign.leases);
            let backing = Arc::clone(&reign.backing);
            tokio::select! {
                () = reign.run(&mut status) => {}
                () = patrol::run(shared, term) => {}
                () = quarantine::run(shared, (&backing, &leases), term) => {}
                () = rehearsal::run(shared, &leases, term) => {}
                () = clock::keep(shared) => {}
            }
            tracing::info!(term, "this machine does not lead any more");
        } else if status.changed().await.is_err() {
            return;
        }
    }
}

/// One term of one leader.
struct Reign {
    shared: Arc<Shared>,
    coordinator: Coordinator<FleetState>,
    term: u64,
    /// Since when it leads, by the mesh's steady clock: what it waits for is not over because its wall clock is set.
    since_ms: u64,
    backing: Arc<Backing>,
    leases: Arc<Leases>,
    observer: Observer,
    orders: Orders,
    recorder: Recorder,
    /// Keeps the coordinators' seats, the leases, and the count of those that are back, for as long as the reign lasts.
    keepers: JoinSet<()>,
    /// What was to be seen of the mesh at the last look.
    glimpse: Glimpse,
    /// Whether there is news that was not judged yet.
    news: bool,
    judge_at: Instant,
    looked_at: Instant,
}

impl Reign {
    fn new(shared: &Arc<Shared>, coordinator: Coordinator<FleetState>, term: u64) -> Self {
        let clock = Monotonic::start();
        let backing = Arc::new(Backing::new(shared, coordinator.clone(), term, clock));
        let leases = Arc::new(Leases::new());
        let mut keepers = JoinSet::new();
        keepers.spawn(seats::keep(Arc::clone(shared), coordinator.clone(), clock));
        keepers.spawn(leases::keep(
            Arc::clone(shared),
            Arc::clone(&backing),
            Arc::clone(&leases),
            term,
        ));
        keepers.spawn(accounts::keep(
            Arc::clone(shared),
            Arc::clone(&leases),
            backing.ballot(),
        ));
        let now = Instant::now();
        Self {
            shared: Arc::clone(shared),
            backing,
            leases,
            coordinator,
            term,
            since_ms: shared.mesh.steady().now_ms(),
            observer: Observer::new(shared.mesh.steady()),
            orders: Orders::default(),
            recorder: Recorder::new(shared.state_dir.file(recorder::DIRECTORY)),
            keepers,
            glimpse: Glimpse::default(),
            news: true,
            judge_at: now,
            looked_at: now,
        }
    }

    async fn run(
        &mut self,
        status: &mut watch::Receiver<muster_mesh::consensus::coordinator::Status>,
    ) {
        let mut world = self.shared.mesh.world();
        let mut applied = self.shared.replica.watch();
        let mut next_look = Instant::now();
        let mut next_hint = Instant::now();
        loop {
            let news = tokio::select! {
                () = self.shared.stop.cancelled() => return,
                changed = status.changed() => {
                    let leads = changed.is_ok() && {
                        let status = status.borrow_and_update();
                        status.role == Role::Leader && status.term == self.term
                    };
                    if !leads {
                        return;
                    }
                    true
                }
                changed = world.changed() => {
                    if changed.is_err() { return }
                    let picture = world.borrow_and_update();
                    self.glimpse.update(&picture, self.shared.mesh.moment(&picture))
                }
                changed = applied.changed() => {
                    if changed.is_err() { return }
                    true
                }
                Some(news) = self.observer.next() => news,
                Some(progress) = self.orders.next() => {
                    let reign = (&*self.leases, self.term);
                    self.orders.commit(&self.shared, reign, progress).await;
                    true
                }
                Some(ended) = self.keepers.join_next() => {
                    // Without it nobody would give out seats or leases: let the next reign begin anew.
                    tracing::error!(?ended, "keeping the seats, the leases or the count has ended");
                    return;
                }
                () = tokio::time::sleep_until(next_hint) => {
                    self.hint().await;
                    next_hint = Instant::now() + HINT_PERIOD;
                    false
                }
                () = tokio::time::sleep_until(next_look) => {
                    world.mark_unchanged();
                    applied.mark_unchanged();
                    let wait = self.look().await;
                    next_look = Instant::now() + wait;
                    false
                }
            };
            if news {
                self.news = true;
                let soon = (self.looked_at + LOOKS_APART).max(Instant::now() + DEBOUNCE);
                next_look = next_look.min(soon);
            }
        }
    }

    /// Says how far the log is, if most coordinators have confirmed lately that this machine may say so, and it gets
    /// committed what it proposes.
    async fn hint(&self) {
        let status = self.coordinator.status();
        let hint = {
            let status = status.borrow();
            let silent = status.quorum_silence() > 3 * HINT_PERIOD;
            let stuck = self.shared.council.stuck(&status).is_some();
            status.applied.filter(|_| !silent && !stuck).map(|at| Hint {
                generation: self.coordinator.generation().0,
                term: self.term,
                index: at.index,
                leader_ms: self.shared.clock.right_ms(),
            })
        };
        if let Some(hint) = hint {
            self.shared.mesh.tell(Input::Hint(hint)).await;
        }
    }

    /// One look at everything: evidence, decisions, orders. Returns when to look again if nothing changes before.
    async fn look(&mut self) -> Duration {
        self.looked_at = Instant::now();
        addresses::record(&self.shared).await;
        let world = self.shared.mesh.look();
        let moment = self.shared.mesh.moment(&world);
        let now_ms = moment.now_ms;
        self.glimpse.update(&world, moment);
        let fails = |machine| self.glimpse.fails_for_good(machine, now_ms);
        let needed = self
            .shared
            .replica
            .read(|state, _| attention::is_needed(state, &world, fails));
        if !needed {
            self.news = false;
            let wait = self.glimpse.fails_for_good_in(now_ms);
            return wait.map_or(IDLE_PERIOD, |wait| wait.clamp(LOOKS_APART, IDLE_PERIOD));
        }
        let seen = self.observer.observe(&self.shared, &world, &self.glimpse);
        if std::mem::take(&mut self.news) || Instant::now() >= self.judge_at {
            let wait = self.judge(seen).await;
            self.judge_at = Instant::now() + wait;
        }
        let spared = self.spared();
        let proven_gone = self.observer.proven_gone();
        self.leases.note_gone(&proven_gone);
        self.orders.start_due(
            &self.shared,
            &self.backing,
            &self.leases,
            (&proven_gone, &spared),
        );
        let judging = self.judge_at.saturating_duration_since(Instant::now());
        let due = [self.observer.due_in(), self.orders.due_in(&self.shared)];
        let due = due.into_iter().flatten().min().unwrap_or(IDLE_PERIOD);
        due.min(judging).max(LOOKS_APART)
    }

    /// The steps that would end or treat a machine which is back, or from which somebody may get an answer. Looked at anew:
    /// to judge takes seconds at worst.
    fn spared(&mut self) -> BTreeMap<OperationId, Spared> {
        let any = |state: &FleetState| {
            let mut open = state.open_intents();
            open.any(|intent| heal::may_be_spared(state, intent))
        };
        if !self.shared.replica.read(|state, _| any(state)) {
            return BTreeMap::new();
        }
        let world = self.shared.mesh.look();
        let seen = self.observer.observe(&self.shared, &world, &self.glimpse);
        let situation = self.situation(seen, heal::Authority::default());
        self.shared
            .replica
            .read(|state, _| heal::spared(state, &situation))
    }

    fn situation(&self, seen: Observed, authority: heal::Authority) -> heal::Situation {
        let as_seen = heal::Situation {
            now_ms: self.shared.mesh.steady().now_ms(),
            leader: self.shared.me,
            term: self.term,
            leader_since_ms: self.since_ms,
            watching_since_ms: self.watching_since_ms(),
            authority,
            machines: seen.machines,
            strangers: seen.strangers,
        };
        // Judged by the fleet's clock, which this machine's may be far from.
        let now_ms = self.shared.fleet_now_ms();
        as_seen.dated_by(now_ms).into_owned()
    }

    /// Evidence, diagnosis, decision, commit. Returns when to judge again if there is no news before.
    async fn judge(&mut self, seen: Observed) -> Duration {
        let authority = self.backing.authority(self.observer.proven_gone()).await;
        let situation = self.situation(seen, authority);
        let (plan, backed, record) = self.shared.replica.read(|state, _| {
            let (_, gate) = heal::quorum(state, &situation.authority, situation.now_ms);
            let plan = heal::decide(state, &situation);
            let record = replay::record(state, &situation, &plan);
            (plan, !gate.check.holds(), record)
        });
        if let Some(record) = record {
            self.recorder.keep(record);
        }
        let next_look_ms = plan.next_look_ms;
        if self.commit(plan).await {
            pace::judged_again(self.shared.fleet_now_ms(), next_look_ms, backed)
        } else {
            RETRY
        }
    }

    /// Since when this machine has watched the mesh without a break; since it leads, where it never heard anybody.
    fn watching_since_ms(&self) -> u64 {
        let mesh = &self.shared.mesh;
        let Some(since) = mesh.look().attentive_since else {
            return self.since_ms;
        };
        let watched = mesh.clock().now().saturating_sub(since);
        let watched_ms = u64::try_from(watched.as_millis()).unwrap_or(u64::MAX);
        mesh.steady().now_ms().saturating_sub(watched_ms)
    }

    /// Puts what was decided into the log. Says whether all of it is there, or was refused.
    async fn commit(&mut self, mut plan: heal::Plan) -> bool {
        let Some(ca) = self.shared.council.ca() else {
            return false;
        };
        for (_, order) in plan.orders() {
            order.token = Some(SecretHash(orders::token(&ca, order.machine).hash().0));
        }
        for refusal in &plan.refused {
            tracing::warn!(%refusal, "the rules let it pass, and it can't be done all the same");
        }
        for command in plan.into_commands() {
            match propose_in(&self.shared, Some(self.term), None, command).await {
                Ok(_) => {}
                Err(ProposeFailure::Unknown) => {
                    tracing::warn!("whether decisions were committed is unknown; looking again");
                    return false;
                }
                Err(error @ ProposeFailure::NotProposed(_)) => {
                    tracing::warn!(%error, "a decision was not committed");
                    return false;
                }
                Err(error) => tracing::warn!(%error, "a decision was not committed"),
            }
        }
        true
    }
}
