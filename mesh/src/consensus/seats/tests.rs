use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const LONG: Duration = Duration::from_secs(3600);

/// A mesh that does what is planned at once.
#[derive(Debug, Clone)]
struct World {
    view: CouncilView,
    /// Machines that answer, whatever the membership says of them.
    answering: BTreeSet<MachineId>,
    next_seat: u64,
}

fn id(number: u64) -> MachineId {
    MachineId::new(number).expect("not zero")
}

fn machine(zone: &str) -> MachineView {
    MachineView {
        zone: (!zone.is_empty()).then(|| zone.to_owned()),
        alive: true,
        healthy_for: LONG,
        leaving: false,
        eligible: true,
        has_taken_seat: false,
    }
}

impl World {
    /// Machines 1 to n in the given zones, seats 1 to `voters` on the first of them, the first of which leads.
    fn of(zones: &[&str], voters: u64) -> Self {
        let machines = (1..).map(id).zip(zones.iter().map(|zone| machine(zone)));
        let machines: BTreeMap<_, _> = machines.collect();
        let mut world = Self {
            answering: machines.keys().copied().collect(),
            view: CouncilView {
                leader: Seat(1),
                machines,
                ..CouncilView::default()
            },
            next_seat: 1,
        };
        for number in 1..=voters {
            let seat = world.seat(id(number));
            world.view.seats.get_mut(&seat).expect("just made").is_voter = true;
        }
        world
    }

    fn seat(&mut self, machine: MachineId) -> Seat {
        let seat = Seat(self.next_seat);
        self.next_seat += 1;
        let answers = self.answering.contains(&machine);
        let view = SeatView {
            machine,
            is_voter: false,
            silent_for: if answers { Duration::ZERO } else { LONG },
            is_caught_up: answers,
        };
        self.view.seats.insert(seat, view);
        seat
    }

    fn kill(&mut self, number: u64) {
        self.answering.remove(&id(number));
        let machine = self.view.machines.get_mut(&id(number)).expect("it exists");
        machine.alive = false;
        machine.healthy_for = Duration::ZERO;
        for seat in self
            .view
            .seats
            .values_mut()
            .filter(|seat| seat.machine == id(number))
        {
            seat.silent_for = LONG;
            seat.is_caught_up = false;
        }
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut MachineView)) {
        change(self.view.machines.get_mut(&id(number)).expect("it exists"));
    }

    fn voters(&self) -> BTreeSet<Seat> {
        let voters = self.view.seats.iter().filter(|(_, seat)| seat.is_voter);
        voters.map(|(seat, _)| *seat).collect()
    }

    fn voting_machines(&self) -> Vec<u64> {
        let voters = self.view.seats.values().filter(|seat| seat.is_voter);
        let mut machines: Vec<_> = voters.map(|seat| seat.machine.get()).collect();
        machines.sort_unstable();
        machines
    }

    fn answers(&self, seat: &Seat) -> bool {
        self.answering.contains(&self.view.seats[seat].machine)
    }

    fn can_decide(&self, voters: &BTreeSet<Seat>) -> bool {
        voters.iter().filter(|seat| self.answers(seat)).count() > voters.len() / 2
    }

    /// Carries out the next step, if there is one.
    fn step(&mut self) -> Option<SeatChange> {
        let Plan { change, .. } = plan(&self.view)?;
        match &change {
            SeatChange::AddLearner(machine) => {
                assert!(
                    self.view.machines[machine].alive,
                    "a dead machine is no candidate"
                );
                let seated = self
                    .view
                    .seats
                    .values()
                    .any(|seat| seat.machine == *machine);
                assert!(!seated, "one machine, one seat");
                self.seat(*machine);
            }
            SeatChange::SetVoters(voters) => {
                assert!(self.can_decide(&self.voters()), "it could not be committed");
                assert!(
                    self.can_decide(voters),
                    "the new voters could decide nothing"
                );
                assert_ne!(*voters, self.voters(), "it changes nothing");
                let before = self.voters();
                self.view
                    .seats
                    .retain(|seat, _| voters.contains(seat) || !before.contains(seat));
                for (seat, view) in &mut self.view.seats {
                    view.is_voter = voters.contains(seat);
                }
                if !voters.contains(&self.view.leader) {
                    let next = voters.iter().find(|seat| self.answers(seat));
                    self.view.leader = *next.expect("most answer");
                }
            }
            SeatChange::RemoveLearner(seat) => {
                let removed = self.view.seats.remove(seat).expect("it exists");
                assert!(
                    !removed.is_voter,
                    "a voter's seat is taken by a change of voters"
                );
            }
        }
        Some(change)
    }

    /// Steps until there is nothing to do.
    fn settle(&mut self) -> Vec<SeatChange> {
        let mut steps = Vec::new();
        while let Some(step) = self.step() {
            steps.push(step);
            assert!(steps.len() < 100, "it does not end: {steps:?}");
        }
        steps
    }
}

