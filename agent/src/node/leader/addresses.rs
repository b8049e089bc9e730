//! Recording where machines are now: one that was restarted on another address is known by it from then on, also
//! while it does not answer.

use std::net::SocketAddr;

use muster_mesh::identity::MachineId;

use crate::fleet::{Command, FleetState, MemberStatus};
use crate::node::propose::propose;
use crate::node::shared::Shared;
use crate::node::world::World;

/// Addresses recorded in one look; the rest have their turn in the next one.
const RECORDED_MAX: usize = 16;

/// Records the addresses that have changed.
pub(super) async fn record(shared: &Shared) {
    let world = shared.mesh.look();
    let moved = shared.replica.read(|state, _| moved(state, &world));
    for (machine, addr) in moved {
        let command = Command::RecordAddress { machine, addr };
        if let Err(error) = propose(shared, None, command).await {
            tracing::debug!(%machine, %addr, %error, "a new address was not recorded yet");
            return;
        }
    }
}

/// Machines of the roster that take part at another address than the state has. Only those that answer: what is
/// remembered of a dead one is older than its record.
fn moved(state: &FleetState, world: &World) -> Vec<(MachineId, SocketAddr)> {
    let answering = world
        .members
        .iter()
        .filter(|(_, seen)| seen.status == MemberStatus::Alive);
    answering
        .filter(|(machine, seen)| {
            state
                .machines
                .get(machine)
                .is_some_and(|known| known.belongs() && known.addr != Some(seen.addr))
        })
        .map(|(machine, seen)| (*machine, seen.addr))
        .take(RECORDED_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use muster_mesh::identity::{Generation, Peer};

    use super::*;
    use crate::fleet::testing::{Fleet, addr, cattle};

    #[test]
    fn a_machine_has_moved_when_it_answers_elsewhere_and_not_before() {
        let fleet = Fleet::with(&[cattle("web", 2)]);
        let (one, two) = (fleet.id("web-1"), fleet.id("web-2"));
        let at = |machine: MachineId| fleet.state.machines[&machine].addr.expect("it joined");
        let me = Peer {
            machine: one,
            addr: at(one),
        };
        let mut world = World::alone(me, Generation(1), 0);
        let mut seen = world.members[&one].clone();
        seen.addr = at(two);
        world.members.insert(two, seen.clone());
        assert_eq!(moved(&fleet.state, &world), []);
        seen.addr = addr(200);
        seen.status = MemberStatus::Down;
        world.members.insert(two, seen.clone());
        assert_eq!(moved(&fleet.state, &world), [], "what the dead say is old");
        seen.status = MemberStatus::Alive;
        world.members.insert(two, seen);
        assert_eq!(moved(&fleet.state, &world), [(two, addr(200))]);
    }
}
