//! Whether the fleet can act, as far as one machine can tell. Pure.

use std::time::Duration;

use muster_mesh::consensus::Seats;
use muster_mesh::identity::MachineId;

use super::world::World;
use crate::answers::QuorumView;
use crate::fleet::{FleetState, span};

/// A leader that said nothing for so long can't be counted on. Its word spreads with the probes, a few seconds behind.
const LEADER_SILENCE_MAX_MS: u64 = 20_000;

/// What one machine knows of who can act.
pub(crate) struct Sight<'a> {
    /// Its copy of the fleet's state.
    pub state: &'a FleetState,
    /// Who has a seat.
    pub seats: &'a Seats,
    /// What it sees of the mesh.
    pub world: &'a World,
    /// Who leads, unless that is known to be down or to have no log.
    pub leader: Option<MachineId>,
    /// How long ago the leader was last sure that it leads, in milliseconds; `None` where that was never heard.
    pub silent_ms: Option<u64>,
    /// Where this machine leads: how long nothing that it proposes has been committed, if something should have been.
    pub stuck: Option<Duration>,
    /// Why the log is not founded anew, while most coordinators are lost.
    pub hold: Option<String>,
}

/// Says whether the fleet can act, and why or why not.
pub(crate) fn judge(sight: &Sight<'_>) -> QuorumView {
    match obstacle(sight) {
        Some(obstacle) => QuorumView {
            ok: false,
            // Who has no copy of the state yet does not know who coordinates.
            lacking: !sight.seats.voters.is_empty() && able(sight) < needed(sight),
            detail: format!("{obstacle}{}", without_log(sight)),
        },
        None => {
            let (present, roster) = present(sight);
            QuorumView {
                ok: true,
                lacking: false,
                detail: format!(
                    "{} and {present} of {roster} machines answer{}",
                    coordinators(sight),
                    without_log(sight)
                ),
            }
        }
    }
}

/// Whether whoever led last can be leading still: enough coordinators answer, and it was not silent for long. Of one that
/// was never heard nobody can say.
pub(super) fn may_lead(quorum: &QuorumView, silent_ms: Option<u64>) -> bool {
    !quorum.lacking && silent_ms.is_none_or(|silent_ms| silent_ms <= LEADER_SILENCE_MAX_MS)
}

/// What keeps the fleet from acting.
fn obstacle(sight: &Sight<'_>) -> Option<String> {
    let (needed, able) = (needed(sight), able(sight));
    if able < needed {
        let verb = if able == 1 { "answers" } else { "answer" };
        let hold = sight.hold.as_ref();
        let hold = hold.map(|why| format!("; the log is not founded anew: {why}"));
        return Some(format!(
            "{} {verb}; {needed} are needed{}",
            coordinators(sight),
            hold.unwrap_or_default()
        ));
    }
    let (present, roster) = present(sight);
    let half = roster / 2 + 1;
    if present < half {
        return Some(format!(
            "{present} of {roster} machines answer; more than half ({half}) must stand behind the leader"
        ));
    }
    let answer = format!("{} answer", coordinators(sight));
    let Some(leader) = sight.leader else {
        return Some(format!("{answer}, and none of them leads yet"));
    };
    let leader = name(sight, leader);
    if let Some(stuck) = sight.stuck {
        return Some(format!(
            "{answer}, and nothing that {leader} proposes has been committed for {}",
            span(u64::try_from(stuck.as_millis()).unwrap_or(u64::MAX))
        ));
    }
    match sight.silent_ms {
        Some(silent_ms) if silent_ms <= LEADER_SILENCE_MAX_MS => None,
        Some(silent_ms) => Some(format!(
            "{answer}, and {leader} was last sure {} ago that it leads",
            span(silent_ms)
        )),
        None => Some(format!(
            "{answer}, and {leader} has not been heard to lead yet"
        )),
    }
}

/// How many coordinators are needed to commit anything.
fn needed(sight: &Sight<'_>) -> usize {
    sight.seats.voters.len() / 2 + 1
}

/// How many coordinators answer and have a log that works.
fn able(sight: &Sight<'_>) -> usize {
    let world = sight.world;
    let voters = sight.seats.voters.values().map(|node| node.machine);
    voters
        .filter(|machine| world.is_active(*machine) && !world.has_no_log(*machine))
        .count()
}

fn coordinators(sight: &Sight<'_>) -> String {
    let voters = sight.seats.voters.len();
    format!("{} of {voters} coordinators", able(sight))
}

/// How many machines of the roster that count answer, and how many there are.
fn present(sight: &Sight<'_>) -> (usize, usize) {
    let electors: Vec<_> = sight.state.electors().collect();
    let present = electors
        .iter()
        .filter(|machine| sight.world.is_active(machine.id));
    (present.count(), electors.len())
}

/// Which coordinators answer and count for nothing, to be added to a sentence; empty where there are none.
fn without_log(sight: &Sight<'_>) -> String {
    let voters = sight.seats.voters.values().map(|node| node.machine);
    let failed = voters.filter(|machine| sight.world.has_no_log(*machine));
    match &*failed
        .map(|machine| name(sight, machine))
        .collect::<Vec<_>>()
    {
        [] => String::new(),
        [one] => format!("; {one} can't read or write its log: its agent's output says why"),
        several => format!(
            "; {} can't read or write their logs: their agents' output says why",
            several.join(" and ")
        ),
    }
}