#[test]
fn a_mesh_grows_from_one_voter_to_three_at_once() {
    let mut world = World::of(&["", ""], 1);
    assert!(world.settle().is_empty(), "two voters are worse than one");
    let mut world = World::of(&["", "", "", ""], 1);
    let steps = world.settle();
    assert_eq!(
        steps,
        [
            SeatChange::AddLearner(id(2)),
            SeatChange::AddLearner(id(3)),
            SeatChange::SetVoters([Seat(1), Seat(2), Seat(3)].into()),
        ]
    );
}

#[test]
fn the_number_follows_the_size_and_the_zones() {
    for (machines, zones, voters) in [
        (0, 0, 1),
        (1, 1, 1),
        (2, 2, 1),
        (3, 1, 3),
        (50, 3, 3),
        (51, 1, 5),
        (200, 3, 5),
        (201, 2, 5),
        (201, 3, 7),
        (10_000, 1, 5),
        (10_000, 40, 7),
    ] {
        assert_eq!(
            target(machines, zones),
            voters,
            "{machines} machines in {zones} zones"
        );
    }
}

#[test]
fn candidates_must_have_been_well_for_a_while() {
    let mut world = World::of(&[""; 5], 3);
    world.kill(3);
    for number in [4, 5] {
        world.change(number, |machine| {
            machine.healthy_for = HEALTHY_MIN - Duration::from_secs(1)
        });
    }
    assert_eq!(plan(&world.view), None);
    world.change(5, |machine| machine.healthy_for = HEALTHY_MIN);
    let plan = plan(&world.view).expect("a candidate");
    assert_eq!(plan.change, SeatChange::AddLearner(id(5)));
}

#[test]
fn word_of_a_death_starts_a_replacement_and_silence_ends_it() {
    let mut world = World::of(&[""; 4], 3);
    world.change(3, |machine| machine.alive = false);
    assert_eq!(world.step(), Some(SeatChange::AddLearner(id(4))));
    assert_eq!(world.step(), None, "it still answers the leader");
    let voter = world.view.seats.get_mut(&Seat(3)).expect("it exists");
    voter.silent_for = FAILED_AND_DOWN;
    world.answering.remove(&id(3));
    assert_eq!(
        world.step(),
        Some(SeatChange::SetVoters([Seat(1), Seat(2), Seat(4)].into()))
    );
    assert_eq!(world.step(), None);
}

#[test]
fn a_false_word_of_a_death_costs_a_learner_and_no_voter() {
    let mut world = World::of(&[""; 4], 3);
    world.change(3, |machine| machine.alive = false);
    assert_eq!(world.step(), Some(SeatChange::AddLearner(id(4))));
    world.change(3, |machine| machine.alive = true);
    assert_eq!(world.step(), Some(SeatChange::RemoveLearner(Seat(4))));
    assert_eq!(world.voting_machines(), [1, 2, 3]);
}

#[test]
fn a_dead_voter_stays_while_nobody_can_take_its_place() {
    let mut world = World::of(&[""; 3], 3);
    world.kill(2);
    assert!(world.settle().is_empty(), "two of three go on");
    // The healer has put another machine into its place.
    world.view.machines.remove(&id(2));
    world.view.machines.insert(id(4), machine(""));
    world.answering.insert(id(4));
    world.settle();
    assert_eq!(world.voting_machines(), [1, 3, 4]);
}

#[test]
fn nothing_is_planned_without_a_quorum() {
    let mut world = World::of(&[""; 6], 3);
    world.kill(2);
    world.kill(3);
    while let Some(step) = world.step() {
        assert!(
            !matches!(step, SeatChange::SetVoters(_)),
            "it could not be committed"
        );
    }
}

