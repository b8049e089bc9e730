//! Making a machine: its container, what is written into it, its start.
//!
//! Each step may be the last of a call that dies, and is found again by the container's name, which is the operation's:
//!
//! 1. The container is made, under a name that the Engine gives only once. It doesn't run, and the Engine won't start it.
//! 2. Whoever holds its attachments is looked for once more: from now on others see that this one wants them.
//! 3. Further networks and the agent's configuration are put into it.
//! 4. It is started.
//!
//! A container that was never started is completed by the next call of its operation, and one that was is left as it is.

use std::net::IpAddr;
use std::time::Duration;

use bollard::body_full;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum as Status, NetworkConnectRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectNetworkOptions,
    RemoveContainerOptionsBuilder, StartContainerOptions, UploadToContainerOptionsBuilder,
};
use futures::TryStreamExt;
use tracing::{debug, warn};

use super::engine::Engine;
use super::identity::{EngineName, container_name, instance_id};
use super::properties::{ADDRESS, DockerProperties, Restart, kind_of};
use super::refusal::Refusal;
use super::{address, body, files, holders, labels};
use crate::{InstanceId, MachineSpec, OperationId, Problem, ProvisionError};

/// The pause before a name is looked for again that is taken and can't be found yet, or any more.
const NAME_PAUSE: Duration = Duration::from_millis(100);

/// What is to be made.
pub(super) struct Order<'a> {
    pub(super) engine: &'a Engine,
    /// The Engine's name.
    pub(super) name: EngineName,
    pub(super) spec: &'a MachineSpec,
    pub(super) properties: DockerProperties,
    pub(super) op: &'a OperationId,
}