fn name(sight: &Sight<'_>, machine: MachineId) -> String {
    let known = sight.state.machines.get(&machine);
    known.map_or_else(|| machine.to_string(), |machine| machine.name.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;
    use std::sync::Arc;

    use muster_mesh::consensus::{Seat, SeatNode};
    use muster_mesh::identity::{Generation, Peer};

    use super::*;
    use crate::fleet::MemberStatus;
    use crate::fleet::testing::{Fleet, cattle};
    use crate::health::{Level, Readings};
    use crate::node::world::Said;

    const ADDR: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7000);

    /// A fleet of a founder and two others that coordinate, all well.
    struct Scene {
        fleet: Fleet,
        seats: Seats,
        world: World,
    }

    impl Scene {
        fn new() -> Self {
            let fleet = Fleet::with(&[cattle("web", 2)]);
            let machines = [fleet.leader, fleet.id("web-1"), fleet.id("web-2")];
            let me = Peer {
                machine: fleet.leader,
                addr: ADDR,
            };
            let mut world = World::alone(me, Generation(1), 0);
            let seen = world.members[&me.machine].clone();
            let mut seats = Seats::default();
            for (machine, seat) in machines.into_iter().zip(1..) {
                world.members.insert(machine, seen.clone());
                let node = SeatNode {
                    machine,
                    addr: ADDR,
                };
                seats.voters.insert(Seat(seat), node);
            }
            Self {
                fleet,
                seats,
                world,
            }
        }

        /// Has a machine say that it can't use its log.
        fn fail(&mut self, name: &str) {
            let said = Said {
                health: Level::Ok,
                readings: Readings::default(),
                reasons: Vec::new(),
                part: None,
                workload_unsteady: false,
                workload: None,
                leaving: None,
                version: "1".into(),
                name: name.into(),
                api: None,
                pid: None,
                coordinates: false,
                log_failed: true,
                labels: BTreeMap::new(),
                received_ms: 0,
            };
            let seen = self.world.members.get_mut(&self.fleet.id(name));
            seen.expect("the mesh knows it").said = Some(Arc::new(said));
        }

        fn judge(&self, change: impl FnOnce(&mut Sight<'_>)) -> (bool, String) {
            let mut sight = Sight {
                state: &self.fleet.state,
                seats: &self.seats,
                world: &self.world,
                leader: Some(self.fleet.leader),
                silent_ms: Some(1_000),
                stuck: None,
                hold: None,
            };
            change(&mut sight);
            let QuorumView {
                ok,
                lacking,
                detail,
            } = judge(&sight);
            assert!(!(ok && lacking) && lacking == detail.contains("; 2 are needed"));
            (ok, detail)
        }
    }

    #[test]
    fn coordinators_whose_logs_fail_count_for_nothing_and_are_named() {
        let mut scene = Scene::new();
        let well = "3 of 3 coordinators and 3 of 3 machines answer";
        assert_eq!(scene.judge(|_| {}), (true, well.to_owned()));
        scene.fail("web-1");
        let one = "2 of 3 coordinators and 3 of 3 machines answer; \
                   web-1 can't read or write its log: its agent's output says why";
        assert_eq!(scene.judge(|_| {}), (true, one.to_owned()));
        scene.fail("web-2");
        let (ok, two) = scene.judge(|sight| sight.hold = Some("of the tide".into()));
        assert!(!ok);
        assert_eq!(
            two,
            "1 of 3 coordinators answers; 2 are needed; the log is not founded anew: of the tide; \
             web-1 and web-2 can't read or write their logs: their agents' output says why"
        );
        let dead = scene.fleet.id("web-2");
        let seen = scene.world.members.get_mut(&dead).expect("known");
        seen.status = MemberStatus::Down;
        let (_, down) = scene.judge(|_| {});
        assert!(down.ends_with("web-1 can't read or write its log: its agent's output says why"));
    }

    #[test]
    fn a_leader_is_not_promised_to_decide_when_it_commits_nothing() {
        let scene = Scene::new();
        let leader = scene.fleet.state.machines[&scene.fleet.leader].name.clone();
        let (ok, detail) = scene.judge(|sight| sight.stuck = Some(Duration::from_secs(7)));
        assert!(!ok);
        assert_eq!(
            detail,
            format!(
                "3 of 3 coordinators answer, and nothing that {leader} proposes has been committed for 7 s"
            )
        );
        let (ok, detail) = scene.judge(|sight| sight.silent_ms = Some(36_000));
        assert!(!ok);
        assert!(
            detail.ends_with(&format!("{leader} was last sure 36 s ago that it leads")),
            "{detail}"
        );
        assert!(!scene.judge(|sight| sight.silent_ms = None).0);
        let view = |lacking| QuorumView {
            ok: false,
            lacking,
            detail: String::new(),
        };
        assert!(may_lead(&view(false), Some(20_000)) && may_lead(&view(false), None));
        assert!(
            !may_lead(&view(false), Some(20_001)),
            "it was silent for long"
        );
        assert!(
            !may_lead(&view(true), Some(0)),
            "too few coordinators answer"
        );
        let (ok, detail) = scene.judge(|sight| sight.leader = None);
        assert!(!ok);
        assert!(detail.ends_with("none of them leads yet"), "{detail}");
    }
}
