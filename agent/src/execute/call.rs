//! The calls to provisioners, each safe to repeat.

use super::{
    Deadline, Helpers, Job, OperationId, ProvisionError, Provisioner, StepResult, Stop, Target,
    did_nothing,
};
use crate::fleet::{Instance, PutAside, Rung};
use std::time::Duration;

use muster_provisioners::{
    Attachment, InstanceId, InstanceState, MachineSpec, Proof, Properties, Tags, tag,
};

/// How often a new instance is looked at before it goes on record without its properties.
const LOOKS_MAX: usize = 5;

/// The pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// An instance that is to end.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    /// The provisioner's name.
    provisioner: &'a str,
    pub(super) target: &'a Target,
    /// Of what its machine failed; `None` if it did not.
    failed: Option<&'a str>,
    job: &'a Job,
    /// Whether it has to be on record first that it may be destroyed.
    begins: bool,
}

impl<'a> End<'a> {
    pub(super) fn of(
        job: &'a Job,
        provisioner: &'a str,
        target: &'a Target,
        failed: Option<&'a str>,
        begins: bool,
    ) -> Self {
        Self {
            provisioner,
            target,
            failed,
            job,
            begins,
        }
    }

    /// Destroys the instance. Hardware on which a machine failed goes into quarantine first: destroyed, it would be free for
    /// the next machine at once.
    async fn destroy(
        self,
        provisioner: &dyn Provisioner,
        helpers: &dyn Helpers,
        instance: &InstanceId,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        let aside = self.put_aside(provisioner, helpers, instance, deadline);
        if aside.await? {
            // That took a while: the permission from before it is old.
            helpers.permit().await?;
        }
        if self.begin(helpers).await? {
            helpers.permit().await.map_err(Stop::Uncalled)?;
        }
        let op = &self.job.op;
        match provisioner.destroy(instance, op, deadline).await {
            Ok(_) | Err(ProvisionError::NotFound(_)) => Ok(()),
            Err(error) if !self.begins => Err(error.into()),
            Err(error) if did_nothing(&error) => Err(Stop::Undone(error)),
            Err(error) => Err(Stop::Unproved(error)),
        }
    }

