//! Keeping the right machines in the coordinators' seats: sees how things are, asks the plan for one step, takes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_mesh::clock::Monotonic;
use muster_mesh::consensus::seats::{CouncilView, MachineView, SeatChange, attainable, plan};
use muster_mesh::consensus::{Coordinator, Seat, SeatNode};
use muster_mesh::identity::MachineId;

use super::pace::{Glimpse, LOOKS_APART};
use crate::fleet::{Action, Command, FleetState, Intent, MemberStatus, Phase, Reply};
use crate::health::Level;
use crate::node::propose::propose;
use crate::node::refounding;
use crate::node::shared::Shared;
use crate::node::world::World;

/// How long one change of the seats may take: a few commits.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);

/// When to look again while the seats are not as they should be, or may soon not be.
const BUSY_PERIOD: Duration = Duration::from_secs(1);

/// When to look again otherwise.
const IDLE_PERIOD: Duration = Duration::from_secs(15);

/// A label that keeps a machine from becoming a coordinator, set from its configuration (`coordinator = false`).
pub(crate) const NO_COORDINATOR: &str = "muster.coordinator";

/// Keeps the right machines in the coordinators' seats, until dropped. A change of the seats may take seconds, so nothing
/// else waits for it.
pub(super) async fn keep(
    shared: Arc<Shared>,
    coordinator: Coordinator<FleetState>,
    clock: Monotonic,
) {
    let mut keeper = SeatKeeper::new(clock);
    let mut glimpse = Glimpse::default();
    let mut status = coordinator.status();
    let mut world = shared.mesh.world();
    let mut applied = shared.replica.watch();
    loop {
        status.mark_unchanged();
        world.mark_unchanged();
        applied.mark_unchanged();
        let picture = shared.mesh.look();
        glimpse.update(&picture, shared.mesh.moment(&picture));
        let wait = keeper.look(&shared, &coordinator).await;
        let rest = tokio::time::sleep(LOOKS_APART);
        let period = tokio::time::sleep(wait);
        tokio::pin!(period);
        rest.await;
        loop {
            let news = tokio::select! {
                changed = status.changed() => if changed.is_ok() { true } else { return },
                changed = applied.changed() => if changed.is_ok() { true } else { return },
                changed = world.changed() => {
                    if changed.is_err() { return }
                    let picture = world.borrow_and_update();
                    glimpse.update(&picture, shared.mesh.moment(&picture))
                }
                () = &mut period => true,
            };
            if news {
                break;
            }
        }
    }
}

/// What one leader remembers between looks.
struct SeatKeeper {
    clock: Monotonic,
    /// Since when each machine has been well without a break.
    well_since: BTreeMap<MachineId, Duration>,
    /// Since when each seat has been among those that this leader knows.
    seats_since: BTreeMap<Seat, Duration>,
}

impl SeatKeeper {
    fn new(clock: Monotonic) -> Self {
        Self {
            clock,
            well_since: BTreeMap::new(),
            seats_since: BTreeMap::new(),
        }
    }

    /// Takes one step towards the right seats, if one is due. Returns when to look again.
    async fn look(
        &mut self,
        shared: &Arc<Shared>,
        coordinator: &Coordinator<FleetState>,
    ) -> Duration {
        // Before any seat is given: those that the state names may be those of a log that was given up.
        if !refounding::record(shared, coordinator).await {
            return BUSY_PERIOD;
        }
        self.free_lost_seats(shared, coordinator).await;
        let Some(view) = self.view(shared, coordinator) else {
            return IDLE_PERIOD;
        };
        let settled = view
            .seats
            .values()
            .all(|seat| seat.is_voter && seat.is_caught_up);
        let Some(step) = plan(&view) else {
            let candidates_wait = view.seats.len() < attainable(&view);
            return if settled && !candidates_wait {
                IDLE_PERIOD
            } else {
                BUSY_PERIOD
            };
        };
        tracing::info!(change = ?step.change, why = step.why, "changing the coordinators' seats");
        if let Err(error) = carry_out(shared, coordinator, step.change).await {
            tracing::warn!(
                error = format!("{error:#}"),
                "the seats could not be changed; trying again"
            );
        }
        BUSY_PERIOD
    }

