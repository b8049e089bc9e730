//! No snapshot, however odd, makes an answer panic.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use muster_mesh::identity::{Generation, MachineId};
use proptest::prelude::*;

use super::scene::{Scene, said as said_by};
use crate::answers::{
    LocalEvent, QuorumView, Seat, SeatsView, Snapshot, access, coordinators, decisions, events,
    explain, group, health, machine, members, plan, report, status,
};
use crate::api::types::EventsRequest;
use crate::fleet::testing::{Fleet, addr, cattle, instance, pets};
use crate::fleet::{Command, Diagnosis, FleetState, MemberStatus, Rule, StepResult};
use crate::node::world::{Said, Seen, World};

/// Names that may or may not be there.
const NAMES: [&str; 8] = [
    "seed-1", "web-1", "web-2", "web-4", "db-1", "web", "db", "7",
];

/// Something that happens to a fleet. What can't happen to the fleet as it is does nothing.
#[derive(Debug, Clone)]
enum Step {
    Replace(usize, bool),
    Hold(usize, usize),
    Grow(u32),
    Destroy(bool),
    Free(bool),
    Progress(usize, u8),
    Left(usize),
    Forget(usize),
    Pass(u64),
    /// Rows vanish from the state without a reason: no command does that, and still nothing may panic.
    Lose(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..8usize, any::<bool>()).prop_map(|(at, gone)| Step::Replace(at, gone)),
        (0..8usize, 0..Rule::ORDER.len()).prop_map(|(at, rule)| Step::Hold(at, rule)),
        (0..6u32).prop_map(Step::Grow),
        any::<bool>().prop_map(Step::Destroy),
        any::<bool>().prop_map(Step::Free),
        (0..8usize, 0..4u8).prop_map(|(at, how)| Step::Progress(at, how)),
        (0..8usize).prop_map(Step::Left),
        (0..8usize).prop_map(Step::Forget),
        (0..10_000_000u64).prop_map(Step::Pass),
        (0..8u8).prop_map(Step::Lose),
    ]
}

fn happen(scene: &mut Scene, step: Step) {
    let fleet = &mut scene.fleet;
    let group = |pets: bool| crate::fleet::testing::group(if pets { "db" } else { "web" });
    match step {
        Step::Replace(at, gone) => replace(fleet, nth(&fleet.state, at), gone),
        Step::Hold(at, rule) => {
            if let Some(id) = nth(&fleet.state, at) {
                let hold = fleet.hold(id, Diagnosis::Unreachable, Rule::ORDER[rule]);
                fleet.apply(Command::Decide(vec![hold]));
            }
        }
        Step::Grow(size) => {
            fleet.apply(Command::ScaleGroup {
                group: group(false),
                size,
            });
        }
        Step::Destroy(pets) => {
            fleet.apply(Command::DestroyGroup { group: group(pets) });
        }
        Step::Free(pets) => {
            fleet.apply(Command::FreeGroup { group: group(pets) });
        }
        Step::Progress(at, how) => progress(fleet, at, how),
        Step::Left(at) => {
            if let Some(machine) = nth(&fleet.state, at) {
                fleet.apply(Command::MachineLeft {
                    machine,
                    life: Generation(1),
                });
            }
        }
        Step::Forget(at) => {
            if let Some(machine) = nth(&fleet.state, at) {
                fleet.apply(Command::Forget { machine });
            }
        }
        Step::Pass(ms) => fleet.pass(ms),
        Step::Lose(what) => lose(&mut fleet.state, what),
    }
}

fn nth(state: &FleetState, at: usize) -> Option<MachineId> {
    let count = state.machines.len().max(1);
    state.machines.keys().nth(at % count).copied()
}

fn replace(fleet: &mut Fleet, machine: Option<MachineId>, gone: bool) {
    let grouped = |id: &MachineId| {
        let machine = &fleet.state.machines[id];
        let group = machine.group();
        machine.revision.is_some()
            && group.is_some_and(|group| fleet.state.groups.contains_key(group))
    };
    let diagnosis = if gone {
        Diagnosis::Gone
    } else {
        Diagnosis::Unreachable
    };
    if let Some(id) = machine.filter(grouped) {
        fleet.apply(Command::Decide(vec![fleet.replace(id, diagnosis)]));
    }
}

fn progress(fleet: &mut Fleet, at: usize, how: u8) {
    let open: Vec<_> = fleet.state.open_intents().collect();
    let action = open.get(at % open.len().max(1)).map(|intent| intent.action);
    let Some(machine) = action.and_then(|action| action.makes().or(action.removes())) else {
        return;
    };
    let error = || "the provider is on strike".into();
    let result = match how {
        0 => StepResult::Done,
        1 => StepResult::Provisioned(instance("i-1")),
        2 => StepResult::Error {
            error: error(),
            retry_ms: 1_000,
        },
        _ => StepResult::GiveUp { error: error() },
    };
    // The state may have lost the machine, and with it the way to its intent.
    if fleet
        .state
        .machines
        .get(&machine)
        .is_some_and(|machine| machine.intent.is_some())
    {
        fleet.report(machine, result);
    }
}

