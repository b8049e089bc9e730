//! Calls that end a machine, or write it anew, go on record before they are made: whoever leads next, and whatever was heard of
//! them, knows that they may have been carried out.

use super::super::OperationId;
use super::super::intent::{Begun, Step};
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::rule::Rule;
use super::super::state::FleetState;
use super::super::text::Text;
use super::values::invalid;
use super::{Applied, Context};

impl FleetState {
    /// The call is about to be made. Whatever becomes of it, its machine is spared no more.
    pub(super) fn begin(&mut self, context: &Context<'_>, op: &OperationId, step: Step) -> Applied {
        check_begins(step)?;
        let (term, at_ms) = (context.term, context.now_ms);
        let (_, _, record) = self.current_step(op)?;
        let attempt = record.attempts;
        record.begun.get_or_insert(Begun {
            attempt,
            term,
            at_ms,
        });
        Ok(Reply::Done)
    }

    /// The last call did nothing, says the leader that was to make it. One before it may have, and so may that of an earlier
    /// leader.
    pub(super) fn not_begun(&mut self, context: &Context<'_>, op: &OperationId) {
        if let Ok((_, _, record)) = self.current_step(op) {
            let this = (record.attempts, context.term);
            let earlier = |begun: &Begun| (begun.attempt, begun.term) != this;
            record.begun = record.begun.filter(earlier);
        }
    }

    /// On record as begun, and held before the call.
    pub(super) fn uncalled(
        &mut self,
        context: &Context<'_>,
        op: &OperationId,
        step: Step,
        (rule, detail): (Rule, Text),
    ) -> Applied {
        check_begins(step)?;
        self.not_begun(context, op);
        match self.step_held(context, op, rule, detail) {
            Err(Refusal::Unchanged(_)) => Ok(Reply::Done),
            held => held,
        }
    }
}

fn check_begins(step: Step) -> Result<(), Refusal> {
    if step.begins() {
        return Ok(());
    }
    Err(invalid(format!("`{step}` is not put on record as begun")))
}