impl Order<'_> {
    /// Makes and starts the machine, or finds what was made of it and completes that.
    pub(super) async fn carry_out(&self) -> Result<InstanceId, ProvisionError> {
        match self.attempt(true).await {
            // Not every network lets addresses be chosen, and only the Engine knows which.
            Err(error) if !self.has_address() && lets_none_be_chosen(&error) => {
                self.attempt(false).await
            }
            done => done,
        }
    }

    fn has_address(&self) -> bool {
        let mut attachments = self.spec.attachments.iter();
        attachments.any(|one| kind_of(one) == ADDRESS)
    }

    /// The address that a machine without one of its own is to have.
    async fn choose(&self) -> Result<Option<IpAddr>, ProvisionError> {
        let Some(network) = self.properties.networks.first() else {
            return Ok(None);
        };
        let request = self
            .engine
            .docker
            .inspect_network(network, None::<InspectNetworkOptions>);
        match self.engine.read("looking at the network", request).await {
            Ok(network) => {
                let containers = self.engine.list(Vec::new()).await?;
                Ok(address::choose(&network, &containers, self.op))
            }
            // Making the container says so.
            Err(Refusal::Missing(_)) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn attempt(&self, chooses: bool) -> Result<InstanceId, ProvisionError> {
        let name = container_name(self.op);
        loop {
            if let Some(found) = self.engine.inspect(&name).await? {
                return self.adopt(found).await;
            }
            holders::ensure_free(self.engine, &self.name, &self.spec.attachments, None).await?;
            let address = if chooses && !self.has_address() {
                self.choose().await?
            } else {
                None
            };
            match self.create(&name, address).await {
                Ok(container) => return self.complete(&container, &self.name).await,
                Err(Refusal::Conflict(why)) => {
                    // Another call of this operation is quicker, or what it made is being removed.
                    debug!(%name, why, "the name is taken");
                    if !self.engine.deadline().sleep(NAME_PAUSE).await {
                        return Err(ProvisionError::timeout(format!(
                            "waiting for the container {name}"
                        )));
                    }
                }
                Err(refusal) => return Err(self.unmade(&name, refusal).await),
            }
        }
    }

    /// The error of a container that was not made, or was after all: its name tells.
    async fn unmade(&self, name: &str, refusal: Refusal) -> ProvisionError {
        match refusal {
            Refusal::Broken(why) => match self.engine.inspect(name).await {
                Ok(None) => ProvisionError::unavailable(why),
                _ => ProvisionError::timeout(why),
            },
            other => other.into(),
        }
    }

    /// Takes a container of this operation's name for its own.
    async fn adopt(&self, found: ContainerInspectResponse) -> Result<InstanceId, ProvisionError> {
        let id = found.id.clone().unwrap_or_default();
        let config = found.config.unwrap_or_default();
        let written = labels::read(&config.labels.unwrap_or_default());
        let written = written.map_err(|why| {
            ProvisionError::failed(format!(
                "the container {} has this operation's name, but {why}; remove it",
                container_name(self.op)
            ))
        })?;
        let status = found.state.and_then(|state| state.status);
        match status {
            Some(Status::CREATED) => self.complete(&id, &written.engine).await,
            _ => instance_id(written.engine.as_str(), &id),
        }
    }

    /// Makes the container. Its image is fetched first if the Engine doesn't have it.
    async fn create(&self, name: &str, address: Option<IpAddr>) -> Result<String, Refusal> {
        match self.create_once(name, address).await {
            Err(Refusal::Missing(why)) if is_about_an_image(&why) => {
                self.pull(&why).await?;
                self.create_once(name, address).await.map_err(invalid)
            }
            other => other.map_err(invalid),
        }
    }

    async fn create_once(&self, name: &str, address: Option<IpAddr>) -> Result<String, Refusal> {
        let restart = self.restart()?;
        let labels = labels::write(self.spec, self.op, &self.name, address, restart);
        let body = body::create(self.spec, &self.properties, labels, address, restart);
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let request = self.engine.docker.create_container(Some(options), body);
        let made = self.engine.change("making the container", request).await?;
        for warning in made.warnings {
            warn!(name, warning, "the Engine has made the container");
        }
        Ok(made.id)
    }

    /// What the Engine is to do by itself. Podman has nobody who would, and can't be told otherwise later.
    fn restart(&self) -> Result<Restart, ProvisionError> {
        match (self.properties.restart, self.engine.podman) {
            (Some(Restart::UnlessStopped), true) => {
                let reason =
                    "Podman can't take a restart policy back, so nothing could be proven off";
                let problem = Problem::new(
                    "properties.restart",
                    reason,
                    "write \"no\", or leave it out",
                );
                Err(ProvisionError::Invalid(vec![problem]))
            }
            (Some(restart), _) => Ok(restart),
            (None, true) => Ok(Restart::No),
            (None, false) => Ok(Restart::UnlessStopped),
        }
    }

    async fn pull(&self, why: &str) -> Result<(), ProvisionError> {
        let image = &self.properties.image;
        let invalid = |why: &str, remedy: &str| {
            ProvisionError::Invalid(vec![Problem::new("properties.image", why, remedy)])
        };
        if !self.properties.pull {
            return Err(invalid(
                why,
                "load it on the Engine, or write pull = \"missing\"",
            ));
        }
        // Without a tag, the Engine would fetch every one that there is.
        let tag = if has_tag(image) { "" } else { "latest" };
        let options = CreateImageOptionsBuilder::new()
            .from_image(image)
            .tag(tag)
            .build();
        let stream = self.engine.docker.create_image(Some(options), None, None);
        let done = stream.try_for_each(|_| std::future::ready(Ok(())));
        // Half an image is as good as none: the next call goes on with it.
        match self.engine.read("fetching the image", done).await {
            Ok(()) => Ok(()),
            Err(Refusal::Missing(why) | Refusal::Other(ProvisionError::Failed(why))) => {
                Err(invalid(
                    &why,
                    "name an image that is there, or load it on the Engine",
                ))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Brings a container that was never started to its start. If that can't be, the container is taken back.
    async fn complete(
        &self,
        container: &str,
        made_on: &EngineName,
    ) -> Result<InstanceId, ProvisionError> {
        let id = instance_id(made_on.as_str(), container)?;
        let error = match self.finish(container, &id).await {
            Ok(()) => return Ok(id),
            // It was answered, so nothing is under way: whether it was started is looked at before it is taken back.
            Err(Refusal::Broken(why)) => ProvisionError::unavailable(why),
            Err(Refusal::Other(error)) if error.is_outcome_unknown() => return Err(error),
            Err(refusal) => refusal.into(),
        };
        match self.take_back(container).await {
            Ok(Taken::Back) => Err(error),
            Ok(Taken::ByAnother) => Ok(id),
            // Something is there that the next call completes: that is not nothing.
            Err(left) => {
                let what = format!("taking the container back ({left}), since {error}");
                Err(ProvisionError::timeout(what))
            }
        }
    }

    async fn finish(&self, container: &str, id: &InstanceId) -> Result<(), Refusal> {
        holders::ensure_free(
            self.engine,
            &self.name,
            &self.spec.attachments,
            Some(container),
        )
        .await?;
        for network in self.properties.networks.iter().skip(1) {
            self.join(container, network).await?;
        }
        let archive = files::archive(self.spec, id, self.op)?;
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let request = self.engine.docker.upload_to_container(
            container,
            Some(options),
            body_full(archive.into()),
        );
        self.engine
            .change("writing the agent's configuration", request)
            .await
            .map_err(invalid)?;
        start(self.engine, container).await.map_err(invalid)
    }

    /// Joins a network; that it has joined already is fine.
    async fn join(&self, container: &str, network: &str) -> Result<(), Refusal> {
        let joined = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: None,
        };
        let request = self.engine.docker.connect_network(network, joined);
        match self.engine.change("joining a network", request).await {
            Err(Refusal::Other(ProvisionError::Denied(why)))
                if why.contains("already exists in network") =>
            {
                Ok(())
            }
            joined => joined.map_err(invalid),
        }
    }

    /// Removes a container that was never started; one that has been, by another call or after all, stays.
    async fn take_back(&self, container: &str) -> Result<Taken, ProvisionError> {
        let Some(found) = self.engine.inspect(container).await? else {
            return Ok(Taken::Back);
        };
        let status = found.state.and_then(|state| state.status);
        if status != Some(Status::CREATED) {
            return Ok(Taken::ByAnother);
        }
        // Without force: the Engine refuses it for what runs.
        let options = RemoveContainerOptionsBuilder::new().v(true).build();
        let request = self
            .engine
            .docker
            .remove_container(container, Some(options));
        match self.engine.change("removing the container", request).await {
            Ok(()) | Err(Refusal::Missing(_)) => Ok(Taken::Back),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// What came of taking a container back.
enum Taken {
    /// It has gone.
    Back,
    /// It has been started.
    ByAnother,
}

/// Starts a container; it is fine if it runs.
pub(super) async fn start(engine: &Engine, container: &str) -> Result<(), Refusal> {
    let request = engine
        .docker
        .start_container(container, None::<StartContainerOptions>);
    engine.change("starting the container", request).await
}

/// What is not there of what the properties name can't be had later without somebody's doing, and neither is what the Engine
/// refuses as a bad request.
fn invalid(refusal: Refusal) -> Refusal {
    let (Refusal::Missing(why) | Refusal::Other(ProvisionError::Failed(why))) = refusal else {
        return refusal;
    };
    if why.to_ascii_lowercase().contains("no such container") {
        return Refusal::Conflict(why);
    }
    let remedy = "put the group's properties right, or make on the Engine what they name";
    ProvisionError::Invalid(vec![Problem::new("properties", why, remedy)]).into()
}

/// Whether the Engine refuses addresses that it did not give itself: its default network, and those without a subnet of their own.
fn lets_none_be_chosen(error: &ProvisionError) -> bool {
    error
        .to_string()
        .contains("user specified IP address is supported")
}

fn is_about_an_image(why: &str) -> bool {
    let why = why.to_ascii_lowercase();
    why.contains("image") || why.contains("manifest")
}

/// Whether a reference names one image of its repository: by a tag after the last slash, or by a digest.
fn has_tag(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    last.contains(':') || last.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_references_without_a_tag_mean_the_latest() {
        for tagged in ["muster:1", "example.org:5000/muster:1", "muster@sha256:0a"] {
            assert!(has_tag(tagged), "{tagged}");
        }
        for bare in ["muster", "example.org:5000/muster"] {
            assert!(!has_tag(bare), "{bare}");
        }
    }
}
