//! Intents move on: one step at a time, by what executors report.

use std::collections::BTreeSet;

use muster_mesh::identity::MachineId;

use super::super::OperationId;
use super::super::command::{Progress, StepResult};
use super::super::decision::DecisionId;
use super::super::event::EventKind;
use super::super::intent::{Action, Held, Intent, IntentState, Step, StepRecord};
use super::super::lease::Fenced;
use super::super::limits::{INTENTS_ENDED_MAX, RESTART_MS, RETRY_MS_MAX, TRIALS_MAX};
use super::super::machine::{Instance, Machine, Phase};
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::rule::Rule;
use super::super::rung::{Rung, Treatment};
use super::super::state::FleetState;
use super::super::text::{Text, span};
use super::spared::is_courtesy;
use super::values::{check_instance, invalid};
use super::{About, Applied, Context};

impl FleetState {
    pub(super) fn progress(&mut self, context: &Context<'_>, progress: Progress) -> Applied {
        let Progress {
            op,
            step,
            attempt,
            result,
        } = progress;
        let intent = self
            .intents
            .get(&op)
            .ok_or_else(|| Refusal::NoIntent(op.clone()))?;
        let current = intent
            .current()
            .ok_or_else(|| Refusal::NoIntent(op.clone()))?;
        if (current.step, current.attempts) != (step, attempt) {
            let (current, attempt) = (current.step, current.attempts);
            return Err(Refusal::StaleProgress {
                op,
                current,
                attempt,
            });
        }
        match result {
            StepResult::Done => self.step_done(context, &op, step),
            StepResult::LeaseOver => self.lease_over(context, &op, step),
            StepResult::Kept => self.kept(context, &op, step),
            StepResult::Spared { why } => self.spared(context, &op, step, why),
            StepResult::Begun => self.begin(context, &op, step),
            StepResult::Undrained(why) => self.undrained(context, &op, step, why),
            StepResult::Provisioned(instance) if step == Step::Reimage => {
                self.reimaged(context, &op, Some(instance))
            }
            StepResult::Provisioned(instance) => self.provisioned(context, &op, step, instance),
            StepResult::Error { error, retry_ms } => {
                self.not_begun(context, &op);
                self.step_failed(context, &op, error, retry_ms)
            }
            StepResult::Unknown { error, retry_ms } => {
                self.step_failed(context, &op, error, retry_ms)
            }
            StepResult::Held { rule, detail } => self.step_held(context, &op, rule, detail),
            StepResult::Uncalled { rule, detail } => {
                self.uncalled(context, &op, step, (rule, detail))
            }
            StepResult::GiveUp { error } => {
                self.check_time(context, &op)?;
                self.fail(context, &op, error, Failure::Operation);
                Ok(Reply::Done)
            }
            StepResult::Vanished { error } if step.is_waited_for() => {
                self.fail(context, &op, error, Failure::Operation);
                Ok(Reply::Done)
            }
            StepResult::Vanished { .. } => Err(invalid(format!("`{step}` waits for no machine"))),
        }
    }

    fn step_done(&mut self, context: &Context<'_>, op: &OperationId, step: Step) -> Applied {
        if matches!(step, Step::Provision | Step::Reimage | Step::AwaitJoin) {
            return Err(invalid(format!(
                "`{step}` ends with an instance or an admission only"
            )));
        }
        let found = self
            .intents
            .get(op)
            .and_then(|intent| intent.action.finds());
        let found = found.ok_or_else(|| Refusal::NoIntent(op.clone()))?;
        let decision = self
            .intents
            .get(op)
            .map(|intent| intent.decision)
            .unwrap_or_default();
        let instance = self.machines.get(&found);
        let instance = instance.and_then(|machine| machine.instance.as_ref());
        let what = instance.map_or_else(
            || "whatever its order may have made".to_owned(),
            |instance| format!("{} {}", instance.provisioner, instance.id),
        );
        let event = match step {
            Step::Fence => Some((EventKind::Fenced, "is proved off")),
            Step::Drain => Some((EventKind::Drained, "has handed over its duties")),
            Step::Strike => Some((EventKind::Drained, "is struck off its ensemble")),
            Step::Destroy => Some((EventKind::Destroyed, "is no more")),
            Step::RestartWorkload => Some((EventKind::Treated, "has restarted its workload")),
            Step::Reboot => Some((EventKind::Treated, "was rebooted")),
            Step::PowerCycle => Some((EventKind::Treated, "was power-cycled")),
            Step::Provision | Step::Reimage | Step::AwaitJoin | Step::AwaitWell => None,
        };
        if let Some((kind, words)) = event {
            let about = About::machine(found, format!("{what} {words}"));
            self.note(context, kind, about.decided(decision));
        }
        match step {
            Step::Fence => {
                self.condemn(context, found);
                if let Some(intent) = self.intents.get_mut(op) {
                    intent.fenced = Some(Fenced::Off);
                }
            }
            // Also where it is given back afterwards: it serves nobody until it is restarted.
            Step::Drain => self.note_drained(context, found),
            Step::Destroy => self.remove_machine(context, found),
            _ => {}
        }
        self.advance(context, op);
        Ok(Reply::Done)
    }

