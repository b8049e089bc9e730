//! What is kept as evidence, over which path it came, and what it is worth.

use muster_mesh::identity::MachineId;

use crate::fleet::testing::{cattle, pets};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::DETECTION_MS;

/// What three witnesses got from a machine's port and in a handshake.
fn testify(world: &mut World, id: MachineId, port: Answer, handshake: Answer) {
    world.witnesses(id, port);
    let reports = &mut world.seen.get_mut(&id).unwrap().witnesses;
    let shaken: Vec<_> = reports
        .iter()
        .map(|report| WitnessEvidence {
            path: Path::Handshake,
            answer: handshake,
            ..report.clone()
        })
        .collect();
    reports.extend(shaken);
}

fn diagnosis(port: Answer, handshake: Answer) -> Diagnosis {
    let mut world = World::new(&[cattle("web", 5)]);
    let id = world.silence("web-1");
    testify(&mut world, id, port, handshake);
    let finding = &world.look().findings[&id];
    let paths = finding
        .evidence
        .iter()
        .filter_map(|evidence| match evidence {
            Evidence::Witness(witness) => Some(witness.path),
            _ => None,
        });
    let shaken = paths.filter(|path| *path == Path::Handshake).count();
    assert_eq!(shaken, 3, "each path is kept");
    finding.diagnosis
}

#[test]
fn an_answer_on_any_path_counts_and_a_strangers_does_not() {
    use Answer::{Answered, Refused, Silent, Stranger};
    let table = [
        (Answered, Answered, Diagnosis::Slow),
        (Answered, Silent, Diagnosis::Slow),
        (Silent, Answered, Diagnosis::Slow),
        (Refused, Answered, Diagnosis::Slow),
        (Refused, Refused, Diagnosis::AgentDown),
        (Refused, Silent, Diagnosis::AgentDown),
        (Silent, Silent, Diagnosis::Unreachable),
        // Another machine has the address: its port's answer is not the suspect's.
        (Answered, Stranger, Diagnosis::Unreachable),
    ];
    for (port, handshake, expected) in table {
        assert_eq!(
            diagnosis(port, handshake),
            expected,
            "{port} and {handshake}"
        );
    }
}

#[test]
fn one_witness_counts_once_however_many_paths_it_tried() {
    let mut world = World::new(&[cattle("web", 5)]);
    let id = world.silence("web-1");
    let by = world.id("web-2");
    world.seen.get_mut(&id).unwrap().witnesses.clear();
    world.witness(id, by, Answer::Silent);
    let mut shaken = world.seen[&id].witnesses[0].clone();
    shaken.path = Path::Handshake;
    world.seen.get_mut(&id).unwrap().witnesses.push(shaken);
    let finding = &world.look().findings[&id];
    assert_eq!(finding.diagnosis, Diagnosis::Suspected);
    assert!(
        finding.summary.contains("1 of 2 witnesses"),
        "{}",
        finding.summary
    );
}

#[test]
fn a_machine_that_comes_and_goes_carries_its_history() {
    let mut world = World::new(&[cattle("web", 4)]);
    let id = world.silence("web-1");
    let lately = |world: &World| {
        let evidence = world.look().findings[&id].evidence.clone();
        evidence.into_iter().find_map(|evidence| match evidence {
            Evidence::History(history) => Some(history),
            _ => None,
        })
    };
    world.seen.get_mut(&id).unwrap().silences = 1;
    assert_eq!(lately(&world), None, "it was well until now");
    world.settle();
    world.revive(id);
    world.settle();
    world.pass(DETECTION_MS);
    world.silence("web-1");
    world.seen.get_mut(&id).unwrap().silences = 2;
    let history = lately(&world).expect("it has one now");
    assert_eq!((history.silences, history.recoveries), (2, 1));
    world.pass(limits::HOUR_MS);
    world.seen.get_mut(&id).unwrap().silences = 1;
    assert_eq!(lately(&world), None, "an hour later it is forgotten");
}

/// The machines' agents say that they are of these versions.
fn run(world: &mut World, names: &[&str], version: &str) {
    for name in names {
        let id = world.id(name);
        let record = RecordEvidence {
            health: Health::Ok,
            reasons: Vec::new(),
            workload: None,
            part: None,
            leaving: None,
            version: Some(version.to_owned().into()),
            as_of_ms: world.now_ms(),
        };
        world.seen.get_mut(&id).unwrap().record = Some(record);
    }
}

/// Three groups of four, of which the first machine of each fails, so many milliseconds apart.
fn fail_in_three_groups(apart_ms: u64, version: &str) -> (World, Vec<MachineId>) {
    let mut world = World::new(&[cattle("a", 4), cattle("b", 4), pets("c", &["c-1", "c-2"])]);
    let all = ["a-2", "a-3", "a-4", "b-2", "b-3", "b-4", "c-2"];
    run(&mut world, &all, "1.0");
    run(&mut world, &["a-1", "b-1", "c-1"], version);
    let mut failed = Vec::new();
    for name in ["a-1", "b-1", "c-1"] {
        failed.push(world.kill(name));
        world.pass(apart_ms);
    }
    world.pass(DETECTION_MS);
    (world, failed)
}

#[test]
fn machines_of_different_groups_that_fail_at_one_moment_are_one_event() {
    let (mut world, failed) = fail_in_three_groups(1_000, "1.0");
    world.settle();
    let acting = failed.iter().filter(|id| world.replacing(**id)).count();
    assert_eq!(acting, 1, "the canary");
    let held = failed.iter().find(|id| !world.replacing(**id)).unwrap();
    world.assert_held(
        *held,
        Rule::Correlation,
        "3 that failed together share the moment",
    );
    world.heal();
    assert_eq!(world.running("a").len() + world.running("b").len(), 8);

    let (mut world, failed) = fail_in_three_groups(30_000, "1.0");
    world.settle();
    let alone = failed.iter().all(|id| world.replacing(*id));
    assert!(
        alone,
        "half a minute apart, and of the version that all run"
    );
}

#[test]
fn machines_of_a_version_that_few_run_are_one_event_also_after_one_was_replaced() {
    let (mut world, failed) = fail_in_three_groups(30_000, "2.0-rc");
    world.settle();
    let held: Vec<_> = failed.iter().filter(|id| !world.replacing(**id)).collect();
    assert_eq!(held.len(), 2, "all but the canary");
    world.assert_held(
        *held[0],
        Rule::Correlation,
        "3 that failed together share agent version 2.0-rc",
    );
    let intent = world.fleet.state.open_intents().next().unwrap();
    let origin = intent.origin.clone().unwrap();
    assert_eq!(
        origin.version.as_deref(),
        Some("2.0-rc"),
        "kept with the order"
    );
    world.heal();
    assert_eq!(world.running("a").len() + world.running("b").len(), 8);
}
