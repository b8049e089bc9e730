//! Restarting, stopping, removing, and what can be proven.

use std::time::{Duration, SystemTime};

use bollard::models::{ContainerInspectResponse, ContainerUpdateBody};
use bollard::query_parameters::{
    KillContainerOptions, RemoveContainerOptionsBuilder, RestartContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};

use super::engine::Engine;
use super::identity::Place;
use super::labels::{self, Labels};
use super::properties::Restart;
use super::refusal::Refusal;
use super::state::{self, Doubt};
use super::{body, create, holders};
use crate::{Destroyed, InstanceId, Proof, ProvisionError};

/// The pause between two looks at what the Engine is still about to do.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// The shortest grace that the Engine can be told.
const SECOND: Duration = Duration::from_secs(1);

/// An instance's container, found.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    engine: &'a Engine,
    place: Place,
    container: ContainerInspectResponse,
    labels: Labels,
}

impl<'a> Machine<'a> {
    /// Finds an instance's container; `None` if this Engine doesn't have it.
    ///
    /// # Errors
    /// [`ProvisionError::NotFound`] if what it has is not ours.
    pub(super) async fn look_for(
        engine: &'a Engine,
        id: &InstanceId,
    ) -> Result<Option<Self>, ProvisionError> {
        let not_found = || ProvisionError::NotFound(id.clone());
        let place = Place::of(id).ok_or_else(not_found)?;
        let Some(container) = engine.inspect(&place.container).await? else {
            return Ok(None);
        };
        let written = container
            .config
            .as_ref()
            .and_then(|config| config.labels.as_ref());
        let labels = written.map(labels::read).and_then(Result::ok);
        let labels = labels.filter(|labels| labels.engine == place.engine);
        let labels = labels.ok_or_else(not_found)?;
        Ok(Some(Self {
            engine,
            place,
            container,
            labels,
        }))
    }

    /// Finds an instance's container.
    ///
    /// # Errors
    /// [`ProvisionError::NotFound`] if this Engine doesn't have it, or what it has is not ours.
    pub(super) async fn find(engine: &'a Engine, id: &InstanceId) -> Result<Self, ProvisionError> {
        let found = Self::look_for(engine, id).await?;
        found.ok_or_else(|| ProvisionError::NotFound(id.clone()))
    }

    /// Asks the machine to go down, cuts it off after `grace`, and starts it again. One that is paused can't be asked.
    pub(super) async fn reboot(self, grace: Duration) -> Result<(), ProvisionError> {
        let options = RestartContainerOptionsBuilder::new()
            .t(self.seconds(grace))
            .build();
        let container = &self.place.container;
        let request = self
            .engine
            .docker
            .restart_container(container, Some(options));
        let done = self
            .engine
            .change("restarting the container", request)
            .await;
        Ok(done?)
    }

    /// Kills the machine, which is then to be started again.
    pub(super) async fn cut_off(&self) -> Result<(), ProvisionError> {
        self.kill().await?;
        self.wait("ends", |container| {
            let state = container.and_then(|container| container.state.as_ref());
            // One that the Engine is about to start again needs no more.
            state.is_none_or(|state| state.restarting == Some(true) || !state::may_run(state))
        })
        .await
    }

    /// Stops the machine for good: from now on the Engine doesn't start it by itself.
    pub(super) async fn stop(self, grace: Duration) -> Result<(), ProvisionError> {
        if state::restarts(&self.container) {
            self.set_restart(Restart::No).await?;
        }
        self.end(grace).await?;
        self.wait("ends", |container| {
            container.is_none_or(|container| state::off(container).is_ok())
        })
        .await
    }

    /// Starts the machine unless another has what is attached to it. It is fine if it runs.
    pub(super) async fn start(self) -> Result<(), ProvisionError> {
        let own = self.container.id.as_deref();
        holders::ensure_free(
            self.engine,
            &self.place.engine,
            &self.labels.attachments,
            own,
        )
        .await?;
        create::start(self.engine, &self.place.container).await?;
        if self.labels.restart == Restart::UnlessStopped && !state::restarts(&self.container) {
            self.set_restart(self.labels.restart).await?;
        }
        Ok(())
    }

