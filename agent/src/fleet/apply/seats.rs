//! Coordinators' seats.

use muster_mesh::consensus::Seat;
use muster_mesh::identity::MachineId;

use super::super::event::EventKind;
use super::super::limits::SEATS_MAX;
use super::super::recovery::Recovery;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::FleetState;
use super::values::{at_most, invalid};
use super::{About, Applied, Context};

impl FleetState {
    /// A machine that has a seat gets the same one again: the answer may have been lost on the way.
    pub(super) fn take_seat(&mut self, context: &Context<'_>, machine: MachineId) -> Applied {
        let known = self
            .machines
            .get(&machine)
            .ok_or(Refusal::NoMachine(machine))?;
        if !known.is_elector() {
            return Err(Refusal::WrongPhase {
                name: known.name.clone(),
                phase: known.phase.to_string().into(),
                why: "only a machine that is in the mesh can be a coordinator".into(),
            });
        }
        if let Some(seat) = self.seat_of(machine) {
            return Ok(Reply::Seat(seat));
        }
        at_most("coordinators' seats", self.seats.len() + 1, SEATS_MAX)?;
        self.last_seat = Seat(self.last_seat.0.saturating_add(1));
        self.seats.insert(self.last_seat, machine);
        let detail = format!("seat {}", self.last_seat);
        self.note(
            context,
            EventKind::SeatTaken,
            About::machine(machine, detail),
        );
        Ok(Reply::Seat(self.last_seat))
    }

    /// The seats of the log that was lost are nobody's any more.
    pub(super) fn refound(
        &mut self,
        context: &Context<'_>,
        (generation, seat, machine): (u64, Seat, MachineId),
        recovery: Option<Box<Recovery>>,
    ) -> Applied {
        if recovery
            .as_ref()
            .is_some_and(|one| !one.is_about(generation, machine))
        {
            return Err(invalid("the order to recover is about another log"));
        }
        if seat <= self.last_seat {
            return Err(Refusal::NoSeat(seat));
        }
        let lost: Vec<_> = self
            .seats
            .values()
            .filter(|holder| **holder != machine)
            .map(|holder| match self.machines.get(holder) {
                Some(known) => known.name.to_string(),
                None => holder.to_string(),
            })
            .collect();
        self.seats.clear();
        self.seats.insert(seat, machine);
        self.last_seat = seat;
        let detail = format!(
            "generation {generation} of the log goes on from here; the coordinators were also {}",
            lost.join(", ")
        );
        self.note(
            context,
            EventKind::Refounded,
            About::machine(machine, detail),
        );
        if let Some(recovery) = recovery {
            self.recover(context, *recovery);
        }
        Ok(Reply::Done)
    }

    pub(super) fn free_seat(&mut self, context: &Context<'_>, seat: Seat) -> Applied {
        let machine = self.seats.remove(&seat).ok_or(Refusal::NoSeat(seat))?;
        self.note(
            context,
            EventKind::SeatFreed,
            About::machine(machine, format!("seat {seat}")),
        );
        Ok(Reply::Done)
    }
}