    /// Leaves hardware out on which a machine failed; whether there was anything to do for that.
    async fn put_aside(
        self,
        provisioner: &dyn Provisioner,
        helpers: &dyn Helpers,
        instance: &InstanceId,
        deadline: Deadline,
    ) -> Result<bool, Stop> {
        let Some(why) = self.failed.filter(|_| provisioner.capabilities().hardware) else {
            return Ok(false);
        };
        match provisioner.quarantine(instance, why, deadline).await {
            Ok(hardware) => {
                let aside = PutAside {
                    op: self.job.op.clone(),
                    provisioner: self.provisioner.to_owned(),
                    hardware,
                    instance: instance.clone(),
                    why: why.into(),
                };
                let put = helpers.put_aside(aside).await;
                put.map_err(ProvisionError::Unavailable)?;
            }
            Err(ProvisionError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Puts on record that the instance may be destroyed from now on; whether it was not.
    async fn begin(self, helpers: &dyn Helpers) -> Result<bool, Stop> {
        if self.begins {
            let Job {
                op, step, attempt, ..
            } = self.job;
            let begun = helpers.begin(op, *step, *attempt).await;
            begun.map_err(ProvisionError::Unavailable)?;
        }
        Ok(self.begins)
    }
}

/// Proves that an instance doesn't run; destroys it first where it does.
///
/// Destroying keeps what is attached. Success is a proof, never the acceptance of a request.
pub(super) async fn fence(
    provisioner: &dyn Provisioner,
    helpers: &dyn Helpers,
    end: End<'_>,
    deadline: Deadline,
) -> Result<StepResult, Stop> {
    let Some(instance) = &resolve(provisioner, helpers, end.target, deadline).await? else {
        return Ok(StepResult::Done);
    };
    if provisioner.prove_off(instance, deadline).await?.is_off() {
        return Ok(StepResult::Done);
    }
    helpers.permit().await?;
    end.destroy(provisioner, helpers, instance, deadline)
        .await?;
    let unproved = match provisioner.prove_off(instance, deadline).await {
        Ok(Proof::Off { .. }) => return Ok(StepResult::Done),
        Ok(Proof::Running) => {
            ProvisionError::unavailable(format!("{instance} was told to go and still runs"))
        }
        Ok(Proof::Unknown { why }) => ProvisionError::unavailable(format!(
            "{instance} was told to go and nobody can say whether it has: {why}"
        )),
        Err(error) => error,
    };
    Err(Stop::Unproved(unproved))
}

/// Whether an instance is proved off; an error while it is not.
pub(super) async fn look_off(
    provisioner: &dyn Provisioner,
    helpers: &dyn Helpers,
    target: &Target,
    deadline: Deadline,
) -> Result<StepResult, Stop> {
    let Some(instance) = &resolve(provisioner, helpers, target, deadline).await? else {
        return Ok(StepResult::Done);
    };
    match provisioner.prove_off(instance, deadline).await? {
        Proof::Off { .. } => Ok(StepResult::Done),
        Proof::Running => Err(ProvisionError::unavailable(format!("{instance} runs")).into()),
        Proof::Unknown { why } => Err(ProvisionError::unavailable(why).into()),
    }
}

/// Destroys an instance; one that is gone already is fine.
pub(super) async fn destroy(
    provisioner: &dyn Provisioner,
    helpers: &dyn Helpers,
    end: End<'_>,
    deadline: Deadline,
) -> Result<StepResult, Stop> {
    let Some(instance) = &resolve(provisioner, helpers, end.target, deadline).await? else {
        return Ok(StepResult::Done);
    };
    helpers.permit().await?;
    end.destroy(provisioner, helpers, instance, deadline)
        .await?;
    Ok(StepResult::Done)
}

/// Reboots an instance or cycles its power. Whether a call that timed out was carried out shows in whether the machine
/// becomes well: it is not made twice.
pub(super) async fn reboot(
    provisioner: &dyn Provisioner,
    helpers: &dyn Helpers,
    target: &Target,
    rung: Rung,
    deadline: Deadline,
) -> Result<StepResult, Stop> {
    let Some(instance) = &resolve(provisioner, helpers, target, deadline).await? else {
        let why = "its order has made no instance";
        return Err(ProvisionError::unavailable(why).into());
    };
    helpers.permit().await?;
    let called = match rung {
        Rung::PowerCycle => provisioner.power_cycle(instance, deadline).await,
        _ => provisioner.reboot(instance, deadline).await,
    };
    match called {
        Err(error) if !error.is_outcome_unknown() => Err(error.into()),
        _ => Ok(StepResult::Done),
    }
}

/// Writes an instance's system anew, or completes what an earlier call of this operation began: also where it is not known
/// what came of that.
pub(super) async fn reimage(
    provisioner: &dyn Provisioner,
    helpers: &dyn Helpers,
    instance: &InstanceId,
    (name, spec, op): (&str, &MachineSpec, &OperationId),
    deadline: Deadline,
) -> Result<StepResult, Stop> {
    helpers.permit().await?;
    provisioner.reimage(instance, spec, op, deadline).await?;
    Ok(StepResult::Provisioned(Instance {
        provisioner: name.to_owned(),
        id: instance.clone(),
        properties: look(provisioner, op, deadline).await,
    }))
}

/// The instance that a step is about; `None` when an order made none, which counts only once the list can't lag any
/// more.
async fn resolve(
    provisioner: &dyn Provisioner,
    helpers: &dyn Helpers,
    target: &Target,
    deadline: Deadline,
) -> Result<Option<InstanceId>, ProvisionError> {
    let (op, ended_ms) = match target {
        Target::Known(id) => return Ok(Some(id.clone())),
        Target::Ordered { op, ended_ms } => (op, *ended_ms),
    };
    if let Some(found) = find(provisioner, op, deadline).await? {
        return Ok(Some(found.id));
    }
    let age = helpers
        .now_ms()
        .checked_sub(ended_ms)
        .map(Duration::from_millis);
    if age.is_none_or(|age| age < provisioner.capabilities().list_lag) {
        return Err(ProvisionError::unavailable(
            "its order may still be carried out, or what was made a moment ago is not on the provider's list yet",
        ));
    }
    Ok(None)
}

/// Makes an instance, or finds the one that this operation made before.
pub(super) async fn provision(
    provisioner: &dyn Provisioner,
    helpers: &dyn Helpers,
    (name, spec, op): (&str, &MachineSpec, &OperationId),
    deadline: Deadline,
) -> Result<StepResult, Stop> {
    helpers.permit().await?;
    let made = match provisioner.provision(spec, op, deadline).await {
        Ok(id) => id,
        // It may have been made: look before anything is said about it. Not finding it proves nothing (lists lag), and one
        // that does not run may lack its last steps, so the next try asks again under the same operation.
        Err(error) if error.is_outcome_unknown() => {
            let again = Deadline::after(super::STEP_DEADLINE);
            match find(provisioner, op, again).await? {
                // Where attachments come after the machine, the same operation again gives it those that it lacks; and it
                // starts one that was made and not started.
                Some(found) if found.state == InstanceState::Running && has_all(&found, spec) => {
                    found.id
                }
                _ => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    let properties = look(provisioner, op, deadline).await;
    let instance = Instance {
        provisioner: name.to_owned(),
        id: made,
        properties,
    };
    Ok(StepResult::Provisioned(instance))
}

/// Whether an instance holds all that its machine is to have.
fn has_all(found: &muster_provisioners::Instance, spec: &MachineSpec) -> bool {
    let held = |wanted: &Attachment| found.attachments.iter().any(|held| held.id == wanted.id);
    spec.attachments.iter().all(held)
}

/// What a new instance looks like. A list that fails or lags is asked a few times more; after that the instance goes
/// on record without: that it was made is what counts.
async fn look(provisioner: &dyn Provisioner, op: &OperationId, deadline: Deadline) -> Properties {
    for _ in 0..LOOKS_MAX {
        if let Ok(Some(found)) = find(provisioner, op, deadline).await {
            return found.properties;
        }
        if !deadline.sleep(LOOK_PAUSE).await {
            break;
        }
    }
    Properties::new()
}

async fn find(
    provisioner: &dyn Provisioner,
    op: &OperationId,
    deadline: Deadline,
) -> Result<Option<muster_provisioners::Instance>, ProvisionError> {
    let filter = Tags::new().with(tag::OPERATION, op.as_str());
    Ok(provisioner
        .describe(&filter, deadline)
        .await?
        .into_iter()
        .next())
}

#[cfg(test)]
mod tests {
    use muster_provisioners::InstanceState;

    use super::*;

    #[test]
    fn an_order_is_done_only_with_all_of_its_attachments() {
        let mut spec = MachineSpec::new("db-1", Properties::new());
        spec.attachments = vec![
            Attachment::new("vol-1", "ebs"),
            Attachment::new("vol-2", ""),
        ];
        let mut found = muster_provisioners::Instance {
            id: "i-1".parse().expect("valid"),
            state: InstanceState::Running,
            tags: Tags::new(),
            address: None,
            properties: Properties::new(),
            created_at_ms: 0,
            attachments: vec![Attachment::new("vol-2", "ebs")],
        };
        assert!(!has_all(&found, &spec));
        found.attachments.push(Attachment::new("vol-1", "ebs"));
        assert!(has_all(&found, &spec));
    }
}