#[test]
fn a_leaving_voter_is_replaced_first_and_the_leader_too() {
    let mut world = World::of(&[""; 4], 3);
    world.change(1, |machine| machine.leaving = true);
    let steps = world.settle();
    assert_eq!(steps[0], SeatChange::AddLearner(id(4)));
    assert_eq!(world.voting_machines(), [2, 3, 4]);

    let mut alone = World::of(&["", ""], 1);
    alone.change(1, |machine| machine.leaving = true);
    alone.settle();
    assert_eq!(alone.voting_machines(), [2]);
}

#[test]
fn voters_become_fewer_only_when_the_mesh_is_meant_to_be_smaller() {
    let mut world = World::of(&[""; 60], 5);
    world.view.expected = 60;
    assert!(world.settle().is_empty());
    world.view.expected = 49;
    for number in 6..=16 {
        world.view.machines.remove(&id(number));
    }
    assert!(world.settle().is_empty(), "49 is not much less than 51");
    for number in 17..=30 {
        world.view.machines.remove(&id(number));
    }
    assert!(world.settle().is_empty(), "the others are to come back");
    world.view.expected = 35;
    world.settle();
    assert_eq!(world.voting_machines().len(), 3);
    assert!(world.voting_machines().contains(&1), "the leader stays");
}

#[test]
fn an_operator_may_want_another_number_as_far_as_there_are_machines() {
    let seats = |machines: usize, wanted: usize| {
        let mut world = World::of(&vec![""; machines], 1);
        world.view.wanted = Some(wanted);
        world.settle();
        world.voting_machines().len()
    };
    assert_eq!(seats(10, 5), 5);
    assert_eq!(seats(10, 1), 1);
    assert_eq!(seats(4, 5), 3);
    assert_eq!(seats(60, 3), 3);
    // Machines that failed and are not made up for yet don't count against it.
    let mut world = World::of(&[""; 6], 5);
    world.view.wanted = Some(5);
    world.view.expected = 10;
    assert!(world.settle().is_empty());
}

#[test]
fn a_mesh_at_the_border_of_what_an_operator_wants_does_not_go_back_and_forth() {
    let mut world = World::of(&[""; 5], 5);
    world.view.wanted = Some(5);
    world.change(5, |machine| machine.leaving = true);
    world.settle();
    assert_eq!(
        world.voting_machines().len(),
        5,
        "one of five is about to be made up for"
    );
    world.change(4, |machine| machine.leaving = true);
    world.settle();
    assert_eq!(world.voting_machines().len(), 3);
}

#[test]
fn there_are_enough_where_no_other_machine_could_make_an_odd_number() {
    let attainable = |machines: usize, wanted: Option<usize>, barred: u64| {
        let mut world = World::of(&vec![""; machines], 1);
        world.view.wanted = wanted;
        for number in 2..2 + barred {
            world.change(number, |machine| machine.eligible = false);
        }
        attainable(&world.view)
    };
    assert_eq!(attainable(2, None, 0), 1);
    assert_eq!(attainable(4, None, 0), 3);
    assert_eq!(attainable(10, Some(4), 0), 3);
    assert_eq!(attainable(10, Some(2), 0), 1);
    assert_eq!(attainable(3, None, 1), 1);
}

#[test]
fn who_takes_most_machines_away_leaves_a_council_that_the_rest_can_bear() {
    let mut world = World::of(&[""; 5], 3);
    world.view.expected = 2;
    for number in 1..=3 {
        world.change(number, |machine| machine.leaving = true);
    }
    world.settle();
    assert_eq!(world.voting_machines().len(), 1);
    assert!(world.voting_machines()[0] > 3, "{:?}", world.view.seats);
}

#[test]
fn voters_spread_over_the_zones() {
    let zones = ["a", "a", "a", "a", "b", "b", "c"];
    let mut world = World::of(&zones, 1);
    world.settle();
    let zones_of = |world: &World| -> BTreeSet<String> {
        let zone = |number: u64| {
            world.view.machines[&id(number)]
                .zone
                .clone()
                .unwrap_or_default()
        };
        world.voting_machines().into_iter().map(zone).collect()
    };
    assert_eq!(zones_of(&world).len(), 3);
    // All in one zone, and then others come.
    let mut world = World::of(&zones, 3);
    world.settle();
    assert_eq!(zones_of(&world).len(), 3);
}

