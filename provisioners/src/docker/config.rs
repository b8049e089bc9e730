//! What an agent is told about the Engine.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::DockerProvisioner;
use super::identity::EngineName;
use crate::{
    Configured, Deadline, Fields, Problem, Properties, ProvisionError, Provisioner,
    ProvisionerConfig,
};

/// Where Docker's own command line looks, too.
const SOCKET_DEFAULT: &str = "/var/run/docker.sock";
/// The variable by which all tools find an Engine.
const DOCKER_HOST: &str = "DOCKER_HOST";
/// As long as Docker's own command line waits.
const STOP_GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// Longer, a step of healing would be over.
const STOP_GRACE_MAX: Duration = Duration::from_secs(40);
/// The longest path of a Unix socket.
const SOCKET_PATH_MAX: usize = 107;

/// The configuration of the provisioner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    /// The Engine's Unix socket; `None` for what `DOCKER_HOST` says, or `/var/run/docker.sock`.
    pub socket: Option<PathBuf>,
    /// The only Engine that may be used: what the IDs of its instances begin with.
    pub engine: Option<String>,
    /// How long a machine that is to end has after it was asked to, before it is killed.
    pub stop_grace: Duration,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            socket: None,
            engine: None,
            stop_grace: STOP_GRACE_DEFAULT,
        }
    }
}

impl DockerConfig {
    /// Reads the configuration that an agent has of this provisioner. Pure.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(settings: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(settings);
        let mut config = Self {
            socket: fields
                .string("socket")
                .map(|text| PathBuf::from(text.strip_prefix("unix://").unwrap_or(&text))),
            engine: fields.string("engine"),
            ..Self::default()
        };
        if let Some(grace) = fields.integer("stop_grace_ms") {
            config.stop_grace = Duration::from_millis(grace);
        }
        let problems = fields.finish();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// Makes the provisioner. That the Engine doesn't answer yet is no error: it may start later than the agent.
    ///
    /// # Errors
    /// [`ProvisionError::Invalid`] for what [`validate`](ProvisionerConfig::validate) reports, and for a `DOCKER_HOST` that is
    /// no Unix socket.
    pub fn open(&self) -> Result<DockerProvisioner, ProvisionError> {
        let problems = self.validate();
        if !problems.is_empty() {
            return Err(ProvisionError::Invalid(problems));
        }
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => socket_of(env::var(DOCKER_HOST).ok().as_deref())
                .map_err(|problem| ProvisionError::Invalid(vec![problem]))?,
        };
        let only = self.engine.as_deref().and_then(EngineName::parse);
        Ok(DockerProvisioner::new(socket, only, self.stop_grace))
    }
}

#[async_trait]
impl ProvisionerConfig for DockerConfig {
    fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(problem) = self.socket.as_deref().and_then(socket_problem) {
            problems.push(problem);
        }
        if self
            .engine
            .as_deref()
            .is_some_and(|text| EngineName::parse(text).is_none())
        {
            let remedy = "write the six letters and digits before the hyphen in the IDs of its instances, or leave it out";
            problems.push(Problem::new("engine", "no name of an Engine", remedy));
        }
        if self.stop_grace > STOP_GRACE_MAX {
            let remedy = format!("keep to {} ms", STOP_GRACE_MAX.as_millis());
            problems.push(Problem::new(
                "stop_grace_ms",
                "longer than a step of healing may take",
                remedy,
            ));
        }
        problems
    }

    async fn build(&self, _deadline: Deadline) -> Result<Arc<dyn Provisioner>, ProvisionError> {
        Ok(Arc::new(self.open()?))
    }
}

fn socket_problem(socket: &Path) -> Option<Problem> {
    let remedy =
        "write the whole path of the Engine's Unix socket, such as \"/run/podman/podman.sock\"";
    if !socket.is_absolute() || socket.to_str().is_none() {
        let reason = format!("`{}` is no whole path", socket.display());
        return Some(Problem::new("socket", reason, remedy));
    }
    let length = socket.as_os_str().len();
    let reason = format!(
        "a path of {length} bytes is longer than Unix sockets may have ({SOCKET_PATH_MAX})"
    );
    (length > SOCKET_PATH_MAX).then(|| Problem::new("socket", reason, remedy))
}

/// The socket that `DOCKER_HOST` means.
fn socket_of(host: Option<&str>) -> Result<PathBuf, Problem> {
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        return Ok(SOCKET_DEFAULT.into());
    };
    let socket = host.strip_prefix("unix://").map(PathBuf::from);
    socket
        .filter(|socket| socket_problem(socket).is_none())
        .ok_or_else(|| {
            // A host may be written with a password, so it is not shown.
            let reason = format!("{DOCKER_HOST} is no Unix socket, and nothing else is spoken");
            Problem::new(
                "socket",
                reason,
                "write socket = \"/…\", or forward the Engine's socket to this machine",
            )
        })
}

/// For the registry: reads an agent's configuration.
pub(super) fn configure(settings: &Properties) -> Configured {
    Ok(Box::new(DockerConfig::read(settings)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(json: serde_json::Value) -> Vec<String> {
        let settings = Properties::from_value(json).expect("an object");
        let problems = match DockerConfig::read(&settings) {
            Ok(config) => config.validate(),
            Err(problems) => problems,
        };
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn what_is_wrong_is_found_before_anything_is_asked() {
        assert_eq!(fields(json!({})), Vec::<String>::new());
        let fine =
            json!({ "socket": "unix:///run/x.sock", "engine": "abc234", "stop_grace_ms": 0 });
        assert_eq!(fields(fine), Vec::<String>::new());
        assert_eq!(
            fields(json!({ "socket": 5, "colour": 1 })),
            ["socket", "colour"]
        );
        let wrong = json!({ "socket": "tcp://h:1", "engine": "ABC", "stop_grace_ms": 1_000_000 });
        assert_eq!(fields(wrong), ["socket", "engine", "stop_grace_ms"]);
        assert_eq!(
            fields(json!({ "socket": format!("/{}", "x".repeat(107)) })),
            ["socket"]
        );
    }

    #[test]
    fn the_socket_is_found_where_others_look() {
        assert_eq!(socket_of(None), Ok(SOCKET_DEFAULT.into()));
        assert_eq!(socket_of(Some("")), Ok(SOCKET_DEFAULT.into()));
        assert_eq!(
            socket_of(Some("unix:///run/a.sock")),
            Ok("/run/a.sock".into())
        );
        let problem = socket_of(Some("tcp://user:secret@h:2375")).expect_err("no socket");
        assert!(!problem.to_string().contains("secret"));
    }
}
