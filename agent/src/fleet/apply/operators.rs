//! Operators: who may come in from outside of the mesh.

use super::super::event::EventKind;
use super::super::limits::OPERATORS_MAX;
use super::super::names::MachineName;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::FleetState;
use super::super::token::Operator;
use super::values::{at_most, invalid};
use super::{About, Applied, Context};

impl FleetState {
    pub(super) fn create_operator(
        &mut self,
        context: &Context<'_>,
        name: MachineName,
        expires_ms: u64,
    ) -> Applied {
        if expires_ms <= context.now_ms {
            return Err(invalid(
                "the operator's certificate would have expired already",
            ));
        }
        let is_current = |operator: &Operator| operator.expires_ms > context.now_ms;
        if self.operators.get(&name).is_some_and(is_current) {
            // Giving a revoked name out again would bring its old certificate back to life.
            return Err(Refusal::OperatorExists(name));
        }
        let current = self
            .operators
            .values()
            .filter(|operator| is_current(operator))
            .count();
        at_most("operators", current + 1, OPERATORS_MAX)?;
        self.operators.retain(|_, operator| is_current(operator));
        let detail = format!("{name}{}", context.by_whom());
        let created_ms = context.now_ms;
        let operator = Operator {
            name: name.clone(),
            created_ms,
            expires_ms,
            revoked_ms: None,
        };
        self.operators.insert(name, operator);
        self.note(context, EventKind::OperatorCreated, About::fleet(detail));
        Ok(Reply::Done)
    }

    pub(super) fn revoke_operator(&mut self, context: &Context<'_>, name: &MachineName) -> Applied {
        let operator = self
            .operators
            .get_mut(name)
            .ok_or_else(|| Refusal::NoOperator(name.clone()))?;
        if operator.revoked_ms.is_none() {
            operator.revoked_ms = Some(context.now_ms);
            let detail = format!("{name}{}", context.by_whom());
            self.note(context, EventKind::OperatorRevoked, About::fleet(detail));
        }
        Ok(Reply::Done)
    }
}
