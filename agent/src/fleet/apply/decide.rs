//! Decisions are put on record: each one whole or not at all.
//!
//! The decision core has checked every rule before it proposed anything. What the state itself can tell is checked
//! here once more, because between proposal and commit the state may have changed, and because a state machine
//! that trusts its input is only as safe as every version of every leader.

use muster_mesh::identity::MachineId;

use super::super::decision::{Cause, Decision, DecisionId, Outcome, Proposal, Subject, Would};
use super::super::event::EventKind;
use super::super::limits::{CHECKS_MAX, DECISIONS_MAX, EVIDENCE_MAX, PROPOSALS_MAX};
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::rule::Rule;
use super::super::spec::HealMode;
use super::super::state::{Concern, FleetState};
use super::super::token::SecretHash;
use super::values::{at_most, invalid};
use super::{About, Applied, Context};

/// Stands in for a token's hash in rehearsals.
const REHEARSED: SecretHash = SecretHash([0; 32]);

impl FleetState {
    /// Does to this state what committing `proposal` would do, or says why it would be refused. The token of its
    /// order may still be missing.
    ///
    /// For the decision core, which rehearses on a copy.
    ///
    /// # Errors
    /// What the command would be refused with.
    pub(crate) fn rehearse(
        &mut self,
        now_ms: u64,
        by: MachineId,
        term: u64,
        proposal: &Proposal,
    ) -> Result<(), Refusal> {
        let mut proposal = proposal.clone();
        if let Some(order) = &mut proposal.order {
            order.token.get_or_insert(REHEARSED);
        }
        let context = Context {
            now_ms,
            by,
            term,
            actor: None,
        };
        self.decide_one(&context, proposal).map(|_| ())
    }

    pub(super) fn decide(&mut self, context: &Context<'_>, proposals: Vec<Proposal>) -> Applied {
        at_most("decisions in one command", proposals.len(), PROPOSALS_MAX)?;
        if context.term < self.term {
            return Err(Refusal::Stale(
                format!(
                    "it comes from term {}, and this is term {}",
                    context.term, self.term
                )
                .into(),
            ));
        }
        let results: Vec<_> = proposals
            .into_iter()
            .map(|proposal| self.decide_one(context, proposal))
            .collect();
        match results.as_slice() {
            // Nothing changed, so the command as a whole is refused.
            [Err(refusal)] => Err(refusal.clone()),
            [Err(refusal), ..] if results.iter().all(Result::is_err) => Err(refusal.clone()),
            _ => Ok(Reply::Decided(results)),
        }
    }

    fn decide_one(
        &mut self,
        context: &Context<'_>,
        proposal: Proposal,
    ) -> Result<DecisionId, Refusal> {
        check_shape(&proposal)?;
        self.check_subject(&proposal)?;
        let id = self.next_decision;
        if let Outcome::Act { op, action } = proposal.outcome.clone() {
            self.check_act(context, &proposal, &op, action)?;
            self.act(context, id, &proposal, op, action);
        } else {
            self.check_news(context, &proposal)?;
            self.check_mode(&proposal)?;
        }
        // The same hold with other numbers is no event.
        let renewed = self.concerns.get(&proposal.subject).is_some_and(|concern| {
            concern.cause.is_like(&proposal.cause) && concern.outcome.is_like(&proposal.outcome)
        });
        self.put_concern(context, id, &proposal);
        if !renewed {
            self.note_decision(context, id, &proposal);
        }
        self.put_decision(context, id, proposal);
        Ok(id)
    }

    /// Whether there is what it is about.
    fn check_subject(&self, proposal: &Proposal) -> Result<(), Refusal> {
        let group = match &proposal.subject {
            Subject::Group(group) => Some(group),
            Subject::Machine(id) => self
                .machines
                .get(id)
                .ok_or(Refusal::NoMachine(*id))?
                .group(),
        };
        if group != proposal.group.as_ref() {
            return Err(invalid("a decision names another group than its subject's"));
        }
        match group {
            Some(id) if matches!(proposal.subject, Subject::Group(_)) => self
                .groups
                .get(id)
                .map(|_| ())
                .ok_or_else(|| Refusal::NoGroup(id.clone())),
            _ => Ok(()),
        }
    }

    /// Refuses what is on record already, so that the log does not grow while nothing changes, and what nobody asks for
    /// any more.
    fn check_news(&self, context: &Context<'_>, proposal: &Proposal) -> Result<(), Refusal> {
        let demand = proposal.cause.demand();
        let demand = demand.map(|id| self.demands.get(&id));
        if demand.is_some_and(|demand| demand.is_none_or(|demand| !demand.stands(context.now_ms))) {
            return Err(Refusal::Stale("nobody asks for it any more".into()));
        }
        match (self.concerns.get(&proposal.subject), &proposal.outcome) {
            (None, Outcome::Clear) => Err(Refusal::Stale("nothing stands on record".into())),
            (Some(concern), outcome)
                if concern.cause.is_like(&proposal.cause)
                    && concern.outcome.is_like(outcome)
                    && !concern.is_outdated(outcome, context.now_ms) =>
            {
                Err(Refusal::Unchanged(concern.decision))
            }
            _ => Ok(()),
        }
    }

    /// Whether an outcome that a mode brings is that of the group's mode.
    fn check_mode(&self, proposal: &Proposal) -> Result<(), Refusal> {
        let wanted = match proposal.outcome {
            Outcome::Observe { .. } => HealMode::Observe,
            Outcome::AwaitApproval { .. } => HealMode::Approve,
            _ => return Ok(()),
        };
        let group = proposal.group.as_ref().and_then(|id| self.groups.get(id));
        match group.map(|group| group.spec.heal.mode) {
            Some(mode) if mode == wanted => Ok(()),
            _ => Err(Refusal::Stale(
                format!("the group's mode is not `{wanted}`").into(),
            )),
        }
    }

