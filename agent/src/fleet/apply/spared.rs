//! Intents that go on although their machine did not hand over its duties, and those that are given up with their machine untouched.

use super::super::OperationId;
use super::super::command::Undrained;
use super::super::event::EventKind;
use super::super::intent::{Action, Step};
use super::super::limits::ABSENT_RETRY_MS;
use super::super::reply::Reply;
use super::super::state::FleetState;
use super::super::text::Text;
use super::progress::Failure;
use super::values::invalid;
use super::{About, Applied, Context};

impl FleetState {
    /// A machine is left as it is. That is no failure of the group's.
    pub(super) fn spared(
        &mut self,
        context: &Context<'_>,
        op: &OperationId,
        step: Step,
        why: Text,
    ) -> Applied {
        let (_, action, record) = self.current_step(op)?;
        // Of a reimage that has begun another machine may come. A destruction that was asked for and did not come to be is over.
        let is_made_anew = step == Step::Reimage && record.begun.is_some();
        let found = action.finds().and_then(|id| self.machines.get(&id));
        let is_there = found.is_some_and(|machine| !machine.condemned);
        if !step.touches() || is_made_anew || !is_there {
            return Err(invalid("only a machine that is still the same is spared"));
        }
        self.fail(context, op, why, Failure::Spared);
        Ok(Reply::Done)
    }

    /// There was nothing that the machine could have handed over, or nobody to do it.
    pub(super) fn undrained(
        &mut self,
        context: &Context<'_>,
        op: &OperationId,
        step: Step,
        why: Undrained,
    ) -> Applied {
        if step != Step::Drain {
            return Err(invalid(format!("`{step}` drains nothing")));
        }
        let (decision, action, _) = self.current_step(op)?;
        match why {
            Undrained::Nothing => {
                let detail = "has nothing to drain: its flavor has no `drain`";
                let about = About {
                    machine: action.finds(),
                    ..About::fleet(detail)
                };
                self.note(context, EventKind::Drained, about.decided(decision));
                self.advance(context, op);
            }
            Undrained::Absent if is_courtesy(step, action) => {
                let detail = "goes undrained: it does not take part in the mesh".to_owned();
                self.go_undrained(context, op, detail);
            }
            Undrained::Absent => {
                let error = Text::from("it does not take part in the mesh");
                return self.step_failed(context, op, error, ABSENT_RETRY_MS);
            }
        }
        Ok(Reply::Done)
    }

    /// The intent goes on although its machine did not hand over its duties.
    pub(super) fn go_undrained(&mut self, context: &Context<'_>, op: &OperationId, detail: String) {
        let Some(intent) = self.intents.get_mut(op) else {
            return;
        };
        intent.undrained = true;
        let about = About {
            machine: intent.action.finds(),
            ..About::fleet(detail)
        }
        .decided(intent.decision);
        self.note(context, EventKind::Drained, about);
        self.advance(context, op);
    }
}

/// Draining is a courtesy, except where nothing else was asked for.
pub(super) fn is_courtesy(step: Step, action: Action) -> bool {
    step == Step::Drain && !matches!(action, Action::Drain { .. })
}
