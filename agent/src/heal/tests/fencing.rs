use crate::fleet::limits::{HOUR_MS, MINUTE_MS};
use crate::fleet::testing::{Fleet, pets};
use crate::fleet::*;
use crate::heal::testing::World;

#[test]
fn an_unaccounted_pet_is_not_fenced_by_its_lease() {
    let terms = LeaseTerms {
        lease_ms: 10_000,
        stop_ms: 3_000,
    };
    let mut spec = pets("db", &["db-1", "db-2", "db-3"]);
    spec.heal.lease = Some(terms);
    let mut world = World::new(&[spec]);
    let id = world.id("db-1");
    let bind = Command::BindLease {
        machine: id,
        terms: Some(terms),
    };
    world.fleet.ok(bind);
    let (founder, present) = (world.fleet.leader, world.alive());
    let proof = Recovered {
        generation: 1_000_000,
        machine: founder,
        signature: vec![1; 70],
    };
    let recovery = Recovery {
        by: "somebody".into(),
        present: present.into_iter().filter(|one| *one != id).collect(),
        proof,
    };
    world.fleet.ok(Command::Refound {
        generation: 1_000_000,
        seat: muster_mesh::consensus::Seat(9),
        machine: founder,
        recovery: Some(Box::new(recovery)),
    });
    world.silence("db-1");
    let why = "its host does not answer".into();
    world.say(id, ProviderWord::CannotSay { why });
    world.pass(MINUTE_MS);
    world.settle();
    world.assert_held(id, Rule::Fence, "when the log was recovered");
    world.fleet.ok(Command::Account { machine: id });
    world.settle();
    assert!(world.replacing(id), "{:?}", world.held(id));
}

#[test]
fn a_pet_that_runs_under_a_lease_needs_no_proof() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2", "db-3"])]);
    let id = world.silence("db-1");
    let terms = LeaseTerms {
        lease_ms: 10_000,
        stop_ms: 3_000,
    };
    world.fleet.ok(Command::BindLease {
        machine: id,
        terms: Some(terms),
    });
    world.pass(HOUR_MS);
    let seen = world.seen.get_mut(&id).unwrap();
    seen.provider.as_mut().unwrap().can_prove_off = false;
    world.settle();
    assert!(world.replacing(id));
    let decisions = world.fleet.decisions_on("db-1");
    let fence = decisions
        .iter()
        .flat_map(|decision| &decision.proposal.checks);
    let mut fence = fence.filter(|check| check.rule == Rule::Fence);
    assert!(
        fence.any(|check| check.margin.contains("13 s after it last got one")),
        "{decisions:#?}"
    );
}

#[test]
fn a_pet_that_cannot_be_proved_off_is_kept() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2", "db-3"])]);
    let id = world.silence("db-1");
    world.pass(HOUR_MS);
    world
        .seen
        .get_mut(&id)
        .unwrap()
        .provider
        .as_mut()
        .unwrap()
        .can_prove_off = false;
    world.settle();
    world.assert_held(id, Rule::Fence, "can't prove a machine off");
    world.say(
        id,
        ProviderWord::CannotSay {
            why: "it timed out".into(),
        },
    );
    world.settle();
    world.assert_held(id, Rule::Fence, "can't prove a machine off");
    world.say(id, ProviderWord::Running);
    world.settle();
    assert!(world.replacing(id));
}

#[test]
fn a_pet_that_nobody_made_is_for_a_person() {
    let mut world = World::of({
        let mut fleet = Fleet::with(&[pets("db", &["db-1", "db-2", "db-3"])]);
        let id = fleet.id("db-1");
        let machine = fleet.state.machines.get_mut(&id).unwrap();
        (machine.instance, machine.order) = (None, None);
        fleet
    });
    let id = world.silence("db-1");
    world.pass(HOUR_MS);
    world.settle();
    world.assert_held(id, Rule::Fence, "muster forget db-1");
}