    fn put_concern(&mut self, context: &Context<'_>, id: DecisionId, proposal: &Proposal) {
        let over = match (&proposal.subject, &proposal.outcome) {
            (_, Outcome::Clear) => true,
            // A group that is being filled or emptied shows in its intents.
            (Subject::Group(_), Outcome::Act { .. }) => true,
            _ => false,
        };
        if over {
            self.concerns.remove(&proposal.subject);
            if let (Subject::Machine(machine), Outcome::Clear) =
                (&proposal.subject, &proposal.outcome)
            {
                // An approval was for that failure, not for the next.
                self.approvals.remove(machine);
            }
            return;
        }
        let since_ms = match self.concerns.get(&proposal.subject) {
            Some(concern) if concern.cause.is_like(&proposal.cause) => concern.since_ms,
            _ => context.now_ms,
        };
        let concern = Concern {
            decision: id,
            since_ms,
            recorded_ms: context.now_ms,
            cause: proposal.cause.clone(),
            outcome: proposal.outcome.clone(),
        };
        self.concerns.insert(proposal.subject.clone(), concern);
    }

    fn note_decision(&mut self, context: &Context<'_>, id: DecisionId, proposal: &Proposal) {
        let (kind, detail) = match &proposal.outcome {
            // The action has its own event.
            Outcome::Act { .. } => return,
            Outcome::Hold { rule, detail, .. } => (EventKind::Held, format!("{rule}: {detail}")),
            Outcome::Observe { would } => (
                EventKind::Observed,
                format!("would {}: {}", would.of_it(), proposal.cause),
            ),
            Outcome::AwaitApproval { would } => {
                let detail = format!(
                    "`muster approve {id}` to {}: {}",
                    would.of_it(),
                    proposal.cause
                );
                let earlier = self.earlier_approval(context, proposal, *would);
                let earlier = earlier.map_or_else(String::new, |why| format!("; {why}"));
                (EventKind::AwaitingApproval, detail + &earlier)
            }
            Outcome::Clear => (EventKind::Cleared, proposal.cause.to_string()),
        };
        let about = match &proposal.subject {
            Subject::Machine(machine) => About::machine(*machine, detail),
            Subject::Group(group) => About::group(group, detail),
        };
        self.note(context, kind, about.decided(id));
    }

    /// Why what a person approved about the machine before does not count any more.
    fn earlier_approval(
        &self,
        context: &Context<'_>,
        proposal: &Proposal,
        would: Would,
    ) -> Option<String> {
        let Subject::Machine(machine) = &proposal.subject else {
            return None;
        };
        let approval = self.approval(*machine, context.now_ms)?;
        approval.is_not_for(proposal.cause.diagnosis(), would)
    }

    fn put_decision(&mut self, context: &Context<'_>, id: DecisionId, proposal: Proposal) {
        let name = match &proposal.subject {
            Subject::Machine(machine) => self.machines.get(machine).map(|m| m.name.clone()),
            Subject::Group(_) => None,
        };
        let name = name.or_else(|| {
            let order = proposal.order.as_ref()?;
            Some(order.member.machine_name(proposal.group.as_ref()?))
        });
        self.next_decision = DecisionId(id.0 + 1);
        self.decisions.push_back(Decision {
            id,
            at_ms: context.now_ms,
            leader: context.by,
            term: context.term,
            name,
            proposal,
        });
        while self.decisions.len() > DECISIONS_MAX {
            let referred = |id: DecisionId| {
                self.concerns.values().any(|concern| concern.decision == id)
                    || self
                        .intents
                        .values()
                        .any(|i| i.is_open() && i.decision == id)
            };
            let free = self
                .decisions
                .iter()
                .position(|decision| !referred(decision.id));
            self.decisions.remove(free.unwrap_or(0));
        }
    }
}

/// Whether a proposal is within the limits and explains itself: its outcome must follow from its checks.
fn check_shape(proposal: &Proposal) -> Result<(), Refusal> {
    at_most("pieces of evidence", proposal.evidence.len(), EVIDENCE_MAX)?;
    at_most("checks", proposal.checks.len(), CHECKS_MAX)?;
    if !proposal.checks.is_sorted_by(|one, two| one.rule < two.rule) {
        return Err(invalid(
            "the checks of a decision are not in the order of the rules",
        ));
    }
    // `mode` gives way to the other rules, so that `observe` shows what they would have said.
    let holding = |rule: &Rule| *rule != Rule::Mode;
    let mut holds = proposal
        .checks
        .iter()
        .filter(|check| check.holds())
        .map(|check| check.rule);
    let by_mode = holds.clone().any(|rule| rule == Rule::Mode);
    let held = holds.find(holding);
    let follows = match &proposal.outcome {
        Outcome::Act { .. } | Outcome::Clear => held.is_none() && !by_mode,
        Outcome::Hold { rule, .. } => held == Some(*rule),
        Outcome::Observe { .. } | Outcome::AwaitApproval { .. } => held.is_none() && by_mode,
    };
    let clears = matches!(proposal.outcome, Outcome::Clear);
    let calm = match &proposal.cause {
        Cause::Diagnosed { diagnosis, .. } => diagnosis.is_calm(),
        Cause::Complete => true,
        _ => false,
    };
    if !follows || clears != calm {
        return Err(invalid(
            "the outcome of a decision does not follow from its checks",
        ));
    }
    Ok(())
}
