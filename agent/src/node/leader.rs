//! What a leader does while it leads: gathers evidence, has it judged, commits what follows, and has intents
//! carried out.
//!
//! A reign is one term of one leader. It ends with the first sign that another leads; whatever was under way then is
//! in the log, and the next leader goes on from there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_mesh::clock::{Monotonic, unix_ms};
use muster_mesh::consensus::Coordinator;
use muster_mesh::consensus::coordinator::Role;
use muster_mesh::membership::Hint;
use tokio::sync::watch;
use tokio::time::Instant;

use super::mesh::Input;
use super::propose::{ProposeFailure, propose_in};
use super::shared::Shared;
use crate::fleet::{FleetState, SecretHash};
use crate::heal;

use authority::Support;
use evidence::Observer;
use orders::Orders;
use seats::SeatKeeper;

mod addresses;
mod attention;
mod authority;
mod evidence;
mod orders;
mod seats;

/// How often a leader looks while something is the matter or under way.
const BUSY_PERIOD: Duration = Duration::from_millis(500);

/// How often a leader looks although nothing seems to be the matter.
const IDLE_PERIOD: Duration = Duration::from_secs(30);

/// How often a leader says, on datagrams that are sent anyway, that it leads and how far the log is.
const HINT_PERIOD: Duration = Duration::from_secs(1);

/// Changes that come together are looked at together.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// How long the confirmation by a quorum may take.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(2);

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
            Reign::new(shared, coordinator.clone(), term)
                .run(&mut status)
                .await;
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
    since_ms: u64,
    support: Support,
    observer: Observer,
    orders: Orders,
    seats: SeatKeeper,
}

impl Reign {
    fn new(shared: &Arc<Shared>, coordinator: Coordinator<FleetState>, term: u64) -> Self {
        let clock = Monotonic::start();
        Self {
            shared: Arc::clone(shared),
            coordinator,
            term,
            since_ms: unix_ms(),
            support: Support::new(clock),
            observer: Observer::default(),
            orders: Orders::default(),
            seats: SeatKeeper::new(clock),
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
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                changed = status.changed() => {
                    let leads = changed.is_ok() && {
                        let status = status.borrow_and_update();
                        status.role == Role::Leader && status.term == self.term
                    };
                    if !leads {
                        return;
                    }
                    next_look = soon(next_look);
                }
                changed = world.changed() => {
                    if changed.is_err() { return }
                    next_look = soon(next_look);
                }
                changed = applied.changed() => {
                    if changed.is_err() { return }
                    next_look = soon(next_look);
                }
                Some(progress) = self.orders.next() => {
                    self.orders.commit(&self.shared, progress).await;
                    next_look = soon(next_look);
                }
                () = tokio::time::sleep_until(next_hint) => {
                    self.hint().await;
                    next_hint = Instant::now() + HINT_PERIOD;
                }
                () = tokio::time::sleep_until(next_look) => {
                    world.mark_unchanged();
                    applied.mark_unchanged();
                    let wait = self.look().await;
                    next_look = Instant::now() + wait;
                }
            }
        }
    }

    /// Says how far the log is, if most coordinators have confirmed lately that this machine may say so.
    async fn hint(&self) {
        let status = self.coordinator.status();
        let hint = {
            let status = status.borrow();
            let silent = status.quorum_silence() > 3 * HINT_PERIOD;
            status.applied.filter(|_| !silent).map(|at| Hint {
                generation: self.shared.replica.generation().0,
                term: self.term,
                index: at.index,
                leader_ms: unix_ms(),
            })
        };
        if let Some(hint) = hint {
            self.shared.mesh.tell(Input::Hint(hint)).await;
        }
    }

    /// One look at everything: seats, decisions, orders. Returns when to look again if nothing changes before.
    async fn look(&mut self) -> Duration {
        let seats_wait = self.seats.look(&self.shared, &self.coordinator).await;
        addresses::record(&self.shared).await;
        let world = self.shared.mesh.look();
        let needed = self
            .shared
            .replica
            .read(|state, _| attention::is_needed(state, &world));
        if needed {
            self.judge().await;
        }
        self.orders.start_due(&self.shared, &self.coordinator);
        seats_wait.min(if needed { BUSY_PERIOD } else { IDLE_PERIOD })
    }

    /// Evidence, diagnosis, decision, commit.
    async fn judge(&mut self) {
        let world = self.shared.mesh.look();
        let seen = self.observer.observe(&self.shared, &world).await;
        let confirmed = self.coordinator.confirm(CONFIRM_DEADLINE).await.is_ok();
        let electors: BTreeSet<_> = self
            .shared
            .replica
            .read(|state, _| state.electors().map(|machine| machine.id).collect());
        let acknowledged = self
            .support
            .gather(&self.shared, self.term, &electors)
            .await;
        let seats = self.shared.replica.seats();
        let voters: Vec<_> = seats.voters.values().map(|node| node.machine).collect();
        let reachable = voters
            .iter()
            .filter(|machine| world.is_active(**machine))
            .count();
        let situation = heal::Situation {
            now_ms: unix_ms(),
            leader: self.shared.me,
            term: self.term,
            leader_since_ms: self.since_ms,
            authority: heal::Authority {
                quorum_confirmed: confirmed,
                voters: u32::try_from(voters.len()).unwrap_or(u32::MAX),
                voters_reachable: u32::try_from(reachable).unwrap_or(u32::MAX),
                acknowledged,
                proven_gone: self.observer.proven_gone(),
            },
            machines: seen.machines,
            strangers: seen.strangers,
        };
        let plan = self
            .shared
            .replica
            .read(|state, _| heal::decide(state, &situation));
        self.commit(plan).await;
    }

    async fn commit(&mut self, mut plan: heal::Plan) {
        let Some(ca) = self.shared.council.ca() else {
            return;
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
                    return;
                }
                Err(error) => tracing::warn!(%error, "a decision was not committed"),
            }
        }
    }
}

fn soon(planned: Instant) -> Instant {
    planned.min(Instant::now() + DEBOUNCE)
}
