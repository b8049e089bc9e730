//! The trait that every back end implements.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Deadline, Instance, InstanceId, MachineSpec, OperationId, Problem, Properties, ProvisionError,
    Tags,
};

/// Makes, finds, reboots, power-cycles, reimages and destroys machines.
///
/// What every implementation must keep, and the conformance suite checks:
///
/// - **A call returns by its deadline.** What isn't known by then is [`ProvisionError::Timeout`]: the outcome
///   is unknown, and the caller resolves it by describing, never by repeating blindly. Errors other than
///   that promise that nothing was done.
/// - **One operation, one instance.** However often and from however many processes `provision` is called
///   with one [`OperationId`], at most one instance comes of it.
/// - **What is made can be found.** An instance carries its spec's tags and [`tag::OPERATION`](crate::tag)
///   from the moment it exists, and is listed at most [`Capabilities::list_lag`] later.
/// - **Attachments are exclusive.** An instance doesn't start while another that may still run holds one of
///   its attachments ([`ProvisionError::Held`]).
/// - **No guesses.** [`Proof::Off`] is said only of what is certain not to run and not to start by itself.
/// - **Safe to share.** Calls may come concurrently, from this and from other processes.
#[async_trait]
pub trait Provisioner: fmt::Debug + Send + Sync {
    /// What this back end can do.
    fn capabilities(&self) -> Capabilities;

    /// Everything that is wrong with a group's properties for this provisioner. Pure: no I/O.
    fn validate(&self, properties: &Properties) -> Vec<Problem>;

