//! An in-memory back end with injected faults, for tests of whatever uses provisioners.
//!
//! [`Fake`] is the cloud and a client of it at once: clones share the same cloud, as several coordinators do. Tests
//! make it fail with [`Fault`]s, change instances behind its clients' backs, and read what was really done.
//! Time is tokio's, so it can be paused.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Capabilities, Deadline, Destroyed, Idempotency, Instance, InstanceId, InstanceState, Kind,
    MachineSpec, OperationId, Problem, Proof, Properties, ProvisionError, Provisioner, Quarantined,
    Tags,
};
use cloud::Cloud;

mod cloud;
mod kind;

pub use cloud::Act;

/// This provisioner for the [`Registry`](crate::Registry). Each one that is built from it is a cloud of its own; to
/// share one, put a [`Fake`] among the [`Provisioners`](crate::Provisioners).
pub const KIND: Kind = kind::KIND;

/// Which calls a fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// [`Provisioner::provision`].
    Provision,
    /// [`Provisioner::describe`].
    Describe,
    /// [`Provisioner::reboot`].
    Reboot,
    /// [`Provisioner::power_cycle`].
    PowerCycle,
    /// [`Provisioner::reimage`].
    Reimage,
    /// [`Provisioner::quarantine`].
    Quarantine,
    /// [`Provisioner::release`].
    Release,
    /// [`Provisioner::stop`].
    Stop,
    /// [`Provisioner::start`].
    Start,
    /// [`Provisioner::destroy`].
    Destroy,
    /// [`Provisioner::prove_off`].
    ProveOff,
    /// [`Provisioner::check`].
    Check,
}

/// How a call goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out, and the answer is lost: [`ProvisionError::Timeout`] at once.
    LoseAnswer,
    /// It is not carried out, and no answer comes either: [`ProvisionError::Timeout`] at once.
    LoseRequest,
    /// It is carried out at once, but no answer comes until the deadline.
    Hang,
    /// It is carried out, and this error is answered all the same, against the rules.
    FailAfter(ProvisionError),
    /// It is not carried out, and this error is answered.
    Refuse(ProvisionError),
}

/// An in-memory cloud, and a client of it. Clones share the cloud.
#[derive(Debug, Clone)]
pub struct Fake {
    cloud: Arc<Mutex<Cloud>>,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// An empty cloud that can do everything, at once, and never fails. Its machines are no hardware.
    pub fn new() -> Self {
        Self::with(Capabilities {
            reboot: true,
            power_cycle: true,
            reimage: true,
            hardware: false,
            stop_start: true,
            attach: true,
            prove_off: true,
            idempotency: Idempotency::Native,
            list_lag: Duration::ZERO,
            boot_time: Duration::ZERO,
        })
    }

    /// An empty cloud that can do only so much. Its list lags by `list_lag`: what was made or destroyed less long
    /// ago doesn't show. A machine is `Starting` for `boot_time`. Of `hardware` it has 16 nodes.
    pub fn with(capabilities: Capabilities) -> Self {
        Self {
            cloud: Arc::new(Mutex::new(Cloud::new(capabilities))),
        }
    }

    fn cloud(&self) -> MutexGuard<'_, Cloud> {
        // A test that panicked elsewhere doesn't make this cloud wrong.
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next calls of one kind go wrong, one fault each. Further faults queue up behind.
    pub fn inject(&self, call: Call, faults: impl IntoIterator<Item = Fault>) {
        self.cloud().faults.entry(call).or_default().extend(faults);
    }

    /// Makes every call go wrong until [`mend`](Self::mend).
    pub fn break_down(&self, fault: Fault) {
        self.cloud().broken = Some(fault);
    }

    /// Ends all faults.
    pub fn mend(&self) {
        let mut cloud = self.cloud();
        cloud.broken = None;
        cloud.faults.clear();
    }

    /// All instances as they really are, however the list lags. Destroyed ones are not among them.
    pub fn instances(&self) -> Vec<Instance> {
        self.cloud().instances()
    }

    /// Changes the state of an instance behind its clients' backs, as a crash of the machine does.
    ///
    /// Returns whether it is there.
    pub fn set_state(&self, id: &InstanceId, state: InstanceState) -> bool {
        self.cloud().set_state(id, state)
    }

    /// Takes an instance away for good, as the provider does with a spot instance.
    ///
    /// Returns whether it was there.
    pub fn vanish(&self, id: &InstanceId) -> bool {
        self.cloud().remove(id)
    }

    /// What was really done to the cloud by its clients, in order. Calls that changed nothing are not in it.
    pub fn acts(&self) -> Vec<Act> {
        self.cloud().acts.clone()
    }

    /// How often a call was made, whatever came of it.
    pub fn calls(&self, call: Call) -> usize {
        self.cloud().calls.get(&call).copied().unwrap_or_default()
    }

