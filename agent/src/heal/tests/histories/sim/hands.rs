//! Executors and their provider, and the machines that come of it.

use super::super::oracle::copy;
use super::{Condition, Effect, Made, Sim};
use crate::fleet::testing::{SECRET, instance};
use crate::fleet::*;

/// How long a call may take; after that it has no effect any more.
const CALL_MS: u64 = 60_000;

/// How long a new instance is missing from the provider's list.
pub(super) const LAG_MS: u64 = 2000;

/// Steps that executors have begun and not ended, at most.
const BEGUN_MAX: usize = 8;

/// One step of an intent as an executor began it.
pub(super) struct Job {
    intent: Intent,
    record: StepRecord,
    /// The machine that is to go, and the one that is to come.
    old: Option<Machine>,
    new: Option<Machine>,
    begun_ms: u64,
}

impl Sim {
    /// The step that an executor would do now.
    fn job(&self, which: u8) -> Option<Job> {
        let open: Vec<_> = self.fleet.state.open_intents().collect();
        let intent = open[Self::pick(&open, which)?];
        let record = intent.current()?;
        let machine = |id| self.fleet.state.machines.get(&id).cloned();
        (!record.step.is_waited_for()).then(|| Job {
            intent: intent.clone(),
            record: record.clone(),
            old: intent.action.finds().and_then(machine),
            new: intent.action.makes().and_then(machine),
            begun_ms: self.fleet.now_ms,
        })
    }

    pub(in super::super) fn execute(&mut self, which: u8, effect: Effect) {
        if let Some(job) = self.job(which) {
            self.carry_out(&job, effect);
        }
    }

    pub(in super::super) fn begin(&mut self, which: u8) {
        if let Some(job) = self.job(which).filter(|_| self.begun.len() < BEGUN_MAX) {
            self.begun.push(job);
        }
    }

    pub(in super::super) fn end(&mut self, which: u8, effect: Effect) {
        let Some(at) = Self::pick(&self.begun, which) else {
            return;
        };
        let job = self.begun.remove(at);
        if self.fleet.now_ms < job.begun_ms.saturating_add(CALL_MS) {
            self.carry_out(&job, effect);
        }
    }

    fn carry_out(&mut self, job: &Job, effect: Effect) {
        let happens = !matches!(effect, Effect::Error | Effect::GaveUp);
        let done = if happens { self.call(job) } else { None };
        let error = || StepResult::Error {
            error: "timed out".into(),
            retry_ms: 1000,
        };
        let result = match effect {
            Effect::Done => done.unwrap_or_else(error),
            Effect::DoneUnreported => return,
            Effect::DoneAndError | Effect::Error => error(),
            Effect::GaveUp => StepResult::GiveUp {
                error: "denied".into(),
            },
        };
        self.send(Command::Progress(Progress {
            op: job.intent.op.clone(),
            step: job.record.step,
            attempt: job.record.attempts,
            result,
        }));
    }

    /// What the provider is asked for; `None` when it is refused.
    fn call(&mut self, job: &Job) -> Option<StepResult> {
        match job.record.step {
            Step::Provision => self.provision(job),
            Step::Fence => self.remove(job, false),
            Step::Destroy => self.remove(job, true),
            Step::Reboot | Step::PowerCycle => self.reboot(job),
            Step::Reimage => self.reimage(job),
            Step::RestartWorkload => None,
            Step::Drain | Step::Strike | Step::AwaitJoin | Step::AwaitWell => {
                Some(StepResult::Done)
            }
        }
    }

    fn provision(&mut self, job: &Job) -> Option<StepResult> {
        let machine = job.new.as_ref().expect("makes one");
        let place = machine.place.clone().expect("ordered for a place");
        let op = &job.intent.op;
        if !self.made.contains_key(op) {
            let late = job.begun_ms < self.fleet.now_ms;
            let copy = copy(&self.made, op, &place).map(|made| made.machine);
            // Attachments are exclusive: that is what stops a call of long ago, and nothing else may need it.
            if late && copy.is_some() {
                return None;
            }
            let running: Vec<_> = copy.into_iter().collect();
            self.oracle
                .makes(&job.intent, Step::Provision, &place, &running);
            let new = Made {
                machine: machine.id,
                place,
                running: true,
                destroyed: false,
                made_ms: self.fleet.now_ms,
                instance: format!("p-{}", machine.id),
            };
            self.made.insert(op.clone(), new);
        }
        let id = &self.made[op].instance;
        Some(StepResult::Provisioned(instance(id)))
    }

