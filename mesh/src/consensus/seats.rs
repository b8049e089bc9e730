//! Who should be a coordinator. Does no I/O and reads no clock: what is known comes in, one change comes out.
//!
//! The leader asks [`plan`] now and then, and after every change, and carries out what it says by
//! [`Coordinator`](super::Coordinator)'s `add_learner`, `set_voters` and `remove_learner`. Rules:
//!
//! - **How many**: [`target`], unless an operator wants another number.
//! - **Who**: machines that are alive, have been healthy for a while and are not leaving; spread over the zones.
//! - **In**: as a learner first; it votes once it has caught up.
//! - **Replace, never shrink.** A voter that is dead or leaving keeps its vote until another has caught up. Voters
//!   become fewer only when the mesh itself has become smaller, and has been so for a while.
//! - **Never even.** Two voters more are let in together: four voters bear no more failures than three.
//! - **Word starts, silence ends.** That the membership calls a voter's machine down is reason enough to prepare a
//!   successor; its vote is taken only when the leader itself has not been answered for a while.
//! - **No step is planned that could not be committed**, or that would leave too few voters that answer.

use std::collections::BTreeSet;
use std::time::Duration;

use self::choose::{Class, Spread};
pub use self::view::{CouncilView, MachineView, Plan, SeatChange, SeatView};
use super::seat::Seat;
use crate::identity::MachineId;

mod choose;
#[cfg(test)]
mod tests;
mod view;

/// Above so many machines there are five voters: then two coordinators may well fail in the same hour.
const FIVE_ABOVE: usize = 50;
/// Above so many machines, and over at least [`SEVEN_ZONES`] zones, there are seven: enough to lose a whole zone and
/// one more. With fewer zones seven cost a round trip to more machines and bear nothing that five don't.
const SEVEN_ABOVE: usize = 200;
/// See [`SEVEN_ABOVE`].
const SEVEN_ZONES: usize = 3;
/// Voters become fewer only when the mesh is meant to be smaller than this part of the size at which they became more,
/// so that a mesh at the border does not go back and forth.
const SHRINK_PERCENT: usize = 80;

/// A candidate must have been healthy for so long.
const HEALTHY_MIN: Duration = Duration::from_secs(10);
/// When there is a single voter, a candidate must have been healthy for so long: having just one is worse.
const HEALTHY_MIN_FIRST: Duration = Duration::from_secs(3);
/// A voter that has answered the leader within this time counts as one that does.
const ANSWERS: Duration = Duration::from_secs(5);
/// A voter has failed when it has not answered the leader for this long and the membership calls it down too,
const FAILED_AND_DOWN: Duration = Duration::from_secs(10);
/// or for this long whatever the membership says: to be heard by others and not by the leader is no use.
const FAILED: Duration = Duration::from_secs(60);
/// A learner that is no voter after its machine was silent for this long is given up.
const LEARNER_SILENT_MAX: Duration = Duration::from_secs(30);
/// No more learners than this at once: what growing by one step (1 to 3, 3 to 5, 5 to 7) takes.
const LEARNERS_MAX: usize = 2;

/// How many voters a mesh of `machines` machines in `zones` zones should have.
///
/// One for one or two machines: two voters would need both to decide anything, so that either one's failure stops
/// the mesh, and one bears the failure of the other machine at least.
pub fn target(machines: usize, zones: usize) -> usize {
    match machines {
        0..=2 => 1,
        _ if machines > SEVEN_ABOVE && zones >= SEVEN_ZONES => 7,
        _ if machines > FIVE_ABOVE => 5,
        _ => 3,
    }
}

/// How many voters there should be, as far as there are machines that may take a seat.
pub fn attainable(view: &CouncilView) -> usize {
    let seated: BTreeSet<MachineId> = view.seats.values().map(|seat| seat.machine).collect();
    let able = view.machines.iter();
    let able = able.filter(|(id, machine)| machine.eligible || seated.contains(id));
    let voters = view.seats.values().filter(|seat| seat.is_voter);
    right_number(view, voters.count()).min(largest_odd(able.count()))
}

