//! Counting machines again that were unaccounted for: once they stand behind the leader of this log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use muster_mesh::identity::MachineId;

use super::authority::ask_one;
use super::leases::Leases;
use crate::fleet::{Command, FleetState};
use crate::node::authority::Ballot;
use crate::node::propose::propose_in;
use crate::node::shared::Shared;
use crate::node::world::World;

/// Machines asked at the same time.
const ASKED_AT_ONCE: usize = 16;

/// How soon those are asked again that are there and do not stand behind this leader yet. While there are any, or none, news
/// of the mesh is looked at no more often.
const AGAIN: Duration = Duration::from_secs(1);

/// Has the state count those that are back, until dropped. Whoever acknowledges a leader of this log helps no leader of an
/// older one any more; that a machine is alive in the mesh does not say that.
pub(super) async fn keep(shared: Arc<Shared>, leases: Arc<Leases>, ballot: Ballot) {
    let mut applied = shared.replica.watch();
    let mut world = shared.mesh.world();
    loop {
        applied.mark_unchanged();
        world.mark_unchanged();
        let picture = shared.mesh.look();
        let (back, awaited) = shared.replica.read(|state, _| {
            let unaccounted = unaccounted(state);
            (back(&unaccounted, &picture), !unaccounted.is_empty())
        });
        let waits = !back.is_empty();
        let asked = stream::iter(back).map(|machine| {
            let stands = ask_one(&shared, ballot, machine);
            count(
                &leases,
                machine,
                stands,
                account(&shared, ballot.term, machine),
            )
        });
        asked
            .buffer_unordered(ASKED_AT_ONCE)
            .for_each(|()| std::future::ready(()))
            .await;
        tokio::time::sleep(AGAIN).await;
        if waits {
            continue;
        }
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            changed = world.changed(), if awaited => if changed.is_err() { return },
        }
    }
}

/// Has the state count one machine, if it stands behind this leader.
async fn count(
    leases: &Leases,
    machine: MachineId,
    stands: impl Future<Output = bool>,
    account: impl Future<Output = ()>,
) {
    if !stands.await {
        return;
    }
    // Until a moment ago a leader of an older log may have granted it a lease. That has to be known before anybody asks
    // how long that lasts, which is once the state counts the machine.
    leases.note_unaccounted(machine);
    account.await;
}

async fn account(shared: &Shared, term: u64, machine: MachineId) {
    let command = Command::Account { machine };
    if let Err(error) = propose_in(shared, Some(term), None, command).await {
        tracing::debug!(%machine, %error, "a machine that is back is not counted yet");
    }
}

/// Machines that nobody can account for.
fn unaccounted(state: &FleetState) -> BTreeSet<MachineId> {
    let all = state.machines.values();
    all.filter(|machine| machine.unaccounted_ms.is_some())
        .map(|machine| machine.id)
        .collect()
}

/// Those of them that take part in the mesh.
fn back(unaccounted: &BTreeSet<MachineId>, world: &World) -> Vec<MachineId> {
    let all = unaccounted.iter().copied();
    all.filter(|machine| world.is_active(*machine)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::LeaseTerms;

    const TERMS: LeaseTerms = LeaseTerms {
        lease_ms: 10_000,
        stop_ms: 3_000,
    };

    #[tokio::test(start_paused = true)]
    async fn when_the_state_counts_a_machine_its_lease_from_an_older_log_is_known() {
        let machine = MachineId::new(7).expect("not zero");
        let (leases, over) = (Leases::new(), Duration::from_millis(TERMS.over_ms()));
        // Another leader may have granted it one all that time.
        tokio::time::advance(over * 2).await;
        let account = async { assert_eq!(leases.left(machine, TERMS), over) };
        count(&leases, machine, async { true }, account).await;
        tokio::time::advance(over).await;
        let never = async { unreachable!("it stands behind another leader") };
        count(&leases, machine, async { false }, never).await;
        assert!(leases.left(machine, TERMS).is_zero());
    }

    #[test]
    fn all_that_are_back_are_asked() {
        use crate::fleet::MemberStatus;
        use muster_mesh::identity::{Generation, Peer};
        let machines: BTreeSet<_> = (1..=40).filter_map(MachineId::new).collect();
        let me = Peer {
            machine: MachineId::new(99).expect("not zero"),
            addr: ([127, 0, 0, 1], 7000).into(),
        };
        let mut world = World::alone(me, Generation(1), 5);
        let mut seen = world.members[&me.machine].clone();
        for machine in &machines {
            seen.status = match machine.get() {
                1..=5 => MemberStatus::Down,
                _ => MemberStatus::Alive,
            };
            world.members.insert(*machine, seen.clone());
        }
        assert_eq!(back(&machines, &world).len(), 35);
    }
}
