//! Making the change that is said to turn a rule.

use muster_mesh::identity::MachineId;

use crate::fleet::limits::MINUTE_MS;
use crate::fleet::testing::instance;
use crate::fleet::*;
use crate::heal::testing::World;
use crate::heal::timing::{RETURN_MS, WORKLOAD_STANDS_MS};

/// One of each kind.
pub(super) const KINDS: [Turn; 45] = [
    Turn::AnyAnswer,
    Turn::Unheard,
    Turn::Joining,
    Turn::WorksAgain,
    Turn::NoAnswer,
    Turn::LookedInto,
    Turn::Quiet,
    Turn::InVain(Rung::Reboot),
    Turn::Made,
    Turn::Way(Rung::Reboot),
    Turn::Pause,
    Turn::Cordon,
    Turn::Mode,
    Turn::Approval,
    Turn::Support,
    Turn::Unrest,
    Turn::Rest,
    Turn::Unproved,
    Turn::Sooner,
    Turn::Later(Wait::Silence),
    Turn::Failure,
    Turn::Retry,
    Turn::Disk,
    Turn::Spending,
    Turn::Removals,
    Turn::Ended,
    Turn::EndedElsewhere,
    Turn::Income,
    Turn::IncomeElsewhere,
    Turn::Allowance,
    Turn::Company(1),
    Turn::OtherCanary,
    Turn::CanaryOnTrial,
    Turn::CanaryWell,
    Turn::FewerWell(1),
    Turn::MoreWell(1),
    Turn::Predecessor,
    Turn::Flavor,
    Turn::NoOtherWell,
    Turn::OtherWell,
    Turn::NoProof,
    Turn::NoLease,
    Turn::Proof,
    Turn::ProofOrLease,
    Turn::Forgetting,
];

/// Changes the one thing in the world.
pub(super) fn change(world: &mut World, subject: &Subject, check: &Check) {
    let turn = check.turn.expect("something turns it");
    let id = match subject {
        Subject::Machine(id) => Some(*id),
        Subject::Group(_) => None,
    };
    match turn {
        Turn::Pause | Turn::Support | Turn::Failure | Turn::Retry => of_all(world, subject, check),
        _ => of_machine(
            world,
            id.expect("only machines are asked about that"),
            check,
            turn,
        ),
    }
}

/// What groups are asked about, too.
fn of_all(world: &mut World, subject: &Subject, check: &Check) {
    let passed = !check.holds();
    match check.turn {
        Some(Turn::Pause) if passed => {
            world.fleet.ok(Command::Pause {
                name: None,
                scope: PauseScope::Fleet,
                reason: "moving racks".into(),
                until_ms: None,
            });
        }
        Some(Turn::Pause) => world.fleet.state.pauses.clear(),
        Some(Turn::Support) => world.quorum_confirmed = !passed,
        _ if passed => {
            let now_ms = world.now_ms();
            group_of(world, subject).failures.push_back(now_ms);
        }
        _ => group_of(world, subject).failures.clear(),
    }
}

fn group_of<'w>(world: &'w mut World, subject: &Subject) -> &'w mut Group {
    let id = match subject {
        Subject::Group(id) => id.clone(),
        Subject::Machine(id) => {
            let machine = &world.fleet.state.machines[id];
            machine.group().expect("of a group").clone()
        }
    };
    world.fleet.state.groups.get_mut(&id).expect("it is there")
}

fn of_machine(world: &mut World, id: MachineId, check: &Check, turn: Turn) {
    let passed = !check.holds();
    match turn {
        Turn::AnyAnswer
        | Turn::NoAnswer
        | Turn::LookedInto
        | Turn::Unheard
        | Turn::Quiet
        | Turn::Joining
        | Turn::WorksAgain => seen(world, id, passed, turn),
        Turn::InVain(rung) => {
            let at_ms = world.now_ms();
            let helped = false;
            let vain = Treatment {
                rung,
                at_ms,
                helped,
            };
            machine(world, id).treatments.last.push_back(vain);
        }
        Turn::Made => made(machine(world, id), !passed),
        Turn::Forgetting => {
            made(machine(world, id), true);
            provider(world, id).can_prove_off = true;
        }
        Turn::Way(rung) => way(world, id, rung, !passed),
        Turn::Cordon if passed => {
            world.fleet.ok(Command::Cordon {
                machine: id,
                reason: "memory under test".into(),
            });
        }
        Turn::Cordon => world.fleet.state.cordons.clear(),
        Turn::Mode if passed => of_group(world, id).spec.heal.mode = HealMode::Observe,
        Turn::Mode => of_group(world, id).spec.heal.mode = HealMode::Auto,
        Turn::Approval if passed => world.fleet.state.approvals.clear(),
        Turn::Approval => {
            world.settle();
            let decision = world.concern(id).expect("it waits").decision;
            world.fleet.ok(Command::Approve { decision });
        }
        Turn::NoProof | Turn::NoLease | Turn::Proof | Turn::ProofOrLease => {
            fence(world, id, turn);
        }
        Turn::Unrest | Turn::Rest | Turn::Unproved | Turn::Sooner | Turn::Later(_) | Turn::Disk => {
            time(world, id, check, turn)
        }
        Turn::Spending
        | Turn::Removals
        | Turn::Ended
        | Turn::EndedElsewhere
        | Turn::Income
        | Turn::IncomeElsewhere
        | Turn::Allowance => budget(world, id, turn),
        _ => others(world, id, turn),
    }
}