    /// Makes a call as the faults will have it.
    async fn call<T>(
        &self,
        call: Call,
        deadline: Deadline,
        execute: impl FnOnce(&mut Cloud) -> Result<T, ProvisionError> + Send,
    ) -> Result<T, ProvisionError> {
        let late = || ProvisionError::timeout(format!("calling {call:?} of the fake"));
        if deadline.has_passed() {
            return Err(late());
        }
        let fault = {
            let mut cloud = self.cloud();
            *cloud.calls.entry(call).or_default() += 1;
            let next = cloud.faults.get_mut(&call).and_then(VecDeque::pop_front);
            let fault = next.or_else(|| cloud.broken.clone());
            match fault {
                None => return execute(&mut cloud),
                Some(Fault::LoseRequest | Fault::Refuse(_)) => {}
                Some(Fault::LoseAnswer | Fault::Hang | Fault::FailAfter(_)) => {
                    // An error that it would have answered is lost with the answer.
                    let _ = execute(&mut cloud);
                }
            }
            fault
        };
        match fault {
            Some(Fault::Refuse(error) | Fault::FailAfter(error)) => Err(error),
            Some(Fault::Hang) => {
                tokio::time::sleep(deadline.remaining()).await;
                Err(late())
            }
            _ => Err(late()),
        }
    }
}

#[async_trait]
impl Provisioner for Fake {
    fn capabilities(&self) -> Capabilities {
        self.cloud().capabilities.clone()
    }

    fn validate(&self, properties: &Properties) -> Vec<Problem> {
        kind::validate(properties)
    }

    async fn provision(
        &self,
        spec: &MachineSpec,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<InstanceId, ProvisionError> {
        let problems = self.validate(&spec.properties);
        if !problems.is_empty() {
            return Err(ProvisionError::Invalid(problems));
        }
        self.call(Call::Provision, deadline, |cloud| cloud.provision(spec, op))
            .await
    }

    async fn describe(
        &self,
        filter: &Tags,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, ProvisionError> {
        self.call(Call::Describe, deadline, |cloud| Ok(cloud.list(filter)))
            .await
    }

    async fn reboot(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.call(Call::Reboot, deadline, |cloud| {
            cloud.can(cloud.capabilities.reboot, "reboot")?;
            cloud.restart(id, Act::Rebooted)
        })
        .await
    }

    async fn power_cycle(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.call(Call::PowerCycle, deadline, |cloud| {
            cloud.can(cloud.capabilities.power_cycle, "power-cycle")?;
            cloud.restart(id, Act::PowerCycled)
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
        self.call(Call::Reimage, deadline, |cloud| {
            cloud.can(cloud.capabilities.reimage, "reimage")?;
            cloud.reimage(id, spec, op)
        })
        .await
    }

    async fn quarantine(
        &self,
        id: &InstanceId,
        why: &str,
        deadline: Deadline,
    ) -> Result<String, ProvisionError> {
        self.call(Call::Quarantine, deadline, |cloud| {
            cloud.can(cloud.capabilities.hardware, "quarantine")?;
            cloud.quarantine(id, why)
        })
        .await
    }

    async fn quarantined(&self, deadline: Deadline) -> Result<Vec<Quarantined>, ProvisionError> {
        self.call(Call::Describe, deadline, |cloud| Ok(cloud.quarantined()))
            .await
    }

    async fn release(&self, hardware: &str, deadline: Deadline) -> Result<(), ProvisionError> {
        self.call(Call::Release, deadline, |cloud| {
            cloud.can(cloud.capabilities.hardware, "quarantine")?;
            cloud.release(hardware)
        })
        .await
    }

    async fn stop(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.call(Call::Stop, deadline, |cloud| {
            cloud.can(cloud.capabilities.stop_start, "stop")?;
            cloud.stop(id)
        })
        .await
    }

    async fn start(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.call(Call::Start, deadline, |cloud| {
            cloud.can(cloud.capabilities.stop_start, "start")?;
            cloud.start(id)
        })
        .await
    }

    async fn destroy(
        &self,
        id: &InstanceId,
        _op: &OperationId,
        deadline: Deadline,
    ) -> Result<Destroyed, ProvisionError> {
        self.call(Call::Destroy, deadline, |cloud| Ok(cloud.destroy(id)))
            .await
    }

    async fn prove_off(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Proof, ProvisionError> {
        self.call(Call::ProveOff, deadline, |cloud| Ok(cloud.prove_off(id)))
            .await
    }

    async fn check(&self, deadline: Deadline) -> Result<(), ProvisionError> {
        self.call(Call::Check, deadline, |_| Ok(())).await
    }
}

#[cfg(test)]
mod tests;
