//! `lxd`: a machine is a system container (or virtual machine) of LXD or Incus, with an init of its own.
//!
//! Asked through the REST API, over the Unix socket or over HTTPS with certificates on both sides. `names.rs` says what is
//! kept with each instance.
//!
//! - **Operations.** What takes long goes on in the server when nobody waits for it any more. Before anything is done with an
//!   instance, what is under way with it is waited for, so that a lost answer leads to no second change.
//! - **Idempotent.** An instance's name is a function of the operation's ID, and LXD refuses a second one of the same name.
//!   That an operation's instance was deleted since is not kept: hence [`Idempotency::ByTag`].
//! - **Exclusive attachments.** See `attach.rs`.
//! - **Off means off.** Stopped, with nothing under way, and not to be started by LXD itself; or not there at all *on the
//!   server and in the project where it was made*: its ID says which they were. A frozen machine counts as running, for it can be thawed.
//!
//! What it writes into a new machine is the agent's configuration; that the agent runs is up to the image.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use config::LxdConfig;

use crate::{
    Capabilities, Deadline, Destroyed, Idempotency, Instance, InstanceId, Kind, MachineSpec,
    OperationId, Problem, Proof, Properties, ProvisionError, Provisioner, Tags,
};
use api::Api;
use power::Manner;
use properties::LxdProperties;

mod answer;
mod api;
mod attach;
mod boot;
mod changes;
mod client;
mod config;
mod create;
mod names;
mod power;
mod properties;
mod refusal;
mod reimage;
mod state;

/// The name of this provisioner.
pub const NAME: &str = "lxd";

/// This provisioner for the [`Registry`](crate::Registry).
pub const KIND: Kind = Kind {
    name: NAME,
    about: "system containers and virtual machines of LXD or Incus",
    configure: config::configure,
    validate,
};

/// How long a machine usually takes until its agent is in the mesh: containers 2 s, images with much to start 30 s.
const BOOT_TIME: Duration = Duration::from_secs(30);

fn validate(properties: &Properties) -> Vec<Problem> {
    LxdProperties::read(properties).err().unwrap_or_default()
}

/// The provisioner. Cheap to clone; made by [`LxdConfig::open`].
#[derive(Debug, Clone)]
pub struct LxdProvisioner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: LxdConfig,
    api: Api,
}

impl LxdProvisioner {
    fn new(config: LxdConfig) -> Self {
        let api = Api::new(config.clone());
        Self(Arc::new(Inner { config, api }))
    }
}

#[async_trait]
impl Provisioner for LxdProvisioner {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reboot: true,
            power_cycle: true,
            reimage: self.0.config.snapshots,
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
        changes::counted(create::create(&self.0, spec, op, deadline)).await
    }

    async fn describe(
        &self,
        filter: &Tags,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, ProvisionError> {
        state::describe(&self.0, filter, deadline).await
    }

    async fn reboot(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        changes::counted(async {
            let entry = state::reach(&self.0, id, deadline).await?;
            power::refuse_if_deaf(&entry)?;
            power::stop(&self.0, &entry.name, Manner::Politely, deadline).await?;
            power::start(&self.0, id, &entry.name, None, deadline).await
        })
        .await
    }

    async fn power_cycle(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        changes::counted(async {
            let entry = state::reach(&self.0, id, deadline).await?;
            power::stop(&self.0, &entry.name, Manner::AtOnce, deadline).await?;
            power::start(&self.0, id, &entry.name, None, deadline).await
        })
        .await
    }

    async fn reimage(
        &self,
        id: &InstanceId,
        spec: &MachineSpec,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        if !self.0.config.snapshots {
            return Err(ProvisionError::Unsupported(
                "reimage without snapshots".to_owned(),
            ));
        }
        changes::counted(reimage::reimage(&self.0, id, spec, op, deadline)).await
    }

    async fn stop(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        changes::counted(async {
            let entry = state::reach(&self.0, id, deadline).await?;
            match power::refuse_if_deaf(&entry) {
                Ok(()) => power::stop_in_any_case(&self.0, &entry.name, deadline).await,
                Err(_) => power::stop(&self.0, &entry.name, Manner::AtOnce, deadline).await,
            }
        })
        .await
    }

    async fn start(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        changes::counted(async {
            let entry = state::reach(&self.0, id, deadline).await?;
            power::start(&self.0, id, &entry.name, None, deadline).await
        })
        .await
    }

    async fn destroy(
        &self,
        id: &InstanceId,
        _op: &OperationId,
        deadline: Deadline,
    ) -> Result<Destroyed, ProvisionError> {
        changes::counted(async {
            let Some(entry) = state::find(&self.0, id, deadline).await? else {
                return Ok(Destroyed::AlreadyGone);
            };
            if names::order_of(&entry).is_none() {
                return Err(ProvisionError::failed(format!(
                    "LXD says `{}` of {} and nothing of muster's tags: \
                     look whether its host is up, or delete it by hand",
                    entry.status, entry.name
                )));
            }
            power::stop(&self.0, &entry.name, Manner::AtOnce, deadline).await?;
            create::delete(&self.0, &entry.name, deadline).await?;
            Ok(Destroyed::Destroyed)
        })
        .await
    }

    async fn prove_off(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Proof, ProvisionError> {
        state::prove_off(&self.0, id, deadline).await
    }

    async fn check(&self, deadline: Deadline) -> Result<(), ProvisionError> {
        self.0.api.look_at_server(deadline).await.map(drop)
    }
}
