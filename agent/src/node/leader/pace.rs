//! When a leader looks again: at news, when something is due by its own word, and otherwise rarely.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use muster_mesh::identity::{Generation, MachineId};

use crate::fleet::{Leaving, MemberStatus};
use crate::health::Level;
use crate::node::world::World;

/// How often a leader looks at most: news that comes together is looked at together.
pub(super) const LOOKS_APART: Duration = Duration::from_millis(100);

/// How often a leader judges although nothing is new while something is the matter: the machines that acknowledge it
/// can become fewer without any other sign.
const JUDGED_MAX: Duration = Duration::from_secs(5);

/// The same while too few stand behind it, and it waits for more.
const JUDGED_MAX_UNBACKED: Duration = Duration::from_secs(1);

/// What of a picture of the mesh a leader acts upon. Figures that change all the time are left out.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Glimpse {
    members: BTreeMap<MachineId, Glimpsed>,
}

#[derive(Debug, PartialEq)]
struct Glimpsed {
    addr: SocketAddr,
    status: MemberStatus,
    generation: Generation,
    leaving: Option<Leaving>,
    health: Option<Level>,
    has_workload: bool,
}

impl Glimpse {
    pub(super) fn of(world: &World) -> Self {
        let members = world.members.iter().map(|(machine, seen)| {
            let said = seen.said.as_ref();
            let glimpsed = Glimpsed {
                addr: seen.addr,
                status: seen.status,
                generation: seen.generation,
                leaving: said.and_then(|said| said.leaving),
                health: said.map(|said| said.health),
                has_workload: said.is_some_and(|said| said.workload.is_some()),
            };
            (*machine, glimpsed)
        });
        Self {
            members: members.collect(),
        }
    }

    /// Takes this picture in; whether anything in it is new.
    pub(super) fn update(&mut self, world: &World) -> bool {
        let now = Self::of(world);
        let news = *self != now;
        *self = now;
        news
    }
}

/// How long after a judgement the next one comes if there is no news before. `next_look_ms` is when the plan wants to be
/// looked at again.
pub(super) fn judged_again(now_ms: u64, next_look_ms: Option<u64>, backed: bool) -> Duration {
    let longest = if backed {
        JUDGED_MAX
    } else {
        JUDGED_MAX_UNBACKED
    };
    let planned = next_look_ms.map_or(longest, |at_ms| {
        Duration::from_millis(at_ms.saturating_sub(now_ms))
    });
    planned.clamp(LOOKS_APART, longest)
}

#[cfg(test)]
mod tests {
    use muster_mesh::identity::Peer;

    use super::*;

    fn world() -> World {
        let machine = MachineId::new(1).expect("not zero");
        let addr = ([127, 0, 0, 1], 7000).into();
        World::alone(Peer { machine, addr }, Generation(1), 5)
    }

    #[test]
    fn what_bears_on_no_decision_is_no_news() {
        let mut glimpse = Glimpse::default();
        let mut world = world();
        assert!(glimpse.update(&world));
        for seen in world.members.values_mut() {
            seen.since_ms += 1;
        }
        world.painted.0 += 1000;
        assert!(!glimpse.update(&world));
        for seen in world.members.values_mut() {
            seen.status = MemberStatus::Suspect;
        }
        assert!(glimpse.update(&world));
        assert!(!glimpse.update(&world));
    }

    #[test]
    fn a_standing_hold_is_judged_when_the_plan_says_and_otherwise_rarely() {
        let wait = |next| judged_again(1_000_000, next, true);
        assert_eq!(wait(None), JUDGED_MAX);
        assert_eq!(wait(Some(1_002_000)), Duration::from_secs(2));
        assert_eq!(wait(Some(9_000_000)), JUDGED_MAX);
        assert_eq!(wait(Some(0)), LOOKS_APART);
        assert_eq!(judged_again(0, None, false), JUDGED_MAX_UNBACKED);
    }
}
