//! The executor's steps, as calls to the modelled provider, and the machines that come of them.
//!
//! What each step is to do comes from the shipped [`execute::job`](crate::execute::job); the calls themselves, with
//! their retries, are modelled after `execute`.

use muster_mesh::identity::MachineId;
use muster_mesh::simulator::Condition;
use muster_provisioners::{Properties, Secret};

use super::{Happening, Run};
use crate::execute::{Job, Surroundings, Target, Work, job};
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{
    Check, Command, Diagnosis, Instance, InstanceId, Intent, LeaseTerms, OperationId, Phase, Place,
    Progress, Reply, Rule, Rung, Step, StepResult, Undrained,
};
use crate::heal::Spared;
use crate::simulate::cloud::{Making, Reimaged};
use crate::simulate::invariants::{Call, Sight};
use crate::simulate::scenario::Safeguard;

/// Steps that are under way at one time.
const STEPS_MAX: usize = 16;

/// The longest wait between two tries of a step, in milliseconds.
const RETRY_MS_MAX: u64 = 60 * SECOND_MS;

/// How long a step may take, in milliseconds, as in `execute`.
const STEP_MS: u64 = 60 * SECOND_MS;

/// How often it is looked whether a machine that stands still goes on, in milliseconds.
const STILL_MS: u64 = 500;

/// How often a new machine asks to be let in, in milliseconds.
const KNOCK_MS: u64 = 5 * SECOND_MS;

/// Something that was permitted, and is on its way to whoever does it.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    /// Who sent it.
    by: MachineId,
    term: u64,
    /// The intent as it was when this was permitted.
    intent: Intent,
    job: Job,
    /// Machines of the roster that the sender heard when it was permitted, and how many there were.
    hears: (usize, usize),
    /// Whether the machine that it ends or treats was back by then.
    is_back: bool,
    began_ms: u64,
    takes_ms: u64,
}

impl Errand {
    fn is_for_the_provider(&self) -> bool {
        !matches!(
            self.job.work,
            Work::Nothing | Work::Drain { .. } | Work::Strike { .. } | Work::RestartWorkload { .. }
        )
    }
}

