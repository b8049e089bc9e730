//! When a leader looks again: at news, when something is due by its own word, and otherwise rarely.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use muster_flavors::Part;
use muster_mesh::identity::{Generation, MachineId};

use crate::fleet::{Leaving, MemberStatus, Workload};
use crate::heal::timing::WORKLOAD_STANDS_MS;
use crate::health::Level;
use crate::node::world::{Moment, Seen, World};

/// How often a leader looks at most: news that comes together is looked at together.
pub(super) const LOOKS_APART: Duration = Duration::from_millis(100);

/// How often a leader judges although nothing is new while something is the matter: the machines that acknowledge it
/// can become fewer without any other sign.
const JUDGED_MAX: Duration = Duration::from_secs(5);

/// The same while too few stand behind it, and it waits for more.
const JUDGED_MAX_UNBACKED: Duration = Duration::from_secs(1);

/// What of a picture of the mesh a leader acts upon. Figures that change all the time are left out.
#[derive(Debug, Default)]
pub(super) struct Glimpse {
    members: BTreeMap<MachineId, Glimpsed>,
    /// Since when each workload that fails has failed without a break, in milliseconds since 1970 by a clock that nobody
    /// sets.
    failing: BTreeMap<MachineId, u64>,
    working: Working,
}

/// Since when workloads work, as far as this leader has heard.
#[derive(Debug, Default)]
struct Working {
    /// When it began to listen; `None` before, in milliseconds since 1970 by a clock that nobody sets.
    since_ms: Option<u64>,
    /// Machines that said something against their workload last, or nothing at all.
    idle: BTreeSet<MachineId>,
    /// When others, that had been of these, were first heard to work, by the same clock.
    mended: BTreeMap<MachineId, u64>,
}

impl Working {
    fn update(&mut self, world: &World, now_ms: u64) {
        self.since_ms.get_or_insert(now_ms);
        let members = world.members.iter();
        let idle = members.filter(|(_, seen)| !is_at_work(seen));
        let idle: BTreeSet<MachineId> = idle.map(|(machine, _)| *machine).collect();
        let known = |machine: &MachineId| world.members.contains_key(machine);
        self.mended
            .retain(|machine, _| known(machine) && !idle.contains(machine));
        let mended = self.idle.difference(&idle).filter(|machine| known(machine));
        self.mended.extend(mended.map(|machine| (*machine, now_ms)));
        self.idle = idle;
    }

    fn since_ms(&self, machine: MachineId) -> Option<u64> {
        if self.idle.contains(&machine) {
            return None;
        }
        self.mended.get(&machine).copied().or(self.since_ms)
    }
}

fn is_at_work(seen: &Seen) -> bool {
    let said = seen.said.as_ref();
    said.is_some_and(|said| said.workload.is_none() && !said.workload_unsteady)
}

#[derive(Debug, PartialEq)]
struct Glimpsed {
    addr: SocketAddr,
    status: MemberStatus,
    generation: Generation,
    leaving: Option<Leaving>,
    health: Option<Level>,
    has_workload: bool,
    part: Option<Part>,
}

impl Glimpse {
    /// Takes this picture in; whether anything in it is new. All times are told by the clock of `moment`.
    pub(super) fn update(&mut self, world: &World, moment: Moment) -> bool {
        self.failing = failing(world, &self.failing, moment);
        self.working.update(world, moment.now_ms);
        let now = members(world);
        let news = self.members != now;
        self.members = now;
        news
    }

    /// Since when a machine's workload has failed without a break, in milliseconds since 1970; `None` when it does not.
    pub(super) fn failing_since(&self, machine: MachineId) -> Option<u64> {
        self.failing.get(&machine).copied()
    }

    /// Since when a machine has said nothing against its workload, without a break and as far as this leader has heard, in
    /// milliseconds since 1970; `None` where it does.
    pub(super) fn works_since(&self, machine: MachineId) -> Option<u64> {
        self.working.since_ms(machine)
    }

    /// Whether a machine's workload has failed for long enough to be anything to decide about.
    pub(super) fn fails_for_good(&self, machine: MachineId, now_ms: u64) -> bool {
        self.failing_since(machine)
            .is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= WORKLOAD_STANDS_MS)
    }

    /// How long until the next workload has failed for that long; `None` when none fails that has not.
    pub(super) fn fails_for_good_in(&self, now_ms: u64) -> Option<Duration> {
        let ends = self
            .failing
            .values()
            .map(|since_ms| since_ms.saturating_add(WORKLOAD_STANDS_MS));
        let next_ms = ends.filter(|at_ms| *at_ms > now_ms).min()?;
        Some(Duration::from_millis(next_ms - now_ms))
    }
}

/// Every report of a machine is a new one, also when it says again that its workload fails: the first of them counts. One
/// that says that its workload's health keeps changing says that the workload has just worked, or is about to.
fn failing(
    world: &World,
    before: &BTreeMap<MachineId, u64>,
    moment: Moment,
) -> BTreeMap<MachineId, u64> {
    let members = world.members.iter();
    let since = members.filter_map(|(machine, seen)| {
        let said = seen.said.as_ref()?;
        let Some(Workload::Failed { since_ms, .. }) = said.workload.as_ref() else {
            return None;
        };
        if said.workload_unsteady {
            return Some((*machine, moment.now_ms));
        }
        let before = before.get(machine).copied().unwrap_or(moment.now_ms);
        Some((*machine, before.min(moment.of(*since_ms))))
    });
    since.collect()
}

