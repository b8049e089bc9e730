//! Groups that have too few machines, or too many, or that are to go.

use std::collections::BTreeSet;

use muster_mesh::identity::MachineId;

use super::board::Board;
use super::diagnose::is_back;
use super::draft::{Draft, Grounds, held};
use super::gates::{DESTROY, Question, SCALE_IN, SCALE_OUT, ask};
use crate::fleet::{
    Action, Allocation, Cause, Check, Diagnosis, Evidence, FleetState, Group, GroupId, Health,
    Machine, Member, Outcome, Rule, Subject,
};

/// How many machines of a group are made at one time, at least.
const GROWTH_MIN: usize = 10;
/// How many machines of a group are made at one time: one in ten of what it should have.
const GROWTH_SHARE: usize = 10;

/// Decides about the size of every group. Gives the groups whose size a rule keeps from changing.
pub(super) fn scale(draft: &mut Draft<'_>) -> BTreeSet<Subject> {
    let ids: Vec<GroupId> = draft.state.groups.keys().cloned().collect();
    let mut held = BTreeSet::new();
    for id in ids {
        if grow(draft, &id) | shrink(draft, &id) {
            held.insert(Subject::Group(id));
        }
    }
    held
}

/// Machines that are to go because their group has too many: those that something is the matter with first, then cordoned
/// ones, then those that feel unwell, then the newest. For pets those
/// that are no members any more; for a group that is being destroyed all.
pub(super) fn surplus(state: &FleetState, board: &Board<'_>, group: &Group) -> Vec<MachineId> {
    let id = &group.spec.id;
    if group.destroying {
        return board.members(state, id).map(|machine| machine.id).collect();
    }
    let filling = board
        .members(state, id)
        .filter(|machine| machine.fills_its_slot());
    let no_member = |machine: &&Machine| match (&group.spec.allocation, &machine.place) {
        (Allocation::Pets { members }, Some(place)) => match &place.member {
            Member::Pet(name) => !members.contains_key(name),
            Member::Cattle(_) => true,
        },
        _ => false,
    };
    if let Allocation::Pets { .. } = group.spec.allocation {
        return filling
            .filter(no_member)
            .map(|machine| machine.id)
            .collect();
    }
    let mut machines: Vec<&Machine> = filling.collect();
    let count = machines.len().saturating_sub(group.desired());
    if count == 0 {
        return Vec::new();
    }
    machines.sort_by_key(|machine| {
        let generation = machine.place.as_ref().map_or(0, |place| place.generation);
        let wellness = wellness(board, machine.id);
        // One that can't be drained now waits, cordoned or not.
        let cordoned = wellness != UNREACHED && state.cordons.contains_key(&machine.id);
        (
            wellness != FAILED,
            !cordoned,
            wellness,
            std::cmp::Reverse(generation),
        )
    });
    machines
        .into_iter()
        .take(count)
        .map(|machine| machine.id)
        .collect()
}

/// See [`wellness`].
const FAILED: u8 = 0;

/// See [`wellness`].
const UNREACHED: u8 = 3;

/// 0 for a machine that something is the matter with, 1 for one that feels unwell, 2 for one that is well, and 3 for one
/// that can't be drained now, because only some reach it.
fn wellness(board: &Board<'_>, id: MachineId) -> u8 {
    let finding = board.findings.get(&id);
    let record = board
        .situation
        .machines
        .get(&id)
        .and_then(|seen| seen.record.as_ref());
    match (finding, record) {
        (Some(finding), _)
            if matches!(finding.diagnosis, Diagnosis::Slow | Diagnosis::Partitioned) =>
        {
            UNREACHED
        }
        (Some(finding), _) if !finding.diagnosis.is_calm() => FAILED,
        (_, Some(record)) if record.health == Health::Critical => 1,
        _ => 2,
    }
}

fn grow(draft: &mut Draft<'_>, id: &GroupId) -> bool {
    let Some(group) = draft.state.groups.get(id) else {
        return false;
    };
    // The usual case, without looking at any other machine than the group's.
    let members = draft.board.members(&draft.state, id);
    if members.filter(|machine| machine.fills_its_slot()).count() >= group.desired() {
        return false;
    }
    loop {
        let Some(group) = draft.state.groups.get(id) else {
            return false;
        };
        let (desired, existing) = (group.desired(), draft.state.existing(id));
        // What stands on record about those that left says what is to be done.
        let kept = draft.state.slots_kept(id).max(returning(draft, id));
        let making = |intent: &&_| makes(intent);
        let under_way = draft.state.group_intents(id).filter(making).count();
        let at_once = (desired / GROWTH_SHARE).max(GROWTH_MIN);
        let Some(member) = next_member(draft, group).filter(|_| existing + kept < desired) else {
            return false;
        };
        if under_way >= at_once {
            return false;
        }
        if draft.is_full() {
            draft.look_at(Some(draft.board.now_ms));
            return false;
        }
        let question = Question {
            state: &draft.state,
            board: draft.board,
            group,
            machine: None,
            cure: None,
        };
        let gates = ask(SCALE_OUT, &question);
        let checks = draft.checks(gates);
        let cause = Cause::TooFew {
            desired: small(desired),
            existing: small(existing),
        };
        if let Some(check) = held(&checks).cloned() {
            hold(draft, id, cause, checks, &check);
            return true;
        }
        let before = draft.actions.len();
        draft.provision(
            grounds(Subject::Group(id.clone()), id, cause, checks),
            member,
        );
        if draft.actions.len() == before {
            return false;
        }
    }
}

