use muster_mesh::identity::MachineId;

use crate::fleet::limits::{APPROVAL_MS, MINUTE_MS, SECOND_MS};
use crate::fleet::testing::{cattle, group};
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::DETECTION_MS;

/// A group that asks before anything is done, and has one machine in hand at a time.
fn asking(size: u32) -> GroupSpec {
    let mut spec = cattle("web", size);
    let properties = serde_json::json!({ "restart": { "command": "svc restart" } });
    spec.flavor.properties = serde_json::from_value(properties).unwrap();
    spec.heal.mode = HealMode::Approve;
    spec
}

/// What waits for approval about a machine, with the decision that says so.
fn waits(world: &World, id: MachineId) -> Option<(DecisionId, Would)> {
    let concern = world.concern(id)?;
    match concern.outcome {
        Outcome::AwaitApproval { would } => Some((concern.decision, would)),
        _ => None,
    }
}

fn approve(world: &mut World, id: MachineId) -> DecisionId {
    let (decision, _) = waits(world, id).expect("it waits");
    world.fleet.ok(Command::Approve { decision });
    decision
}

/// Two workloads fail, a person approves that both are restarted, and the budget lets one go.
fn restart_approved_and_held_by_budget() -> (World, MachineId, MachineId, DecisionId) {
    let mut world = World::new(&[asking(8)]);
    let ids = ["web-1", "web-2"].map(|name| world.ail(name));
    world.pass(30 * SECOND_MS);
    world.settle();
    let restart = Would::Treat(Rung::RestartWorkload);
    assert!(
        ids.iter()
            .all(|id| waits(&world, *id).map(|waits| waits.1) == Some(restart))
    );
    let decisions = ids.map(|id| approve(&mut world, id));
    world.settle();
    let (at, held) = (0..2)
        .map(|at| (at, ids[at]))
        .find(|(_, id)| world.fleet.state.machines[id].intent.is_none())
        .expect("one at once");
    world.assert_held(held, Rule::Budget, "1 of 1 at once");
    (world, ids[1 - at], held, decisions[at])
}

#[test]
fn approval_lets_all_other_rules_decide() {
    let mut spec = cattle("web", 3);
    spec.heal.mode = HealMode::Approve;
    let mut world = World::new(&[spec]);
    let id = world.kill("web-1");
    world.settle();
    let concern = world.concern(id).expect("on record").clone();
    assert_eq!(
        concern.outcome,
        Outcome::AwaitApproval {
            would: Would::Replace
        }
    );
    world.fleet.ok(Command::Approve {
        decision: concern.decision,
    });
    world.begin_anew();
    world.settle();
    assert!(
        !world.replacing(id),
        "a new leader settles, approved or not"
    );
    world.pass(DETECTION_MS);
    world.settle();
    assert!(world.replacing(id));
}

#[test]
fn an_approved_restart_is_done_once_its_budget_allows_it() {
    let (mut world, first, held, _) = restart_approved_and_held_by_budget();
    world.carry_out();
    world.revive(first);
    world.settle();
    let intent = world.fleet.intent_of(held);
    let restarts = matches!(
        intent.action,
        Action::Treat {
            rung: Rung::RestartWorkload,
            ..
        }
    );
    assert!(restarts, "{:?}", intent.action);
}

#[test]
fn what_was_approved_is_not_done_to_a_machine_that_something_else_is_the_matter_with() {
    type Worsen = fn(&mut World, &str) -> MachineId;
    let worsens: [Worsen; 3] = [World::kill, World::silence, World::agent_down];
    for worsen in worsens {
        let (mut world, first, held, decision) = restart_approved_and_held_by_budget();
        let name = world.fleet.state.machines[&held].name.to_string();
        worsen(&mut world, &name);
        world.pass(MINUTE_MS);
        world.carry_out();
        world.revive(first);
        world.settle();
        let (asked, would) = waits(&world, held).expect("a person is asked anew");
        assert_ne!(
            (asked, would),
            (decision, Would::Treat(Rung::RestartWorkload))
        );
        let decided = world.fleet.state.decision(asked).expect("on record");
        let checks = &decided.proposal.checks;
        let mode = checks.iter().find(|check| check.rule == Rule::Mode);
        let margin = mode.expect("asked").margin.to_string();
        assert!(
            margin.contains("was to restart its workload as workload failed, not to"),
            "{margin}"
        );
        let why = format!("the approval of decision {decision} was to restart");
        let mut events = world.fleet.state.events.iter();
        let said = |event: &Event| {
            event.kind == EventKind::AwaitingApproval && event.detail.contains(&why)
        };
        assert!(events.any(said));
        let refusal = world.fleet.refused(Command::Approve { decision });
        let refusal = refusal.to_string();
        assert!(
            refusal.contains(&format!("decision {asked} asks whether to")),
            "{refusal}"
        );
        approve(&mut world, held);
        world.settle();
        assert!(world.fleet.state.machines[&held].intent.is_some());
    }
}

