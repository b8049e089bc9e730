//! Orders by hand: what a person asks for passes the same rules, except those about what the fleet does by itself.

use std::collections::BTreeSet;

use super::board::Board;
use super::draft::{Draft, Grounds, held};
use super::gate::Gate;
use super::gates::{DRAIN_BY_HAND, Question, REPLACE_BY_HAND, TREAT_BY_HAND, ask};
use super::{ladder, repair, scale};
use crate::fleet::{
    Cause, Demand, DemandId, Diagnosis, Evidence, Machine, Outcome, Rule, Rung, Subject, Verdict,
    Would,
};

/// Decides about everything that a person has asked for and that waits, the oldest first.
pub(super) fn carry_out(draft: &mut Draft<'_>) {
    let now_ms = draft.board.now_ms;
    let demands = draft.state.demands.iter();
    let standing: Vec<(DemandId, Demand)> = demands
        .filter(|(_, demand)| demand.stands(now_ms))
        .map(|(id, demand)| (*id, demand.clone()))
        .collect();
    for (id, demand) in standing {
        if draft.is_full() {
            draft.look_at(Some(now_ms));
            return;
        }
        draft.look_at(Some(demand.until_ms));
        one(draft, id, &demand);
    }
}

fn one(draft: &mut Draft<'_>, id: DemandId, demand: &Demand) {
    let state = &*draft.state;
    let machine = state.machines.get(&demand.machine).cloned();
    let free = |machine: &Machine| machine.intent.is_none() && demand.what.is_for(machine.phase);
    let Some(machine) = machine.filter(free) else {
        return;
    };
    let (Some(group), Some(finding)) = (
        state.groups.get(&demand.group),
        draft.board.findings.get(&machine.id).cloned(),
    ) else {
        return;
    };
    // That it left is put on record first; a group that is destroyed goes whole.
    if group.destroying || finding.diagnosis == Diagnosis::Left {
        return;
    }
    // One that its group is to do without is taken away, not made anew.
    let makes_anew = matches!(demand.what, Would::Replace | Would::Treat(Rung::Reimage));
    let is_surplus = scale::surplus(state, draft.board, group).contains(&machine.id);
    if makes_anew && is_surplus {
        return;
    }
    if needs_provider(demand.what) && draft.is_being_asked(&machine) {
        return;
    }
    let cure = ladder::by_hand(draft.board, group, &machine, demand.what);
    let rules = match demand.what {
        Would::Drain => DRAIN_BY_HAND,
        Would::Treat(_) => TREAT_BY_HAND,
        Would::Replace | Would::Retire => REPLACE_BY_HAND,
    };
    let question = Question {
        state,
        board: draft.board,
        group,
        machine: Some((&machine, &finding)),
        cure: Some(&cure),
    };
    let gates = forced(ask(rules, &question), &demand.forced);
    let checks = draft.checks(gates);
    let cause = Cause::Asked {
        demand: id,
        what: demand.what,
        by: demand.by.clone(),
        reason: demand.reason.clone(),
        found: finding.diagnosis,
    };
    let (subject, evidence) = (
        Subject::Machine(machine.id),
        evidence(draft.board, &machine),
    );
    let Some(check) = held(&checks).cloned() else {
        let grounds = Grounds {
            subject,
            group: demand.group.clone(),
            cause,
            evidence,
            checks,
        };
        draft.carry(grounds, &machine, demand.what);
        return;
    };
    // What a person asks for does not keep a failed machine from being healed.
    let before = draft.actions.len();
    if !is_surplus && repair::needs_deciding(&machine, &finding) {
        repair::treat(draft, &machine, &finding);
    }
    if draft.actions.len() == before {
        let outcome = Outcome::held_by(&check);
        draft.record(subject, cause, evidence, checks, outcome);
    }
}

fn needs_provider(what: Would) -> bool {
    !matches!(what, Would::Drain | Would::Treat(Rung::RestartWorkload))
}

/// What the rules said, with those that a person forces no longer in the way.
fn forced(mut gates: Vec<Gate>, forced: &BTreeSet<Rule>) -> Vec<Gate> {
    for gate in &mut gates {
        if gate.check.holds() && forced.contains(&gate.check.rule) {
            gate.check.verdict = Verdict::Forced;
            gate.until_ms = None;
        }
    }
    gates
}

/// How the machine was, well or not.
fn evidence(board: &Board<'_>, machine: &Machine) -> Vec<Evidence> {
    let Some(seen) = board.situation.machines.get(&machine.id) else {
        return Vec::new();
    };
    let member = seen.member.map(Evidence::Member);
    let record = seen.record.clone().map(Evidence::Record);
    let provider = seen.provider.clone().map(Evidence::Provider);
    [member, record, provider].into_iter().flatten().collect()
}
