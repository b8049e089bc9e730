//! `docker`: a machine is a container of a Docker Engine or of Podman, with the agent as its first process.
//!
//! - **Idempotent.** The container of an operation has a name that is made of the operation's ID, and an Engine gives each
//!   name only once. It keeps no memory of what was removed, though: a call of an operation whose container has been
//!   removed makes another one.
//! - **No secrets on show.** The agent's configuration is written into the container as a file, before its first start.
//! - **Exclusive disks.** Volumes, and fixed addresses, are given out only when every other holder is certain not to run.
//! - **Off means off.** A container that has exited counts as off only if the Engine has no policy to start it again; one
//!   that is not there only if the Engine is the one that made it.
//!
//! The Engine is spoken to through its Unix socket alone, whose permissions are its only credentials.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};

pub use config::DockerConfig;

use crate::{
    Capabilities, Deadline, Destroyed, Idempotency, Instance, InstanceId, Kind, MachineSpec,
    OperationId, Problem, Proof, Properties, ProvisionError, Provisioner, Tags, tag,
};
use engine::Engine;
use identity::{EngineName, Place};
use mending::Machine;
use properties::DockerProperties;

mod address;
mod body;
mod config;
mod create;
mod engine;
mod files;
mod holders;
mod identity;
mod labels;
mod mending;
mod properties;
mod refusal;
mod state;

/// The name of this provisioner.
pub const NAME: &str = "docker";

/// This provisioner for the [`Registry`](crate::Registry).
pub const KIND: Kind = Kind {
    name: NAME,
    about: "machines that are containers of a Docker Engine or of Podman",
    configure: config::configure,
    validate,
};

/// How long a container usually takes until its agent is in the mesh, on an Engine that has other things to do.
const BOOT_TIME: Duration = Duration::from_secs(10);

fn validate(properties: &Properties) -> Vec<Problem> {
    DockerProperties::read(properties).err().unwrap_or_default()
}

/// The provisioner. Cheap to clone; made by [`DockerConfig::open`].
#[derive(Debug, Clone)]
pub struct DockerProvisioner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: PathBuf,
    /// The only Engine that may be used.
    only: Option<EngineName>,
    stop_grace: Duration,
    /// Held while attachments are given out. Among agents, the fleet's log lets only one operation of a member run at a time.
    giving_out: Mutex<()>,
}

impl DockerProvisioner {
    fn new(socket: PathBuf, only: Option<EngineName>, stop_grace: Duration) -> Self {
        Self(Arc::new(Inner {
            socket,
            only,
            stop_grace,
            giving_out: Mutex::new(()),
        }))
    }

    /// Connects, and refuses an Engine other than the one that is named in the configuration.
    async fn connect(&self, deadline: Deadline) -> Result<Engine, ProvisionError> {
        let engine = Engine::connect(&self.0.socket, deadline).await?;
        if self.0.only.is_some() {
            self.accept(&engine.name().await?)?;
        }
        Ok(engine)
    }

    fn accept(&self, name: &EngineName) -> Result<(), ProvisionError> {
        match &self.0.only {
            Some(only) if only != name => Err(ProvisionError::denied(format!(
                "the Engine at {} is {}, and the configuration allows only {}",
                self.0.socket.display(),
                name.as_str(),
                only.as_str()
            ))),
            _ => Ok(()),
        }
    }

    async fn give_out(&self, deadline: Deadline) -> Result<MutexGuard<'_, ()>, ProvisionError> {
        let lock = async { Ok(self.0.giving_out.lock().await) };
        deadline
            .limit("waiting for another call that gives out attachments", lock)
            .await
    }

    /// Kills a machine and starts it again, unless another has what is attached to it by then.
    async fn cycle(&self, machine: Machine<'_>, deadline: Deadline) -> Result<(), ProvisionError> {
        if machine.may_run() {
            machine.cut_off().await?;
        }
        self.start_found(machine, deadline).await
    }

    async fn start_found(
        &self,
        machine: Machine<'_>,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let _given = self.give_out(deadline).await?;
        machine.start().await
    }
}

