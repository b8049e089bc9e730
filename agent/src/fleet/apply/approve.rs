//! A person approves a decision.

use super::super::decision::{DecisionId, Outcome, Subject};
use super::super::event::EventKind;
use super::super::limits::APPROVAL_MS;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::{Approval, FleetState};
use super::{About, Applied, Context};

impl FleetState {
    /// An approval is a permission, not an order: it opens the gate `mode` for this machine for a while, and all
    /// the other gates are asked again.
    pub(super) fn approve(&mut self, context: &Context<'_>, id: DecisionId) -> Applied {
        self.decision(id).ok_or(Refusal::NoDecision(id))?;
        let machine = self
            .concerns
            .iter()
            .find_map(|(subject, concern)| match subject {
                Subject::Machine(machine) if concern.decision == id => {
                    matches!(concern.outcome, Outcome::AwaitApproval { .. }).then_some(*machine)
                }
                _ => None,
            });
        let machine = machine.ok_or(Refusal::NothingToApprove(id))?;
        let now_ms = context.now_ms;
        self.approvals
            .retain(|_, approval| approval.at_ms.saturating_add(APPROVAL_MS) > now_ms);
        let approval = Approval {
            decision: id,
            by: context.actor.cloned(),
            at_ms: now_ms,
        };
        self.approvals.insert(machine, approval);
        let about = About::machine(machine, format!("approved{}", context.by_whom())).decided(id);
        self.note(context, EventKind::Approved, about);
        Ok(Reply::Done)
    }
}
