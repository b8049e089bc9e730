//! The modelled provider: what really exists, and what its answers say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use muster_mesh::identity::MachineId;

use super::random::Random;
use super::scenario::CloudModel;
use crate::fleet::limits::{MINUTE_MS, SECOND_MS};
use crate::fleet::{
    Instance, InstanceId, Machine, OperationId, Place, Properties, ProviderEvidence, ProviderWord,
};
use crate::heal::Stranger;

/// How long a list may take, in milliseconds, as in `node::leader`.
const LIST_DEADLINE_MS: u64 = 10 * SECOND_MS;

/// Something that the provider made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) machine: MachineId,
    pub(super) place: Place,
    pub(super) provisioner: String,
    op: Option<OperationId>,
    made_ms: u64,
    /// Since when it doesn't run.
    stopped_ms: Option<u64>,
    destroyed_ms: Option<u64>,
    /// Whether its machine will ever come up.
    pub(super) dud: bool,
}

impl Made {
    pub(super) fn runs(&self) -> bool {
        self.stopped_ms.is_none() && self.destroyed_ms.is_none()
    }
}

/// What a call to make an instance came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Making {
    /// There is one, made now or by an earlier call of the same operation.
    Made { id: InstanceId, anew: bool },
    /// Not now.
    Throttled,
}

/// What a call to write an instance anew came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reimaged {
    /// It was written now, and this machine is no more.
    Now(MachineId),
    /// An earlier call of the same operation did it.
    Before,
}

/// The modelled provider.
pub(super) struct Cloud {
    pub(super) model: CloudModel,
    /// How many faults keep it from answering.
    pub(super) down: u32,
    /// How many faults have it take calls, and carry them out when they end.
    pub(super) late: u32,
    /// How much later it answers because of faults, in milliseconds.
    pub(super) slower_ms: u64,
    /// Share of calls that fail because of faults, on top of the model's.
    pub(super) failing: f64,
    instances: BTreeMap<InstanceId, Made>,
    operations: BTreeMap<OperationId, InstanceId>,
    /// Whether it knows an operation again that it has carried out. It does, but for tests that show what for.
    pub(super) remembers: bool,
    /// Instances that the fleet has not been told of.
    unclaimed: BTreeSet<InstanceId>,
    lately: VecDeque<u64>,
    number: u64,
}

impl Cloud {
    pub(super) fn new(model: CloudModel) -> Self {
        Self {
            model,
            down: 0,
            late: 0,
            slower_ms: 0,
            failing: 0.0,
            instances: BTreeMap::new(),
            operations: BTreeMap::new(),
            remembers: true,
            unclaimed: BTreeSet::new(),
            lately: VecDeque::new(),
            number: 0,
        }
    }

