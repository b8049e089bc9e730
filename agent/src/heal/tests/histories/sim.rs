//! A fleet with its provider, its mesh and its log, all in one place and under control.

mod hands;
mod people;
mod rest;
mod seen;

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use super::oracle::Oracle;
use crate::fleet::limits::DAY_MS;
use crate::fleet::testing::Fleet;
use crate::fleet::*;
use crate::heal::testing::fill_tokens;
use crate::heal::{Proofs, decide};

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
    /// It answers, and its workload does not work.
    Ailing,
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
    life: u64,
}

/// What the provider has made for an operation.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) machine: MachineId,
    pub(super) place: Place,
    pub(super) running: bool,
    /// It was destroyed for good: nobody can start it again.
    pub(super) destroyed: bool,
    pub(super) made_ms: u64,
    /// What the provider calls it.
    pub(super) instance: String,
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
    watching_since_ms: u64,
    proofs: Proofs,
    /// What witnesses said, and when.
    heard: BTreeMap<MachineId, (u64, Vec<WitnessEvidence>)>,
    begun: Vec<hands::Job>,
    under_way: Vec<Envelope>,
    arrived: Vec<Envelope>,
}

impl Sim {
    pub(super) fn new() -> Self {
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
            watching_since_ms: 0,
            proofs: Proofs::default(),
            heard: BTreeMap::new(),
            begun: Vec::new(),
            under_way: Vec::new(),
            arrived: Vec::new(),
        };
        sim.fleet.state = FleetState::default();
        sim.leader_since_ms = sim.clock_ms();
        sim.now(Command::Found(Box::new(testing::found())));
        sim.declare();
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
            life: 1,
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
        let state = &self.fleet.state.machines[&id];
        let early = state.joined_ms.is_none() && condition != Condition::Dead;
        let nothing = state
            .order
            .as_ref()
            .is_some_and(|op| !self.made.contains_key(op));
        if id == self.fleet.leader || early || nothing {
            return;
        }
        let stops = matches!(condition, Condition::Dead | Condition::LeftForGood);
        let copy_runs = self.copy_of(id).is_some();
        let made = self.made.values_mut().find(|made| made.machine == id);
        match made {
            Some(made) if stops => made.running = false,
            // A person may start what was stopped, unless its disk is in use elsewhere.
            Some(made) if !made.running => {
                if condition != Condition::Up || made.destroyed || copy_runs {
                    return;
                }
                made.running = true;
            }
            _ => {}
        }
        self.become_of(id, condition);
    }

    fn become_of(&mut self, id: MachineId, condition: Condition) {
        let before = self.truth(id);
        let restarted = matches!(before.condition, Condition::Dead | Condition::LeftForGood);
        // Who is silent already does not fall silent once more.
        let silent = |condition| !matches!(condition, Condition::Up | Condition::Ailing);
        let silent = silent(before.condition) && silent(condition);
        let since_ms = if silent {
            before.since_ms
        } else {
            self.fleet.now_ms
        };
        let life = before.life + u64::from(restarted);
        let truth = Truth {
            condition,
            since_ms,
            life,
        };
        self.truths.insert(id, truth);
    }

    /// The machine's agent starts anew.
    fn begin_anew(&mut self, id: MachineId) {
        let mut truth = self.truth(id);
        truth.life += 1;
        self.truths.insert(id, truth);
    }

    /// Another machine that runs as the same pet.
    fn copy_of(&self, id: MachineId) -> Option<MachineId> {
        let place = self
            .made
            .values()
            .find(|made| made.machine == id)?
            .place
            .clone();
        let is_copy =
            |made: &&Made| made.running && made.machine != id && made.place.member == place.member;
        let copy = self.made.values().find(is_copy)?;
        place.member.is_pet().then_some(copy.machine)
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
            // Some have only just come back themselves.
            if self.fleet.term.is_multiple_of(2) {
                self.watching_since_ms = self.leader_since_ms;
            }
            self.proofs = Proofs::default();
            self.heard.clear();
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
        self.oracle.looked(&self.fleet.state, &situation, &plan);
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

    pub(super) fn restart(&mut self) {
        self.shadow = FleetState::from_snapshot(&self.shadow.to_snapshot()).expect("our own");
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
