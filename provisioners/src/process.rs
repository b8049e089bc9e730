//! `process`: a machine is a local agent process with an address and a directory of its own.
//!
//! It needs no set-up and no rights, which makes it the default for trying things out, for `muster dev` and for tests.
//! Several processes (all agents of the fleet) share one root directory and work on it at the same time;
//! there is no daemon. `layout.rs` says where everything lies.
//!
//! - **Identity.** A process is known by its ID *and* start time, boot and PID namespace, and signalled only through a
//!   process handle checked against them: a process that merely got the same number is never killed or counted.
//! - **No strays.** An agent records itself before it runs; see [`launch()`].
//! - **Idempotent.** An instance's ID is a function of the operation's, and its directory appears whole or not at all.
//! - **Exclusive disks.** They are checked and taken by the launcher itself, under locks that the kernel releases.
//! - **Off means off.** Everything that carries the instance's mark or is in its agent's session counts, not only the
//!   agent; destroying ends all of it.
//!
//! It can't contain a process that drops both its environment and its session (only a container can), and it
//! can't see processes of another PID namespace, of which it says `unknown`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use config::ProcessConfig;
pub use fleet::{Resumed, clean};
pub use launch::{LAUNCH_COMMAND, launch};

use crate::{
    Capabilities, Deadline, Destroyed, Idempotency, Instance, InstanceId, Kind, MachineSpec,
    OperationId, Problem, Proof, Properties, ProvisionError, Provisioner, Tags,
};
use create::Next;
use destroy::Manner;
use identity::Host;
use launch::Started;
use layout::Root;
use properties::ProcessProperties;

mod addresses;
mod census;
mod config;
mod create;
mod destroy;
mod files;
mod fleet;
mod identity;
mod launch;
mod layout;
mod log;
mod properties;
mod record;
mod reimage;
mod root;
mod state;
mod terminate;

/// The name of this provisioner.
pub const NAME: &str = "process";

/// This provisioner for the [`Registry`](crate::Registry).
pub const KIND: Kind = Kind {
    name: NAME,
    about: "machines that are processes on this computer",
    configure: config::configure,
    validate,
};

/// How long a process usually takes until its agent is in the mesh.
const BOOT_TIME: Duration = Duration::from_secs(5);

fn validate(properties: &Properties) -> Vec<Problem> {
    ProcessProperties::read(properties)
        .err()
        .unwrap_or_default()
}

/// The provisioner. Cheap to clone; made by [`ProcessConfig::open`].
#[derive(Debug, Clone)]
pub struct ProcessProvisioner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ProcessConfig,
    root: Root,
    host: Host,
}

impl ProcessProvisioner {
    async fn open(config: &ProcessConfig, deadline: Deadline) -> Result<Self, ProvisionError> {
        let config = config.clone();
        let open = move || {
            let host = Host::current().map_err(|error| {
                ProvisionError::failed(format!(
                    "looking at this computer (is /proc mounted?): {error}"
                ))
            })?;
            let root = root::prepare(&config, deadline)?;
            Ok(Self(Arc::new(Inner { config, root, host })))
        };
        blocking("opening the root", deadline, open).await
    }

    /// The directory of all machines, with symbolic links resolved.
    pub fn root(&self) -> &Path {
        self.0.root.path()
    }

    /// Runs what waits for files and processes where it keeps nobody else waiting.
    async fn work<T: Send + 'static>(
        &self,
        what: &str,
        deadline: Deadline,
        work: impl FnOnce(&Inner) -> Result<T, ProvisionError> + Send + 'static,
    ) -> Result<T, ProvisionError> {
        let inner = self.0.clone();
        blocking(what, deadline, move || work(&inner)).await
    }

    /// Has an instance started that was ordered to.
    async fn carry_out_start(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        match launch::start(&self.0, id, deadline).await? {
            Started::Yes => Ok(()),
            Started::Void => Err(ProvisionError::unavailable(format!(
                "{id} was stopped or destroyed meanwhile"
            ))),
        }
    }

    async fn restart(
        &self,
        id: &InstanceId,
        manner: Manner,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let this = id.clone();
        let stop = move |inner: &Inner| {
            state::reach(inner, &this)?;
            destroy::stop_to_restart(inner, &this, manner, deadline)
        };
        self.work("stopping it", deadline, stop).await?;
        self.carry_out_start(id, deadline).await
    }
}

