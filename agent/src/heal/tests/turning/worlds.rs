//! Worlds in which something is decided about one machine.

use muster_mesh::identity::MachineId;

use super::super::ensembles;
use super::super::hand::demand;
use super::super::mutation;
use crate::fleet::limits::{HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::fleet::testing::{cattle, group, name, pets};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::{MOMENT_MS, MOVING_MS};

type Make = fn() -> (World, Subject);

/// All of them, with their names.
pub(super) const ALL: [(&str, Make); 50] = [
    ("a machine is gone", gone),
    ("a pet is gone", pet_gone),
    ("a pet is silent", pet_silent),
    ("a leased pet is silent", leased_silent),
    ("a workload failed", ailing),
    ("a workload failed, and nothing helped", all_in_vain),
    ("a drain by hand", || by_hand(Would::Drain)),
    ("a reboot by hand", || by_hand(Would::Treat(Rung::Reboot))),
    ("a power cycle by hand", || {
        by_hand(Would::Treat(Rung::PowerCycle))
    }),
    ("a restart by hand", || {
        by_hand(Would::Treat(Rung::RestartWorkload))
    }),
    ("a reimage by hand, of what can't be", || {
        by_hand(Would::Treat(Rung::Reimage))
    }),
    ("a replacement by hand", || by_hand(Would::Replace)),
    ("a replacement by hand of what fell silent", unheard),
    ("a machine that left", || left(false)),
    ("a machine that left and answers", || left(true)),
    ("a machine that never joined", never_joined),
    ("somebody gets an answer", mutation::slow),
    ("nobody made it", mutation::nobodys),
    ("a pause", mutation::paused),
    ("a cordon", mutation::cordoned),
    ("mode observe", mutation::observed),
    ("an approval is awaited", awaiting),
    ("an approval was given", approved),
    ("no quorum", mutation::cut_off),
    ("a new leader", mutation::just_elected),
    ("silence", mutation::just_silent),
    ("a crowd's silence", crowd),
    ("an agent is down", agent_down),
    ("a boot", booted),
    ("a change", changed),
    ("an order failed", mutation::failed_before),
    ("a group has failed", suspended),
    ("a disk is suspected", disk),
    ("one is under way", mutation::two_at_once),
    ("some are under way elsewhere", busy_elsewhere),
    ("the hour is spent", spent),
    ("the hour is spent elsewhere", spent_elsewhere),
    ("there is no budget", no_budget),
    ("two failed together", two),
    ("the canary of an event", canary),
    ("the others of an event", mutation::event),
    ("the others of an event whose canary is well", canary_well),
    ("the workload has no quorum", mutation::without_quorum),
    ("an ensemble that can do without none", ensembles::too_few),
    ("one that leads, and another one to go", ensembles::leads),
    ("the flavor is unknown", unknown_flavor),
    ("nothing else is well", mutation::last_good),
    ("a pet that can't be proved off", mutation::unprovable),
    ("a pet that nobody made", nobodys_pet),
    (
        "a pet that was not there when the log was recovered",
        unaccounted,
    ),
];

fn about(world: World, id: MachineId) -> (World, Subject) {
    (world, Subject::Machine(id))
}

/// Pets whose workload needs more than half of them, and can be restarted.
fn voting() -> GroupSpec {
    let mut spec = pets("db", &["db-1", "db-2", "db-3", "db-4", "db-5"]);
    let properties = serde_json::json!({
        "quorum": "majority", "restart": { "command": "svc restart" },
    });
    spec.flavor.properties = serde_json::from_value(properties).expect("properties");
    spec
}

fn gone() -> (World, Subject) {
    mutation::killed(World::new(&[cattle("web", 10)]))
}

fn pet_gone() -> (World, Subject) {
    let mut world = World::new(&[voting(), cattle("web", 3)]);
    let id = world.kill("db-1");
    world.pass(MINUTE_MS);
    about(world, id)
}

fn pet_silent() -> (World, Subject) {
    let mut world = World::new(&[voting(), cattle("web", 3)]);
    let id = world.silence("db-1");
    world.pass(MINUTE_MS);
    about(world, id)
}

fn leased_silent() -> (World, Subject) {
    let (mut world, subject) = mutation::unprovable();
    let terms = LeaseTerms {
        lease_ms: 10_000,
        stop_ms: 3_000,
    };
    world.fleet.ok(Command::BindLease {
        machine: world.id("db-1"),
        terms: Some(terms),
    });
    (world, subject)
}

fn unaccounted() -> (World, Subject) {
    let (mut world, subject) = leased_silent();
    let (id, now_ms) = (world.id("db-1"), world.now_ms());
    let machine = world.fleet.state.machines.get_mut(&id).expect("there");
    machine.unaccounted_ms = Some(now_ms);
    (world, subject)
}

fn ailing() -> (World, Subject) {
    let mut world = World::new(&[voting()]);
    let id = world.ail("db-1");
    world.pass(MINUTE_MS);
    about(world, id)
}

fn all_in_vain() -> (World, Subject) {
    let (mut world, subject) = ailing();
    let (id, at_ms) = (world.id("db-1"), world.now_ms());
    let machine = world.fleet.state.machines.get_mut(&id).expect("there");
    for rung in Rung::ladder(Diagnosis::WorkloadFailed) {
        let helped = false;
        let vain = Treatment {
            rung: *rung,
            at_ms,
            helped,
        };
        machine.treatments.last.push_back(vain);
    }
    (world, subject)
}

fn by_hand(what: Would) -> (World, Subject) {
    let mut world = World::new(&[voting()]);
    let id = world.id("db-2");
    let order = demand(&world, id, what, &[]);
    world.fleet.ok(order);
    about(world, id)
}

fn unheard() -> (World, Subject) {
    let (mut world, subject) = by_hand(Would::Replace);
    let id = world.id("db-2");
    world.see(id, MemberStatus::Suspect);
    (world, subject)
}

fn left(answers: bool) -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 5)]);
    let id = world.leave("web-1");
    let (at_ms, life) = (world.now_ms(), world.seen[&id].member);
    let life = life.map(|member| member.generation);
    let machine = world.fleet.state.machines.get_mut(&id).expect("there");
    machine.phase = Phase::Left { at_ms, life };
    world.pass(MINUTE_MS);
    if answers {
        let seen = world.seen.get_mut(&id).expect("it was seen");
        seen.member.as_mut().expect("it was seen").status = MemberStatus::Alive;
    }
    about(world, id)
}

