//! Five machines of which three coordinated; two are left unless a test says otherwise.

use super::*;
use crate::node::authority::Ballot;
use crate::node::refounding::ballots::{RosterMark, Stand};

const MARK: RosterMark = RosterMark([0; 16]);
const NOW_MS: u64 = 1_700_000_000_000;

fn machine(number: u64) -> MachineId {
    MachineId::new(number).expect("above zero")
}

fn machines<const N: usize>(numbers: [u64; N]) -> BTreeSet<MachineId> {
    numbers.map(machine).into()
}

fn stand(index: u64, has_key: bool) -> Stand {
    Stand {
        generation: LogGeneration::FIRST,
        at: Some(At {
            term: 1,
            leader: Seat(1),
            index,
        }),
        promised: None,
        orphaned: true,
        roster: MARK,
        has_key,
        recovered: None,
        given_up: false,
    }
}

struct Scene {
    me: MachineId,
    orphaned: bool,
    voters: BTreeMap<Seat, MachineId>,
    rosters: Rosters,
    members: BTreeSet<MachineId>,
    stands: Stands,
    seen: BTreeMap<MachineId, Seen>,
    announced: Option<u64>,
}

impl Scene {
    /// Machines 1 to 3 coordinated; 3, 4 and 5 have been gone for an hour, one after the other.
    fn new() -> Self {
        let gone = |number: u64| Seen {
            status: MemberStatus::Down,
            since_ms: NOW_MS - number * 3_600_000,
            log_failed: false,
        };
        Self {
            me: machine(3),
            orphaned: true,
            voters: (1..=3)
                .map(|number| (Seat(number), machine(number)))
                .collect(),
            rosters: Rosters::from([(MARK, (1..=5).map(machine).collect())]),
            members: BTreeSet::new(),
            stands: Stands::from([
                (machine(3), stand(100, true)),
                (machine(4), stand(99, false)),
            ]),
            seen: [1, 2, 5]
                .map(|number| (machine(number), gone(number)))
                .into(),
            announced: None,
        }
    }

    fn assess(&self) -> Assessment {
        assess(&Sight {
            me: self.me,
            ours: LogGeneration::FIRST,
            orphaned: self.orphaned,
            voters: &self.voters,
            rosters: &self.rosters,
            members: &self.members,
            stands: &self.stands,
            seen: &self.seen,
            announced: self.announced,
            now_ms: NOW_MS,
        })
    }

    fn stand(&mut self, number: u64) -> &mut Stand {
        self.stands.get_mut(&machine(number)).expect("it answers")
    }
}

#[test]
fn a_survivor_with_the_key_may_and_is_told_what_may_be_lost() {
    let mut scene = Scene::new();
    let found = scene.assess();
    assert_eq!(found.obstacle, None);
    assert_eq!(found.doubts, []);
    assert_eq!(
        (found.present, found.absent),
        (machines([3, 4]), machines([1, 2, 5]))
    );
    let after = |announced| Loss::After {
        index: 100,
        announced,
    };
    assert_eq!(found.loss, after(None));
    scene.announced = Some(104);
    assert_eq!(scene.assess().loss, after(Some(104)));
    scene.announced = Some(100);
    assert_eq!(scene.assess().loss, after(None), "all of it is there");
}

#[test]
fn nothing_is_lost_while_no_majority_of_coordinators_is() {
    let mut scene = Scene::new();
    scene.voters = (3..=4)
        .map(|number| (Seat(number), machine(number)))
        .collect();
    assert_eq!(scene.assess().loss, Loss::Nothing);
    for number in 3..=4 {
        let broken = Seen {
            status: MemberStatus::Alive,
            since_ms: NOW_MS,
            log_failed: true,
        };
        scene.seen.insert(machine(number), broken);
    }
    assert!(matches!(scene.assess().loss, Loss::After { .. }));
}

#[test]
fn the_newest_copy_counts_wherever_it_is() {
    let mut scene = Scene::new();
    *scene.stand(4) = stand(120, false);
    let found = scene.assess();
    assert_eq!(
        found.newest.map(|(machine, at)| (machine, at.index)),
        Some((machine(4), 120))
    );
    assert!(matches!(found.loss, Loss::After { index: 120, .. }));
}

