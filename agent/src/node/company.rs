//! Whom to look for: the roster as this machine last knew it, and the seeds of its configuration.
//!
//! Also keeps the connections to the coordinators open, which everything that has to be quick goes through.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_mesh::clock::unix_ms;
use muster_mesh::identity::{MachineId, Peer};

use super::joining::{Resolved, resolve};
use super::mesh::Input;
use super::shared::Shared;
use super::world::World;
use crate::fleet::FleetState;

/// How long a seed has to say which machine it is.
const IDENTIFY_DEADLINE: Duration = Duration::from_secs(5);

/// How often the dead are looked through.
const FORGET_PERIOD: Duration = Duration::from_secs(20);

/// For so long a death is news, in milliseconds: whoever forgot it sooner would hear of it again.
const NEWS_MS: u64 = 60_000;

/// The pause between rounds of asking the seeds while this machine knows nobody, doubled up to [`ASK_PAUSE_MAX`].
const ASK_PAUSE_MIN: Duration = Duration::from_millis(500);
/// See [`ASK_PAUSE_MIN`].
const ASK_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Looks for company until the agent stops. `told` are the machines that this one was told about when it joined.
pub(super) async fn run(shared: Arc<Shared>, told: Vec<Peer>) {
    let mut applied = shared.replica.watch();
    let mut roster = Vec::new();
    let mut warm = BTreeSet::new();
    if !told.is_empty() {
        shared.mesh.tell(Input::Join(told)).await;
    }
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = shared.leave.cancelled() => {}
        () = ask_seeds(&shared) => {}
        () = forget_the_gone(&shared) => {}
        () = async {
            loop {
                follow_roster(&shared, &mut roster).await;
                keep_warm(&shared, &mut warm);
                if applied.changed().await.is_err() {
                    return;
                }
            }
        } => {}
    }
}

/// Tells the membership about the machines of the roster when these have changed.
async fn follow_roster(shared: &Shared, known: &mut Vec<Peer>) {
    let roster: Vec<Peer> = shared.replica.read(|state, _| {
        let present = state.machines.values().filter(|machine| machine.belongs());
        present
            .filter_map(|machine| {
                Some(Peer {
                    machine: machine.id,
                    addr: machine.addr?,
                })
            })
            .collect()
    });
    if roster.is_empty() || roster == *known {
        return;
    }
    shared.mesh.tell(Input::Expect(roster.len())).await;
    shared.mesh.tell(Input::Join(roster.clone())).await;
    *known = roster;
}

/// Has the mesh forget the dead that are not of the roster any more, so that both tell of the same machines.
async fn forget_the_gone(shared: &Shared) {
    loop {
        shared.transport.doze(FORGET_PERIOD).await;
        let world = shared.mesh.look();
        let now_ms = unix_ms();
        let gone = shared.replica.read(|state, _| gone(state, &world, now_ms));
        for machine in gone {
            shared.mesh.tell(Input::Forget(machine)).await;
        }
    }
}

/// The dead that the roster does not have, once the news of their death is old.
fn gone(state: &FleetState, world: &World, now_ms: u64) -> Vec<MachineId> {
    // Without a state nothing is known of the roster.
    if state.cluster.is_none() {
        return Vec::new();
    }
    let old = |since_ms: u64| now_ms.saturating_sub(since_ms) >= NEWS_MS;
    let dead = world.members.iter().filter(|(machine, seen)| {
        !world.is_active(**machine) && old(seen.since_ms) && !state.machines.contains_key(machine)
    });
    dead.map(|(machine, _)| *machine).collect()
}

fn keep_warm(shared: &Shared, known: &mut BTreeSet<MachineId>) {
    let seats = shared.replica.seats();
    let coordinators: BTreeSet<MachineId> = seats
        .iter()
        .map(|(_, node)| node.machine)
        .filter(|machine| *machine != shared.me)
        .collect();
    // Only coordinators talk to each other all the time; others keep what they need by using it.
    let sits = seats.of(shared.me).is_some();
    let wanted = if sits { coordinators } else { BTreeSet::new() };
    if wanted != *known {
        shared
            .transport
            .keep_warm(wanted.iter().filter_map(|machine| shared.peer(*machine)));
        *known = wanted;
    }
}

/// Asks the configured seeds who they are for as long as this machine knows nobody; then ends waiting for ever.
async fn ask_seeds(shared: &Shared) {
    let mut world = shared.mesh.world();
    let mut pause = ASK_PAUSE_MIN;
    loop {
        let alone = world.borrow_and_update().active().count() <= 1;
        if alone && !shared.config.machine.seeds.is_empty() {
            let mut found = Vec::new();
            let Resolved { addrs, nameless } = resolve(&shared.config.machine.seeds).await;
            for why in nameless {
                tracing::warn!("a seed is not to be found: {why}");
            }
            for addr in addrs {
                match shared.transport.identify(addr, IDENTIFY_DEADLINE).await {
                    Ok(peer) => found.push(peer),
                    Err(error) => tracing::debug!(%addr, %error, "a seed did not say who it is"),
                }
            }
            if !found.is_empty() {
                shared.mesh.tell(Input::Join(found)).await;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause), if alone => pause = (pause * 2).min(ASK_PAUSE_MAX),
            changed = world.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_mesh::identity::Generation;

    use super::*;
    use crate::fleet::MemberStatus;
    use crate::fleet::testing::{Fleet, cattle};

    #[test]
    fn the_dead_are_forgotten_when_the_roster_has_them_no_more_and_the_news_is_old() {
        let fleet = Fleet::with(&[cattle("web", 1)]);
        let (known, stranger) = (fleet.id("web-1"), MachineId::new(77).expect("above zero"));
        let me = Peer {
            machine: fleet.leader,
            addr: "127.0.0.1:1".parse().expect("an address"),
        };
        let mut world = World::alone(me, Generation(1), 0);
        let mut seen = world.members[&me.machine].clone();
        world.members.insert(stranger, seen.clone());
        assert_eq!(gone(&fleet.state, &world, NEWS_MS), [], "it is alive");
        seen.status = MemberStatus::Left;
        world.members.insert(stranger, seen.clone());
        seen.status = MemberStatus::Down;
        world.members.insert(known, seen);
        assert_eq!(gone(&fleet.state, &world, NEWS_MS - 1), [], "it is news");
        assert_eq!(gone(&fleet.state, &world, NEWS_MS), [stranger]);
        assert_eq!(gone(&FleetState::default(), &world, NEWS_MS), []);
    }
}
