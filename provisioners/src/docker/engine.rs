//! One call's connection to the Engine: every request of it has the call's deadline, and its errors are ours.
//!
//! A connection is made for each call, not kept: over a Unix socket that costs less than a millisecond, and after the
//! Engine was restarted no call stumbles over the old one.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;

use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};

use super::identity::EngineName;
use super::refusal::{Effect, Refusal};
use crate::{Deadline, ProvisionError};

/// bollard's own limit for a request, which a call's deadline always undercuts.
const REQUEST_MAX_S: u64 = 24 * 3600;
/// The oldest API that is spoken: Docker 19.03's, which had the mounts, labels and updates that are used here.
const API_MIN: (u32, u32) = (1, 40);
/// How Podman calls itself among the components of its version.
const PODMAN: &str = "Podman Engine";

/// A connection to the Engine for one call.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) docker: Docker,
    /// Whether it is Podman.
    pub(super) podman: bool,
    deadline: Deadline,
}

impl Engine {
    /// Connects, and finds out what answers.
    pub(super) async fn connect(socket: &Path, deadline: Deadline) -> Result<Self, ProvisionError> {
        let path = socket.to_string_lossy();
        let refused = |error| Refusal::of(error, "connecting", Effect::None).into_error(socket);
        let docker = Docker::connect_with_unix(&path, REQUEST_MAX_S, API_DEFAULT_VERSION)
            .map_err(refused)?;
        let ask = async { docker.version().await.map_err(refused) };
        let version = deadline
            .limit("asking the Engine for its version", ask)
            .await?;
        check_api(version.api_version.as_deref().unwrap_or_default())?;
        let components = version.components.unwrap_or_default();
        let podman = components.iter().any(|component| component.name == PODMAN);
        Ok(Self {
            docker,
            podman,
            deadline,
        })
    }

    /// A request that changes nothing.
    pub(super) async fn read<T>(
        &self,
        what: &str,
        request: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Refusal> {
        self.request(what, Effect::None, request).await
    }

    /// A request that changes something: broken off, its outcome is unknown.
    pub(super) async fn change<T>(
        &self,
        what: &str,
        request: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Refusal> {
        self.request(what, Effect::Some, request).await
    }

    async fn request<T>(
        &self,
        what: &str,
        effect: Effect,
        request: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Refusal> {
        // The outer result is the deadline's, the inner one the Engine's.
        let request = async { Ok(request.await) };
        match self.deadline.limit(what, request).await? {
            Ok(answer) => Ok(answer),
            Err(error) => Err(Refusal::of(error, what, effect)),
        }
    }

    /// The deadline of the call.
    pub(super) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Which Engine this is.
    pub(super) async fn name(&self) -> Result<EngineName, ProvisionError> {
        let info = self
            .read("asking the Engine who it is", self.docker.info())
            .await?;
        EngineName::of(&info, self.podman)
    }

    /// All containers, whatever their state, with all of these labels (`name` or `name=value`).
    pub(super) async fn list(
        &self,
        labels: Vec<String>,
    ) -> Result<Vec<ContainerSummary>, ProvisionError> {
        let mut options = ListContainersOptionsBuilder::new().all(true);
        if !labels.is_empty() {
            options = options.filters(&HashMap::from([("label", labels)]));
        }
        let request = self.docker.list_containers(Some(options.build()));
        Ok(self.read("listing the containers", request).await?)
    }

    /// What the Engine says of a container, by its name or ID; `None` if there is none.
    pub(super) async fn inspect(
        &self,
        name: &str,
    ) -> Result<Option<ContainerInspectResponse>, ProvisionError> {
        let request = self
            .docker
            .inspect_container(name, None::<InspectContainerOptions>);
        match self.read("looking at the container", request).await {
            Ok(container) => Ok(Some(container)),
            Err(Refusal::Missing(_)) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// Whether the Engine's newest API, such as `1.41`, has all that is used here.
fn check_api(version: &str) -> Result<(), ProvisionError> {
    let parse = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    if parse(version).is_some_and(|version| version >= API_MIN) {
        return Ok(());
    }
    let shown: String = version.chars().take(32).collect();
    let (major, minor) = API_MIN;
    Err(ProvisionError::failed(format!(
        "the Engine's API is `{shown}`, and at least {major}.{minor} is needed: update the Engine"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_api_is_refused() {
        for fine in ["1.40", "1.41", "1.53", "2.0"] {
            assert_eq!(check_api(fine), Ok(()), "{fine}");
        }
        for old in ["1.39", "", "1", "one.two", "0.99"] {
            assert!(!check_api(old).expect_err(old).is_retryable());
        }
    }
}
