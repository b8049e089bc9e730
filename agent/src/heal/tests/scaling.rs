use crate::fleet::testing::{Fleet, cattle, group, pets};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::DETECTION_MS;

fn scale(world: &mut World, size: u32) {
    world.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size,
    });
}

#[test]
fn a_declared_group_is_filled_in_bounded_batches() {
    let mut world = World::of(Fleet::new());
    world.fleet.declare(cattle("web", 25));
    world.fleet.declare(pets("db", &["db-1", "db-2"]));
    world.settle();
    let of = |world: &World, id: &str| world.fleet.state.group_intents(&group(id)).count();
    assert_eq!((of(&world, "web"), of(&world, "db")), (10, 2));
    world.heal();
    assert_eq!(world.running("web").len(), 25);
    assert_eq!(world.running("db"), ["db-1", "db-2"]);
    let names: Vec<_> = (1..=25).map(|n| format!("web-{n}")).collect();
    assert!(names.iter().all(|name| world.running("web").contains(name)));
}

#[test]
fn scaling_in_takes_the_unhealthy_and_then_the_newest() {
    let mut world = World::new(&[cattle("web", 5)]);
    let id = world.id("web-2");
    world.see(id, MemberStatus::Down);
    world.say(id, ProviderWord::Running);
    world.witnesses(id, Answer::Refused);
    scale(&mut world, 3);
    world.settle();
    assert_eq!(world.fleet.phase(id), Some(Phase::Retiring));
    assert_eq!(world.fleet.state.open_intents().count(), 1, "one at once");
    let step = world.fleet.intent_of(id).current().unwrap().step;
    assert_eq!(step, Step::Drain);
    world.heal();
    assert_eq!(world.running("web"), ["web-1", "web-3", "web-4"]);
    assert!(world.fleet.state.concerns.is_empty());
}

#[test]
fn a_surplus_machine_that_fails_is_not_replaced() {
    let mut world = World::new(&[cattle("web", 4)]);
    scale(&mut world, 3);
    let id = world.kill("web-1");
    world.heal();
    assert_eq!(world.fleet.phase(id), None);
    assert_eq!(world.running("web"), ["web-2", "web-3", "web-4"]);
    assert!(world.fleet.state.machine_by_name("web-5").is_none());
}

#[test]
fn scaling_to_zero_and_back() {
    let mut world = World::new(&[cattle("web", 3)]);
    scale(&mut world, 0);
    world.heal();
    assert!(world.running("web").is_empty());
    scale(&mut world, 2);
    world.heal();
    assert_eq!(
        world.running("web"),
        ["web-4", "web-5"],
        "no ordinal is given out twice"
    );
}

#[test]
fn a_member_that_is_no_more_is_taken_away_and_a_new_one_made() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    world.fleet.declare(pets("db", &["db-2", "db-3"]));
    world.heal();
    assert_eq!(world.running("db"), ["db-2", "db-3"]);
}

#[test]
fn pets_are_scaled_in_one_at_a_time_each_drained_and_fenced_before_it_goes() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2", "db-3"])]);
    world.fleet.declare(pets("db", &["db-2"]));
    let mut steps = Vec::new();
    for _ in 0..8 {
        world.settle();
        let open: Vec<_> = world.fleet.state.open_intents().cloned().collect();
        assert!(open.len() <= 1, "one at once");
        let Some(intent) = open.first() else { break };
        steps.push((intent.name.to_string(), intent.current().unwrap().step));
        world.carry_out();
    }
    let of = |name: &str| {
        let plan = [Step::Drain, Step::Fence, Step::Destroy];
        plan.map(|step| (name.to_owned(), step))
    };
    let (first, second) = if steps[0].0 == "db-1" {
        ("db-1", "db-3")
    } else {
        ("db-3", "db-1")
    };
    assert_eq!(steps, [of(first), of(second)].concat());
    assert_eq!(world.running("db"), ["db-2"]);
    assert!(world.fleet.state.concerns.is_empty());
}