#[test]
fn an_approval_runs_out_and_does_not_outlive_the_failure() {
    let (mut world, _, held, _) = restart_approved_and_held_by_budget();
    world.pass(APPROVAL_MS);
    assert!(world.fleet.state.approval(held, world.now_ms()).is_none());

    let (mut world, first, held, _) = restart_approved_and_held_by_budget();
    let name = world.fleet.state.machines[&held].name.to_string();
    world.revive(held);
    world.settle();
    world.ail(&name);
    world.pass(30 * SECOND_MS);
    world.carry_out();
    world.revive(first);
    world.settle();
    assert!(waits(&world, held).is_some(), "that is another failure");
}

#[test]
fn the_state_machine_asks_what_was_approved_too() {
    let (mut world, first, held, decision) = restart_approved_and_held_by_budget();
    world.carry_out();
    world.revive(first);
    for command in world.look().facts {
        world.fleet.ok(command);
    }
    let replace = world.fleet.replace(held, Diagnosis::Gone);
    let refusal = world
        .fleet
        .refused(Command::Decide(vec![replace]))
        .to_string();
    let why = format!("the approval of decision {decision} was to restart its workload");
    assert!(refusal.contains(&why), "{refusal}");
    assert_eq!(world.fleet.state.group_intents(&group("web")).count(), 0);
}

#[test]
fn a_number_stays_good_while_the_same_is_found_and_would_be_done() {
    let mut world = World::new(&[asking(8)]);
    let id = world.kill("web-1");
    world.settle();
    let (first, would) = waits(&world, id).expect("it waits");
    // A new leader settles first, and then the same is asked anew.
    world.begin_anew();
    world.settle();
    world.assert_held(id, Rule::Settled, "begun to watch");
    assert_eq!(world.fleet.state.awaits_approval(id), Some(first));
    world.pass(DETECTION_MS);
    world.settle();
    let (second, again) = waits(&world, id).expect("it waits again");
    assert_ne!(first, second);
    assert_eq!(would, again);
    assert_eq!(world.fleet.state.awaits_approval(id), Some(second));
    world.fleet.ok(Command::Approve { decision: first });
    // A second word changes nothing, and is no event.
    let events = world.fleet.state.events.len();
    world.fleet.ok(Command::Approve { decision: second });
    assert_eq!(world.fleet.state.events.len(), events);
    world.settle();
    assert!(world.replacing(id));
}

#[test]
fn a_number_of_an_earlier_failure_is_not_good_for_the_next() {
    let mut world = World::new(&[asking(8)]);
    let id = world.kill("web-1");
    world.settle();
    let (decision, _) = waits(&world, id).expect("it waits");
    world.revive(id);
    world.settle();
    world.kill("web-1");
    world.begin_anew();
    world.settle();
    world.assert_held(id, Rule::Settled, "begun to watch");
    assert_eq!(world.fleet.state.awaits_approval(id), None);
    let refusal = world.fleet.refused(Command::Approve { decision });
    assert!(
        refusal.to_string().contains("things have changed"),
        "{refusal}"
    );
}

#[test]
fn what_asked_nobody_or_is_over_can_not_be_approved() {
    let mut world = World::new(&[asking(8)]);
    let id = world.kill("web-1");
    world.settle();
    let (decision, _) = waits(&world, id).expect("it waits");
    world.revive(id);
    world.settle();
    assert_eq!(world.fleet.state.awaits_approval(id), None);
    let refusal = world.fleet.refused(Command::Approve { decision });
    assert!(
        refusal.to_string().contains("nothing stands on record"),
        "{refusal}"
    );
    let cleared = world.fleet.state.decisions.back().unwrap().id;
    let refusal = world.fleet.refused(Command::Approve { decision: cleared });
    assert!(refusal.to_string().contains("it asked nobody"), "{refusal}");
}