    /// Gives up seats that the state still has and the log's membership no longer: their change was cut off half way,
    /// or their learner was dismissed.
    async fn free_lost_seats(&self, shared: &Shared, coordinator: &Coordinator<FleetState>) {
        let named = coordinator.status().borrow().seats.clone();
        let lost: Vec<Seat> = shared.replica.read(|state, _| {
            let newest = state.last_seat;
            // The newest one may have been taken a moment ago, and is about to be added.
            state
                .seats
                .keys()
                .copied()
                .filter(|seat| *seat != newest && named.get(*seat).is_none())
                .collect()
        });
        for seat in lost {
            if let Err(error) = propose(shared, None, Command::FreeSeat { seat }).await {
                tracing::debug!(%seat, %error, "a lost seat was not given up yet");
            }
        }
    }

    fn view(
        &mut self,
        shared: &Shared,
        coordinator: &Coordinator<FleetState>,
    ) -> Option<CouncilView> {
        let world = shared.mesh.look();
        let now = self.clock.now();
        let (machines, expected) = shared
            .replica
            .read(|state, _| (self.machines(state, &world, now), state.size_declared()));
        let mut view = coordinator.council(machines, expected)?;
        let wanted = shared.config.machine.coordinators;
        view.wanted = wanted.and_then(|wanted| usize::try_from(wanted).ok());
        self.seats_since
            .retain(|seat, _| view.seats.contains_key(seat));
        for (seat, seen) in &mut view.seats {
            // A seat can't have been silent for longer than it has been there.
            let since = *self.seats_since.entry(*seat).or_insert(now);
            seen.silent_for = seen.silent_for.min(now.saturating_sub(since));
        }
        Some(view)
    }

    fn machines(
        &mut self,
        state: &FleetState,
        world: &World,
        now: Duration,
    ) -> BTreeMap<MachineId, MachineView> {
        let mut machines = BTreeMap::new();
        for machine in state
            .machines
            .values()
            .filter(|machine| machine.is_elector())
        {
            let seen = world.members.get(&machine.id);
            let alive = seen.is_some_and(|seen| seen.status == MemberStatus::Alive);
            let said = seen.and_then(|seen| seen.said.as_ref());
            let well = alive && said.is_some_and(|said| said.health != Level::Critical);
            let healthy_for = if well {
                now.saturating_sub(*self.well_since.entry(machine.id).or_insert(now))
            } else {
                self.well_since.remove(&machine.id);
                Duration::ZERO
            };
            let barred = said.is_some_and(|said| {
                said.labels
                    .get(NO_COORDINATOR)
                    .is_some_and(|label| label == "false")
            });
            let asked_away = is_asked_away(state, machine.id, world.me);
            let view = MachineView {
                zone: machine
                    .zone
                    .clone()
                    .or_else(|| machine.labels.get("zone").cloned()),
                alive,
                healthy_for,
                leaving: machine.phase != Phase::Joined
                    || asked_away
                    || said.is_some_and(|said| said.leaving.is_some()),
                eligible: !barred && !state.cordons.contains_key(&machine.id),
                has_taken_seat: state.seats.values().any(|holder| *holder == machine.id),
            };
            machines.insert(machine.id, view);
        }
        self.well_since
            .retain(|machine, _| machines.contains_key(machine));
        machines
    }
}

/// Whether a machine's seat is to be given to another one although the machine stays: it is, or is being, drained; or it
/// leads, and is about to be restarted.
fn is_asked_away(state: &FleetState, machine: MachineId, leader: MachineId) -> bool {
    let about = |intent: &&Intent| match intent.action {
        Action::Drain {
            machine: drained, ..
        } => drained == machine,
        action => machine == leader && action.stops() == Some(machine),
    };
    state.is_drained(machine) || state.open_intents().any(|intent| about(&intent))
}

async fn carry_out(
    shared: &Shared,
    coordinator: &Coordinator<FleetState>,
    change: SeatChange,
) -> anyhow::Result<()> {
    match change {
        SeatChange::AddLearner(machine) => {
            let peer = shared
                .peer(machine)
                .ok_or_else(|| anyhow::anyhow!("nobody knows where {machine} is"))?;
            // A machine that was given a seat before, and not added since, is given the same one.
            let seat = match propose(shared, None, Command::TakeSeat { machine }).await? {
                Reply::Seat(seat) => seat,
                reply => anyhow::bail!("unexpected answer {reply:?}"),
            };
            let node = SeatNode {
                machine,
                addr: peer.addr,
            };
            coordinator.add_learner(seat, node, CHANGE_DEADLINE).await?;
        }
        SeatChange::SetVoters(voters) => {
            coordinator.set_voters(voters, CHANGE_DEADLINE).await?;
        }
        SeatChange::RemoveLearner(seat) => {
            coordinator.remove_learner(seat, CHANGE_DEADLINE).await?;
            propose(shared, None, Command::FreeSeat { seat }).await?;
        }
    }
    Ok(())
}