#[test]
fn who_has_taken_a_seat_stays_the_candidate() {
    let mut world = World::of(&[""; 6], 3);
    world.kill(2);
    world.change(5, |machine| machine.has_taken_seat = true);
    assert_eq!(world.step(), Some(SeatChange::AddLearner(id(5))));
}

#[test]
fn one_change_at_a_time() {
    let mut world = World::of(&[""; 3], 1);
    world.view.is_changing = true;
    assert_eq!(plan(&world.view), None);
}

fn any_world() -> impl Strategy<Value = World> {
    let machine = (0..4u8, 0..10u8, 0..10u8, 0..10u8, 0..10u8);
    let machines = proptest::collection::vec(machine, 1..70);
    (machines, 1..8u64, 0..4u64).prop_map(|(machines, voters, learners)| {
        let zones: Vec<_> = machines
            .iter()
            .map(|(zone, ..)| ["", "a", "b", "c"][*zone as usize])
            .collect();
        let size = machines.len() as u64;
        let voters = voters.min(size);
        let mut world = World::of(&zones, voters);
        for number in voters + 1..=(voters + learners).min(size) {
            world.seat(id(number));
        }
        for (number, (_, dead, leaving, doubted, ineligible)) in (1..).zip(&machines) {
            // The first machine leads, so it answers.
            if *dead < 3 && number > 1 {
                world.kill(number);
            }
            world.change(number, |machine| {
                machine.leaving = *leaving == 0;
                machine.eligible = *ineligible > 0;
                machine.alive &= *doubted > 0;
            });
        }
        world
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// [`World::step`] checks that no step is planned that cannot be committed or that loses the quorum.
    #[test]
    fn every_mesh_settles_on_the_right_coordinators(mut world in any_world()) {
        let could_decide = world.can_decide(&world.voters());
        world.settle();
        let voters = world.voters();
        prop_assert_eq!(could_decide, world.can_decide(&voters));
        if !could_decide {
            return Ok(());
        }
        prop_assert_eq!(voters.len() % 2, 1, "never even at rest");
        let machines = &world.view.machines;
        let staying = machines.values().filter(|machine| !machine.leaving);
        let zones: BTreeSet<_> = staying.clone().filter_map(|machine| machine.zone.clone()).collect();
        let wanted = target(staying.count(), zones.len());
        let seated = |machine: &MachineId| world.view.seats.values().any(|seat| seat.machine == *machine);
        let able = machines.iter().filter(|(machine, view)| {
            view.alive && !view.leaving && (view.eligible || seated(machine))
        });
        if able.count() >= wanted.max(voters.len()) {
            prop_assert!(voters.len() >= wanted);
            for seat in &voters {
                let view = &machines[&world.view.seats[seat].machine];
                let failed = !world.answers(seat);
                prop_assert!(!failed && !view.leaving, "a bad voter stays: {:?}", world);
            }
        }
        // Whatever the membership says, nobody who answers has lost a vote for it; and it is stable.
        prop_assert_eq!(plan(&world.view), None);
    }

    /// Failures one at a time, each dealt with before the next: the mesh decides as long as machines are left.
    #[test]
    fn a_mesh_survives_one_failure_after_the_other(order in Just((1..=20u64).collect::<Vec<_>>()).prop_shuffle()) {
        let mut world = World::of(&["a", "b", "c", "a", "b", "c", "a", "b", "c", "a", "b", "c", "a", "b", "c", "a", "b", "c", "a", "b"], 1);
        world.settle();
        for dead in order.into_iter().take(17) {
            world.kill(dead);
            let voters = world.voters();
            prop_assert!(world.can_decide(&voters));
            if !world.answers(&world.view.leader) {
                let next = voters.iter().find(|seat| world.answers(seat));
                world.view.leader = *next.expect("most answer");
            }
            world.settle();
            prop_assert_eq!(world.voters().len(), 3);
            prop_assert!(world.voters().iter().all(|seat| world.answers(seat)));
        }
    }
}