    fn provisioned(
        &mut self,
        context: &Context<'_>,
        op: &OperationId,
        step: Step,
        instance: Instance,
    ) -> Applied {
        if step != Step::Provision {
            return Err(invalid(format!("`{step}` makes no instance")));
        }
        check_instance(&instance)?;
        let is_same =
            |other: &Instance| other.id == instance.id && other.provisioner == instance.provisioner;
        let owner = self
            .machines
            .values()
            .find(|m| m.instance.as_ref().is_some_and(is_same));
        if let Some(owner) = owner {
            return Err(invalid(format!(
                "instance {} is machine {}",
                instance.id, owner.name
            )));
        }
        let intent = self
            .intents
            .get(op)
            .ok_or_else(|| Refusal::NoIntent(op.clone()))?;
        let decision = intent.decision;
        let (group, member) = (intent.group.clone(), intent.member.clone());
        let replaces = matches!(intent.action, Action::Replace { .. }) && intent.asked.is_none();
        let id = intent
            .action
            .makes()
            .ok_or_else(|| Refusal::NoIntent(op.clone()))?;
        let machine = self.machines.get_mut(&id).ok_or(Refusal::NoMachine(id))?;
        let detail = format!("{} {}", instance.provisioner, instance.id);
        machine.instance = Some(instance);
        machine.made_ms = Some(context.now_ms);
        let joined = machine.phase == Phase::Joined;
        if let Some(group) = self.groups.get_mut(&group).filter(|_| replaces) {
            group.note_replaced(&member, context.now_ms);
        }
        self.note(
            context,
            EventKind::Provisioned,
            About::machine(id, detail).decided(decision),
        );
        self.advance(context, op);
        if joined {
            self.finish_await(context, op);
        }
        Ok(Reply::Done)
    }

    pub(super) fn step_failed(
        &mut self,
        context: &Context<'_>,
        op: &OperationId,
        error: Text,
        retry_ms: u64,
    ) -> Applied {
        let until_ms = self.reimage_until_ms(op);
        let (decision, action, record) = self.current_step(op)?;
        let step = record.step;
        if step.is_waited_for() {
            return Err(invalid(
                "waiting for a machine has no errors; it is given up in the end",
            ));
        }
        record.attempts = record.attempts.saturating_add(1);
        record.last_error = Some(error.clone());
        record.held = None;
        record.next_attempt_ms = context.now_ms.saturating_add(retry_ms.min(RETRY_MS_MAX));
        let attempts = record.attempts;
        let over = match until_ms {
            Some(until_ms) => context.now_ms >= until_ms,
            None => attempts >= step.attempts_max(),
        };
        if over && is_courtesy(step, action) {
            let detail = format!("goes undrained after {attempts} tries: {error}");
            self.go_undrained(context, op, detail);
        } else if over {
            self.fail(context, op, error, Failure::Operation);
        } else if attempts == 1 {
            let machine = match step {
                Step::Provision | Step::AwaitJoin => action.makes(),
                _ => action.finds(),
            };
            let about = About {
                machine,
                ..About::fleet(format!("{step}: {error}"))
            };
            self.note(context, EventKind::Retrying, about.decided(decision));
        }
        Ok(Reply::Done)
    }

