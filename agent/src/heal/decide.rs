//! One round of deciding: what to do about every machine and every group, or why not.

use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::identity::MachineId;

use super::board::Board;
use super::diagnose::Finding;
use super::draft::Draft;
use super::situation::Situation;
use super::{hand, housekeeping, repair, scale};
use crate::fleet::limits::PROPOSALS_MAX;
use crate::fleet::{
    Cause, Command, Diagnosis, FleetState, OperationId, Order, Outcome, Phase, Proposal, Refusal,
    Rule, Subject,
};

/// What one round of deciding came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What is to be put on record as a matter of fact: who left, who returned, who never came, what was found.
    pub facts: Vec<Command>,
    /// Decisions to be committed: actions first, then what is new about holds. At most as many as one command takes;
    /// what does not fit comes with the next round.
    pub proposals: Vec<Proposal>,
    /// What is the matter with each machine.
    pub findings: BTreeMap<MachineId, Finding>,
    /// When to look again if there is no news until then, in milliseconds since 1970.
    pub next_look_ms: Option<u64>,
    /// What the state machine would not take, although the rules let it pass: limits, names in use.
    pub refused: Vec<Refusal>,
}

impl Plan {
    /// The machines to be ordered, each with the operation that makes it. The caller fills in what the secret of the
    /// machine's join token hashes to; without it the order is refused.
    pub fn orders(&mut self) -> impl Iterator<Item = (&OperationId, &mut Order)> {
        self.proposals
            .iter_mut()
            .filter_map(|proposal| match &proposal.outcome {
                Outcome::Act { op, .. } => Some((op, proposal.order.as_mut()?)),
                _ => None,
            })
    }

    /// The commands to propose, in order; none when there is nothing new.
    pub fn into_commands(self) -> Vec<Command> {
        let mut commands = self.facts;
        if !self.proposals.is_empty() {
            commands.push(Command::Decide(self.proposals));
        }
        commands
    }
}

/// Decides what to do about every machine and every group, or why not.
///
/// Actions are rehearsed on a copy of the state one after the other, so that each is asked with those before it in
/// place, and what is proposed is what the state machine takes.
pub fn decide(state: &FleetState, situation: &Situation) -> Plan {
    decide_without(state, situation, None)
}

/// Decides as [`decide`] does, but for one rule that lets everything pass: what would happen without it. The state machine
/// has checks of its own.
pub fn decide_without(state: &FleetState, situation: &Situation, left_out: Option<Rule>) -> Plan {
    if state.cluster.is_none() {
        return Plan::default();
    }
    // What is seen is dated by the leader's clock and the state by its own, which an earlier leader may have put ahead.
    let ahead_ms = state.clock_ms.saturating_sub(situation.now_ms);
    let situation = &situation.dated_by(situation.now_ms.saturating_add(ahead_ms));
    let board = Board::new(state, situation, left_out);
    let mut plan = housekeeping::facts(state, &board);
    let mut draft = Draft::new(state, &board);
    draft.take_in(&plan.facts);
    // Repair before growth.
    repair::repair(&mut draft);
    hand::carry_out(&mut draft);
    let held = scale::scale(&mut draft);
    clear(&mut draft, &held);
    let Draft {
        mut actions,
        records,
        next_look_ms,
        refused,
        ..
    } = draft;
    let room = PROPOSALS_MAX.saturating_sub(actions.len());
    let more = records.len() > room;
    actions.extend(records.into_iter().take(room));
    actions.truncate(PROPOSALS_MAX);
    plan.proposals = actions;
    let soon = more.then_some(situation.now_ms);
    plan.next_look_ms = [plan.next_look_ms, next_look_ms, soon]
        .into_iter()
        .flatten()
        .min();
    plan.next_look_ms = plan
        .next_look_ms
        .map(|at_ms| at_ms.saturating_sub(ahead_ms));
    plan.refused = refused;
    plan.findings = board.findings;
    plan
}

/// Ends what stands on record and is over.
fn clear(draft: &mut Draft<'_>, held: &BTreeSet<Subject>) {
    let standing: Vec<Subject> = draft.state.concerns.keys().cloned().collect();
    for subject in standing {
        let cause = match &subject {
            // What a person asked for ends with that.
            Subject::Machine(_) if is_asked(draft, &subject) => continue,
            // What is being taken away has not recovered.
            Subject::Machine(id) if is_retiring(draft, *id) => continue,
            // Whether what is being treated has recovered is for its trial to say.
            Subject::Machine(id) if is_treated(draft, *id) => continue,
            Subject::Machine(id) => {
                let Some(finding) = draft.board.findings.get(id) else {
                    continue;
                };
                // Suspicion is no recovery, and neither is a reboot.
                let open = matches!(
                    finding.diagnosis,
                    Diagnosis::Suspected | Diagnosis::Rebooting
                );
                if open || !finding.diagnosis.is_calm() {
                    continue;
                }
                diagnosed(finding)
            }
            Subject::Group(_) if held.contains(&subject) => continue,
            Subject::Group(_) => Cause::Complete,
        };
        draft.record(subject, cause, Vec::new(), Vec::new(), Outcome::Clear);
    }
}

fn is_retiring(draft: &Draft<'_>, id: MachineId) -> bool {
    let machine = draft.state.machines.get(&id);
    machine.is_some_and(|machine| machine.phase == Phase::Retiring)
}

fn is_treated(draft: &Draft<'_>, id: MachineId) -> bool {
    let mut open = draft.state.open_intents();
    open.any(|intent| intent.action.treats() == Some(id))
}

fn is_asked(draft: &Draft<'_>, subject: &Subject) -> bool {
    let concern = draft.state.concerns.get(subject);
    concern.is_some_and(|concern| concern.cause.demand().is_some())
}

pub(super) fn diagnosed(finding: &Finding) -> Cause {
    Cause::Diagnosed {
        diagnosis: finding.diagnosis,
        since_ms: finding.since_ms,
        summary: finding.summary.clone(),
    }
}