/// What is seen of the machine itself.
fn seen(world: &mut World, id: MachineId, passed: bool, turn: Turn) {
    match turn {
        Turn::AnyAnswer => hear(world, id, Answer::Answered),
        Turn::NoAnswer => hear(world, id, Answer::Silent),
        Turn::LookedInto => {
            world.see(id, MemberStatus::Down);
            world.say(id, ProviderWord::Running);
            hear(world, id, Answer::Silent);
        }
        Turn::Unheard => world.see(id, MemberStatus::Suspect),
        Turn::Quiet => {
            let seen = world.seen.get_mut(&id).expect("it was seen");
            let member = seen.member.as_mut().expect("it was seen");
            member.status = if passed {
                MemberStatus::Alive
            } else {
                MemberStatus::Left
            };
        }
        Turn::Joining => {
            let now_ms = world.now_ms();
            let machine = machine(world, id);
            (machine.phase, machine.joined_ms) = (Phase::Joined, Some(now_ms));
            world.see(id, MemberStatus::Alive);
        }
        _ => {
            let record = world
                .seen
                .get_mut(&id)
                .and_then(|seen| seen.record.as_mut());
            record.expect("it said so").workload = None;
        }
    }
}

fn machine(world: &mut World, id: MachineId) -> &mut Machine {
    let machine = world.fleet.state.machines.get_mut(&id);
    machine.expect("it is on the roster")
}

fn of_group(world: &mut World, id: MachineId) -> &mut Group {
    group_of(world, &Subject::Machine(id))
}

/// All witnesses get this.
fn hear(world: &mut World, id: MachineId, answer: Answer) {
    let seen = world.seen.get_mut(&id).expect("it was seen");
    seen.witnesses.clear();
    world.witnesses(id, answer);
}

fn made(machine: &mut Machine, made: bool) {
    machine.order = None;
    machine.instance = made.then(|| instance("p-1"));
}

fn provider(world: &mut World, id: MachineId) -> &mut ProviderEvidence {
    let seen = world.seen.get_mut(&id).expect("it was seen");
    seen.provider.as_mut().expect("it was asked")
}

fn way(world: &mut World, id: MachineId, rung: Rung, can: bool) {
    if rung == Rung::RestartWorkload {
        let properties = match can {
            true => serde_json::json!({ "restart": { "command": "svc restart" } }),
            false => serde_json::json!({}),
        };
        for template in of_group(world, id).templates.values_mut() {
            template.flavor.properties = serde_json::from_value(properties.clone()).unwrap();
        }
        return;
    }
    let provider = provider(world, id);
    match rung {
        Rung::Reboot => provider.can_reboot = can,
        Rung::PowerCycle => provider.can_power_cycle = can,
        Rung::Reimage | Rung::RestartWorkload => provider.can_reimage = can,
    }
}

fn fence(world: &mut World, id: MachineId, turn: Turn) {
    let terms = LeaseTerms {
        lease_ms: 10_000,
        stop_ms: 3_000,
    };
    match turn {
        Turn::NoLease => return machine(world, id).lease = None,
        Turn::ProofOrLease => return machine(world, id).lease = Some(terms),
        _ => {}
    }
    world.say(id, ProviderWord::Running);
    provider(world, id).can_prove_off = turn == Turn::Proof;
    if !world.alive().contains(&id) {
        hear(world, id, Answer::Silent);
    }
    machine(world, id).unfenceable = None;
}

// === time ===

fn time(world: &mut World, id: MachineId, check: &Check, turn: Turn) {
    let now_ms = world.now_ms();
    match turn {
        Turn::Unrest => world.begin_anew(),
        Turn::Rest => world.pass(RETURN_MS),
        Turn::Disk => of_group(world, id).replaced.clear(),
        Turn::Later(_) => {
            let until_ms = check.until_ms.expect("it says until when");
            world.pass(until_ms - now_ms);
        }
        Turn::Unproved => {
            world.say(id, ProviderWord::Running);
            hear(world, id, Answer::Silent);
        }
        _ => {
            let seen = world.seen.get_mut(&id).expect("it was seen");
            let workload = seen
                .record
                .as_mut()
                .and_then(|record| record.workload.as_mut());
            match (workload, seen.member.as_mut()) {
                (Some(Workload::Failed { since_ms, .. }), _) => {
                    *since_ms = now_ms - WORKLOAD_STANDS_MS;
                }
                (_, Some(member)) => member.since_ms = now_ms,
                (_, None) => panic!("it was seen"),
            }
        }
    }
}

// === budgets ===