    /// The decision and the action of an open intent, and the step that it is at.
    pub(super) fn current_step(
        &mut self,
        op: &OperationId,
    ) -> Result<(DecisionId, Action, &mut StepRecord), Refusal> {
        let none = || Refusal::NoIntent(op.clone());
        let intent = self.intents.get_mut(op).ok_or_else(none)?;
        let (decision, action) = (intent.decision, intent.action);
        let record = intent.current_mut().ok_or_else(none)?;
        Ok((decision, action, record))
    }

    /// The step waits. Said once for each rule; other words of the same one are taken up now and then.
    pub(super) fn step_held(
        &mut self,
        context: &Context<'_>,
        op: &OperationId,
        rule: Rule,
        detail: Text,
    ) -> Applied {
        let (decision, action, record) = self.current_step(op)?;
        let (step, now_ms) = (record.step, context.now_ms);
        if step.is_waited_for() {
            return Err(invalid("waiting for a machine is held by no rule"));
        }
        let before = record.held.as_ref();
        if before.is_some_and(|held| !held.makes_news(rule, &detail, now_ms)) {
            return Err(Refusal::Unchanged(decision));
        }
        let since_ms = before
            .filter(|held| held.rule == rule)
            .map_or(now_ms, |held| held.since_ms);
        let said = format!("`{step}` waits: {rule}: {detail}");
        record.held = Some(Held {
            rule,
            detail,
            since_ms,
            recorded_ms: now_ms,
        });
        if since_ms == now_ms {
            let machine = match step {
                Step::Provision => action.makes(),
                _ => action.finds().or(action.makes()),
            };
            let about = About {
                machine,
                ..About::fleet(said)
            };
            self.note(context, EventKind::Held, about.decided(decision));
        }
        Ok(Reply::Done)
    }

    /// A machine that is still in time is not given up.
    fn check_time(&self, context: &Context<'_>, op: &OperationId) -> Result<(), Refusal> {
        let Some(intent) = self.intents.get(op) else {
            return Ok(());
        };
        let Some(record) = intent
            .current()
            .filter(|record| record.step.is_waited_for())
        else {
            return Ok(());
        };
        let until_ms = self.deadline_ms(intent, record);
        if context.now_ms < until_ms {
            let left = span(until_ms - context.now_ms);
            let detail = format!("{} has {left} left at `{}`", intent.name, record.step);
            return Err(Refusal::Held {
                rule: Rule::Grace,
                detail: detail.into(),
            });
        }
        Ok(())
    }

    /// By when the machine of an intent that is waited for must have joined, or be well.
    pub(crate) fn deadline_ms(&self, intent: &Intent, record: &StepRecord) -> u64 {
        let group = self.groups.get(&intent.group);
        let grace_ms = match intent.action {
            Action::Treat {
                rung: Rung::RestartWorkload,
                ..
            } => RESTART_MS,
            _ => group.map_or(0, |group| group.spec.heal.boot_grace_ms),
        };
        record
            .started_ms
            .unwrap_or(intent.opened_ms)
            .saturating_add(grace_ms)
    }

    /// Ends `AwaitJoin` if that is where the intent is. A machine may join before it is known what instance it
    /// runs on; then this is called again later.
    pub(super) fn finish_await(&mut self, context: &Context<'_>, op: &OperationId) {
        let current = self.intents.get(op).and_then(Intent::current);
        if current.is_some_and(|record| record.step == Step::AwaitJoin) {
            self.advance(context, op);
        }
    }