async fn blocking<T: Send + 'static>(
    what: &str,
    deadline: Deadline,
    work: impl FnOnce() -> Result<T, ProvisionError> + Send + 'static,
) -> Result<T, ProvisionError> {
    let work = async {
        // It fails only if the work panicked or the runtime ends; how far it came is unknown.
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(ProvisionError::timeout(format!("{what}: {error}"))))
    };
    deadline.limit(what, work).await
}

#[async_trait]
impl Provisioner for ProcessProvisioner {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reboot: true,
            power_cycle: true,
            reimage: true,
            hardware: false,
            stop_start: true,
            attach: true,
            prove_off: true,
            idempotency: Idempotency::Native,
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
        let (spec, op) = (spec.clone(), op.clone());
        let create = move |inner: &Inner| create::create(inner, &spec, &op, deadline);
        let (id, next) = self.work("making its directory", deadline, create).await?;
        if next == Next::Nothing {
            return Ok(id);
        }
        let started = match launch::start(&self.0, &id, deadline).await {
            Ok(Started::Yes) => return Ok(id),
            Ok(Started::Void) => {
                let this = id.clone();
                let void = move |inner: &Inner| create::void(inner, &this);
                self.work("looking what others did", deadline, void).await
            }
            Err(error) => Err(error),
        };
        if started
            .as_ref()
            .is_err_and(|error| !error.is_outcome_unknown())
        {
            let this = id.clone();
            let abandon = move |inner: &Inner| {
                create::abandon(inner, &this, deadline);
                Ok(())
            };
            self.work("taking it back", deadline, abandon).await?;
        }
        started.map(|()| id)
    }

    async fn describe(
        &self,
        filter: &Tags,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, ProvisionError> {
        let filter = filter.clone();
        self.work("describing", deadline, move |inner| {
            state::describe(inner, &filter)
        })
        .await
    }

    async fn reboot(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.restart(id, Manner::Politely, deadline).await
    }

    async fn power_cycle(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.restart(id, Manner::AtOnce, deadline).await
    }

    async fn reimage(
        &self,
        id: &InstanceId,
        spec: &MachineSpec,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let (this, spec, op) = (id.clone(), spec.clone(), op.clone());
        let write = move |inner: &Inner| {
            state::reach(inner, &this)?;
            reimage::reimage(inner, &this, &spec, &op, deadline)
        };
        match self.work("writing it anew", deadline, write).await? {
            Next::Start => self.carry_out_start(id, deadline).await,
            Next::Nothing => Ok(()),
        }
    }

    async fn stop(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        let id = id.clone();
        let stop = move |inner: &Inner| {
            state::reach(inner, &id)?;
            destroy::stop(inner, &id, deadline)
        };
        self.work("stopping it", deadline, stop).await
    }

    async fn start(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        let this = id.clone();
        let order = move |inner: &Inner| destroy::order_start(inner, &this, deadline);
        self.work("ordering its start", deadline, order).await?;
        self.carry_out_start(id, deadline).await
    }

    async fn destroy(
        &self,
        id: &InstanceId,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<Destroyed, ProvisionError> {
        let (id, op) = (id.clone(), op.clone());
        let destroy = move |inner: &Inner| {
            state::reach(inner, &id)?;
            destroy::destroy(inner, &id, &op, deadline)
        };
        self.work("destroying it", deadline, destroy).await
    }

    async fn prove_off(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Proof, ProvisionError> {
        let id = id.clone();
        let prove = move |inner: &Inner| state::prove_off(inner, &id, deadline);
        self.work("looking at its processes", deadline, prove).await
    }

    async fn check(&self, deadline: Deadline) -> Result<(), ProvisionError> {
        self.work("looking at the root", deadline, root::check)
            .await
    }
}