/// Machines that said goodbye and are back, which is about to be put on record.
fn returning(draft: &Draft<'_>, id: &GroupId) -> usize {
    let is_back = |machine: &&Machine| {
        let seen = draft.board.situation.machines.get(&machine.id);
        seen.is_some_and(|seen| is_back(machine, seen))
    };
    draft.state.group_machines(id).filter(is_back).count()
}

fn makes(intent: &crate::fleet::Intent) -> bool {
    matches!(intent.action, Action::Provision { .. })
}

/// The member that a group's next machine will be: the next ordinal, or a pet that has no machine in any phase (two
/// copies of a pet never run).
fn next_member(draft: &Draft<'_>, group: &Group) -> Option<Member> {
    let id = &group.spec.id;
    match &group.spec.allocation {
        Allocation::Cattle { .. } => Some(Member::Cattle(
            draft.state.free_ordinal(id, group.next_ordinal),
        )),
        Allocation::Pets { members } => members
            .keys()
            .map(|name| Member::Pet(name.clone()))
            .find(|member| !draft.state.is_taken(id, member)),
    }
}

fn shrink(draft: &mut Draft<'_>, id: &GroupId) -> bool {
    let Some(group) = draft.state.groups.get(id) else {
        return false;
    };
    let (destroying, desired) = (group.destroying, group.desired());
    let rules = if destroying { DESTROY } else { SCALE_IN };
    let mut any_held = false;
    for machine in surplus(&draft.state, draft.board, group) {
        let Some(machine) = draft.state.machines.get(&machine).cloned() else {
            continue;
        };
        // What is under way is waited for.
        if machine.intent.is_some() {
            continue;
        }
        if draft.is_full() {
            draft.look_at(Some(draft.board.now_ms));
            return false;
        }
        let Some(group) = draft.state.groups.get(id) else {
            return false;
        };
        let Some(finding) = draft.board.findings.get(&machine.id) else {
            continue;
        };
        let existing = draft.state.existing(id);
        let question = Question {
            state: &draft.state,
            board: draft.board,
            group,
            machine: Some((&machine, finding)),
            cure: None,
        };
        let gates = ask(rules, &question);
        let checks = draft.checks(gates);
        let cause = if destroying {
            Cause::Destroyed
        } else {
            Cause::TooMany {
                desired: small(desired),
                existing: small(existing),
            }
        };
        match held(&checks).cloned() {
            // One after the other is how it goes, and no news.
            Some(check) if check.rule == Rule::Budget => return any_held,
            Some(check) if check.rule == Rule::Fence && draft.is_being_asked(&machine) => {
                any_held = true;
            }
            // What stands in the way of one machine's going does not keep the others.
            Some(check)
                if matches!(
                    check.rule,
                    Rule::Evidence | Rule::Fence | Rule::LastGoodReplica | Rule::WorkloadQuorum
                ) =>
            {
                if !any_held {
                    hold(draft, id, cause, checks, &check);
                }
                any_held = true;
            }
            Some(check) => {
                hold(draft, id, cause, checks, &check);
                return true;
            }
            None => {
                let grounds = grounds(Subject::Machine(machine.id), id, cause, checks);
                draft.retire(grounds, &machine);
            }
        }
    }
    any_held
}

fn hold(draft: &mut Draft<'_>, id: &GroupId, cause: Cause, checks: Vec<Check>, check: &Check) {
    let outcome = Outcome::held_by(check);
    let evidence = counted(&cause);
    draft.record(Subject::Group(id.clone()), cause, evidence, checks, outcome);
}

fn grounds(subject: Subject, id: &GroupId, cause: Cause, checks: Vec<Check>) -> Grounds {
    let evidence = counted(&cause);
    Grounds {
        subject,
        group: id.clone(),
        cause,
        evidence,
        checks,
    }
}

fn counted(cause: &Cause) -> Vec<Evidence> {
    match cause {
        Cause::TooFew { desired, existing } | Cause::TooMany { desired, existing } => {
            vec![Evidence::Count {
                desired: *desired,
                existing: *existing,
            }]
        }
        _ => Vec::new(),
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