fn never_joined() -> (World, Subject) {
    let (mut world, subject) = mutation::failed_before();
    world.pass(10 * MINUTE_MS);
    (world, subject)
}

fn awaiting() -> (World, Subject) {
    let mut spec = cattle("web", 3);
    spec.heal.mode = HealMode::Approve;
    mutation::killed(World::new(&[spec]))
}

fn approved() -> (World, Subject) {
    let (mut world, subject) = awaiting();
    world.settle();
    let decision = world.concern(world.id("web-1")).expect("it waits").decision;
    world.fleet.ok(Command::Approve { decision });
    (world, subject)
}

fn crowd() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 40)]);
    let ids = ["web-1", "web-2", "web-3"].map(|name| world.silence(name));
    world.pass(7 * SECOND_MS);
    about(world, ids[0])
}

fn agent_down() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 5)]);
    let id = world.agent_down("web-1");
    world.pass(20 * SECOND_MS);
    about(world, id)
}

fn booted() -> (World, Subject) {
    let mut spec = cattle("web", 5);
    spec.heal.boot_grace_ms = HOUR_MS;
    let mut world = World::new(&[spec]);
    let (id, now_ms) = (world.silence("web-1"), world.now_ms());
    let machine = world.fleet.state.machines.get_mut(&id).expect("there");
    machine.joined_ms = Some(now_ms);
    world.pass(MINUTE_MS);
    about(world, id)
}

fn changed() -> (World, Subject) {
    let mut spec = cattle("web", 5);
    spec.heal.change_grace_ms = HOUR_MS;
    let mut world = World::new(&[spec]);
    let (id, now_ms) = (world.silence("web-1"), world.now_ms());
    let web = world.fleet.state.groups.get_mut(&group("web"));
    web.expect("declared").changed_ms = now_ms;
    world.pass(MINUTE_MS);
    about(world, id)
}