impl Run<'_> {
    /// Begins every step whose time has come, as far as there is room.
    pub(super) fn start_due(&mut self) {
        let Some(leader) = self.able_leader() else {
            return;
        };
        let spared = self.spared(leader);
        let now_ms = self.fleet_ms(leader);
        let due =
            |intent: &&Intent| intent.due(now_ms).is_some() && !self.under_way.contains(&intent.op);
        let room = STEPS_MAX.saturating_sub(self.under_way.len());
        let any_due = self.state.intents.values().any(|intent| due(&intent));
        let asks = self.scenario.left_out != Some(Safeguard::Permit);
        if !any_due || asks && !self.may_act(leader) {
            return;
        }
        let due: Vec<Intent> = self
            .state
            .intents
            .values()
            .filter(due)
            .filter(|intent| match spared.get(&intent.op) {
                Some(Spared::Held(check)) => is_news(intent, check, now_ms),
                _ => true,
            })
            .take(room)
            .cloned()
            .collect();
        for intent in due {
            match spared.get(&intent.op) {
                Some(Spared::GivenUp(why)) => {
                    let why = why.clone();
                    self.say_of(&intent, StepResult::Spared { why });
                }
                Some(Spared::Held(check)) => {
                    let (rule, detail) = (check.rule, check.margin.clone());
                    self.say_of(&intent, StepResult::Held { rule, detail });
                }
                None => self.begin_step(leader, &intent),
            }
        }
    }

    /// Says how it stands with a step that is not tried.
    fn say_of(&mut self, intent: &Intent, result: StepResult) {
        let Some(record) = intent.current() else {
            return;
        };
        let progress = Progress {
            op: intent.op.clone(),
            step: record.step,
            attempt: record.attempts,
            result,
        };
        self.under_way.insert(intent.op.clone());
        let term = self.lead.term;
        self.schedule(self.now_ms, Happening::StepEnds { term, progress });
    }

    fn begin_step(&mut self, leader: MachineId, intent: &Intent) {
        let Some(record) = intent.current() else {
            return;
        };
        let (step, attempt) = (record.step, record.attempts);
        let token = |_, _: &OperationId| Secret::new("simulated");
        let surroundings = Surroundings {
            seeds: Vec::new(),
            token: &token,
            settings: Properties::new(),
        };
        let work = job(&self.state, intent, &surroundings);
        let takes_ms = self.takes_ms();
        let term = self.lead.term;
        let happening = match work {
            Ok(None) => return,
            Ok(Some(job)) => Happening::Calls(Box::new(Errand {
                by: leader,
                term,
                intent: intent.clone(),
                job,
                hears: self.stand_behind(leader),
                is_back: self.is_back(leader, intent),
                began_ms: self.now_ms,
                takes_ms,
            })),
            Err(error) => Happening::StepEnds {
                term,
                progress: Progress {
                    op: intent.op.clone(),
                    step,
                    attempt,
                    result: failed(&error.0, 30 * SECOND_MS),
                },
            },
        };
        self.under_way.insert(intent.op.clone());
        self.schedule(self.now_ms + takes_ms / 2, happening);
    }

    /// How long a call takes.
    fn takes_ms(&mut self) -> u64 {
        let usual_ms = self.random.about_ms(self.scenario.cloud.latency);
        usual_ms.saturating_add(self.cloud.slower_ms)
    }

    /// A call arrives at the provider, if whoever makes it gets to that, and there is time left.
    pub(super) fn calls(&mut self, errand: Box<Errand>) {
        match self.mesh.condition(errand.by) {
            Condition::Running => {}
            // It goes on with what it was about when it goes on.
            Condition::Paused => {
                return self.schedule(self.now_ms + STILL_MS, Happening::Calls(errand));
            }
            Condition::Killed | Condition::Off => return,
        }
        let deadline_ms = errand.began_ms + STEP_MS;
        let given_up = |run: &mut Self, errand: &Errand| {
            let wait_ms = run.back_off(errand.job.attempt);
            run.tell_result(errand, deadline_ms, timed_out(wait_ms));
        };
        if self.now_ms >= deadline_ms {
            // What an hour ago was right is not carried out now.
            return given_up(self, &errand);
        }
        if !self.begins(&errand) {
            let wait_ms = self.back_off(errand.job.attempt);
            let failed = failed("that it begins could not be put on record", wait_ms);
            return self.tell_result(&errand, self.now_ms, failed);
        }
        if self.cloud.late > 0 && errand.is_for_the_provider() {
            given_up(self, &errand);
            return self.late.push(*errand);
        }
        let result = self.work(&errand);
        let ends_ms = errand.began_ms + errand.takes_ms;
        if ends_ms >= deadline_ms {
            return given_up(self, &errand);
        }
        self.tell_result(&errand, ends_ms, result);
    }

    /// Whether what has to be on record before it begins is.
    fn begins(&mut self, errand: &Errand) -> bool {
        let begins = match errand.job.work {
            Work::Reimage { begun, .. } => !begun,
            // What is asked first says nothing of a host that does not answer, and nothing is called then.
            Work::Fence { begins, .. } | Work::Destroy { begins, .. } => {
                begins && !self.scenario.cloud.blind
            }
            _ => false,
        };
        if !begins {
            return true;
        }
        let leads = self.able_leader() == Some(errand.by) && self.lead.term == errand.term;
        let begun = Command::Progress(Progress {
            op: errand.intent.op.clone(),
            step: errand.job.step,
            attempt: errand.job.attempt,
            result: StepResult::Begun,
        });
        leads && matches!(self.commit(errand.by, begun), Reply::Done)
    }

    fn tell_result(&mut self, errand: &Errand, at_ms: u64, result: StepResult) {
        let begun_before = matches!(errand.job.work, Work::Reimage { begun: true, .. });
        let result = match result {
            // That this call did nothing says nothing of one before it.
            StepResult::Error { error, retry_ms } if begun_before => {
                StepResult::Unknown { error, retry_ms }
            }
            result => result,
        };
        let progress = Progress {
            op: errand.intent.op.clone(),
            step: errand.job.step,
            attempt: errand.job.attempt,
            result,
        };
        let term = errand.term;
        self.schedule(at_ms, Happening::StepEnds { term, progress });
    }

    /// The provider carries out what it had been asked for while it was late.
    pub(super) fn carry_out_late(&mut self) {
        for errand in std::mem::take(&mut self.late) {
            let _too_late_for_anybody = self.work(&errand);
        }
    }

    /// Does what a step is to do, and says what will be reported.
    fn work(&mut self, errand: &Errand) -> StepResult {
        let job = &errand.job;
        let wait_ms = self.back_off(job.attempt);
        if errand.is_for_the_provider() && self.cloud.fails(&mut self.random) {
            return failed("the provider does not answer", wait_ms);
        }
        let left_out = self.scenario.left_out;
        let result = match &job.work {
            Work::Drain { machine } if !self.mesh.hears(errand.by, *machine) => {
                return StepResult::Undrained(Undrained::Absent);
            }
            Work::Nothing | Work::Drain { .. } | Work::Strike { .. } => return StepResult::Done,
            Work::RestartWorkload { machine } => {
                self.works_again(*machine);
                return StepResult::Done;
            }
            Work::Fence { .. } | Work::Destroy { .. } if left_out == Some(Safeguard::Proof) => {
                StepResult::Done
            }
            Work::AwaitLease { lease } => self.outlived(errand.by, *lease),
            Work::Fence {
                lease: Some(lease), ..
            } if self.scenario.cloud.blind => self.outlived(errand.by, *lease),
            Work::DestroyIfOff { .. } if self.scenario.cloud.blind => StepResult::Kept,
            Work::Fence { .. } | Work::Destroy { .. } if self.scenario.cloud.blind => {
                return failed("its host does not answer the provider", wait_ms);
            }
            Work::Fence { instance, .. }
            | Work::Destroy { instance, .. }
            | Work::DestroyIfOff { instance, .. } => {
                self.end_instance(errand, instance);
                StepResult::Done
            }
            Work::Provision { provisioner, .. } => match self.make(errand, provisioner) {
                Some(id) => match self.cloud.on_record(&id) {
                    Some(instance) => StepResult::Provisioned(instance),
                    None => failed("the instance is gone", wait_ms),
                },
                None => failed("throttled", wait_ms),
            },
            Work::Reimage { .. } if self.scenario.cloud.blind => {
                return failed("its host does not answer the provider", wait_ms);
            }
            Work::Reimage { instance, .. } => match self.reimage(errand, instance) {
                Some(instance) => StepResult::Provisioned(instance),
                None => failed("the instance is gone", wait_ms),
            },
            Work::Reboot { instance, rung, .. } => {
                self.reboot(instance, *rung);
                StepResult::Done
            }
        };
        let lies = self.scenario.cloud.lies;
        if self.random.chance(lies) {
            return timed_out(wait_ms);
        }
        result
    }

    /// Whether a lease is over; tried again while it is not.
    fn outlived(
        &mut self,
        leader: MachineId,
        (machine, terms): (MachineId, LeaseTerms),
    ) -> StepResult {
        if self.scenario.left_out == Some(Safeguard::Lease) {
            return StepResult::LeaseOver;
        }
        match self.lease_left_ms(leader, machine, terms) {
            0 => StepResult::LeaseOver,
            _ => StepResult::Held {
                rule: Rule::Fence,
                detail: "its lease is not over yet".into(),
            },
        }
    }

    /// Doubles with each failure, give or take a fifth.
    fn back_off(&mut self, attempt: u32) -> u64 {
        let base_ms = (SECOND_MS << attempt.min(10)).min(RETRY_MS_MAX);
        self.random
            .between(base_ms - base_ms / 5, base_ms + base_ms / 5)
    }

    /// What runs there ends and starts anew. A machine without power, or whose kernel hangs, needs its power cycled.
    fn reboot(&mut self, target: &Target, rung: Rung) {
        let id = match target {
            Target::Known(id) => Some(id),
            Target::Ordered { op, .. } => self.cloud.made_by(op),
        };
        let made = id
            .and_then(|id| self.cloud.get(id))
            .filter(|made| made.runs());
        let Some(machine) = made.map(|made| made.machine) else {
            return;
        };
        if self.mesh.condition(machine) == Condition::Off && rung != Rung::PowerCycle {
            return;
        }
        self.works_again(machine);
        self.mesh.kill(machine);
        let boot_ms = self.random.about_ms(self.scenario.cloud.boot);
        self.schedule(self.now_ms + boot_ms, Happening::Starts(machine));
        self.check_leader();
    }

    /// What runs there ends, and another machine boots.
    fn reimage(&mut self, errand: &Errand, id: &InstanceId) -> Option<Instance> {
        let intent = &errand.intent;
        let machine = intent.action.makes()?;
        let place: Place = self.state.machines.get(&machine)?.place.clone()?;
        let done =
            self.cloud
                .reimage(&intent.op, id, (machine, place.clone()), &mut self.random)?;
        if let Reimaged::Now(old) = done {
            let running: Vec<MachineId> = self
                .cloud
                .running(&place)
                .filter(|other| *other != machine && self.may_write(*other))
                .collect();
            let call = Call {
                op: &intent.op,
                intent,
                step: Step::Reimage,
                ends: Some(old),
                is_back: errand.is_back,
                makes: Some((&place, &running)),
                made_again: false,
                hears: errand.hears,
            };
            let at_ms = self.now_ms.saturating_sub(self.began_ms);
            self.watch.see(at_ms, &Sight::Called(&call));
            self.mesh.power_off(old);
            self.check_leader();
            let boot_ms = self.random.about_ms(self.scenario.cloud.boot);
            self.schedule(self.now_ms + boot_ms, Happening::Boots(id.clone()));
        }
        self.cloud.on_record(id)
    }

    fn end_instance(&mut self, errand: &Errand, target: &Target) {
        let id = match target {
            Target::Known(id) => Some(id.clone()),
            Target::Ordered { op, .. } => self.cloud.made_by(op).cloned(),
        };
        let Some((id, machine)) =
            id.and_then(|id| Some((id.clone(), self.cloud.get(&id)?.machine)))
        else {
            return;
        };
        let call = Call {
            op: &errand.intent.op,
            intent: &errand.intent,
            step: errand.job.step,
            ends: Some(machine),
            is_back: errand.is_back,
            makes: None,
            made_again: false,
            hears: errand.hears,
        };
        let at_ms = self.now_ms.saturating_sub(self.began_ms);
        self.watch.see(at_ms, &Sight::Called(&call));
        self.cloud.destroy(self.now_ms, &id);
        self.mesh.power_off(machine);
        self.check_leader();
    }

    /// Makes an instance; `None` when the provider has no room for it now.
    fn make(&mut self, errand: &Errand, provisioner: &str) -> Option<InstanceId> {
        let intent = &errand.intent;
        let machine = intent.action.makes()?;
        let place: Place = self.state.machines.get(&machine)?.place.clone()?;
        let running: Vec<MachineId> = self
            .cloud
            .running(&place)
            .filter(|other| *other != machine && self.may_write(*other))
            .collect();
        let before = self.cloud.made_by(&intent.op).cloned();
        let new = (machine, place.clone(), provisioner.to_owned());
        let making = self
            .cloud
            .provision(self.now_ms, &intent.op, new, &mut self.random);
        let Making::Made { id, anew } = making else {
            return None;
        };
        let call = Call {
            op: &intent.op,
            intent,
            step: Step::Provision,
            ends: None,
            is_back: false,
            makes: anew.then_some((&place, &running)),
            made_again: before.is_some_and(|before| before != id),
            hears: errand.hears,
        };
        let at_ms = self.now_ms.saturating_sub(self.began_ms);
        self.watch.see(at_ms, &Sight::Called(&call));
        if anew {
            let boot_ms = self.random.about_ms(self.scenario.cloud.boot);
            self.schedule(self.now_ms + boot_ms, Happening::Boots(id.clone()));
        }
        Some(id)
    }

    /// Whether the machine that an intent ends was taken for dead and is not, while nothing was done to it.
    fn is_back(&self, leader: MachineId, intent: &Intent) -> bool {
        let decision = self.state.decision(intent.decision);
        let taken_for = decision.and_then(|decision| decision.proposal.cause.diagnosis());
        let taken_for_dead = matches!(
            taken_for,
            Some(Diagnosis::Unreachable | Diagnosis::AgentDown | Diagnosis::Gone)
        );
        let begun = intent.current().and_then(|record| record.begun);
        let found = intent.action.finds();
        let found = found.and_then(|id| self.state.machines.get(&id));
        taken_for_dead
            && begun.is_none()
            && intent.was == Some(Phase::Joined)
            && found.is_some_and(|one| !one.condemned && self.believes_alive(leader, one.id))
    }

    /// Machines of the roster that the leader hears, and how many there are without those that are really gone.
    pub(super) fn stand_behind(&self, leader: MachineId) -> (usize, usize) {
        let electors = || self.state.electors().map(|machine| machine.id);
        let heard = electors().filter(|id| self.mesh.hears(leader, *id)).count();
        let off = |id: &MachineId| {
            let machine = self.state.machines.get(id);
            let made = machine
                .and_then(|machine| self.cloud.instance_of(machine))
                .and_then(|id| self.cloud.get(id));
            !made.is_some_and(crate::simulate::cloud::Made::runs)
        };
        (heard, electors().filter(|id| !off(id)).count())
    }

    pub(super) fn step_ends(&mut self, term: u64, progress: Progress) {
        if term != self.lead.term {
            // Whoever began it leads no longer: its successor finds the step in the log.
            return;
        }
        self.under_way.remove(&progress.op);
        let Some(leader) = self.able_leader() else {
            return;
        };
        let op = progress.op.clone();
        self.commit(leader, Command::Progress(progress));
        let next = self.state.intents.get(&op).and_then(Intent::current);
        let fleet_ms = self.fleet_ms(leader);
        if let Some(wait_ms) = next
            .and_then(|record| record.next_attempt_ms.checked_sub(fleet_ms))
            .filter(|wait_ms| *wait_ms > 0)
        {
            self.schedule(self.now_ms + wait_ms, Happening::Due);
        }
        self.start_due();
    }

    /// A new machine has booted, and asks to be let in until it is, or is gone.
    pub(super) fn boots(&mut self, id: &InstanceId) {
        let Some(made) = self.cloud.get(id).filter(|made| made.runs() && !made.dud) else {
            return;
        };
        let machine = made.machine;
        let Some(leader) = self.able_leader() else {
            self.schedule(self.now_ms + KNOCK_MS, Happening::Boots(id.clone()));
            return;
        };
        let admit = self.admission(machine);
        if let Reply::Admitted(_) = self.commit(leader, Command::Admit(Box::new(admit))) {
            self.mesh.start(machine);
            self.inherit_checks(machine);
        }
    }
}

/// Whether that a step is held is not on record yet.
fn is_news(intent: &Intent, check: &Check, now_ms: u64) -> bool {
    let held = intent.current().and_then(|record| record.held.as_ref());
    held.is_none_or(|held| held.makes_news(check.rule, &check.margin, now_ms))
}

fn timed_out(retry_ms: u64) -> StepResult {
    StepResult::Unknown {
        error: "timed out".into(),
        retry_ms,
    }
}

fn failed(error: &str, retry_ms: u64) -> StepResult {
    StepResult::Error {
        error: error.into(),
        retry_ms,
    }
}
