//! Power: rebooting, stopping, starting, ending, and proving that a machine is off.

use super::AwsProvisioner;
use super::attachments::{PAUSE_MAX, PAUSE_MIN, Wanted};
use super::clock;
use super::machine::{Life, Machine, SPOT_STOPPED};
use super::query::Query;
use crate::{Deadline, Destroyed, InstanceId, Proof, ProvisionError};

/// Codes for a machine whose state is changing just now.
const CHANGING: [&str; 2] = ["IncorrectInstanceState", "IncorrectState"];

impl AwsProvisioner {
    /// One instance by its ID, whoever made it; `None` if EC2 knows none. Those that ended stay known for about an hour. One that
    /// was made a moment ago may not be known everywhere yet, so it is waited for.
    pub(super) async fn one(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Option<Machine>, ProvisionError> {
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(machine) = self.look_at(id, deadline).await? {
                return Ok(Some(machine));
            }
            let list_lag = self.0.list_lag;
            if self.seen_for(id).is_none_or(|age| age >= list_lag) {
                return Ok(None);
            }
            if !deadline.sleep(pause).await {
                return Err(ProvisionError::unavailable(format!(
                    "EC2 does not show {id} yet"
                )));
            }
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
    }

    async fn look_at(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Option<Machine>, ProvisionError> {
        let query = Query::look("DescribeInstances", format!("looking at {id}")).instance(id);
        let answer = match self.ec2().ask(&query, deadline).await {
            Err(failure) if failure.is_not_found() => return Ok(None),
            answer => answer?,
        };
        let reservations: Vec<_> = answer.items("reservationSet").cloned().collect();
        let found = Machine::read_all(&reservations)
            .map_err(|why| ProvisionError::unavailable(format!("{}: {why}", query.what)))?;
        self.note(&found);
        Ok(found.into_iter().find(|machine| machine.id == *id))
    }

    /// One that muster made and that hasn't ended.
    async fn ours(&self, id: &InstanceId, deadline: Deadline) -> Result<Machine, ProvisionError> {
        match self.one(id, deadline).await? {
            Some(machine) if machine.is_ours() && !machine.life.is_over() => Ok(machine),
            _ => Err(ProvisionError::NotFound(id.clone())),
        }
    }

    pub(super) async fn reboot_one(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        self.ours(id, deadline).await?;
        let query = Query::change("RebootInstances", format!("rebooting {id}")).instance(id);
        self.ec2().ask(&query, deadline).await?;
        Ok(())
    }

    /// Stops a machine without asking it, and starts it again. EC2 takes its time to stop it: when the deadline comes first, the
    /// error is one that may be retried, and the next call goes on.
    pub(super) async fn cycle(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let machine = self.ours(id, deadline).await?;
        if matches!(machine.life, Life::Pending | Life::Running | Life::Unknown) {
            let query = Query::change("StopInstances", format!("taking the power from {id}"))
                .instance(id)
                .with("Force", "true");
            self.ec2().ask(&query, deadline).await?;
        }
        let not_yet = |error| match error {
            ProvisionError::Timeout(what) => {
                ProvisionError::unavailable(format!("{what}: it is started once it has stopped"))
            }
            other => other,
        };
        self.until_stopped(id, deadline).await.map_err(not_yet)?;
        self.start_one(id, deadline).await.map_err(not_yet)
    }

    pub(super) async fn stop_one(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let machine = self.ours(id, deadline).await?;
        if !matches!(machine.life, Life::Stopping | Life::Stopped) {
            let query = Query::change("StopInstances", format!("stopping {id}")).instance(id);
            self.ec2().ask(&query, deadline).await?;
        }
        self.until_stopped(id, deadline).await
    }

    async fn until_stopped(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let mut pause = PAUSE_MIN;
        while self.ours(id, deadline).await?.life != Life::Stopped {
            if !deadline.sleep(pause).await {
                return Err(ProvisionError::timeout(format!("stopping {id}")));
            }
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
        Ok(())
    }

    /// Starts a machine, with all that it was made with: what went to another meanwhile is taken back only from one that is off.
    pub(super) async fn start_one(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let machine = self.ours(id, deadline).await?;
        if matches!(machine.life, Life::Pending | Life::Running) {
            return Ok(());
        }
        let wanted = Wanted::read(&machine.made_with()).map_err(ProvisionError::Invalid)?;
        let others: Vec<_> = self.not_held_by(id, &wanted, deadline).await?;
        self.take_all(id, &others, deadline).await?;
        let query = Query::change("StartInstances", format!("starting {id}")).instance(id);
        let mut pause = PAUSE_MIN;
        loop {
            match self.ec2().ask(&query, deadline).await {
                Ok(_) => return Ok(()),
                // It is still stopping.
                Err(failure) if CHANGING.contains(&failure.code()) => {
                    if !deadline.sleep(pause).await {
                        return Err(failure.into());
                    }
                    pause = (pause * 3 / 2).min(PAUSE_MAX);
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    pub(super) async fn end(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Destroyed, ProvisionError> {
        match self.one(id, deadline).await? {
            Some(machine) if machine.life == Life::Terminated => return Ok(Destroyed::AlreadyGone),
            Some(machine) => may_end(&machine)?,
            // One that another coordinator made a moment ago may not show yet: told to end, it does.
            None => {}
        }
        let query = Query::change("TerminateInstances", format!("terminating {id}")).instance(id);
        match self.ec2().ask(&query, deadline).await {
            Ok(_) => Ok(Destroyed::Destroyed),
            Err(failure) if failure.is_not_found() => Ok(Destroyed::AlreadyGone),
            Err(failure) if failure.code() == "OperationNotPermitted" => {
                Err(ProvisionError::failed(format!(
                    "{id} is protected against termination: turn its DisableApiTermination off, or end it by hand"
                )))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Whether an instance is certain not to run.
    pub(super) async fn proof(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Proof, ProvisionError> {
        let off = |how: &str| Proof::Off {
            how: how.to_owned(),
            at_ms: clock::now_ms(),
        };
        let unknown = |why: &str| Proof::Unknown {
            why: why.to_owned(),
        };
        let known = self.seen_for(id).is_some();
        Ok(match self.one(id, deadline).await? {
            Some(machine) => match machine.life {
                Life::Terminated => off("EC2 says that it is terminated"),
                Life::Stopped if machine.is_spot => unknown(SPOT_STOPPED),
                Life::Stopped => off("EC2 says that it is stopped"),
                Life::Pending | Life::Running | Life::Stopping | Life::ShuttingDown => {
                    Proof::Running
                }
                Life::Unknown => unknown("EC2 says of its state what is not known here"),
            },
            None if known => off("EC2 no longer knows it, and did before: it was terminated"),
            None => unknown(
                "EC2 doesn't know it in this region and account: it was terminated more than an hour ago, or was never there",
            ),
        })
    }
}

/// That an instance is ours to end, and takes nothing with it that outlives it.
fn may_end(machine: &Machine) -> Result<(), ProvisionError> {
    let id = &machine.id;
    if !machine.is_ours() {
        return Err(ProvisionError::NotFound(id.clone()));
    }
    let kept = machine.made_with();
    let doomed =
        |(volume, with_it): &&(String, bool)| *with_it && kept.iter().any(|one| one.id == *volume);
    match machine.volumes.iter().find(doomed) {
        Some((volume, _)) => Err(ProvisionError::failed(format!(
            "{volume} would be deleted with {id}: turn its DeleteOnTermination off"
        ))),
        None => Ok(()),
    }
}