fn budget(world: &mut World, id: MachineId, turn: Turn) {
    let now_ms = world.now_ms();
    match turn {
        Turn::Spending | Turn::Removals => {
            let group = of_group(world, id).spec.id.clone();
            let other = free_others(world, id)[0];
            open(world, other);
            let under_way = world.fleet.state.removals(&group);
            let at_once = &mut of_group(world, id).spec.heal.budget.at_once;
            *at_once = Some(u32::try_from(under_way).expect("a few"));
        }
        Turn::Ended => of_group(world, id).spec.heal.budget.at_once = Some(50),
        Turn::EndedElsewhere => {
            let intents = world.fleet.state.intents.values_mut();
            intents.for_each(|intent| intent.state = IntentState::Done { at_ms: now_ms });
        }
        Turn::IncomeElsewhere => world.fleet.state.pools = Pools::default(),
        _ => {
            let group = of_group(world, id);
            group.spec.heal.budget.per_hour = Some(10);
            group.bucket = Bucket::full(10, now_ms);
        }
    }
}

// === others ===

/// The other machines of its group that nothing is done about.
fn free_others(world: &World, id: MachineId) -> Vec<MachineId> {
    let state = &world.fleet.state;
    let group = state.machines[&id].group().expect("of a group");
    let others = state.group_machines(group);
    let free = others.filter(|other| other.id != id && other.intent.is_none());
    free.map(|other| other.id).collect()
}

/// Another machine fails as this one did, and is being replaced.
fn open(world: &mut World, other: MachineId) {
    let name = world.fleet.state.machines[&other].name.to_string();
    world.kill(&name);
    heal(world, other);
}

/// A machine is being replaced: that began when nothing stood in the way.
fn heal(world: &mut World, id: MachineId) {
    let mut before = world.fleet.clone();
    let state = &mut before.state;
    state.pauses.clear();
    state.cordons.clear();
    state.pools = Pools::default();
    for group in state.groups.values_mut() {
        group.failures.clear();
        group.spec.heal.mode = HealMode::Auto;
        group.spec.heal.budget.at_once = Some(50);
        group.spec.heal.budget.per_hour = Some(10);
        group.bucket = Bucket::full(10, state.clock_ms);
    }
    before.act(before.replace(id, Diagnosis::Gone));
    let (state, then) = (&mut world.fleet.state, before.state);
    for (id, group) in &mut state.groups {
        group.next_ordinal = then.groups[id].next_ordinal;
    }
    state.sequence = then.sequence;
    (state.machines, state.intents) = (then.machines, then.intents);
}

fn others(world: &mut World, id: MachineId, turn: Turn) {
    match turn {
        Turn::Company(missing) => {
            let others = free_others(world, id);
            let well = others.into_iter().filter(|other| is_well(world, *other));
            let well: Vec<_> = well.take(missing as usize).collect();
            for other in &well {
                let name = world.fleet.state.machines[other].name.to_string();
                world.kill(&name);
                let since_ms = world.look().findings[&id].since_ms;
                let seen = world.seen.get_mut(other).expect("it was seen");
                seen.member.as_mut().expect("it was seen").since_ms = since_ms;
            }
            heal(world, well[0]);
        }
        Turn::OtherCanary => {
            let others = free_others(world, id);
            let ill = others.into_iter().find(|other| !is_well(world, *other));
            open(world, ill.expect("it failed with others"));
        }
        Turn::CanaryOnTrial => {
            let intents = world.fleet.state.intents.values_mut();
            intents.for_each(|intent| intent.state = IntentState::Open);
        }
        Turn::CanaryWell => {
            for _ in 0..4 {
                world.carry_out();
            }
            world.pass(MINUTE_MS);
        }
        Turn::FewerWell(fewer) => ail_others(world, id, fewer as usize),
        Turn::NoOtherWell => ail_others(world, id, usize::MAX),
        Turn::MoreWell(_) | Turn::OtherWell => {
            let more = match turn {
                Turn::MoreWell(more) => more as usize,
                _ => 1,
            };
            let others = free_others(world, id);
            let ill = others.into_iter().filter(|other| !is_well(world, *other));
            let ill: Vec<_> = ill.take(more).collect();
            assert_eq!(ill.len(), more, "so many are not well");
            ill.into_iter().for_each(|other| world.revive(other));
        }
        Turn::Predecessor => {
            let state = &mut world.fleet.state;
            let others = state.intents.values_mut();
            others.for_each(|intent| intent.state = IntentState::Done { at_ms: 1 });
            let others = state
                .demands
                .values_mut()
                .filter(|demand| demand.machine != id);
            others.for_each(|demand| demand.until_ms = 0);
        }
        Turn::Flavor => {
            let templates = of_group(world, id).templates.values_mut();
            templates.for_each(|template| template.flavor.name = "vanilla".into());
        }
        other => panic!("no change is known for {other:?}"),
    }
}

fn is_well(world: &World, id: MachineId) -> bool {
    let finding = &world.look().findings[&id];
    finding.diagnosis == Diagnosis::Healthy
}

fn ail_others(world: &mut World, id: MachineId, count: usize) {
    let others = free_others(world, id);
    let well = others.into_iter().filter(|other| is_well(world, *other));
    for other in well.take(count).collect::<Vec<_>>() {
        let name = world.fleet.state.machines[&other].name.to_string();
        world.ail(&name);
    }
}