fn members(world: &World) -> BTreeMap<MachineId, Glimpsed> {
    let glimpsed = world.members.iter().map(|(machine, seen)| {
        let said = seen.said.as_ref();
        let glimpsed = Glimpsed {
            addr: seen.addr,
            status: seen.status,
            generation: seen.generation,
            leaving: said.and_then(|said| said.leaving),
            health: said.map(|said| said.health),
            has_workload: said.is_some_and(|said| said.workload.is_some()),
            part: said.and_then(|said| said.part),
        };
        (*machine, glimpsed)
    });
    glimpsed.collect()
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
    use std::sync::Arc;

    use muster_mesh::identity::Peer;

    use super::*;
    use crate::health::Readings;
    use crate::node::world::Said;

    fn world() -> World {
        let machine = MachineId::new(1).expect("not zero");
        let addr = ([127, 0, 0, 1], 7000).into();
        World::alone(Peer { machine, addr }, Generation(1), 5)
    }

    /// So much after 1970, when the wall clock has not been set since the picture was painted.
    fn at(world: &World, now_ms: u64) -> Moment {
        world.moment(now_ms, Duration::from_millis(now_ms - world.painted.0))
    }

    fn said(workload: Option<Workload>) -> Said {
        Said {
            health: Level::Ok,
            readings: Readings::default(),
            reasons: Vec::new(),
            part: None,
            workload_unsteady: false,
            workload,
            leaving: None,
            version: "1".into(),
            name: "web-1".into(),
            api: None,
            pid: None,
            coordinates: false,
            log_failed: false,
            labels: BTreeMap::new(),
            received_ms: 0,
        }
    }

    #[test]
    fn what_bears_on_no_decision_is_no_news() {
        let mut glimpse = Glimpse::default();
        let mut world = world();
        assert!(glimpse.update(&world, at(&world, 5)));
        for seen in world.members.values_mut() {
            seen.since_ms += 1;
        }
        assert!(!glimpse.update(&world, at(&world, 5)));
        for seen in world.members.values_mut() {
            seen.status = MemberStatus::Suspect;
        }
        assert!(glimpse.update(&world, at(&world, 5)));
        assert!(!glimpse.update(&world, at(&world, 5)));
    }

    #[test]
    fn a_workload_fails_for_good_when_it_has_not_worked_for_a_while() {
        let mut glimpse = Glimpse::default();
        let mut world = world();
        let me = world.me;
        let mut look = |glimpse: &mut Glimpse, fails: bool, now_ms: u64| {
            let workload = fails.then(|| Workload::Failed {
                since_ms: now_ms,
                detail: "exit code 1".into(),
            });
            world.members.get_mut(&me).expect("it is there").said = Some(said(workload).into());
            glimpse.update(&world, at(&world, now_ms));
        };
        look(&mut glimpse, true, 1000);
        look(&mut glimpse, true, 9000);
        assert_eq!(glimpse.failing_since(me), Some(1000));
        assert_eq!(
            glimpse.fails_for_good_in(9000),
            Some(Duration::from_secs(2))
        );
        assert!(!glimpse.fails_for_good(me, 10_999));
        assert!(glimpse.fails_for_good(me, 11_000));
        assert_eq!(glimpse.fails_for_good_in(11_000), None);
        look(&mut glimpse, false, 12_000);
        assert_eq!(glimpse.failing_since(me), None);
        assert_eq!(glimpse.works_since(me), Some(12_000));
        look(&mut glimpse, false, 12_500);
        assert_eq!(glimpse.works_since(me), Some(12_000), "and goes on");
        look(&mut glimpse, true, 13_000);
        assert!(!glimpse.fails_for_good(me, 14_000), "it worked in between");
        assert_eq!(glimpse.works_since(me), None);
        let seen = world.members.get_mut(&me).expect("it is there");
        Arc::make_mut(seen.said.as_mut().expect("it said something")).workload_unsteady = true;
        glimpse.update(&world, at(&world, 60_000));
        assert!(!glimpse.fails_for_good(me, 60_000), "it keeps changing");
    }

    #[test]
    fn a_workload_fails_no_longer_because_the_wall_clock_was_set() {
        let mut glimpse = Glimpse::default();
        let mut world = world();
        // The clock has just been set an hour back, and the workload has just failed, by what it shows now.
        let (hour_ms, now) = (3_600_000, Duration::from_secs(9));
        world.painted = (1_000_000, now);
        let workload = Workload::Failed {
            since_ms: 1_000_000,
            detail: "exit code 1".into(),
        };
        let me = world.me;
        world.members.get_mut(&me).expect("it is there").said = Some(said(Some(workload)).into());
        let moment = world.moment(1_000_000 + hour_ms, now);
        glimpse.update(&world, moment);
        assert_eq!(glimpse.failing_since(me), Some(1_000_000 + hour_ms));
        assert!(!glimpse.fails_for_good(me, moment.now_ms));
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
