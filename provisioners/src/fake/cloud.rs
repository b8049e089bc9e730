//! The cloud behind the fake: what really is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use tokio::time::Instant;

use super::{Call, Fault};
use crate::{
    Capabilities, Destroyed, Idempotency, Instance, InstanceId, InstanceState, MachineSpec,
    OperationId, Proof, Properties, ProvisionError, Quarantined, Tags,
};

/// The first of the machines' addresses: from the block for documentation.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// How many machines its hardware is for, where they are hardware.
const NODES: u32 = 16;

/// Something that was really done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// An instance was made by an operation.
    Made(InstanceId, OperationId),
    /// An instance was rebooted.
    Rebooted(InstanceId),
    /// An instance was switched off and on.
    PowerCycled(InstanceId),
    /// An instance's system was written anew by an operation.
    Reimaged(InstanceId, OperationId),
    /// The hardware of an instance was put into quarantine.
    Quarantined(InstanceId),
    /// A node was released.
    Released(String),
    /// An instance was stopped.
    Stopped(InstanceId),
    /// An instance was started.
    Started(InstanceId),
    /// An instance was destroyed.
    Destroyed(InstanceId),
}

#[derive(Debug)]
pub(super) struct Cloud {
    pub(super) capabilities: Capabilities,
    pub(super) faults: BTreeMap<Call, VecDeque<Fault>>,
    pub(super) broken: Option<Fault>,
    pub(super) calls: BTreeMap<Call, usize>,
    pub(super) acts: Vec<Act>,
    machines: BTreeMap<InstanceId, Machine>,
    operations: BTreeMap<OperationId, InstanceId>,
    /// Why each node in quarantine is there.
    quarantine: BTreeMap<String, String>,
    made: u32,
}

#[derive(Debug, Clone)]
struct Machine {
    instance: Instance,
    /// What it is on, where machines are hardware.
    node: Option<String>,
    made: Instant,
    /// When it last began to start.
    started: Instant,
    destroyed: Option<Instant>,
}

