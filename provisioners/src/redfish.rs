//! `redfish`: a machine is a node of bare metal, and its controller is asked by Redfish or IPMI.
//!
//! Nothing is provisioned but power: an *inventory* says which nodes there are; to make a machine is to give out one that is free,
//! to say what it starts from, and to switch it on. To destroy it is to switch it off and to give it back.
//!
//! - **Which node is whose** stands in the fleet's [ledger](crate::ledger), written before anything is done: controllers have no
//!   room for it, and don't know who else asks. So one operation gets one node, whoever asks and however often, and a
//!   controller that doesn't answer makes nobody forget a machine.
//! - **What is, only the controller says.** No answer to a button is believed; the power is looked at.
//! - **A node that is on and nobody's is left alone.** It may be somebody else's.
//! - **Off means seen off**, with no call outstanding that might still switch it on.
//!
//! `docs/provisioners/redfish.md` says what that proves and what not.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;

pub use config::RedfishConfig;

use crate::ledger::Ledger;
use crate::{
    Capabilities, Deadline, Destroyed, Idempotency, Instance, InstanceId, Kind, MachineSpec,
    OperationId, Problem, Proof, Properties, ProvisionError, Provisioner, Quarantined, Tags,
};
use controller::{Controller, Look};
use desk::Desk;
use properties::RedfishProperties;
use shelf::{Rack, Shelf};
use store::Store;

mod aside;
mod bmc;
mod book;
mod choose;
mod claim;
mod config;
mod controller;
mod describe;
mod desk;
mod end;
mod inventory;
mod ipmi;
mod make;
mod mend;
mod power;
mod properties;
mod shelf;
mod store;
mod tidy;
mod wipe;

/// The name of this provisioner.
pub const NAME: &str = "redfish";

/// This provisioner for the [`Registry`](crate::Registry).
pub const KIND: Kind = Kind {
    name: NAME,
    about: "machines that are nodes of bare metal, by Redfish or IPMI",
    configure: config::configure,
    validate,
};

/// How long one look at a node may take: slower ones are there, but a list can't wait for them.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// How long after a call that switches a node on it may still be carried out: longer than any call may take, and than firmware
/// sits on one.
const MAY_START_MS: u64 = 120_000;

fn validate(properties: &Properties) -> Vec<Problem> {
    RedfishProperties::read(properties)
        .err()
        .unwrap_or_default()
}

/// The provisioner. Cheap to clone; made by [`RedfishConfig::open`].
#[derive(Debug, Clone)]
pub struct RedfishProvisioner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: RedfishConfig,
    shelf: Shelf,
    desk: Desk,
    store: Option<Store>,
    /// Which node is looked at next where none has to be.
    sample: AtomicUsize,
}

impl RedfishProvisioner {
    fn new(config: RedfishConfig, store: Option<Store>, ledger: Arc<dyn Ledger>) -> Self {
        Self(Arc::new(Inner {
            shelf: Shelf::new(config.inventory.clone(), config.ipmitool.clone()),
            desk: Desk::new(ledger),
            store,
            sample: AtomicUsize::new(0),
            config,
        }))
    }
}

impl Inner {
    /// Looks at a node.
    async fn look(
        &self,
        rack: &Rack,
        node: &str,
        deadline: Deadline,
    ) -> Result<Look, ProvisionError> {
        let controller = rack.controller(node)?;
        self.look_by(&*controller, node, deadline).await
    }

    async fn look_by(
        &self,
        controller: &dyn Controller,
        node: &str,
        deadline: Deadline,
    ) -> Result<Look, ProvisionError> {
        let within = deadline.at_most(LOOK_WITHIN);
        let looked = within.limit("looking at it", controller.look(within)).await;
        looked.map_err(|error| match error {
            // To look changes nothing, so nothing is unknown but how the node is; unless there is no time for anything more.
            ProvisionError::Timeout(why) if !deadline.has_passed() => {
                ProvisionError::unavailable(format!("{node}: {why}"))
            }
            error => of_node(node, error),
        })
    }
}

/// The same error, with the node's name.
fn of_node(node: &str, error: ProvisionError) -> ProvisionError {
    let named = |why: String| format!("{node}: {why}");
    match error {
        ProvisionError::Denied(why) => ProvisionError::denied(named(why)),
        ProvisionError::Unavailable(why) => ProvisionError::unavailable(named(why)),
        ProvisionError::Timeout(why) => ProvisionError::timeout(named(why)),
        ProvisionError::Failed(why) => ProvisionError::failed(named(why)),
        other => other,
    }
}

#[async_trait]
impl Provisioner for RedfishProvisioner {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reboot: true,
            power_cycle: true,
            reimage: true,
            hardware: true,
            stop_start: true,
            attach: false,
            prove_off: true,
            idempotency: Idempotency::Native,
            list_lag: Duration::ZERO,
            boot_time: self.0.config.boot_time,
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
        make::provision(&self.0, spec, op, deadline).await
    }

    async fn describe(
        &self,
        filter: &Tags,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, ProvisionError> {
        describe::describe(&self.0, filter, deadline).await
    }

    async fn reboot(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        mend::reboot(&self.0, id, deadline).await
    }

    async fn power_cycle(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        mend::power_cycle(&self.0, id, deadline).await
    }

    async fn reimage(
        &self,
        id: &InstanceId,
        spec: &MachineSpec,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        make::reimage(&self.0, id, (spec, op), deadline).await
    }

    async fn stop(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        mend::stop(&self.0, id, deadline).await
    }

    async fn start(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        mend::start(&self.0, id, deadline).await
    }

    async fn destroy(
        &self,
        id: &InstanceId,
        _op: &OperationId,
        deadline: Deadline,
    ) -> Result<Destroyed, ProvisionError> {
        end::destroy(&self.0, id, deadline).await
    }

    async fn prove_off(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Proof, ProvisionError> {
        describe::prove_off(&self.0, id, deadline).await
    }

    async fn quarantine(
        &self,
        id: &InstanceId,
        why: &str,
        deadline: Deadline,
    ) -> Result<String, ProvisionError> {
        aside::quarantine(&self.0, id, why, deadline).await
    }

    async fn quarantined(&self, deadline: Deadline) -> Result<Vec<Quarantined>, ProvisionError> {
        aside::quarantined(&self.0, deadline).await
    }

    async fn release(&self, hardware: &str, deadline: Deadline) -> Result<(), ProvisionError> {
        aside::release(&self.0, hardware, deadline).await
    }

    async fn check(&self, deadline: Deadline) -> Result<(), ProvisionError> {
        let rack = self.0.shelf.check(deadline).await?;
        self.0.desk.read(deadline).await?;
        if let Some(store) = &self.0.store {
            store.check(deadline).await?;
        }
        describe::sample(&self.0, &rack, deadline).await
    }
}
