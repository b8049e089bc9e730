//! A fleet with its provider, its mesh and its log, all in one place and under control.

mod rest;
mod seen;

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use super::oracle::Oracle;
use crate::fleet::limits::DAY_MS;
use crate::fleet::testing::{Fleet, SECRET, cattle, group, instance, pets};
use crate::fleet::*;
use crate::heal::decide;
use crate::heal::testing::fill_tokens;

/// How a machine really is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Up,
    /// Its instance has stopped.
    Dead,
    /// Its instance runs, and nothing is heard from it.
    Silent,
    /// It answers witnesses and not the mesh.
    Slow,
    /// Its host runs, its agent does not.
    AgentDown,
    /// It said goodbye and stopped.
    LeftForGood,
}

/// What comes of an executor's try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Done,
    /// Done, but the executor dies before it can say so.
    DoneUnreported,
    /// Done, but the provider's answer is an error.
    DoneAndError,
    Error,
    GaveUp,
}

#[derive(Debug, Clone, Copy)]
struct Truth {
    condition: Condition,
    since_ms: u64,
}

/// What the provider has made for an operation.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) machine: MachineId,
    pub(super) place: Place,
    pub(super) running: bool,
}

pub(super) struct Sim {
    pub(super) fleet: Fleet,
    /// The same state, stored and loaded in the middle of the history.
    pub(super) shadow: FleetState,
    pub(super) oracle: Oracle,
    pub(super) made: BTreeMap<OperationId, Made>,
    pub(super) skew_ms: i64,
    pub(super) hears: Option<usize>,
    pub(super) provider_answers: bool,
    truths: BTreeMap<MachineId, Truth>,
    leader_since_ms: u64,
    proven: BTreeMap<MachineId, u64>,
    under_way: Vec<Envelope>,
    arrived: Vec<Envelope>,
}

fn declared_pets(present: bool) -> GroupSpec {
    let members: &[&str] = if present {
        &["db-1", "db-2", "db-3"]
    } else {
        &["db-1", "db-2"]
    };
    let mut spec = pets("db", members);
    spec.heal.budget = BudgetPolicy {
        at_once: Some(1),
        per_hour: Some(4),
    };
    spec
}

impl Sim {
    pub(super) fn new() -> Self {
        let mut web = cattle("web", 4);
        web.heal.budget = BudgetPolicy {
            at_once: Some(2),
            per_hour: Some(5),
        };
        let mut sim = Self {
            fleet: Fleet::new(),
            shadow: FleetState::default(),
            oracle: Oracle::default(),
            made: BTreeMap::new(),
            skew_ms: 0,
            hears: None,
            provider_answers: true,
            truths: BTreeMap::new(),
            leader_since_ms: 0,
            proven: BTreeMap::new(),
            under_way: Vec::new(),
            arrived: Vec::new(),
        };
        sim.fleet.state = FleetState::default();
        sim.leader_since_ms = sim.clock_ms();
        sim.now(Command::Found(Box::new(testing::found())));
        let specs = [web, declared_pets(true)];
        let changes = specs
            .map(|spec| SpecChange {
                spec,
                expected: None,
            })
            .to_vec();
        sim.now(Command::ApplySpecs(changes));
        sim.come_to_rest();
        sim.pass(DAY_MS);
        sim
    }

    /// The leader's clock.
    fn clock_ms(&self) -> u64 {
        self.fleet.now_ms.saturating_add_signed(self.skew_ms)
    }

    fn truth(&self, id: MachineId) -> Truth {
        let since_ms = self.fleet.now_ms.saturating_sub(60_000);
        self.truths.get(&id).copied().unwrap_or(Truth {
            condition: Condition::Up,
            since_ms,
        })
    }

    fn roster(&self) -> Vec<MachineId> {
        self.fleet.state.machines.keys().copied().collect()
    }

    fn pick<T>(items: &[T], which: u8) -> Option<usize> {
        (!items.is_empty()).then(|| usize::from(which) % items.len())
    }

    // === what happens ===

    pub(super) fn befall(&mut self, machine: u8, condition: Condition) {
        let roster = self.roster();
        let Some(at) = Self::pick(&roster, machine) else {
            return;
        };
        let id = roster[at];
        if id == self.fleet.leader {
            return;
        }
        let state = &self.fleet.state.machines[&id];
        if state.joined_ms.is_none() && condition != Condition::Dead {
            return;
        }
        let made = self.made.values_mut().find(|made| made.machine == id);
        if made.is_none() && state.order.is_some() {
            // There is nothing yet that could fail.
            return;
        }
        let runs = made.as_ref().is_none_or(|made| made.running);
        match condition {
            Condition::Dead | Condition::LeftForGood => {
                if let Some(made) = made {
                    made.running = false;
                }
            }
            // What was stopped does not come back by itself.
            _ if !runs => return,
            _ => {}
        }
        self.truths.insert(
            id,
            Truth {
                condition,
                since_ms: self.fleet.now_ms,
            },
        );
    }