    /// The instance is the new machine's from now on. What its old operation made is no more.
    fn reimage(&mut self, job: &Job) -> Option<StepResult> {
        let (old, new) = (job.old.as_ref()?, job.new.as_ref()?);
        let op = &job.intent.op;
        if !self.made.contains_key(op) {
            let before = self.made.get_mut(old.order.as_ref()?)?;
            if before.destroyed {
                return None;
            }
            (before.running, before.destroyed) = (false, true);
            let instance = before.instance.clone();
            let place = new.place.clone().expect("ordered for a place");
            let copy = copy(&self.made, op, &place).map(|made| made.machine);
            let running: Vec<_> = copy.into_iter().collect();
            self.oracle
                .makes(&job.intent, Step::Reimage, &place, &running);
            let made = Made {
                machine: new.id,
                place,
                running: true,
                destroyed: false,
                made_ms: self.fleet.now_ms,
                instance,
            };
            self.made.insert(op.clone(), made);
            self.become_of(old.id, Condition::Dead);
        }
        Some(StepResult::Provisioned(instance(&self.made[op].instance)))
    }

    fn remove(&mut self, job: &Job, for_good: bool) -> Option<StepResult> {
        let (now_ms, old) = (self.fleet.now_ms, job.old.as_ref());
        let Some((old, op)) = old.and_then(|old| Some((old, old.order.clone()?))) else {
            return Some(StepResult::Done);
        };
        let known = old.instance.is_some();
        let made = match &old.instance {
            // Whatever runs there by now: a reimage may have been carried out, and nobody could say so.
            Some(on) => {
                let there = self
                    .made
                    .values_mut()
                    .filter(|made| on.id.as_str() == made.instance);
                there.max_by_key(|made| !made.destroyed)
            }
            None => self.made.get_mut(&op),
        };
        let listed = made.filter(|made| known || made.made_ms.saturating_add(LAG_MS) <= now_ms);
        let Some(made) = listed else {
            return (known || self.is_certain(job)).then_some(StepResult::Done);
        };
        made.destroyed |= for_good || made.running;
        let (machine, ran) = (made.machine, made.running);
        made.running = false;
        if ran {
            self.become_of(machine, Condition::Dead);
        }
        Some(StepResult::Done)
    }

    /// It cures half of the machines, and the others never.
    fn reboot(&mut self, job: &Job) -> Option<StepResult> {
        let old = job.old.as_ref()?;
        let op = old.order.clone()?;
        let made = self.made.get(&op).filter(|made| made.running)?;
        let (id, curable) = (made.machine, made.machine.get() % 2 == 0);
        let condition = self.truth(id).condition;
        if curable || !matches!(condition, Condition::AgentDown | Condition::Ailing) {
            self.become_of(id, Condition::Up);
            self.begin_anew(id);
        }
        Some(StepResult::Done)
    }

    /// Whether an order that is not on the list has made nothing, and nothing can come of it any more.
    fn is_certain(&self, job: &Job) -> bool {
        let Some(old) = &job.old else { return true };
        let given_up_ms = match job.intent.was {
            Some(Phase::Lost { at_ms }) if old.is_pet() => at_ms.saturating_add(CALL_MS),
            _ => old.ordered_ms,
        };
        self.clock_ms() >= given_up_ms.saturating_add(LAG_MS)
    }

    pub(in super::super) fn join(&mut self, which: u8) {
        let running = self.made.values().filter(|made| made.running);
        let coming: Vec<_> = running.map(|made| made.machine).collect();
        if let Some(at) = Self::pick(&coming, which) {
            let mut admit = self.fleet.admit(coming[at]);
            admit.secret = SECRET;
            self.now(Command::Admit(Box::new(admit)));
        }
    }
}
