//! Whether most coordinators are lost, and whose turn it is to do something about it.

use std::sync::PoisonError;
use std::time::Duration;

use muster_mesh::consensus::{Seat, Seats};
use muster_mesh::identity::MachineId;

use crate::fleet::{Leaving, MemberStatus};
use crate::node::shared::Shared;
use crate::node::world::World;

/// A coordinator that this machine has not heard of since its own start counts as lost only so long after it: after a
/// power cut the others may take longer to boot.
const UNHEARD: Duration = Duration::from_secs(120);

/// Whether most coordinators are lost, as far as this machine can tell.
///
/// Who they are says its copy of the log, and where it coordinates its own log, too: a change of the seats counts for votes
/// as soon as it is stored, and who told of it may be lost before it said that it is committed.
pub(super) fn orphaned(shared: &Shared) -> bool {
    let world = shared.mesh.look();
    let heard_all = shared.refounding.started.elapsed() >= UNHEARD;
    // Whoever announces a reboot says until when by its own clock, which is about right.
    let now_ms = shared.clock.right_ms();
    let is_lost = |machine: MachineId| match world.members.get(&machine) {
        None => heard_all,
        Some(seen) => {
            let away = seen.said.as_ref().and_then(|said| said.leaving);
            let expected =
                matches!(away, Some(Leaving::Rebooting { until_ms }) if now_ms < until_ms);
            let gone = matches!(seen.status, MemberStatus::Down | MemberStatus::Left) && !expected;
            // Without its log it can neither lead nor vote, however well it answers.
            gone || world.has_no_log(machine)
        }
    };
    let committed = shared.replica.seats();
    let stored = stored_seats(shared);
    let stored = stored.filter(|stored| stored.index > committed.index);
    [Some(committed), stored]
        .iter()
        .flatten()
        .any(|seats| are_mostly_lost(seats, is_lost))
}

/// The seats as the log of the coordinator here has them, or had them when it was given up: those of the log that this
/// machine's copy is of.
fn stored_seats(shared: &Shared) -> Option<Seats> {
    let mut known = shared
        .refounding
        .stored_seats
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(coordinator) = shared.council.coordinator() {
        let seats = coordinator.status().borrow().seats.clone();
        *known = Some((coordinator.generation(), seats));
    }
    let ours = shared.replica.generation();
    let of_ours = known.as_ref().filter(|(generation, _)| *generation == ours);
    of_ours.map(|(_, seats)| seats.clone())
}

/// Whether so many voters are lost that the rest are no majority, of these seats or of those that they are to become.
fn are_mostly_lost(seats: &Seats, is_lost: impl Fn(MachineId) -> bool) -> bool {
    let lost = |voters: &[Seat]| {
        let holders = voters.iter().filter_map(|seat| seats.get(*seat));
        let lost = holders.filter(|node| is_lost(node.machine)).count();
        !voters.is_empty() && (voters.len() - lost) * 2 <= voters.len()
    };
    let now: Vec<Seat> = seats.voters.keys().copied().collect();
    lost(&now) || seats.changing.as_ref().is_some_and(|next| lost(next))
}

/// How many are to try before this machine: the coordinators that are left try in the order of their IDs, and whoever has
/// been one after them.
pub(super) fn turn(me: MachineId, voters: impl Iterator<Item = MachineId>, world: &World) -> u32 {
    let left: Vec<MachineId> = voters
        .filter(|voter| world.is_active(*voter) && !world.has_no_log(*voter))
        .collect();
    let sits = left.contains(&me);
    let before = left.iter().filter(|voter| !sits || **voter < me).count();
    u32::try_from(before).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_mesh::consensus::SeatNode;
    use muster_mesh::identity::{Generation, Peer};

    use super::*;
    use crate::node::world::Seen;

    fn seats(voters: &[u64], changing: Option<&[u64]>) -> Seats {
        let all = voters.iter().chain(changing.into_iter().flatten());
        let node = |number: &u64| SeatNode {
            machine: MachineId::new(*number).expect("not zero"),
            addr: ([127, 0, 0, 1], 7000).into(),
        };
        Seats {
            voters: all.map(|number| (Seat(*number), node(number))).collect(),
            learners: BTreeMap::new(),
            changing: changing.map(|next| next.iter().copied().map(Seat).collect()),
            index: Some(7),
        }
    }

    #[test]
    fn most_are_lost_where_those_that_are_left_can_decide_nothing() {
        let lost = |seats: Seats, lost: &[u64]| {
            are_mostly_lost(&seats, |machine| lost.contains(&machine.get()))
        };
        assert!(!lost(seats(&[], None), &[1]));
        assert!(!lost(seats(&[1, 2, 3], None), &[3, 4, 5]));
        assert!(lost(seats(&[1, 2, 3], None), &[2, 3]));
        // Three became five just before three of those were lost: two of the old three are left, and can't decide.
        assert!(lost(seats(&[1, 2, 3, 4, 5], None), &[3, 4, 5]));
        let halfway = seats(&[1, 2, 3], Some(&[1, 4, 5]));
        assert!(lost(halfway.clone(), &[4, 5]), "of those to come");
        assert!(!lost(halfway, &[5]));
    }

    #[test]
    fn coordinators_that_are_left_try_one_after_the_other() {
        let id = |number| MachineId::new(number).expect("not zero");
        let peer = |number| Peer {
            machine: id(number),
            addr: ([127, 0, 0, 1], 7000).into(),
        };
        let mut world = World::alone(peer(3), Generation(1), 5);
        let seen = world.members[&id(3)].clone();
        world.members.insert(id(2), seen.clone());
        let down = Seen {
            status: MemberStatus::Down,
            ..seen
        };
        world.members.insert(id(1), down);
        let turn = |me| turn(id(me), [1, 2, 3].map(id).into_iter(), &world);
        assert_eq!([2, 3, 4].map(turn), [0, 1, 2]);
    }
}
