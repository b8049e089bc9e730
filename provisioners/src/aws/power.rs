//! Power: rebooting, stopping, starting, ending, and proving that a machine is off.

use super::attachments::{PAUSE_MAX, PAUSE_MIN, Wanted, in_part};
use super::clock;
use super::machine::{Life, Machine, SPOT_STOPPED};
use super::query::Query;
use super::{AwsProvisioner, Seen};
use crate::{Deadline, Destroyed, InstanceId, Proof, ProvisionError};

/// Codes for a machine whose state is changing just now.
const CHANGING: [&str; 2] = ["IncorrectInstanceState", "IncorrectState"];

impl AwsProvisioner {
    /// One instance by its ID, whoever made it, if EC2 knows it.
    pub(super) async fn one(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Option<Machine>, ProvisionError> {
        Ok(match self.look(id, deadline).await? {
            Look::Shown(machine) => Some(*machine),
            Look::NoSuch(_) => None,
        })
    }

    /// One instance by its ID, whoever made it, or that EC2 knows none. Those that ended stay known for about an hour. One that
    /// was made a moment ago may not be known everywhere yet, so it is waited for.
    async fn look(&self, id: &InstanceId, deadline: Deadline) -> Result<Look, ProvisionError> {
        let mut pause = PAUSE_MIN;
        loop {
            let look = self.look_at(id, deadline).await?;
            let list_lag = self.0.list_lag;
            let is_old = |seen: Seen| seen.since.elapsed() >= list_lag;
            if matches!(look, Look::Shown(_)) || self.seen(id).is_none_or(is_old) {
                return Ok(look);
            }
            if !deadline.sleep(pause).await {
                return Err(ProvisionError::unavailable(format!(
                    "EC2 does not show {id} yet"
                )));
            }
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
    }

    async fn look_at(&self, id: &InstanceId, deadline: Deadline) -> Result<Look, ProvisionError> {
        let query = Query::look("DescribeInstances", format!("looking at {id}")).instance(id);
        let answer = match self.ec2().ask(&query, deadline).await {
            Ok(answer) => answer,
            Err(failure) => {
                return match failure.has_no_instance() {
                    Some(account) => Ok(Look::NoSuch(account)),
                    None => Err(failure.into()),
                };
            }
        };
        let reservations: Vec<_> = answer.items("reservationSet").cloned().collect();
        let found = Machine::read_all(&reservations)
            .map_err(|why| ProvisionError::unavailable(format!("{}: {why}", query.what)))?;
        self.note(&found);
        let found = found.into_iter().find(|machine| machine.id == *id);
        // Of one that it doesn't know EC2 says so: an answer that leaves it out says nothing.
        let found = found.ok_or_else(|| {
            ProvisionError::unavailable(format!("{}: the answer doesn't have it", query.what))
        })?;
        Ok(Look::Shown(Box::new(found)))
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

    /// Stops a machine without asking it, and starts it again. EC2 takes its time to stop it: when the deadline comes first, or
    /// anything else fails from then on, the outcome is unknown, and the next call goes on.
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
        // A call before this one may have stopped it, too.
        let halfway = |error| in_part(format!("power-cycling {id}"), error);
        self.until_stopped(id, deadline).await.map_err(halfway)?;
        self.start_one(id, deadline).await.map_err(halfway)
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
        let halfway = |error| in_part(format!("stopping {id}"), error);
        self.until_stopped(id, deadline).await.map_err(halfway)
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
        let mut begun = false;
        self.take_all(id, &others, &mut begun, deadline).await?;
        let started = self.switch_on(id, deadline).await;
        started.map_err(|error| match begun {
            true => in_part(format!("starting {id}"), error),
            false => error,
        })
    }

    async fn switch_on(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
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
        match self.look(id, deadline).await? {
            Look::Shown(machine) if machine.life == Life::Terminated => {
                return Ok(Destroyed::AlreadyGone);
            }
            Look::Shown(machine) => may_end(&machine)?,
            Look::NoSuch(account) => return self.end_unknown(id, account, deadline).await,
        }
        let query = Query::change("TerminateInstances", format!("terminating {id}")).instance(id);
        match self.ec2().ask(&query, deadline).await {
            Ok(_) => Ok(Destroyed::Destroyed),
            Err(failure) if failure.has_no_instance().is_some() => Ok(Destroyed::AlreadyGone),
            Err(failure) if failure.code() == "OperationNotPermitted" => {
                Err(ProvisionError::failed(format!(
                    "{id} is protected against termination: turn its DisableApiTermination off, or end it by hand"
                )))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Ends one that EC2 doesn't know: what can't be looked at is never told to end. One that another coordinator made a moment ago
    /// may not show yet.
    async fn end_unknown(
        &self,
        id: &InstanceId,
        asked: Option<String>,
        deadline: Deadline,
    ) -> Result<Destroyed, ProvisionError> {
        let seen = self.seen(id);
        if is_proven(seen.as_ref(), asked.as_deref()).is_ok() {
            return Ok(Destroyed::AlreadyGone);
        }
        if let (Some(account), Some(asked)) = (seen.and_then(|seen| seen.account), asked) {
            return Err(ProvisionError::denied(format!(
                "{id} is in the account {account}, and the credentials are of {asked}"
            )));
        }
        let left = self.0.list_lag.saturating_sub(self.missed_for(id));
        if left.is_zero() {
            return Ok(Destroyed::AlreadyGone);
        }
        if left < deadline.remaining() {
            tokio::time::sleep(left).await;
            if let Look::NoSuch(_) = self.look_at(id, deadline).await? {
                return Ok(Destroyed::AlreadyGone);
            }
        }
        let why = format!("EC2 does not show {id}, which may have been made a moment ago");
        Err(ProvisionError::unavailable(why))
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
        let seen = self.seen(id);
        Ok(match self.look(id, deadline).await? {
            Look::Shown(machine) => match machine.life {
                Life::Terminated => off("EC2 says that it is terminated"),
                Life::Stopped if machine.is_spot => unknown(SPOT_STOPPED),
                Life::Stopped => off("EC2 says that it is stopped"),
                Life::Pending | Life::Running | Life::Stopping | Life::ShuttingDown => {
                    Proof::Running
                }
                Life::Unknown => unknown("EC2 says of its state what is not known here"),
            },
            Look::NoSuch(asked) => match is_proven(seen.as_ref(), asked.as_deref()) {
                Ok(()) => off("EC2 no longer knows it, and did before: it was terminated"),
                Err(why) => unknown(why),
            },
        })
    }
}

/// What EC2 says of an ID.
enum Look {
    Shown(Box<Machine>),
    /// There is none in the account that asked, as far as that is known.
    NoSuch(Option<String>),
}

/// Whether an instance that EC2 doesn't know is certain to have ended: only if the account that was asked is the one that it was
/// seen in. The error is why not.
fn is_proven(seen: Option<&Seen>, asked: Option<&str>) -> Result<(), &'static str> {
    let Some(seen) = seen else {
        return Err(
            "EC2 doesn't know it in this region and account: it was terminated more than an hour ago, or was never there",
        );
    };
    match (seen.account.as_deref(), asked) {
        (Some(account), Some(asked)) if account == asked => Ok(()),
        _ => Err(
            "EC2 doesn't know it, but the credentials are not known to be of the account that it was seen in",
        ),
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn only_the_account_that_it_was_seen_in_can_prove_that_it_ended() {
        let seen = |account: Option<&str>| Seen {
            since: Instant::now(),
            account: account.map(str::to_owned),
        };
        assert_eq!(is_proven(Some(&seen(Some("1"))), Some("1")), Ok(()));
        for (seen, asked) in [
            (None, Some("1")),
            (Some(seen(None)), Some("1")),
            (Some(seen(None)), None),
            (Some(seen(Some("1"))), None),
            (Some(seen(Some("1"))), Some("2")),
        ] {
            assert!(
                is_proven(seen.as_ref(), asked).is_err(),
                "{seen:?} {asked:?}"
            );
        }
    }
}
