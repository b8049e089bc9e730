//! The cloud behind the fake: what really is.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use tokio::time::Instant;

use super::{Call, Fault};
use crate::{
    Capabilities, Destroyed, Idempotency, Instance, InstanceId, InstanceState, MachineSpec,
    OperationId, Proof, Properties, ProvisionError, Tags,
};

/// The first of the machines' addresses: from the block for documentation.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Something that was really done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// An instance was made by an operation.
    Made(InstanceId, OperationId),
    /// An instance was rebooted.
    Rebooted(InstanceId),
    /// An instance was switched off and on.
    PowerCycled(InstanceId),
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
    made: u32,
}

#[derive(Debug, Clone)]
struct Machine {
    instance: Instance,
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
            made: now,
            started: now,
            destroyed: None,
        };
        self.machines.insert(id.clone(), machine);
        self.operations.insert(op.clone(), id.clone());
        self.acts.push(Act::Made(id.clone(), op.clone()));
        Ok(id)
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
