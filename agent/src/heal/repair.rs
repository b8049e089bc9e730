//! Machines that failed, and machines that left.

use std::collections::BTreeSet;

use super::decide::diagnosed;
use super::diagnose::Finding;
use super::draft::{Draft, Grounds, held};
use super::gates::{CLEAR_AWAY, Question, REPLACE, TREAT, ask};
use super::{ladder, scale};
use crate::fleet::{Diagnosis, HealMode, Machine, Outcome, Phase, Rule, Subject, Would};

/// Decides about every machine of a declared group that something is the matter with, the longest first.
pub(super) fn repair(draft: &mut Draft<'_>) {
    for (machine, finding) in patients(draft) {
        if draft.is_full() {
            draft.look_at(Some(draft.board.now_ms));
            return;
        }
        if is_asked_for(draft, &machine) {
            continue;
        }
        treat(draft, &machine, &finding);
    }
}

/// Whether a person has asked for something to be done to it, which comes first.
fn is_asked_for(draft: &Draft<'_>, machine: &Machine) -> bool {
    let demand = draft.state.demand_on(machine.id);
    demand.is_some_and(|(_, demand)| demand.stands(draft.board.now_ms))
}

fn patients(draft: &Draft<'_>) -> Vec<(Machine, Finding)> {
    let state = &draft.state;
    let mut patients = Vec::new();
    for (id, group) in state.groups.iter().filter(|(_, group)| !group.destroying) {
        let surplus: BTreeSet<_> = scale::surplus(state, draft.board, group)
            .into_iter()
            .collect();
        for machine in draft.board.members(state, id) {
            let Some(finding) = draft.board.findings.get(&machine.id) else {
                continue;
            };
            let free = machine.intent.is_none() && !surplus.contains(&machine.id);
            if free && needs_deciding(machine, finding) {
                patients.push((machine.clone(), finding.clone()));
            }
        }
    }
    // What is proved before what is only silent, and the longest first.
    let urgency = |finding: &Finding| (finding.diagnosis != Diagnosis::Gone, finding.since_ms);
    let age = |machine: &Machine| machine.place.as_ref().map(|place| place.generation);
    patients.sort_by_key(|(machine, finding)| (urgency(finding), age(machine)));
    patients
}

pub(super) fn needs_deciding(machine: &Machine, finding: &Finding) -> bool {
    match finding.diagnosis {
        // That it left is put on record first.
        Diagnosis::Left => matches!(machine.phase, Phase::Left { .. }),
        diagnosis => !diagnosis.is_calm(),
    }
}

pub(super) fn treat(draft: &mut Draft<'_>, machine: &Machine, finding: &Finding) {
    let Some(id) = machine.group().cloned() else {
        return;
    };
    let Some(group) = draft.state.groups.get(&id) else {
        return;
    };
    let mode = group.spec.heal.mode;
    let (state, board) = (&*draft.state, draft.board);
    let cure = ladder::cure(board, group, machine, finding);
    let rules = match cure.would {
        Some(Would::Retire) => CLEAR_AWAY,
        Some(Would::Treat(_)) => TREAT,
        Some(Would::Replace | Would::Drain) | None => REPLACE,
    };
    let question = Question {
        state,
        board,
        group,
        machine: Some((machine, finding)),
        cure: Some(&cure),
    };
    let gates = ask(rules, &question);
    let checks = draft.checks(gates);
    let (subject, cause) = (Subject::Machine(machine.id), diagnosed(finding));
    let evidence = finding.evidence.clone();
    let outcome = match (held(&checks), cure.would) {
        (None, Some(would)) => {
            let grounds = Grounds {
                subject,
                group: id,
                cause,
                evidence,
                checks,
            };
            draft.carry(grounds, machine, would);
            return;
        }
        (Some(check), _) if check.rule == Rule::Fence && draft.is_being_asked(machine) => return,
        (Some(check), Some(would)) if check.rule == Rule::Mode => match mode {
            HealMode::Approve => Outcome::AwaitApproval { would },
            _ => Outcome::Observe { would },
        },
        (Some(check), _) => Outcome::held_by(check),
        // The rule `ladder` holds where there is no cure.
        (None, None) => return,
    };
    // What a person asks for is what stands on record while it waits.
    if !is_asked_for(draft, machine) {
        draft.record(subject, cause, evidence, checks, outcome);
    }
}
