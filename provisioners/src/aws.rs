//! `aws`: a machine is an EC2 instance.
//!
//! The query API is asked over the shared HTTP client, signed by the provider's own crate; there is no SDK.
//!
//! - **Idempotent.** The operation's ID is the client token of `RunInstances` and a tag on the instance, set in the same call.
//! - **Found again.** Everything is found by its tags, on all pages; a list that ends in the middle is an error.
//! - **Off means off.** `terminated` and `stopped` are proofs, but not `stopped` of a spot instance, which its request may start;
//!   an ID that EC2 doesn't know is a proof only for who saw it there before.
//! - **Exclusive attachments.** Volumes, elastic addresses and interfaces move only from a holder that is proven off, and are
//!   never torn off. The first boot waits for the volumes.
//! - **Credentials** come from where the provider's own tools look, and are never written anywhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

pub use config::AwsConfig;
pub use environment::Environment;
pub use metadata::notices_here;
pub use notice::Notice;
pub use query::ACTIONS;

use crate::{
    Capabilities, Deadline, Destroyed, Idempotency, Instance, InstanceId, Kind, MachineSpec,
    OperationId, Problem, Proof, Properties, ProvisionError, Provisioner, Tags, tag,
};
use ec2::Ec2;
use machine::Machine;
use properties::AwsProperties;
use query::Query;

mod attachments;
mod clock;
mod config;
mod create;
mod credentials;
mod ec2;
mod environment;
mod listing;
mod machine;
mod metadata;
mod notice;
mod power;
mod profile;
mod properties;
mod query;
mod refusal;
mod sign;
mod user_data;
mod xml;

/// The name of this provisioner.
pub const NAME: &str = "aws";

/// This provisioner for the [`Registry`](crate::Registry).
pub const KIND: Kind = Kind {
    name: NAME,
    about: "machines that are EC2 instances",
    configure: config::configure,
    validate,
};

/// The IDs that are remembered; a fleet is far smaller.
const SEEN_MAX: usize = 100_000;

fn validate(properties: &Properties) -> Vec<Problem> {
    AwsProperties::read(properties).err().unwrap_or_default()
}

/// The provisioner. Cheap to clone; made by [`AwsConfig::open`].
#[derive(Debug, Clone)]
pub struct AwsProvisioner(Arc<Inner>);

/// An instance that EC2 showed here.
#[derive(Debug, Clone)]
struct Seen {
    since: Instant,
    /// The account that it is in.
    account: Option<String>,
}

#[derive(Debug)]
struct Inner {
    ec2: Ec2,
    list_lag: Duration,
    boot_time: Duration,
    /// The instances that EC2 showed here, with since when. It forgets those that ended after an hour.
    seen: Mutex<BTreeMap<InstanceId, Seen>>,
    /// Those that EC2 said it doesn't know, without having shown them here, with since when.
    missed: Mutex<BTreeMap<InstanceId, Instant>>,
}

impl AwsProvisioner {
    fn new(config: &AwsConfig) -> Result<Self, ProvisionError> {
        Ok(Self(Arc::new(Inner {
            ec2: Ec2::new(config.clone())?,
            list_lag: config.list_lag(),
            boot_time: config.boot_time(),
            seen: Mutex::default(),
            missed: Mutex::default(),
        })))
    }

    fn ec2(&self) -> &Ec2 {
        &self.0.ec2
    }

    /// Remembers what EC2 shows.
    fn note(&self, machines: &[Machine]) {
        for machine in machines.iter().filter(|machine| machine.is_ours()) {
            self.note_one(&machine.id, machine.account.clone());
        }
    }

    fn note_one(&self, id: &InstanceId, account: Option<String>) {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = seen.get_mut(id) {
            before.account = account.or(before.account.take());
        } else if seen.len() < SEEN_MAX {
            let since = Instant::now();
            seen.insert(id.clone(), Seen { since, account });
        }
    }

    /// What is known of one that EC2 showed here; `None` if it never did.
    fn seen(&self, id: &InstanceId) -> Option<Seen> {
        let seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(id).cloned()
    }

    /// For how long EC2 has said that it doesn't know one, from this time on.
    fn missed_for(&self, id: &InstanceId) -> Duration {
        let mut missed = self.0.missed.lock().unwrap_or_else(PoisonError::into_inner);
        if missed.len() >= SEEN_MAX {
            missed.clear();
        }
        let since = missed.entry(id.clone()).or_insert_with(Instant::now);
        since.elapsed()
    }
}

#[async_trait]
impl Provisioner for AwsProvisioner {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reboot: true,
            power_cycle: true,
            reimage: false,
            hardware: false,
            stop_start: true,
            attach: true,
            prove_off: true,
            idempotency: Idempotency::Native,
            list_lag: self.0.list_lag,
            boot_time: self.0.boot_time,
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
        self.create(spec, op, deadline).await
    }

    async fn describe(
        &self,
        filter: &Tags,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, ProvisionError> {
        self.list(filter, deadline).await
    }

    async fn reboot(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.reboot_one(id, deadline).await
    }

    async fn power_cycle(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.cycle(id, deadline).await
    }

    async fn stop(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.stop_one(id, deadline).await
    }

    async fn start(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.start_one(id, deadline).await
    }

    async fn destroy(
        &self,
        id: &InstanceId,
        _op: &OperationId,
        deadline: Deadline,
    ) -> Result<Destroyed, ProvisionError> {
        self.end(id, deadline).await
    }

    async fn prove_off(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Proof, ProvisionError> {
        self.proof(id, deadline).await
    }

    async fn check(&self, deadline: Deadline) -> Result<(), ProvisionError> {
        let query = Query::look("DescribeInstances", "asking EC2")
            .filter("tag-key", &[tag::CLUSTER])
            .with("MaxResults", 5);
        self.ec2().ask(&query, deadline).await?;
        Ok(())
    }
}