#[test]
fn a_pet_that_can_not_be_fenced_stays_when_it_is_no_member_any_more() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    world.fleet.declare(pets("db", &["db-2"]));
    let id = world.id("db-1");
    let why = ProviderWord::CannotSay {
        why: "no credentials".into(),
    };
    world.say(id, why);
    world.settle();
    assert_eq!(world.fleet.state.open_intents().count(), 0);
    let concern = &world.fleet.state.concerns[&Subject::Group(group("db"))];
    let Outcome::Hold { rule, detail, .. } = &concern.outcome else {
        panic!("{concern:?}")
    };
    assert_eq!(*rule, Rule::Fence);
    assert!(detail.contains("no credentials"), "{detail}");
    world.say(id, ProviderWord::Running);
    world.heal();
    assert_eq!(world.running("db"), ["db-2"]);
    assert!(world.fleet.state.concerns.is_empty());
}

#[test]
fn an_exchange_of_members_makes_the_new_one_without_waiting_for_the_old() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    let old = world.id("db-1");
    world.fleet.declare(pets("db", &["db-2", "db-3"]));
    world.settle();
    assert_eq!(world.fleet.phase(old), Some(Phase::Retiring));
    world.carry_out();
    world.settle();
    assert_eq!(world.fleet.phase(world.id("db-3")), Some(Phase::Ordered));
    world.heal();
    assert_eq!(world.running("db"), ["db-2", "db-3"]);
}

#[test]
fn a_member_that_comes_back_gets_a_machine_only_when_its_old_one_is_gone() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"])]);
    let old = world.id("db-1");
    world.fleet.declare(pets("db", &["db-2"]));
    world.settle();
    assert_eq!(world.fleet.phase(old), Some(Phase::Retiring));
    world.fleet.declare(pets("db", &["db-1", "db-2"]));
    for step in [Step::Drain, Step::Fence, Step::Destroy] {
        world.settle();
        assert_eq!(world.fleet.state.open_intents().count(), 1);
        assert_eq!(world.fleet.intent_of(old).current().unwrap().step, step);
        world.carry_out();
    }
    world.heal();
    assert_eq!(world.running("db"), ["db-1", "db-2"]);
    assert_ne!(world.id("db-1"), old);
}

#[test]
fn destroyed_pets_are_drained_and_fenced_and_their_group_goes_last() {
    let mut world = World::new(&[pets("db", &["db-1", "db-2"]), cattle("web", 1)]);
    let dead = world.kill("db-2");
    world.pass(DETECTION_MS);
    world.fleet.ok(Command::DestroyGroup { group: group("db") });
    world.settle();
    for id in [world.id("db-1"), dead] {
        let plan: Vec<_> = world
            .fleet
            .intent_of(id)
            .plan
            .iter()
            .map(|record| record.step)
            .collect();
        assert_eq!(plan, [Step::Drain, Step::Fence, Step::Destroy]);
    }
    assert!(world.fleet.state.groups.contains_key(&group("db")));
    world.heal();
    assert!(!world.fleet.state.groups.contains_key(&group("db")));
    assert_eq!(world.running("web"), ["web-1"]);
    world.fleet.declare(pets("db", &["db-1"]));
    world.heal();
    assert_eq!(world.running("db"), ["db-1"], "the names are free again");
}

#[test]
fn machines_on_their_way_count_and_are_not_doubled() {
    let mut world = World::new(&[cattle("web", 3)]);
    scale(&mut world, 5);
    world.settle();
    assert_eq!(world.fleet.state.open_intents().count(), 2);
    scale(&mut world, 4);
    world.settle();
    assert_eq!(
        world.fleet.state.open_intents().count(),
        2,
        "what is under way is waited for"
    );
    world.heal();
    assert_eq!(world.running("web"), ["web-1", "web-2", "web-3", "web-4"]);
}