impl Cloud {
    pub(super) fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            faults: BTreeMap::new(),
            broken: None,
            calls: BTreeMap::new(),
            acts: Vec::new(),
            machines: BTreeMap::new(),
            operations: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            made: 0,
        }
    }

    /// Refuses what this cloud was made without.
    pub(super) fn can(&self, capable: bool, what: &str) -> Result<(), ProvisionError> {
        if capable {
            Ok(())
        } else {
            Err(ProvisionError::Unsupported(what.to_owned()))
        }
    }

    pub(super) fn instances(&self) -> Vec<Instance> {
        let there = self
            .machines
            .values()
            .filter(|machine| machine.destroyed.is_none());
        there.map(|machine| self.view(machine)).collect()
    }

    /// What the list shows: of what happened less than the lag ago, the state before.
    pub(super) fn list(&self, filter: &Tags) -> Vec<Instance> {
        let lag = self.capabilities.list_lag;
        let shown = |machine: &&Machine| {
            let known = machine.made.elapsed() >= lag;
            let still = machine
                .destroyed
                .is_none_or(|destroyed| destroyed.elapsed() < lag);
            known && still && machine.instance.tags.matches(filter)
        };
        self.machines
            .values()
            .filter(shown)
            .map(|machine| self.view(machine))
            .collect()
    }

    fn view(&self, machine: &Machine) -> Instance {
        let mut instance = machine.instance.clone();
        let booting = machine.started.elapsed() < self.capabilities.boot_time;
        if instance.state == InstanceState::Running && booting {
            instance.state = InstanceState::Starting;
        }
        instance
    }

    pub(super) fn provision(
        &mut self,
        spec: &MachineSpec,
        op: &OperationId,
    ) -> Result<InstanceId, ProvisionError> {
        let tags = spec.tags_for(op);
        let before = match self.capabilities.idempotency {
            Idempotency::Native => self.operations.get(op).cloned(),
            Idempotency::ByTag => self
                .list(&Tags::new().with(crate::tag::OPERATION, op.as_str()))
                .first()
                .map(|instance| instance.id.clone()),
        };
        if let Some(id) = before {
            return Ok(id);
        }
        self.can(
            self.capabilities.attach || spec.attachments.is_empty(),
            "attach",
        )?;
        self.refuse_held(spec.attachments.iter(), None)?;
        let node = self.free_node()?;
        self.made += 1;
        let id: InstanceId = format!("f-{:06}", self.made)
            .parse()
            .map_err(|error| ProvisionError::failed(format!("{error}")))?;
        let address = u32::from(FIRST_ADDRESS).wrapping_add(self.made);
        let instance = Instance {
            id: id.clone(),
            state: InstanceState::Running,
            tags,
            address: Some(IpAddr::V4(Ipv4Addr::from(address))),
            properties: Properties::new(),
            created_at_ms: u64::from(self.made),
            attachments: spec.attachments.clone(),
        };
        let now = Instant::now();
        let machine = Machine {
            instance,
            node,
            made: now,
            started: now,
            destroyed: None,
        };
        self.machines.insert(id.clone(), machine);
        self.operations.insert(op.clone(), id.clone());
        self.acts.push(Act::Made(id.clone(), op.clone()));
        Ok(id)
    }

    /// The first node that nothing is on and that is in no quarantine; `None` where machines are no hardware.
    fn free_node(&self) -> Result<Option<String>, ProvisionError> {
        if !self.capabilities.hardware {
            return Ok(None);
        }
        let there = self
            .machines
            .values()
            .filter(|machine| machine.destroyed.is_none());
        let taken: BTreeSet<_> = there.filter_map(|machine| machine.node.as_ref()).collect();
        (1..=NODES)
            .map(|number| format!("node-{number}"))
            .find(|node| !taken.contains(node) && !self.quarantine.contains_key(node))
            .map(Some)
            .ok_or_else(|| ProvisionError::capacity("no node is free and out of quarantine"))
    }

    pub(super) fn reimage(
        &mut self,
        id: &InstanceId,
        spec: &MachineSpec,
        op: &OperationId,
    ) -> Result<(), ProvisionError> {
        if self.operations.get(op) == Some(id) {
            return self.find(id).map(|_| ());
        }
        self.refuse_held(spec.attachments.iter(), Some(id))?;
        let machine = self.find(id)?;
        machine.instance.state = InstanceState::Running;
        machine.instance.tags = spec.tags_for(op);
        machine.instance.attachments = spec.attachments.clone();
        machine.started = Instant::now();
        self.operations.insert(op.clone(), id.clone());
        self.acts.push(Act::Reimaged(id.clone(), op.clone()));
        Ok(())
    }

    pub(super) fn quarantine(
        &mut self,
        id: &InstanceId,
        why: &str,
    ) -> Result<String, ProvisionError> {
        let Some(node) = self.find(id)?.node.clone() else {
            return Err(ProvisionError::failed(format!("{id} is on no node")));
        };
        let before = self.quarantine.insert(node.clone(), why.to_owned());
        if before.is_none() {
            self.acts.push(Act::Quarantined(id.clone()));
        }
        Ok(node)
    }

    pub(super) fn quarantined(&self) -> Vec<Quarantined> {
        let quarantined = |(hardware, why): (&String, &String)| Quarantined {
            hardware: hardware.clone(),
            why: why.clone(),
            since_ms: 0,
        };
        self.quarantine.iter().map(quarantined).collect()
    }

    pub(super) fn release(&mut self, hardware: &str) -> Result<(), ProvisionError> {
        let exists = (1..=NODES).any(|number| hardware == format!("node-{number}"));
        if !exists {
            let text = format!("there is no node `{hardware}`");
            return Err(ProvisionError::failed(text));
        }
        if self.quarantine.remove(hardware).is_some() {
            self.acts.push(Act::Released(hardware.to_owned()));
        }
        Ok(())
    }

    fn refuse_held<'a>(
        &self,
        wanted: impl Iterator<Item = &'a crate::Attachment>,
        by: Option<&InstanceId>,
    ) -> Result<(), ProvisionError> {
        for attachment in wanted {
            let holder = self.machines.values().find(|machine| {
                machine.destroyed.is_none()
                    && Some(&machine.instance.id) != by
                    && machine.instance.state.may_run()
                    && machine
                        .instance
                        .attachments
                        .iter()
                        .any(|held| held.id == attachment.id)
            });
            if let Some(holder) = holder {
                return Err(ProvisionError::Held {
                    attachment: attachment.id.clone(),
                    holder: holder.instance.id.clone(),
                });
            }
        }
        Ok(())
    }

    fn find(&mut self, id: &InstanceId) -> Result<&mut Machine, ProvisionError> {
        self.machines
            .get_mut(id)
            .filter(|machine| machine.destroyed.is_none())
            .ok_or_else(|| ProvisionError::NotFound(id.clone()))
    }

    pub(super) fn restart(
        &mut self,
        id: &InstanceId,
        act: fn(InstanceId) -> Act,
    ) -> Result<(), ProvisionError> {
        let attachments = self.find(id)?.instance.attachments.clone();
        self.refuse_held(attachments.iter(), Some(id))?;
        let machine = self.find(id)?;
        machine.instance.state = InstanceState::Running;
        machine.started = Instant::now();
        self.acts.push(act(id.clone()));
        Ok(())
    }

    pub(super) fn stop(&mut self, id: &InstanceId) -> Result<(), ProvisionError> {
        let machine = self.find(id)?;
        if machine.instance.state != InstanceState::Stopped {
            machine.instance.state = InstanceState::Stopped;
            self.acts.push(Act::Stopped(id.clone()));
        }
        Ok(())
    }

    pub(super) fn start(&mut self, id: &InstanceId) -> Result<(), ProvisionError> {
        if self.find(id)?.instance.state == InstanceState::Running {
            return Ok(());
        }
        self.restart(id, Act::Started)
    }

    pub(super) fn destroy(&mut self, id: &InstanceId) -> Destroyed {
        if self.remove(id) {
            self.acts.push(Act::Destroyed(id.clone()));
            Destroyed::Destroyed
        } else {
            Destroyed::AlreadyGone
        }
    }

    pub(super) fn remove(&mut self, id: &InstanceId) -> bool {
        let Ok(machine) = self.find(id) else {
            return false;
        };
        machine.destroyed = Some(Instant::now());
        machine.instance.state = InstanceState::Stopping;
        true
    }

    pub(super) fn set_state(&mut self, id: &InstanceId, state: InstanceState) -> bool {
        self.find(id)
            .map(|machine| machine.instance.state = state)
            .is_ok()
    }

    pub(super) fn prove_off(&self, id: &InstanceId) -> Proof {
        let off = |how: &str| Proof::Off {
            how: how.to_owned(),
            at_ms: u64::try_from(self.acts.len()).unwrap_or(u64::MAX),
        };
        match self.machines.get(id) {
            None => Proof::Unknown {
                why: "this cloud never had it".to_owned(),
            },
            Some(machine) if machine.destroyed.is_some() => off("it was destroyed"),
            Some(machine) => match machine.instance.state {
                InstanceState::Stopped if self.capabilities.prove_off => off("it is stopped"),
                InstanceState::Starting | InstanceState::Running | InstanceState::Stopping => {
                    Proof::Running
                }
                InstanceState::Stopped | InstanceState::Unknown => Proof::Unknown {
                    why: "the cloud can't say".to_owned(),
                },
            },
        }
    }
}
