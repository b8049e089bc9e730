//! A person approves a decision.

use super::super::decision::{DecisionId, Outcome, Subject};
use super::super::event::EventKind;
use super::super::limits::APPROVAL_MS;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::{Approval, FleetState};
use super::{About, Applied, Context};

impl FleetState {
    /// An approval is a permission, not an order: it opens the gate `mode` for a while, for this machine, this diagnosis
    /// and this action, and all the other gates are asked again.
    pub(super) fn approve(&mut self, context: &Context<'_>, id: DecisionId) -> Applied {
        self.decision(id).ok_or(Refusal::NoDecision(id))?;
        let waiting =
            self.concerns
                .iter()
                .find_map(|(subject, concern)| match (subject, &concern.outcome) {
                    (Subject::Machine(machine), Outcome::AwaitApproval { would })
                        if concern.decision == id =>
                    {
                        Some((*machine, concern.cause.diagnosis(), *would))
                    }
                    _ => None,
                });
        let (machine, diagnosis, would) = waiting.ok_or_else(|| self.nothing_to_approve(id))?;
        let now_ms = context.now_ms;
        self.approvals
            .retain(|_, approval| approval.at_ms.saturating_add(APPROVAL_MS) > now_ms);
        let approval = Approval {
            decision: id,
            diagnosis,
            would,
            by: context.actor.cloned(),
            at_ms: now_ms,
        };
        self.approvals.insert(machine, approval);
        let what = format!("approved{}, to {would} it", context.by_whom());
        let about = About::machine(machine, what).decided(id);
        self.note(context, EventKind::Approved, about);
        Ok(Reply::Done)
    }

    /// Why a decision can't be approved, with the newer one about the same machine that can be.
    fn nothing_to_approve(&self, decision: DecisionId) -> Refusal {
        let known = self.decision(decision);
        let concern = known.and_then(|known| self.concerns.get(&known.proposal.subject));
        let why = match concern.map(|concern| (concern.decision, &concern.outcome)) {
            Some((newer, Outcome::AwaitApproval { would })) => {
                format!("things have changed, and decision {newer} asks whether to {would} it")
            }
            Some((newer, _)) => format!("what stands on record is decision {newer}"),
            None => "nothing stands on record about it any more".to_owned(),
        };
        let why = why.into();
        Refusal::NothingToApprove { decision, why }
    }
}