#[test]
fn a_paused_group_neither_grows_nor_shrinks_and_says_so() {
    for size in [1, 5] {
        let mut world = World::new(&[cattle("web", 3)]);
        let scope = PauseScope::Fleet;
        world.fleet.ok(Command::Pause {
            name: None,
            scope: scope.clone(),
            reason: "audit".into(),
            until_ms: None,
        });
        scale(&mut world, size);
        world.settle();
        assert_eq!(world.fleet.state.open_intents().count(), 0);
        let concern = &world.fleet.state.concerns[&Subject::Group(group("web"))];
        assert!(matches!(
            concern.outcome,
            Outcome::Hold {
                rule: Rule::Paused,
                ..
            }
        ));
        world.fleet.ok(Command::Resume { scope });
        world.heal();
        assert_eq!(world.running("web").len(), size as usize);
        assert!(world.fleet.state.concerns.is_empty());
    }
}

#[test]
fn a_minority_does_not_scale() {
    let mut world = World::new(&[cattle("web", 4)]);
    for name in ["web-1", "web-2", "web-3"] {
        world.silence(name);
    }
    world.pass(limits::HOUR_MS);
    scale(&mut world, 9);
    world.settle();
    assert_eq!(world.fleet.state.open_intents().count(), 0);
    scale(&mut world, 1);
    world.settle();
    assert_eq!(world.fleet.state.open_intents().count(), 0);
}

#[test]
fn a_destroyed_group_goes_all_at_once() {
    let mut world = World::new(&[cattle("web", 12), cattle("app", 1)]);
    world.fleet.ok(Command::DestroyGroup {
        group: group("web"),
    });
    world.settle();
    assert_eq!(world.fleet.state.open_intents().count(), 12);
    let mut decided = world.fleet.state.decisions.iter();
    let cleared = decided.find(|one| one.proposal.outcome == Outcome::Clear);
    assert_eq!(cleared, None, "none is said to be well again");
    world.heal();
    assert!(!world.fleet.state.groups.contains_key(&group("web")));
    assert_eq!(world.running("app"), ["app-1"]);
}

#[test]
fn machines_are_spread_over_zones_and_replaced_in_theirs() {
    let mut spec = cattle("web", 4);
    spec.placement.zones = ["a", "b"].map(str::to_owned).into();
    let mut world = World::of(Fleet::new());
    world.fleet.declare(spec);
    world.heal();
    let zones = |world: &World| {
        let mut zones: Vec<_> = world
            .fleet
            .state
            .group_machines(&group("web"))
            .map(|machine| (machine.zone.clone().unwrap(), machine.name.to_string()))
            .collect();
        zones.sort();
        zones
    };
    let pair = |zone: &str, name: &str| (zone.to_owned(), name.to_owned());
    let expected = [
        pair("a", "web-1"),
        pair("a", "web-3"),
        pair("b", "web-2"),
        pair("b", "web-4"),
    ];
    assert_eq!(zones(&world), expected);
    world.kill("web-2");
    world.pass(DETECTION_MS);
    world.heal();
    assert!(zones(&world).contains(&pair("b", "web-5")));
}

#[test]
fn names_that_others_have_are_passed_over() {
    let mut fleet = Fleet::new();
    let expires_ms = fleet.now_ms + 1000;
    fleet.ok(Command::CreateToken {
        id: TokenId(5),
        secret: SecretHash([9; 32]),
        note: "by hand".into(),
        group: None,
        expires_ms,
        uses: 1,
    });
    fleet.ok(Command::Admit(Box::new(Admit {
        token: TokenId(5),
        secret: SecretHash([9; 32]),
        key: KeyHash([9; 32]),
        name: Some("web-2".parse().unwrap()),
        addr: testing::addr(9),
        labels: Labels::new(),
    })));
    let mut world = World::of(fleet);
    world.fleet.declare(cattle("web", 3));
    world.heal();
    assert_eq!(world.running("web"), ["web-1", "web-3", "web-4"]);
}

#[test]
fn scaling_in_takes_what_failed_before_what_is_cordoned() {
    let mut world = World::new(&[cattle("web", 4)]);
    let (cordoned, failed) = (world.id("web-2"), world.id("web-3"));
    let reason = "a new disk".into();
    world.fleet.ok(Command::Cordon {
        machine: cordoned,
        reason,
    });
    world.kill("web-3");
    scale(&mut world, 3);
    world.settle();
    assert_eq!(world.fleet.phase(failed), Some(Phase::Retiring));
    assert_eq!(world.fleet.phase(cordoned), Some(Phase::Joined));
}