#[async_trait]
impl Provisioner for DockerProvisioner {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reboot: true,
            power_cycle: true,
            reimage: false,
            hardware: false,
            stop_start: true,
            attach: true,
            prove_off: true,
            idempotency: Idempotency::ByTag,
            list_lag: Duration::ZERO,
            boot_time: BOOT_TIME,
        }
    }

    fn validate(&self, properties: &Properties) -> Vec<Problem> {
        validate(properties)
    }

    async fn provision(
        &self,
        spec: &MachineSpec,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<InstanceId, ProvisionError> {
        let properties =
            DockerProperties::read(&spec.properties).map_err(ProvisionError::Invalid)?;
        let problems = properties.check_attachments(&spec.attachments);
        if !problems.is_empty() {
            return Err(ProvisionError::Invalid(problems));
        }
        let engine = Engine::connect(&self.0.socket, deadline).await?;
        let name = engine.name().await?;
        self.accept(&name)?;
        let _given = if spec.attachments.is_empty() {
            None
        } else {
            Some(self.give_out(deadline).await?)
        };
        let order = create::Order {
            engine: &engine,
            name,
            spec,
            properties,
            op,
        };
        order.carry_out().await
    }

    async fn describe(
        &self,
        filter: &Tags,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, ProvisionError> {
        let engine = self.connect(deadline).await?;
        // Other tags are compared here: what can't be read has to be listed whatever is asked for.
        let operation = filter.get(tag::OPERATION);
        let mut wanted = vec![labels::MARK.to_owned()];
        wanted.extend(operation.map(|op| format!("{}={op}", tag::OPERATION)));
        let listed = engine.list(wanted).await?;
        let mut name = None;
        let mut instances = Vec::new();
        for container in listed {
            let labels = container.labels.as_ref();
            if name.is_none() && labels.is_some_and(|labels| labels::read(labels).is_err()) {
                name = Some(engine.name().await?);
            }
            let exited = state::has_exited(&container).then(|| container.id.clone());
            let Some(mut instance) = state::instance(container, filter, name.as_ref())? else {
                continue;
            };
            if let Some(exited) = exited.flatten() {
                let now = engine.inspect(&exited).await?;
                state::look_closer(&mut instance, now.as_ref());
            }
            instances.push(instance);
        }
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        instances.dedup_by(|a, b| a.id == b.id);
        Ok(instances)
    }

    async fn reboot(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        let engine = self.connect(deadline).await?;
        let machine = Machine::find(&engine, id).await?;
        if machine.may_run() && !machine.is_paused() {
            machine.reboot(self.0.stop_grace).await
        } else {
            self.cycle(machine, deadline).await
        }
    }

    async fn power_cycle(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        let engine = self.connect(deadline).await?;
        let machine = Machine::find(&engine, id).await?;
        self.cycle(machine, deadline).await
    }

    async fn stop(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        let engine = self.connect(deadline).await?;
        Machine::find(&engine, id)
            .await?
            .stop(self.0.stop_grace)
            .await
    }

    async fn start(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        let engine = self.connect(deadline).await?;
        let machine = Machine::find(&engine, id).await?;
        self.start_found(machine, deadline).await
    }

    async fn destroy(
        &self,
        id: &InstanceId,
        _op: &OperationId,
        deadline: Deadline,
    ) -> Result<Destroyed, ProvisionError> {
        let engine = self.connect(deadline).await?;
        if let Some(machine) = Machine::look_for(&engine, id).await? {
            return machine.destroy(self.0.stop_grace).await;
        }
        let place = Place::of(id).ok_or_else(|| ProvisionError::NotFound(id.clone()))?;
        match mending::gone(&engine, &place).await? {
            Ok(_) => Ok(Destroyed::AlreadyGone),
            Err(why) => {
                let why = format!("{id} can't be destroyed: {why}");
                Err(ProvisionError::unavailable(why))
            }
        }
    }

    async fn prove_off(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Proof, ProvisionError> {
        let engine = self.connect(deadline).await?;
        mending::prove_off(&engine, id).await
    }

    async fn check(&self, deadline: Deadline) -> Result<(), ProvisionError> {
        let engine = Engine::connect(&self.0.socket, deadline).await?;
        self.accept(&engine.name().await?)
    }
}