fn lose(state: &mut FleetState, what: u8) {
    match what {
        0 => state.groups.clear(),
        1 => state.decisions = VecDeque::new(),
        2 => state.intents.clear(),
        3 => state.events = VecDeque::new(),
        4 => drop(state.machines.pop_first()),
        5 => state.cluster = None,
        6 => state.next_event = 0,
        _ => state.concerns.clear(),
    }
}

/// A picture in which some members are of the roster, and some never were.
fn odd_world(state: &FleetState, me: MachineId, others: Vec<(u64, u8, u64, bool)>) -> World {
    let members = others
        .into_iter()
        .filter_map(|(id, status, since_ms, said)| {
            let said = said.then(|| {
                Arc::new(Said {
                    api: None,
                    ..said_by("", since_ms)
                })
            });
            let status = match status {
                0 => MemberStatus::Alive,
                1 => MemberStatus::Suspect,
                2 => MemberStatus::Down,
                _ => MemberStatus::Left,
            };
            let generation = Generation(since_ms);
            let seen = Seen {
                addr: addr(9),
                generation,
                status,
                since_ms,
                how: "",
                said,
            };
            let on_roster = usize::try_from(id)
                .ok()
                .and_then(|nth| state.machines.keys().nth(nth));
            Some((on_roster.copied().or(MachineId::new(id))?, seen))
        });
    World {
        attentive_since: None,
        painted: Default::default(),
        me,
        members: members.collect(),
    }
}

/// Every answer there is, and whether those that must have a shape have it.
fn answer_all(snapshot: &Snapshot<'_>) {
    if let Ok(status) = status(snapshot) {
        assert_eq!(status.machines.len(), snapshot.state.machines.len());
        assert_eq!(status.groups.len(), snapshot.state.groups.len());
        serde_json::to_string(&status).expect("plain data");
        status.complaints();
    }
    let ids: Vec<_> = snapshot
        .state
        .machines
        .keys()
        .map(ToString::to_string)
        .collect();
    for text in NAMES.into_iter().chain(ids.iter().map(String::as_str)) {
        if let Ok(explanation) = explain(snapshot, text) {
            assert!(!explanation.summary.is_empty());
        }
        let _ = machine::machine(snapshot, text);
        let _ = group::group(snapshot, text);
        let _ = decisions::decisions(snapshot, Some(text), None, None);
        let _ = decisions::decisions(snapshot, None, Some(text), Some(1));
        let _ = plan::scale(snapshot, text, 3);
        let _ = report::report(snapshot, snapshot.now_ms / 2);
    }
    let specs = [cattle("web", 9), pets("web", &["a"]), pets("db", &["db-9"])];
    let _ = plan::apply(snapshot, &specs, &BTreeMap::new());
    group::groups(snapshot);
    members::members(snapshot);
    health::health(snapshot);
    coordinators::coordinators(snapshot);
    access::tokens(snapshot);
    access::operators(snapshot);
    let local = LocalEvent {
        number: 1,
        at_ms: snapshot.now_ms,
        kind: "member_up",
        machine: MachineId::new(99),
        detail: String::new(),
    };
    let request = EventsRequest {
        after: Some(3),
        ..EventsRequest::default()
    };
    events::events(snapshot, &[local], &request);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_snapshot_makes_an_answer_panic(
        steps in prop::collection::vec(step(), 0..24),
        others in prop::option::of(prop::collection::vec(
            (0..9u64, 0..4u8, any::<u64>(), any::<bool>()), 0..9)),
        me in 1..99u64,
        now_ms in prop::option::of(any::<u64>()),
        as_of_ms: u64,
        leader in prop::option::of(1..9u64),
        seats in prop::collection::vec((any::<u64>(), 1..9u64, prop::option::of(any::<u64>())), 0..5),
        ok: bool,
    ) {
        let mut scene = Scene::new();
        for step in steps {
            happen(&mut scene, step);
        }
        let world = match others {
            Some(others) => odd_world(&scene.fleet.state, MachineId::new(me).unwrap(), others),
            None => scene.world.clone(),
        };
        let seats: Vec<_> = seats
            .into_iter()
            .map(|(number, machine, log_index)| Seat {
                number,
                machine: MachineId::new(machine).unwrap(),
                log_index,
            })
            .collect();
        answer_all(&Snapshot {
            state: &scene.fleet.state,
            world: &world,
            me: world.me,
            name: "seed-1",
            now_ms: now_ms.unwrap_or(scene.fleet.now_ms),
            as_of_ms,
            leader: leader.and_then(MachineId::new),
            term: as_of_ms,
            seats: SeatsView { learners: seats.clone(), voters: seats, last_index: Some(3) },
            quorum: QuorumView { ok, lacking: !ok, detail: "it is odd".into() },
        });
    }
}