    /// The current step is done.
    pub(super) fn advance(&mut self, context: &Context<'_>, op: &OperationId) {
        let Some(intent) = self.intents.get_mut(op) else {
            return;
        };
        let (action, undrained) = (intent.action, intent.undrained);
        let mut drained = None;
        if let Some(record) = intent.current_mut() {
            record.ended_ms = Some(context.now_ms);
            record.held = None;
            if let (Step::Drain, Action::Replace { old, .. }) = (record.step, action) {
                drained = Some(old).filter(|_| !undrained);
            }
        }
        match intent.current_mut() {
            Some(next) => {
                next.started_ms = Some(context.now_ms);
                next.next_attempt_ms = context.now_ms;
            }
            None => {
                intent.state = IntentState::Done {
                    at_ms: context.now_ms,
                };
                self.end(context, op);
            }
        }
        // One of cattle that is replaced is refused by everyone from now on; a pet once it is proved off, and one that was not
        // drained once it is destroyed: whether anybody gets an answer from it is asked once more before that.
        let is_pet = |id: &MachineId| self.machines.get(id).is_some_and(Machine::is_pet);
        if let Some(old) = drained.filter(|old| !is_pet(old)) {
            self.condemn(context, old);
        }
    }

    /// What is left to do when an intent did what it was for.
    fn end(&mut self, context: &Context<'_>, op: &OperationId) {
        let Some(intent) = self.intents.get(op).cloned() else {
            return;
        };
        if let Some(machine) = intent
            .action
            .makes()
            .and_then(|id| self.machines.get_mut(&id))
        {
            machine.intent = None;
        }
        // A machine whose work is checked has to prove itself first.
        if intent.action.makes().is_some() && intent.trial_ms == 0 {
            self.proves_itself(op);
        }
        if let Action::Treat { machine, .. } = intent.action {
            self.note_restarted(machine);
        }
        // A person's treatment says nothing about what cures the machine.
        self.end_treatment(
            context,
            intent.action,
            intent.asked.is_none().then_some(true),
        );
        self.end_asked(context, &intent, None);
        let took = span(context.now_ms.saturating_sub(intent.opened_ms));
        let about = About {
            machine: intent.action.makes().or(intent.action.treats()),
            group: Some(&intent.group),
            ..About::fleet(format!("{} took {took}", intent.words()))
        };
        self.note(context, EventKind::Done, about.decided(intent.decision));
        self.after_intent(context, &intent);
    }

    pub(super) fn fail(
        &mut self,
        context: &Context<'_>,
        op: &OperationId,
        error: Text,
        failure: Failure,
    ) {
        let now_ms = context.now_ms;
        let Some(intent) = self.intents.get_mut(op) else {
            return;
        };
        let Some(record) = intent.current_mut() else {
            return;
        };
        record.last_error = Some(error.clone());
        let (step, attempts) = (record.step, record.attempts);
        intent.state = IntentState::Failed {
            at_ms: now_ms,
            step,
            error: error.clone(),
            spared: failure == Failure::Spared,
        };
        let intent = intent.clone();
        let (makes, removes) = (intent.action.makes(), intent.action.removes());
        let machine = match step {
            Step::Provision | Step::AwaitJoin => makes,
            _ => intent.action.finds(),
        };
        let detail = format!("{} failed at `{step}`: {error}", intent.words());
        let about = About {
            machine,
            group: Some(&intent.group),
            ..About::fleet(detail)
        };
        self.note(context, EventKind::Failed, about.decided(intent.decision));
        if let Some(id) = makes {
            self.give_up_new(context, id, step, attempts);
        }
        if let Some(id) = removes {
            self.give_back_old(context, id, &intent);
        }
        // Its rung was done if it was waited for what comes of it.
        if let (Action::Treat { machine, .. }, Step::AwaitWell) = (intent.action, step) {
            self.note_restarted(machine);
        }
        // What was spared was not tried.
        let helped = (failure == Failure::Operation).then_some(false);
        self.end_treatment(context, intent.action, helped);
        self.end_asked(context, &intent, Some(&error));
        // What did not help in place is followed by the next rung, not by a wait.
        if intent.action.rung().is_none() && failure == Failure::Operation {
            self.note_failure(context, &intent);
        }
        self.after_intent(context, &intent);
    }

    /// An operation of a group failed. Said once when that was one too many.
    pub(super) fn note_failure(&mut self, context: &Context<'_>, intent: &Intent) {
        let Some(group) = self.groups.get_mut(&intent.group) else {
            return;
        };
        let now_ms = context.now_ms;
        let before = group.suspended(now_ms);
        group.note_failure(now_ms);
        let Some(backoff) = group.suspended(now_ms).filter(|_| before.is_none()) else {
            return;
        };
        let wait = span(backoff.until_ms.saturating_sub(now_ms));
        let detail = format!(
            "{} operations failed without a success between them: nothing more is tried for {wait}, or until `muster group resume {}`",
            backoff.failed, intent.group
        );
        let about = About::group(&intent.group, detail).decided(intent.decision);
        self.note(context, EventKind::GroupFailed, about);
    }