    pub(super) fn elect(&mut self, machine: u8, skew_ms: i32) {
        let up: Vec<_> = self
            .fleet
            .state
            .electors()
            .map(|machine| machine.id)
            .collect();
        let up: Vec<_> = up
            .into_iter()
            .filter(|id| self.truth(*id).condition == Condition::Up)
            .collect();
        if let Some(at) = Self::pick(&up, machine) {
            self.fleet.leader = up[at];
            self.fleet.term += 1;
            self.skew_ms = i64::from(skew_ms);
            self.leader_since_ms = self.clock_ms();
            self.proven.clear();
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.fleet.pass(ms);
    }

    pub(super) fn look(&mut self) {
        let situation = self.situation();
        let plan = decide(&self.fleet.state, &situation);
        assert!(
            plan == decide(&self.fleet.state, &situation),
            "the same twice"
        );
        self.oracle
            .looked(&self.fleet.state, &situation, &plan, |id| {
                self.truth(id).condition == Condition::Slow
            });
        for command in fill_tokens(plan).into_commands() {
            self.send(command);
        }
    }

    pub(super) fn arrive(&mut self, which: u8) {
        if let Some(at) = Self::pick(&self.under_way, which) {
            let envelope = self.under_way.remove(at);
            self.apply(envelope.clone());
            self.arrived.push(envelope);
        }
    }

    pub(super) fn arrive_again(&mut self, which: u8) {
        if let Some(at) = Self::pick(&self.arrived, which) {
            self.apply(self.arrived[at].clone());
        }
    }

    pub(super) fn lose(&mut self, which: u8) {
        if let Some(at) = Self::pick(&self.under_way, which) {
            self.under_way.remove(at);
        }
    }

    pub(super) fn scale(&mut self, size: u32) {
        self.now(Command::ScaleGroup {
            group: group("web"),
            size,
        });
    }

    pub(super) fn declare_pets(&mut self, present: bool) {
        let expected = self
            .fleet
            .state
            .groups
            .get(&group("db"))
            .map(|group| group.revision);
        let change = SpecChange {
            spec: declared_pets(present),
            expected,
        };
        self.now(Command::ApplySpecs(vec![change]));
    }

    pub(super) fn pause(&mut self, begins: bool) {
        let scope = PauseScope::Fleet;
        self.now(if begins {
            Command::Pause {
                scope,
                reason: "a whim".into(),
                until_ms: None,
            }
        } else {
            Command::Resume { scope }
        });
    }

    pub(super) fn restart(&mut self) {
        self.shadow = FleetState::from_snapshot(&self.shadow.to_snapshot()).expect("our own");
    }

    // === executors and joiners ===

    pub(super) fn execute(&mut self, which: u8, effect: Effect) {
        let open: Vec<_> = self.fleet.state.open_intents().cloned().collect();
        let Some(at) = Self::pick(&open, which) else {
            return;
        };
        let intent = &open[at];
        let Some(record) = intent
            .current()
            .filter(|record| record.step != Step::AwaitJoin)
        else {
            return;
        };
        let happens = !matches!(effect, Effect::Error | Effect::GaveUp);
        let done = if happens {
            self.do_step(intent, record.step)
        } else {
            StepResult::Done
        };
        let result = match effect {
            Effect::Done => done,
            Effect::DoneUnreported => return,
            Effect::DoneAndError | Effect::Error => StepResult::Error {
                error: "timed out".into(),
                retry_ms: 1000,
            },
            Effect::GaveUp => StepResult::GiveUp {
                error: "denied".into(),
            },
        };
        let (op, step, attempt) = (intent.op.clone(), record.step, record.attempts);
        self.send(Command::Progress(Progress {
            op,
            step,
            attempt,
            result,
        }));
    }

    fn do_step(&mut self, intent: &Intent, step: Step) -> StepResult {
        if step == Step::Provision {
            let id = intent.action.makes().expect("makes one");
            let place = self.fleet.state.machines[&id]
                .place
                .clone()
                .expect("ordered for a place");
            self.oracle.provisions(&self.made, &intent.op, &place);
            let new = Made {
                machine: id,
                place,
                running: true,
            };
            self.made.entry(intent.op.clone()).or_insert(new);
            return StepResult::Provisioned(instance(&format!("p-{id}")));
        }
        let old = intent
            .action
            .removes()
            .and_then(|id| self.fleet.state.machines.get(&id));
        let ordered = old.and_then(|old| old.order.clone());
        if let (Step::Fence | Step::Destroy, Some(op)) = (step, ordered)
            && let Some(made) = self.made.get_mut(&op)
        {
            made.running = false;
        }
        StepResult::Done
    }

    pub(super) fn join(&mut self, which: u8) {
        let coming: Vec<_> = self
            .made
            .values()
            .filter(|made| made.running)
            .map(|made| made.machine)
            .collect();
        if let Some(at) = Self::pick(&coming, which) {
            let mut admit = self.fleet.admit(coming[at]);
            admit.secret = SECRET;
            self.now(Command::Admit(Box::new(admit)));
        }
    }

    // === the log ===

    fn envelope(&self, command: Command) -> Envelope {
        let (by, term) = (self.fleet.leader, self.fleet.term);
        Envelope {
            at_ms: self.clock_ms(),
            by,
            term,
            actor: None,
            command,
        }
    }

    fn send(&mut self, command: Command) {
        let envelope = self.envelope(command);
        self.under_way.push(envelope);
    }

    fn now(&mut self, command: Command) {
        let envelope = self.envelope(command);
        self.apply(envelope.clone());
        self.arrived.push(envelope);
    }

    /// Bytes that nobody meant arrive.
    pub(super) fn damaged(&mut self, bytes: &[u8]) {
        let before = self.fleet.state.clone();
        let reply = self.fleet.state.apply_bytes(bytes);
        let refused = matches!(reply, Reply::Refused(_));
        assert!(
            !refused || before == self.fleet.state,
            "refused and yet changed"
        );
        self.oracle.sound(&self.fleet.state);
    }

    fn apply(&mut self, envelope: Envelope) {
        let bytes = envelope.encode();
        let before = self.fleet.state.clone();
        let reply = self.fleet.state.apply_bytes(&bytes);
        let shadow = self.shadow.apply_bytes(&bytes);
        assert_eq!(
            reply, shadow,
            "a copy that was stored and loaded answers differently"
        );
        self.oracle
            .applied(&before, &self.fleet.state, &envelope, &reply, bytes);
    }
}