fn suspended() -> (World, Subject) {
    let (mut world, subject) = gone();
    let now_ms = world.now_ms();
    let web = world.fleet.state.groups.get_mut(&group("web"));
    let failures = &mut web.expect("declared").failures;
    failures.extend([now_ms; limits::FAILED_ORDERS_MAX]);
    (world, subject)
}

fn disk() -> (World, Subject) {
    let (mut world, subject) = pet_gone();
    let now_ms = world.now_ms();
    let db = world.fleet.state.groups.get_mut(&group("db"));
    let replaced = &mut db.expect("declared").replaced;
    let times = replaced.entry(name("db-1")).or_default();
    times.extend([now_ms; limits::PET_REPLACED_MAX]);
    (world, subject)
}

const ELSEWHERE: [&str; 4] = ["a", "b", "c", "d"];

/// As many as the whole fleet may heal at once are being healed, in other groups.
fn busy_elsewhere() -> (World, Subject) {
    let mut world = World::new(&ELSEWHERE.map(|id| cattle(id, 5)));
    for id in &ELSEWHERE[1..] {
        heal_one(&mut world, &format!("{id}-1"));
    }
    let id = world.kill("a-1");
    world.pass(MOVING_MS);
    about(world, id)
}

fn heal_one(world: &mut World, name: &str) {
    let id = world.kill(name);
    world.fleet.act(world.fleet.replace(id, Diagnosis::Gone));
}

/// The whole fleet has spent its hour, and this group nothing of its own.
fn spent_elsewhere() -> (World, Subject) {
    let names: Vec<_> = (1..=16).map(|number| format!("g{number}")).collect();
    let sizes = std::iter::once(5).chain(std::iter::repeat(2));
    let specs: Vec<_> = names
        .iter()
        .zip(sizes)
        .map(|(id, size)| cattle(id, size))
        .collect();
    let mut world = World::new(&specs);
    for id in &names[1..] {
        for number in 1..=2 {
            heal_one(&mut world, &format!("{id}-{number}"));
            // Not of one moment.
            world.pass(MOMENT_MS + 1);
            let now_ms = world.now_ms();
            let intents = world.fleet.state.intents.values_mut();
            intents.for_each(|intent| intent.state = IntentState::Done { at_ms: now_ms });
        }
    }
    let id = world.kill("g1-1");
    world.pass(MOVING_MS);
    about(world, id)
}

fn spent() -> (World, Subject) {
    let (mut world, subject) = gone();
    let now_ms = world.now_ms();
    let web = world.fleet.state.groups.get_mut(&group("web"));
    web.expect("declared").bucket = Bucket::full(0, now_ms);
    (world, subject)
}

fn no_budget() -> (World, Subject) {
    let (mut world, subject) = spent();
    let web = world.fleet.state.groups.get_mut(&group("web"));
    web.expect("declared").spec.heal.budget.per_hour = Some(0);
    (world, subject)
}

fn two() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 60)]);
    let ids = ["web-1", "web-2"].map(|name| world.kill(name));
    world.pass(MOVING_MS);
    about(world, ids[0])
}

fn canary() -> (World, Subject) {
    let mut world = World::new(&[cattle("web", 60)]);
    let ids = ["web-1", "web-2", "web-3"].map(|name| world.kill(name));
    world.pass(MOVING_MS);
    about(world, ids[0])
}

fn canary_well() -> (World, Subject) {
    let (mut world, subject) = mutation::event();
    for _ in 0..3 {
        world.carry_out();
    }
    world.pass(MINUTE_MS);
    (world, subject)
}

fn nobodys_pet() -> (World, Subject) {
    let (mut world, subject) = mutation::unprovable();
    let id = world.id("db-1");
    let machine = world.fleet.state.machines.get_mut(&id).expect("there");
    (machine.instance, machine.order) = (None, None);
    (world, subject)
}

fn unknown_flavor() -> (World, Subject) {
    let (mut world, subject) = by_hand(Would::Drain);
    let db = world.fleet.state.groups.get_mut(&group("db"));
    let templates = db.expect("declared").templates.values_mut();
    templates.for_each(|template| template.flavor.name = "nonesuch".into());
    (world, subject)
}