#[test]
fn what_makes_it_needless_or_impossible_is_said() {
    let obstacle = |change: &dyn Fn(&mut Scene)| {
        let mut scene = Scene::new();
        change(&mut scene);
        scene.assess().obstacle
    };
    assert_eq!(
        obstacle(&|scene| scene.orphaned = false),
        Some(Obstacle::NotLost)
    );
    let reached = obstacle(&|scene| scene.stand(4).orphaned = false);
    assert_eq!(reached, Some(Obstacle::Reached(machines([4]))));
    let later = obstacle(&|scene| scene.stand(4).generation = LogGeneration(2));
    assert_eq!(later, Some(Obstacle::Outlived(LogGeneration(2))));
    let other = obstacle(&|scene| scene.stand(4).roster = RosterMark([1; 16]));
    assert_eq!(other, Some(Obstacle::UnknownRoster));
    assert_eq!(
        obstacle(&|scene| scene.stand(3).has_key = false),
        Some(Obstacle::NoKey)
    );
    let elsewhere = obstacle(&|scene| scene.me = machine(4));
    assert_eq!(elsewhere, Some(Obstacle::KeyElsewhere(machines([3]))));
    let most = obstacle(&|scene| {
        scene.stands.insert(machine(5), stand(1, false));
    });
    assert_eq!(most, Some(Obstacle::ByItself));
}

#[test]
fn whatever_may_still_run_is_a_doubt() {
    let doubts = |status, ago_ms: [u64; 2]| {
        let mut scene = Scene::new();
        for (number, ago_ms) in [1, 2].into_iter().zip(ago_ms) {
            let seen = Seen {
                status,
                since_ms: NOW_MS - ago_ms,
                log_failed: false,
            };
            scene.seen.insert(machine(number), seen);
        }
        scene.assess().doubts
    };
    let (both, hour) = (machines([1, 2]), 3_600_000);
    let apart = [hour, 2 * hour];
    assert_eq!(doubts(MemberStatus::Down, apart), []);
    assert_eq!(
        doubts(MemberStatus::Alive, apart),
        [Doubt::Mute(both.clone())]
    );
    assert_eq!(
        doubts(MemberStatus::Suspect, apart),
        [Doubt::Suspected(both.clone())]
    );
    assert_eq!(
        doubts(MemberStatus::Down, [hour, 60_000]),
        [Doubt::Recent(machines([2]))]
    );
    assert_eq!(
        doubts(MemberStatus::Down, [hour, hour + 9_000]),
        [Doubt::Together(both)]
    );
    assert_eq!(doubts(MemberStatus::Down, [hour, hour + 11_000]), []);
    let mut scene = Scene::new();
    scene.seen.remove(&machine(5));
    assert_eq!(scene.assess().doubts, [Doubt::Unheard(machines([5]))]);
}

#[test]
fn an_order_is_for_one_assessment() {
    let scene = Scene::new();
    let mark = scene.assess().mark();
    assert_eq!(scene.assess().mark(), mark);
    let mut more = Scene::new();
    more.stands.remove(&machine(4));
    assert_ne!(more.assess().mark(), mark);
}

#[test]
fn a_log_by_order_comes_after_all_that_others_may_found_meanwhile() {
    let mut stands = Scene::new().stands;
    let ours = LogGeneration::FIRST;
    assert_eq!(generation(ours, &stands, 7), LogGeneration(1_000_007));
    assert_eq!(generation(ours, &stands, u64::MAX).0 / BLOCK, 1);
    stands.get_mut(&machine(4)).expect("there").promised = Some(Ballot {
        generation: 1_000_007,
        term: 0,
        leader: machine(4),
    });
    assert_eq!(generation(ours, &stands, 7), LogGeneration(2_000_007));
}

#[test]
fn a_machine_that_came_back_and_was_not_counted_again_may_recover() {
    let mut scene = Scene::new();
    // Machine 1 founded a log without the others, and was lost before it counted machine 3.
    scene.voters = BTreeMap::from([(Seat(4), machine(1))]);
    scene.rosters = Rosters::from([(MARK, machines([1]))]);
    scene.members = machines([1, 3]);
    scene.stands.remove(&machine(4));
    let found = scene.assess();
    assert_eq!(found.obstacle, None);
    assert_eq!(
        (found.present, found.absent),
        (machines([3]), machines([1]))
    );
}

#[test]
fn only_a_log_of_another_order_may_act_without_most_of_the_roster() {
    let ours = LogGeneration(3);
    assert!(!is_ordered_after(ours, LogGeneration(4)));
    assert!(is_ordered_after(ours, LogGeneration(1_000_007)));
    let ordered = LogGeneration(1_000_007);
    assert!(!is_ordered_after(ordered, LogGeneration(1_000_008)));
    assert!(!is_ordered_after(ordered, ours));
}