/// The next step towards the right coordinators; `None` when there is nothing to do, or nothing can be done now.
pub fn plan(view: &CouncilView) -> Option<Plan> {
    if view.is_changing || !view.seats.contains_key(&view.leader) {
        return None;
    }
    let council = Council::new(view);
    council
        .give_up_learner()
        .or_else(|| council.change_voters())
        .or_else(|| council.add_learner())
        .or_else(|| council.spread_out())
        .or_else(|| council.dismiss_learner())
}

/// The view, sorted by what matters.
struct Council<'a> {
    view: &'a CouncilView,
    voters: BTreeSet<Seat>,
    /// Learners that could vote at once.
    ready: BTreeSet<Seat>,
    target: usize,
}

impl<'a> Council<'a> {
    fn new(view: &'a CouncilView) -> Self {
        let voters: BTreeSet<Seat> = view
            .seats
            .iter()
            .filter(|(_, seat)| seat.is_voter)
            .map(|(seat, _)| *seat)
            .collect();
        let mut council = Self {
            view,
            target: right_number(view, voters.len()),
            voters,
            ready: BTreeSet::new(),
        };
        council.ready = council
            .learners()
            .filter(|seat| council.is_ready(*seat))
            .collect();
        council
    }

    fn learners(&self) -> impl Iterator<Item = Seat> + '_ {
        self.view
            .seats
            .iter()
            .filter(|(_, seat)| !seat.is_voter)
            .map(|(seat, _)| *seat)
    }

    fn machine(&self, seat: Seat) -> Option<&'a MachineView> {
        self.view.machines.get(&self.view.seats.get(&seat)?.machine)
    }

    fn is_ready(&self, seat: Seat) -> bool {
        let sound = self
            .machine(seat)
            .is_some_and(|machine| machine.alive && !machine.leaving);
        sound
            && self.answers(seat)
            && self
                .view
                .seats
                .get(&seat)
                .is_some_and(|seat| seat.is_caught_up)
    }

    fn silent_for(&self, seat: Seat) -> Duration {
        if seat == self.view.leader {
            return Duration::ZERO;
        }
        self.view
            .seats
            .get(&seat)
            .map_or(Duration::MAX, |seat| seat.silent_for)
    }

    fn answers(&self, seat: Seat) -> bool {
        self.silent_for(seat) <= ANSWERS
    }

    /// How much a voter, or a learner that is ready, is worth keeping.
    fn class(&self, seat: Seat) -> Class {
        let Some(machine) = self.machine(seat) else {
            return Class::Gone;
        };
        let silent = self.silent_for(seat);
        if silent >= FAILED || (silent >= FAILED_AND_DOWN && !machine.alive) {
            Class::Failed
        } else if machine.leaving {
            Class::Leaving
        } else if self.ready.contains(&seat) {
            Class::Ready
        } else if seat == self.view.leader {
            Class::Leader
        } else if machine.alive && silent < FAILED_AND_DOWN {
            Class::Well
        } else {
            Class::Doubtful
        }
    }

    fn give_up_learner(&self) -> Option<Plan> {
        let lost = self.learners().find(|seat| {
            let silent = self.silent_for(*seat);
            self.machine(*seat).is_none_or(|machine| {
                machine.leaving
                    || silent >= LEARNER_SILENT_MAX
                    || (!machine.alive && silent >= FAILED_AND_DOWN)
            })
        })?;
        Some(Plan {
            change: SeatChange::RemoveLearner(lost),
            why: "the learner's machine is gone, leaves or is silent",
        })
    }

    /// The best voters that there can be right now, when they are others than there are.
    fn change_voters(&self) -> Option<Plan> {
        let mut spread = Spread::default();
        let mut pool: Vec<Seat> = self.voters.union(&self.ready).copied().collect();
        // Dead and leaving voters are at the end: they stay while there is nobody to take their place.
        let size = largest_odd(pool.len().min(self.target));
        let mut best = BTreeSet::new();
        while best.len() < size {
            let zone = |seat: &Seat| {
                self.machine(*seat)
                    .and_then(|machine| machine.zone.as_deref())
            };
            let next = pool
                .iter()
                .copied()
                .min_by_key(|seat| (self.class(*seat), spread.count(zone(seat)), *seat))?;
            pool.retain(|seat| *seat != next);
            spread.add(zone(&next));
            best.insert(next);
        }
        let may = best != self.voters && self.can_decide(&self.voters) && self.can_decide(&best);
        may.then(|| Plan {
            why: match best.len().cmp(&self.voters.len()) {
                std::cmp::Ordering::Less => "the mesh needs fewer coordinators",
                std::cmp::Ordering::Equal => "a coordinator is replaced",
                std::cmp::Ordering::Greater => "the mesh needs more coordinators",
            },
            change: SeatChange::SetVoters(best),
        })
    }

    /// Whether most of `voters` answer.
    fn can_decide(&self, voters: &BTreeSet<Seat>) -> bool {
        let answering = voters.iter().filter(|seat| self.answers(**seat)).count();
        answering > voters.len() / 2
    }

    /// The voters and learners that can be counted on.
    fn sound(&self) -> BTreeSet<Seat> {
        let is_sound = |seat: &Seat| match self.class(*seat) {
            // A learner that is well and has not caught up yet is on its way.
            Class::Leader | Class::Well | Class::Ready => true,
            Class::Doubtful | Class::Leaving | Class::Failed | Class::Gone => false,
        };
        self.view.seats.keys().copied().filter(is_sound).collect()
    }

    fn add_learner(&self) -> Option<Plan> {
        let sound = self.sound();
        if sound.len() >= self.target {
            return None;
        }
        let machine = self.candidate(&sound, |_| true)?;
        if self.learners().count() < LEARNERS_MAX {
            return Some(Plan {
                change: SeatChange::AddLearner(machine),
                why: "a coordinator is missing",
            });
        }
        // One that the membership calls down may still catch up, but not at the expense of one that is well.
        let doubtful = self.learners().find(|seat| !sound.contains(seat))?;
        Some(Plan {
            change: SeatChange::RemoveLearner(doubtful),
            why: "another machine is the better candidate",
        })
    }

    /// The machine that spreads `seats` best among those that may take one.
    fn candidate(
        &self,
        seats: &BTreeSet<Seat>,
        may: impl Fn(&MachineView) -> bool,
    ) -> Option<MachineId> {
        let mut spread = Spread::default();
        for seat in seats {
            spread.add(
                self.machine(*seat)
                    .and_then(|machine| machine.zone.as_deref()),
            );
        }
        let healthy_min = if self.voters.len() == 1 {
            HEALTHY_MIN_FIRST
        } else {
            HEALTHY_MIN
        };
        let seated: BTreeSet<MachineId> =
            self.view.seats.values().map(|seat| seat.machine).collect();
        let candidates = self.view.machines.iter().filter(|(id, machine)| {
            machine.alive
                && machine.eligible
                && !machine.leaving
                && machine.healthy_for >= healthy_min
                && !seated.contains(id)
                && may(machine)
        });
        candidates
            .min_by_key(|(id, machine)| {
                // One that was chosen before stays chosen; then the zones; then who has been well for longest.
                let zone = spread.count(machine.zone.as_deref());
                (
                    !machine.has_taken_seat,
                    zone,
                    std::cmp::Reverse(machine.healthy_for),
                    **id,
                )
            })
            .map(|(id, _)| *id)
    }

    /// With all voters well, one of a crowded zone makes room for one of a zone that has fewer.
    fn spread_out(&self) -> Option<Plan> {
        let (crowded, count) = self.crowded()?;
        let helps = |machine: &MachineView| {
            let spread = self.spread_of(&self.voters);
            spread.count(machine.zone.as_deref()) + 1 < count
        };
        let why = "a zone has more coordinators than it should";
        let ready = self
            .ready
            .iter()
            .find(|seat| self.machine(**seat).is_some_and(helps));
        if let Some(ready) = ready {
            let mut voters = self.voters.clone();
            voters.remove(&crowded);
            voters.insert(*ready);
            let may = self.can_decide(&self.voters) && self.can_decide(&voters);
            return may.then_some(Plan {
                change: SeatChange::SetVoters(voters),
                why,
            });
        }
        if self.learners().next().is_some() {
            return None;
        }
        let machine = self.candidate(&self.voters, helps)?;
        Some(Plan {
            change: SeatChange::AddLearner(machine),
            why,
        })
    }

    /// A voter of the most crowded zone, not the leader, and how many voters that zone has; `None` while not all
    /// is well.
    fn crowded(&self) -> Option<(Seat, usize)> {
        let calm = self.voters.len() == self.target
            && self
                .voters
                .iter()
                .all(|seat| matches!(self.class(*seat), Class::Leader | Class::Well));
        if !calm {
            return None;
        }
        let spread = self.spread_of(&self.voters);
        let zone = |seat: &Seat| {
            self.machine(*seat)
                .and_then(|machine| machine.zone.as_deref())
        };
        let others = self.voters.iter().filter(|seat| **seat != self.view.leader);
        others
            .map(|seat| (*seat, spread.count(zone(seat))))
            .max_by_key(|(seat, count)| (*count, *seat))
    }

    fn spread_of(&self, seats: &BTreeSet<Seat>) -> Spread<'a> {
        let mut spread = Spread::default();
        for seat in seats {
            spread.add(
                self.machine(*seat)
                    .and_then(|machine| machine.zone.as_deref()),
            );
        }
        spread
    }

    /// The voter that it was to replace is back.
    fn dismiss_learner(&self) -> Option<Plan> {
        let well = self
            .voters
            .iter()
            .filter(|seat| matches!(self.class(**seat), Class::Leader | Class::Well));
        if well.count() < self.target {
            return None;
        }
        let spare = self.learners().find(|seat| !self.is_on_its_way(*seat))?;
        Some(Plan {
            change: SeatChange::RemoveLearner(spare),
            why: "there are enough coordinators",
        })
    }

    /// Whether the learner is to relieve a crowded zone.
    fn is_on_its_way(&self, seat: Seat) -> bool {
        let Some((_, count)) = self.crowded() else {
            return false;
        };
        let spread = self.spread_of(&self.voters);
        let zone = self
            .machine(seat)
            .and_then(|machine| machine.zone.as_deref());
        spread.count(zone) + 1 < count
    }
}

/// How many voters there should be, given that there are `now`.
///
/// A machine that failed counts until it is made up for: only who lowers what was declared, or takes machines away by
/// hand, wants fewer coordinators.
fn right_number(view: &CouncilView, now: usize) -> usize {
    let staying: Vec<_> = view
        .machines
        .values()
        .filter(|machine| !machine.leaving)
        .collect();
    // As large as the mesh may have been when it was last right.
    let size = staying.len().max(view.expected);
    let before = size * 100 / SHRINK_PERCENT;
    if let Some(wanted) = view.wanted {
        let among = |size: usize| largest_odd(wanted.min(size)).max(1);
        return among(before).min(largest_odd(now)).max(among(size));
    }
    let zones: BTreeSet<_> = staying
        .iter()
        .filter_map(|machine| machine.zone.as_deref())
        .collect();
    let wanted = target(staying.len(), zones.len());
    if wanted >= now {
        return wanted;
    }
    target(before, zones.len())
        .min(largest_odd(now))
        .max(wanted)
}

fn largest_odd(number: usize) -> usize {
    if number % 2 == 1 {
        number
    } else {
        number.saturating_sub(1)
    }
}