    /// Makes and starts the machine of `spec`, or finds the one that `op` already made. If `op`'s instance has
    /// been destroyed since, its ID is returned and nothing is made anew.
    ///
    /// Returns when the provider has accepted it; it may be `Starting` for a while. Called again with the same
    /// `op`, everything but the identity of the instance in `spec` is ignored, unless the earlier call
    /// never came as far as starting it.
    ///
    /// # Errors
    /// See [`ProvisionError`]; after [`Timeout`](ProvisionError::Timeout) call again or describe by
    /// [`tag::OPERATION`](crate::tag::OPERATION).
    async fn provision(
        &self,
        spec: &MachineSpec,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<InstanceId, ProvisionError>;

    /// All instances whose tags match `filter`, in the order of their IDs. Those destroyed are not listed.
    ///
    /// One whose tags can't be read is listed for every filter without [`tag::OPERATION`](crate::tag::OPERATION), with no tags,
    /// as [`Unknown`](crate::InstanceState::Unknown) unless it is seen to run, and with the reason as its property `why`: one
    /// that is not listed is taken for gone.
    ///
    /// # Errors
    /// See [`ProvisionError`]. A partial list is an error, never a shorter list.
    async fn describe(
        &self,
        filter: &Tags,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, ProvisionError>;

    /// What an operation made, oldest first: how a call whose outcome is unknown is resolved, at least
    /// [`Capabilities::list_lag`] after it. More than one is possible only with [`Idempotency::ByTag`]; the later
    /// ones are to be destroyed.
    ///
    /// # Errors
    /// See [`describe`](Self::describe).
    async fn made_by(
        &self,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, ProvisionError> {
        let filter = Tags::new().with(crate::tag::OPERATION, op.as_str());
        let mut made = self.describe(&filter, deadline).await?;
        made.sort_by_key(|instance| instance.created_at_ms);
        Ok(made)
    }

    /// Restarts the machine in place through its operating system: same identity, address and disks.
    ///
    /// # Errors
    /// See [`ProvisionError`].
    async fn reboot(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError>;

    /// Takes the power away and gives it back, without asking the machine.
    ///
    /// # Errors
    /// See [`ProvisionError`].
    async fn power_cycle(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError>;

    /// Writes the system of a machine anew on the same hardware, for the machine of `spec`: another identity, another token,
    /// the same attachments. The instance keeps its ID, and gets the tags of `spec` and of `op`.
    ///
    /// Success means that nothing of what ran there before runs any more, and that what runs now is the machine of `spec`.
    /// Called again with the same `op`, it finds what was begun: nothing is written twice.
    ///
    /// # Errors
    /// See [`ProvisionError`]; [`Unsupported`](ProvisionError::Unsupported) without [`Capabilities::reimage`], which is the
    /// default. After [`Timeout`](ProvisionError::Timeout) call again, or look for [`tag::OPERATION`](crate::tag::OPERATION).
    async fn reimage(
        &self,
        _id: &InstanceId,
        _spec: &MachineSpec,
        _op: &OperationId,
        _deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        Err(ProvisionError::Unsupported("reimage".to_owned()))
    }

    /// Stops the machine and keeps it, so that it can be started again. It is fine if it is stopped already.
    /// After success [`prove_off`](Self::prove_off) says [`Off`](Proof::Off).
    ///
    /// # Errors
    /// See [`ProvisionError`].
    async fn stop(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError>;

    /// Starts a machine that is stopped. It is fine if it runs already.
    ///
    /// # Errors
    /// See [`ProvisionError`]; [`Held`](ProvisionError::Held) if an attachment went to another meanwhile.
    async fn start(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError>;

    /// Destroys the machine for good; its attachments stay. Success means that the provider has accepted it;
    /// that it no longer runs is what [`prove_off`](Self::prove_off) says.
    ///
    /// # Errors
    /// See [`ProvisionError`]; an instance that isn't there is no error but
    /// [`AlreadyGone`](Destroyed::AlreadyGone).
    async fn destroy(
        &self,
        id: &InstanceId,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<Destroyed, ProvisionError>;

    /// Whether the machine is certain not to run. Of an ID that this provisioner never knew it says
    /// [`Unknown`](Proof::Unknown), unless it can be certain.
    ///
    /// # Errors
    /// See [`ProvisionError`].
    async fn prove_off(&self, id: &InstanceId, deadline: Deadline)
    -> Result<Proof, ProvisionError>;

    /// Leaves the hardware of an instance out of all that is made from now on, until a person [releases](Self::release) it:
    /// a machine on it has failed, for the reason `why`. The instance itself stays as it is; that it is in quarantine
    /// already is fine. Gives the name by which the hardware is [released](Self::release) and [listed](Self::quarantined).
    ///
    /// # Errors
    /// See [`ProvisionError`]; [`Unsupported`](ProvisionError::Unsupported) without [`Capabilities::hardware`], which is the
    /// default.
    async fn quarantine(
        &self,
        _id: &InstanceId,
        _why: &str,
        _deadline: Deadline,
    ) -> Result<String, ProvisionError> {
        Err(ProvisionError::Unsupported("quarantine".to_owned()))
    }

    /// All hardware in quarantine, by name; none without [`Capabilities::hardware`], which is the default.
    ///
    /// # Errors
    /// See [`ProvisionError`].
    async fn quarantined(&self, _deadline: Deadline) -> Result<Vec<Quarantined>, ProvisionError> {
        Ok(Vec::new())
    }

    /// Ends a quarantine: machines may be made on that hardware again. It is fine if it is in none.
    ///
    /// # Errors
    /// See [`ProvisionError`]; [`Failed`](ProvisionError::Failed) where there is no hardware of that name, and
    /// [`Unsupported`](ProvisionError::Unsupported) without [`Capabilities::hardware`], which is the default.
    async fn release(&self, _hardware: &str, _deadline: Deadline) -> Result<(), ProvisionError> {
        Err(ProvisionError::Unsupported("quarantine".to_owned()))
    }

    /// Takes an instance over that another tool made: gives it these tags besides those that it has, so that it is found by
    /// them. It goes on running as it is. Doing it again does nothing.
    ///
    /// # Errors
    /// See [`ProvisionError`]; [`Unsupported`](ProvisionError::Unsupported) where tags can't be changed, which is the default.
    async fn adopt(
        &self,
        _id: &InstanceId,
        _tags: &Tags,
        _deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        Err(ProvisionError::Unsupported(
            "give tags to an instance that it did not make".to_owned(),
        ))
    }

    /// Whether the back end can be asked: credentials, permissions, reachability. The health check of the
    /// provisioner itself, cheap enough to be asked every minute.
    ///
    /// # Errors
    /// What stands in the way.
    async fn check(&self, deadline: Deadline) -> Result<(), ProvisionError>;
}

/// What a back end can do. What it can't do, the healing ladder leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// [`Provisioner::reboot`] works.
    pub reboot: bool,
    /// [`Provisioner::power_cycle`] works.
    pub power_cycle: bool,
    /// [`Provisioner::reimage`] works.
    pub reimage: bool,
    /// Its machines are hardware, of which there is only so much: what is destroyed goes back to where new machines are
    /// made from. [`Provisioner::quarantine`] works; and a machine that does not answer is mended in its place before
    /// another one is taken.
    pub hardware: bool,
    /// [`Provisioner::stop`] and [`Provisioner::start`] work.
    pub stop_start: bool,
    /// Attachments can be moved from one instance to the next.
    pub attach: bool,
    /// [`Provisioner::prove_off`] can say [`Proof::Off`] of an instance that is not destroyed yet.
    pub prove_off: bool,
    /// Where the operation ID stops a second instance.
    pub idempotency: Idempotency,
    /// How long a new instance may be missing from the list (eventual consistency). An instance missing for
    /// less says nothing.
    pub list_lag: Duration,
    /// How long a machine usually takes from being ordered until its agent is in the mesh; "never joined"
    /// starts well after that.
    pub boot_time: Duration,
}

/// Who makes sure that an operation makes only one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// The back end itself: two simultaneous calls make one instance.
    Native,
    /// The provisioner, by looking for the tag before it makes anything. Two simultaneous calls might make two;
    /// the later one has to be destroyed when it is found.
    ByTag,
}

/// What came of destroying an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destroyed {
    /// It was there and is destroyed now, or will be shortly.
    Destroyed,
    /// It had gone before.
    AlreadyGone,
}

/// A piece of hardware on which no machine is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The provider's name for it: a node, a chassis.
    pub hardware: String,
    /// Why, as it was said.
    pub why: String,
    /// Since when, in milliseconds since 1970; 0 if the provider doesn't say.
    pub since_ms: u64,
}

/// Whether an instance is certain not to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// It doesn't run and doesn't start by itself.
    Off {
        /// How this is known.
        how: String,
        /// When this was established, in milliseconds since 1970.
        at_ms: u64,
    },
    /// It runs, or something of it still does.
    Running,
    /// Nobody can say.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl Proof {
    /// Whether it is certain that the instance doesn't run.
    pub fn is_off(&self) -> bool {
        matches!(self, Self::Off { .. })
    }
}
