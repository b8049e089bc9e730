//! Machines that joined and are on trial: do they do the work that they were made for?

use muster_mesh::identity::MachineId;

use super::super::OperationId;
use super::super::event::EventKind;
use super::super::intent::{Action, Intent};
use super::super::machine::{Machine, Phase};
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::rule::Rule;
use super::super::state::FleetState;
use super::super::text::{Text, span};
use super::{About, Applied, Context};

impl FleetState {
    /// The machines that are on trial, each with the intent that made it.
    pub fn trials(&self) -> impl Iterator<Item = (&Intent, &Machine)> {
        let tried = self
            .intents
            .values()
            .filter(|intent| intent.on_trial_since_ms().is_some());
        tried.filter_map(|intent| {
            let machine = self.machines.get(&intent.action.makes()?)?;
            (machine.phase == Phase::Joined).then_some((intent, machine))
        })
    }

    /// When a trial can be over at the earliest, in milliseconds since 1970. That a machine works shows after its trial;
    /// that it does not counts only once it has had its boot grace, too.
    pub(crate) fn trial_over_ms(&self, intent: &Intent, works: bool) -> Option<u64> {
        let since_ms = intent.on_trial_since_ms()?;
        let group = self.groups.get(&intent.group);
        let grace_ms = group
            .filter(|_| !works)
            .map_or(0, |group| group.spec.heal.boot_grace_ms);
        Some(since_ms.saturating_add(intent.trial_ms.max(grace_ms)))
    }

    /// Puts on record how a trial ended. A replacement that does not work has failed like one that never came.
    pub(super) fn trial_over(
        &mut self,
        context: &Context<'_>,
        op: &OperationId,
        works: bool,
        detail: Text,
    ) -> Applied {
        let intent = self.intents.get(op);
        let intent = intent.ok_or_else(|| Refusal::NoIntent(op.clone()))?.clone();
        let Some(over_ms) = self.trial_over_ms(&intent, works) else {
            return Err(Refusal::Stale("its machine is not on trial".into()));
        };
        if context.now_ms < over_ms {
            let left = span(over_ms - context.now_ms);
            let detail = format!("{} is on trial for another {left}", intent.name);
            return Err(Refusal::Held {
                rule: Rule::Grace,
                detail: detail.into(),
            });
        }
        if works {
            self.proves_itself(op);
            return Ok(Reply::Done);
        }
        if let Some(known) = self.intents.get_mut(op) {
            known.works = Some(false);
        }
        // A group that grows or begins has nothing to compare with, and its machines can be treated.
        if intent.action.finds().is_some() {
            let about = About {
                machine: intent.action.makes(),
                group: Some(&intent.group),
                ..About::fleet(format!("{} was in vain: {detail}", intent.words()))
            };
            self.note(context, EventKind::Failed, about.decided(intent.decision));
        }
        match intent.action {
            Action::Replace { .. } => self.note_failure(context, &intent),
            // The next rung follows, without a wait.
            Action::Reimage { new, .. } if intent.asked.is_none() => self.reimaged_in_vain(new),
            _ => {}
        }
        Ok(Reply::Done)
    }

    /// A machine that was made works: the group's orders do not all fail.
    pub(super) fn proves_itself(&mut self, op: &OperationId) {
        let Some(intent) = self.intents.get_mut(op) else {
            return;
        };
        intent.works = Some(true);
        if let Some(group) = self.groups.get_mut(&intent.group) {
            group.failures.clear();
        }
    }

    /// Does to this state what committing that report would do, as far as it would be taken.
    ///
    /// For the decision core, which rehearses on a copy.
    pub(crate) fn rehearse_trial(
        &mut self,
        now_ms: u64,
        by: MachineId,
        term: u64,
        op: &OperationId,
    ) {
        let context = Context {
            now_ms,
            by,
            term,
            actor: None,
        };
        let _ = self.trial_over(&context, op, false, Text::default());
    }
}
