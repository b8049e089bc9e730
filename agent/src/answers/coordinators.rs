//! Who coordinates, who leads, and how far each has got.

use super::snapshot::{Seat, Snapshot};
use crate::api::types::{CoordinatorRow, Listed};

/// All coordinators, those that only learn included, by seat.
pub(super) fn coordinators(snapshot: &Snapshot<'_>) -> Listed<CoordinatorRow> {
    let seats = &snapshot.seats;
    let voters = seats.voters.iter().map(|seat| (seat, "voter"));
    let learners = seats.learners.iter().map(|seat| (seat, "learner"));
    let mut items: Vec<_> = voters
        .chain(learners)
        .map(|(seat, role)| row(snapshot, seat, role))
        .collect();
    items.sort_by_key(|row| row.seat);
    Listed {
        as_of: snapshot.as_of(),
        items,
    }
}

fn row(snapshot: &Snapshot<'_>, seat: &Seat, role: &str) -> CoordinatorRow {
    let leads = role == "voter" && snapshot.leader == Some(seat.machine);
    let role = match role {
        _ if snapshot.world.has_no_log(seat.machine) => "failed",
        _ if leads => "leader",
        role => role,
    };
    let last_index = snapshot.seats.last_index;
    CoordinatorRow {
        seat: seat.number,
        name: snapshot.name_of(seat.machine),
        machine_id: seat.machine,
        role: role.to_owned(),
        term: snapshot.term,
        log_index: seat.log_index,
        lag: last_index
            .zip(seat.log_index)
            .map(|(last, has)| last.saturating_sub(has)),
    }
}