    /// Ends the machine and removes it. What was attached stays.
    pub(super) async fn destroy(self, grace: Duration) -> Result<Destroyed, ProvisionError> {
        match self.end(grace).await {
            Ok(()) => {}
            Err(Refusal::Other(error)) if error.is_outcome_unknown() => return Err(error),
            // The removal ends it in any case.
            Err(refusal) => {
                let error = ProvisionError::from(refusal);
                tracing::debug!(container = self.place.container, %error, "it does not stop")
            }
        }
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        let request = self
            .engine
            .docker
            .remove_container(&self.place.container, Some(options));
        match self.engine.change("removing the container", request).await {
            Ok(()) => {}
            // Another call is at it.
            Err(Refusal::Missing(_) | Refusal::Conflict(_)) => {}
            Err(refusal) => return Err(refusal.into()),
        }
        self.wait("goes", |container| container.is_none()).await?;
        Ok(Destroyed::Destroyed)
    }

    /// Whether anything of it may run.
    pub(super) fn may_run(&self) -> bool {
        self.container.state.as_ref().is_none_or(state::may_run)
    }

    /// Asks the machine to go down and cuts it off after `grace`; it is fine if it is down. One that is paused can't be asked.
    async fn end(&self, grace: Duration) -> Result<(), Refusal> {
        if !self.may_run() {
            return Ok(());
        }
        if self.is_paused() {
            return self.kill().await;
        }
        let options = StopContainerOptionsBuilder::new()
            .t(self.seconds(grace))
            .build();
        let container = &self.place.container;
        let request = self.engine.docker.stop_container(container, Some(options));
        self.engine.change("stopping the container", request).await
    }

    /// Kills the machine; it is fine if it has ended meanwhile.
    async fn kill(&self) -> Result<(), Refusal> {
        let container = &self.place.container;
        let request = self
            .engine
            .docker
            .kill_container(container, None::<KillContainerOptions>);
        match self.engine.change("killing the container", request).await {
            Err(Refusal::Conflict(_)) => Ok(()),
            done => done,
        }
    }

    /// Whether it stands still, and can't be asked for anything.
    pub(super) fn is_paused(&self) -> bool {
        let state = self.container.state.as_ref();
        state.is_some_and(|state| state.paused == Some(true))
    }

    async fn set_restart(&self, restart: Restart) -> Result<(), ProvisionError> {
        let update = ContainerUpdateBody {
            restart_policy: Some(body::policy(restart)),
            ..ContainerUpdateBody::default()
        };
        let request = self
            .engine
            .docker
            .update_container(&self.place.container, update);
        Ok(self
            .engine
            .change("setting the restart policy", request)
            .await?)
    }

    /// Waits until the Engine shows what it was asked for; it may still be at work on it.
    async fn wait(
        &self,
        what: &str,
        is_done: impl Fn(Option<&ContainerInspectResponse>) -> bool,
    ) -> Result<(), ProvisionError> {
        loop {
            let now = self.engine.inspect(&self.place.container).await?;
            if is_done(now.as_ref()) {
                return Ok(());
            }
            if !self.engine.deadline().sleep(LOOK_PAUSE).await {
                return Err(ProvisionError::timeout(format!(
                    "waiting until the container {} {what}",
                    self.place.container
                )));
            }
        }
    }

    /// A grace in the Engine's whole seconds, which leaves time to do what follows it.
    fn seconds(&self, grace: Duration) -> i32 {
        let grace = grace.min(self.engine.deadline().remaining() / 4 * 3);
        let seconds = if grace.is_zero() {
            0
        } else {
            grace.max(SECOND).as_secs()
        };
        i32::try_from(seconds).unwrap_or(i32::MAX)
    }
}

/// Whether an instance is certain not to run.
pub(super) async fn prove_off(engine: &Engine, id: &InstanceId) -> Result<Proof, ProvisionError> {
    let unknown = |why: String| Ok(Proof::Unknown { why });
    let Some(place) = Place::of(id) else {
        return unknown(format!("{id} is no ID that this provisioner gives"));
    };
    let how = match engine.inspect(&place.container).await? {
        Some(container) => match state::off(&container) {
            Ok(how) => how,
            Err(Doubt::Runs) => return Ok(Proof::Running),
            Err(Doubt::Unknown(why)) => return unknown(why),
        },
        None => match gone(engine, &place).await? {
            Ok(how) => how,
            Err(why) => return unknown(why),
        },
    };
    Ok(Proof::Off {
        how,
        at_ms: now_ms(),
    })
}

/// Whether a container that this Engine doesn't have is gone, or may be on another Engine.
pub(super) async fn gone(
    engine: &Engine,
    place: &Place,
) -> Result<Result<String, String>, ProvisionError> {
    let asked = engine.name().await?;
    Ok(if asked == place.engine {
        Ok("the Engine that made it has no such container any more".to_owned())
    } else {
        Err(format!(
            "it was made by the Engine {}, and the one that answers is {}",
            place.engine.as_str(),
            asked.as_str()
        ))
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "when something was proven is told in the time of the wall clock"
)]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