    fn lag_ms(&self) -> u64 {
        u64::try_from(self.model.list_lag.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long it takes to answer, in milliseconds.
    pub(super) fn latency_ms(&self) -> u64 {
        let usual = u64::try_from(self.model.latency.as_millis()).unwrap_or(u64::MAX);
        usual.saturating_add(self.slower_ms)
    }

    /// Whether it answers a list in time.
    fn lists(&self) -> bool {
        self.down == 0 && self.late == 0 && self.latency_ms() < LIST_DEADLINE_MS
    }

    /// Whether a call fails before it does anything.
    pub(super) fn fails(&self, random: &mut Random) -> bool {
        // Drawn in any case, so that a fault changes only what it should.
        let drawn = random.share();
        self.down > 0 || drawn < self.model.errors + self.failing
    }

    /// Makes an instance, or finds the one that this operation made before.
    pub(super) fn provision(
        &mut self,
        now_ms: u64,
        op: &OperationId,
        new: (MachineId, Place, String),
        random: &mut Random,
    ) -> Making {
        if let Some(id) = self.operations.get(op).filter(|_| self.remembers) {
            let id = id.clone();
            return Making::Made { id, anew: false };
        }
        if let Some(most) = self.model.per_minute {
            while self
                .lately
                .front()
                .is_some_and(|at_ms| at_ms + MINUTE_MS <= now_ms)
            {
                self.lately.pop_front();
            }
            if self.lately.len() >= most as usize {
                return Making::Throttled;
            }
            self.lately.push_back(now_ms);
        }
        let dud = random.share() < self.model.duds;
        let id = self.make(now_ms, Some(op.clone()), new, dud);
        self.operations.insert(op.clone(), id.clone());
        self.unclaimed.insert(id.clone());
        Making::Made { id, anew: true }
    }

    /// Writes an instance anew for another machine; `None` if it runs no more.
    pub(super) fn reimage(
        &mut self,
        op: &OperationId,
        id: &InstanceId,
        (machine, place): (MachineId, Place),
        random: &mut Random,
    ) -> Option<Reimaged> {
        let dud = random.share() < self.model.duds;
        let made = self.instances.get_mut(id).filter(|made| made.runs())?;
        if made.op.as_ref() == Some(op) {
            return Some(Reimaged::Before);
        }
        let old = std::mem::replace(&mut made.machine, machine);
        (made.place, made.op, made.dud) = (place, Some(op.clone()), dud);
        self.operations.insert(op.clone(), id.clone());
        Some(Reimaged::Now(old))
    }

    /// An instance that exists from now on.
    pub(super) fn make(
        &mut self,
        now_ms: u64,
        op: Option<OperationId>,
        (machine, place, provisioner): (MachineId, Place, String),
        dud: bool,
    ) -> InstanceId {
        self.number += 1;
        let id = instance_id(self.number);
        let made = Made {
            machine,
            place,
            provisioner,
            op,
            made_ms: now_ms,
            stopped_ms: None,
            destroyed_ms: None,
            dud,
        };
        self.instances.insert(id.clone(), made);
        id
    }

    /// The instance is stopped, and the provider knows it.
    pub(super) fn stop(&mut self, now_ms: u64, id: &InstanceId) {
        if let Some(made) = self.instances.get_mut(id) {
            made.stopped_ms.get_or_insert(now_ms);
        }
    }

    pub(super) fn destroy(&mut self, now_ms: u64, id: &InstanceId) {
        self.unclaimed.remove(id);
        if let Some(made) = self.instances.get_mut(id) {
            made.destroyed_ms.get_or_insert(now_ms);
        }
    }

    pub(super) fn get(&self, id: &InstanceId) -> Option<&Made> {
        self.instances.get(id)
    }

    /// The instance of a machine: the one on record, or what its order made.
    pub(super) fn instance_of<'a>(&'a self, machine: &'a Machine) -> Option<&'a InstanceId> {
        match &machine.instance {
            Some(instance) => Some(&instance.id),
            None => self.operations.get(machine.order.as_ref()?),
        }
    }

    /// What an order made.
    pub(super) fn made_by(&self, op: &OperationId) -> Option<&InstanceId> {
        self.operations.get(op)
    }

    /// Machines of a member that run, whoever knows of them.
    pub(super) fn running(&self, place: &Place) -> impl Iterator<Item = MachineId> {
        let same = move |made: &&Made| {
            made.place.group == place.group && made.place.member == place.member && made.runs()
        };
        self.instances
            .values()
            .filter(same)
            .map(|made| made.machine)
    }

    /// What the provider says of a machine.
    pub(super) fn says(&self, machine: &Machine, now_ms: u64) -> ProviderEvidence {
        let word = if !self.lists() {
            let why = "no answer in time".into();
            ProviderWord::CannotSay { why }
        } else {
            let made = self
                .instance_of(machine)
                .and_then(|id| self.instances.get(id));
            made.map_or(ProviderWord::Unknown, |made| self.word(made, now_ms))
        };
        ProviderEvidence {
            word,
            can_prove_off: !self.model.blind,
            can_reboot: true,
            can_power_cycle: true,
            can_reimage: self.model.hardware,
            is_hardware: self.model.hardware,
            list_lag_ms: self.lag_ms(),
            // What has arrived was asked for a while ago.
            at_ms: now_ms.saturating_sub(self.latency_ms().min(LIST_DEADLINE_MS)),
        }
    }

    /// A list shows what was some time ago.
    fn word(&self, made: &Made, now_ms: u64) -> ProviderWord {
        let shown = |at_ms: u64| at_ms.saturating_add(self.lag_ms()) <= now_ms;
        if !shown(made.made_ms) || made.destroyed_ms.is_some_and(shown) {
            ProviderWord::Unknown
        } else if made.stopped_ms.is_some_and(shown) && !self.model.blind {
            ProviderWord::Stopped
        } else {
            ProviderWord::Running
        }
    }

    /// Instances that no machine of the roster is known to run on. `claimed` says of an operation's machine whether it
    /// has an instance on record by now.
    pub(super) fn strangers(
        &mut self,
        now_ms: u64,
        claimed: impl Fn(MachineId, &InstanceId) -> bool,
    ) -> Vec<Stranger> {
        let instances = &self.instances;
        self.unclaimed.retain(|id| {
            instances
                .get(id)
                .is_some_and(|made| !claimed(made.machine, id))
        });
        if !self.lists() {
            return Vec::new();
        }
        let listed = self.unclaimed.iter().filter_map(|id| {
            let made = self.instances.get(id)?;
            let visible = self.word(made, now_ms) != ProviderWord::Unknown;
            visible.then(|| Stranger {
                provisioner: made.provisioner.clone(),
                id: id.clone(),
                properties: Properties::new(),
                op: made.op.clone(),
                may_run: made.runs(),
            })
        });
        listed.collect()
    }

    /// The instance as it goes on record.
    pub(super) fn on_record(&self, id: &InstanceId) -> Option<Instance> {
        let made = self.instances.get(id)?;
        Some(Instance {
            provisioner: made.provisioner.clone(),
            id: id.clone(),
            properties: Properties::new(),
        })
    }
}

/// An instance's ID from the model's own number.
fn instance_id(number: u64) -> InstanceId {
    let id = format!("i-{number:05}");
    id.parse().expect("a short word without spaces is an ID")
}
