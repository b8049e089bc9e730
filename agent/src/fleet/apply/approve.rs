//! A person approves a decision.

use super::super::decision::{DecisionId, Outcome};
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
        let now_ms = context.now_ms;
        self.approvals
            .retain(|_, approval| approval.at_ms.saturating_add(APPROVAL_MS) > now_ms);
        let (machine, approval) = self
            .approvable(id)
            .ok_or_else(|| self.nothing_to_approve(id))?;
        if self.is_approved(machine, &approval, now_ms) {
            return Ok(Reply::Done);
        }
        let would = approval.would;
        let approval = Approval {
            by: context.actor.cloned(),
            at_ms: now_ms,
            ..approval
        };
        self.approvals.insert(machine, approval);
        let what = format!("approved{}, to {}", context.by_whom(), would.of_it());
        let about = About::machine(machine, what).decided(id);
        self.note(context, EventKind::Approved, about);
        Ok(Reply::Done)
    }

    /// Why a decision can't be approved, with the newer one about the same machine that can be.
    fn nothing_to_approve(&self, decision: DecisionId) -> Refusal {
        let Some(known) = self.decision(decision) else {
            return Refusal::NoDecision(decision);
        };
        let concern = self.concerns.get(&known.proposal.subject);
        let why = match concern.map(|concern| (concern.decision, &concern.outcome)) {
            _ if !matches!(known.proposal.outcome, Outcome::AwaitApproval { .. }) => {
                "it asked nobody".to_owned()
            }
            Some((newer, Outcome::AwaitApproval { would })) => {
                let what = would.of_it();
                format!("things have changed, and decision {newer} asks whether to {what}")
            }
            Some((newer, _)) => {
                format!("things have changed, and what stands on record is decision {newer}")
            }
            None => "nothing stands on record about it any more".to_owned(),
        };
        let why = why.into();
        Refusal::NothingToApprove { decision, why }
    }
}