    /// A machine that was treated is free again, and remembers how it went if that is known.
    fn end_treatment(&mut self, context: &Context<'_>, action: Action, helped: Option<bool>) {
        let treated = match action {
            // The one that comes of it, unless nothing did: on the same hardware, which is what is remembered.
            Action::Reimage { old, new } => Some(old)
                .filter(|old| self.machines.contains_key(old))
                .or(Some(new)),
            _ => action.treats(),
        };
        let Some(machine) = treated.and_then(|id| self.machines.get_mut(&id)) else {
            return;
        };
        machine.intent = None;
        let at_ms = context.now_ms;
        if let (Some(rung), Some(helped)) = (action.rung(), helped) {
            machine.treatments.note(Treatment {
                rung,
                at_ms,
                helped,
            });
        }
    }

    /// A machine that may exist stays on the roster, to be replaced, and may still turn up: after an error it is not
    /// known whether an instance was made. One that nobody began to make, or that the provider would not make at the
    /// first try, is forgotten; unless it is a pet, of which two copies must never run.
    fn give_up_new(&mut self, context: &Context<'_>, id: MachineId, step: Step, attempts: u32) {
        let Some(machine) = self.machines.get_mut(&id) else {
            return;
        };
        machine.intent = None;
        let may_exist = match step {
            Step::AwaitJoin => true,
            Step::Provision => attempts > 0 || machine.is_pet(),
            _ => false,
        };
        match machine.phase {
            Phase::Ordered if may_exist => {
                machine.phase = Phase::Lost {
                    at_ms: context.now_ms,
                };
            }
            Phase::Ordered => self.remove_machine(context, id),
            _ => {}
        }
    }

    /// A machine that could not be taken away is what it was; a condemned one is to be replaced.
    fn give_back_old(&mut self, context: &Context<'_>, id: MachineId, intent: &Intent) {
        let Some(machine) = self.machines.get_mut(&id) else {
            return;
        };
        machine.intent = None;
        let replaced = matches!(intent.action, Action::Replace { .. });
        machine.phase = match intent.was {
            Some(Phase::Joined) | None if machine.condemned && replaced => Phase::Lost {
                at_ms: context.now_ms,
            },
            Some(Phase::Joined) if machine.condemned => Phase::Left {
                at_ms: context.now_ms,
                life: None,
            },
            Some(was) => was,
            None => Phase::Joined,
        };
    }

    fn after_intent(&mut self, context: &Context<'_>, intent: &Intent) {
        self.forget_old_intents();
        self.drop_unused_templates(&intent.group);
        self.finish_destroying(context, &intent.group);
    }

    /// Those whose machine is on trial go last: else nobody would say how that ended.
    fn forget_old_intents(&mut self) {
        let on_trial: BTreeSet<_> = self.trials().map(|(intent, _)| intent.op.clone()).collect();
        let ended_ms = |intent: &Intent| match intent.state {
            IntentState::Open => None,
            IntentState::Done { at_ms } | IntentState::Failed { at_ms, .. } => Some(at_ms),
        };
        let ended = self.intents.values();
        let ended = ended.filter_map(|intent| Some((ended_ms(intent)?, intent.op.clone())));
        let (mut tried, mut over): (Vec<_>, Vec<_>) =
            ended.partition(|(_, op)| on_trial.contains(op));
        for (ops, most) in [(&mut tried, TRIALS_MAX), (&mut over, INTENTS_ENDED_MAX)] {
            ops.sort_unstable();
            let surplus = ops.len().saturating_sub(most);
            for (_, op) in ops.drain(..surplus) {
                self.intents.remove(&op);
            }
        }
    }
}

/// What ended an intent before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its operation failed: too many of that, and the group waits.
    Operation,
    /// What it was for is over, or a rule has kept it from being done for too long.
    Spared,
}
