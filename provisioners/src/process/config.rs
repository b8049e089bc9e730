//! The configuration of the provisioner, which is also what builds it.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::ProcessProvisioner;
use super::addresses::Network;
use super::layout::{Root, SOCKET_PATH_MAX};
use crate::{
    Configured, Deadline, Fields, Problem, Properties, ProvisionError, Provisioner,
    ProvisionerConfig,
};

/// What an agent inherits from the process that starts it. Everything else would make a machine depend on who
/// happened to make it.
const INHERIT: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "RUST_BACKTRACE",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
];
const STOP_GRACE_DEFAULT: Duration = Duration::from_secs(5);
const STOP_GRACE_MAX: Duration = Duration::from_secs(600);

/// The configuration of the provisioner `process`.
///
/// | key | meaning | default |
/// |---|---|---|
/// | `root` | the directory of all machines, the same for all agents that share this computer | needed |
/// | `executable` | what a machine runs, with `agent --config FILE` | this program |
/// | `network` | the loopback network of their addresses, fixed when the root is first used | from the root's path, a /24 |
/// | `port` | the UDP port of all of them, fixed when the root is first used | 6880 |
/// | `stop_grace_ms` | how long an agent may take to stop before it is killed | 5000 |
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// The directory of all machines. Absolute.
    pub root: PathBuf,
    /// What a machine runs, with `agent --config FILE`; this program if `None`.
    pub executable: Option<PathBuf>,
    /// What is run with `process-launch DIRECTORY` and has to call [`launch`](super::launch()); the
    /// executable if `None`.
    pub launcher: Option<PathBuf>,
    /// The loopback network of their addresses, such as `127.83.201.0/24`.
    pub network: Option<String>,
    /// The UDP port of all of them.
    pub port: Option<u16>,
    /// How long an agent may take to stop before it is killed.
    pub stop_grace: Duration,
    /// The variables of the environment that agents inherit.
    pub inherit: Vec<String>,
}

impl ProcessConfig {
    /// The port unless one is configured: next to the agent's own, which an agent on this computer may have bound
    /// on all addresses.
    pub const DEFAULT_PORT: u16 = 6880;

    /// The defaults, for machines under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            executable: None,
            launcher: None,
            network: None,
            port: None,
            stop_grace: STOP_GRACE_DEFAULT,
            inherit: INHERIT.map(str::to_owned).to_vec(),
        }
    }

    /// Reads the configuration that an agent has of this provisioner. Pure.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(settings: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(settings);
        let root = fields.string("root");
        if root.is_none() && fields.written("root").is_none() {
            fields.problem(
                "root",
                "there is no directory for the machines",
                "write root = \"/…\"",
            );
        }
        let mut config = Self::new(root.unwrap_or_default());
        config.executable = fields.string("executable").map(PathBuf::from);
        config.network = fields.string("network");
        if let Some(port) = fields.integer("port") {
            config.port = u16::try_from(port).ok();
            if config.port.is_none_or(|port| port == 0) {
                fields.problem(
                    "port",
                    format!("{port} is no port"),
                    "write a number from 1 to 65535",
                );
            }
        }
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

    /// Makes the provisioner: the directories under the root if they aren't there, and what is fixed for it.
    ///
    /// # Errors
    /// [`ProvisionError::Invalid`] for what [`validate`](ProvisionerConfig::validate) reports or what the root was
    /// made with otherwise, and whatever the file system says.
    pub async fn open(&self, deadline: Deadline) -> Result<ProcessProvisioner, ProvisionError> {
        let problems = self.validate();
        if !problems.is_empty() {
            return Err(ProvisionError::Invalid(problems));
        }
        ProcessProvisioner::open(self, deadline).await
    }

    /// What machines run.
    pub(super) fn executable(&self) -> Result<PathBuf, ProvisionError> {
        match &self.executable {
            Some(path) => Ok(path.clone()),
            None => this_program(),
        }
    }
}

#[async_trait]
impl ProvisionerConfig for ProcessConfig {
    fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.root.is_absolute() {
            let reason = format!("`{}` is not absolute", self.root.display());
            problems.push(Problem::new("root", reason, "write the whole path"));
        }
        if let Err(problem) = check_socket_path(&self.root) {
            problems.push(problem);
        }
        if self
            .executable
            .as_ref()
            .is_some_and(|path| !path.is_absolute())
        {
            let reason =
                "the path is not absolute, so it would depend on where the agent was started";
            problems.push(Problem::new("executable", reason, "write the whole path"));
        }
        if let Some(Err(error)) = self.network.as_deref().map(str::parse::<Network>) {
            problems.push(Problem::new(
                "network",
                error.to_string(),
                "write 127.x.y.0/24, or leave it out",
            ));
        }
        if self.stop_grace > STOP_GRACE_MAX {
            let remedy = format!("keep to {} ms", STOP_GRACE_MAX.as_millis());
            problems.push(Problem::new(
                "stop_grace_ms",
                "longer than anybody would wait",
                remedy,
            ));
        }
        problems
    }

    async fn build(&self, deadline: Deadline) -> Result<Arc<dyn Provisioner>, ProvisionError> {
        Ok(Arc::new(self.open(deadline).await?))
    }
}

/// The sockets of the agents must not have longer paths than the kernel accepts.
pub(super) fn check_socket_path(root: &Path) -> Result<(), Problem> {
    let length = root.as_os_str().len();
    let max = SOCKET_PATH_MAX - Root::socket_path_extra();
    if length <= max {
        return Ok(());
    }
    let reason = format!("a path of {length} bytes leaves no room for the machines' sockets");
    Err(Problem::new(
        "root",
        reason,
        format!("choose a directory with a path of at most {max} bytes"),
    ))
}

/// This program, also if its file has been replaced since it was started.
fn this_program() -> Result<PathBuf, ProvisionError> {
    let path = env::current_exe()
        .map_err(|error| ProvisionError::failed(format!("looking for this program: {error}")))?;
    let replaced = path
        .to_str()
        .and_then(|path| path.strip_suffix(" (deleted)"))
        .map(PathBuf::from);
    Ok(match replaced {
        Some(replacement) if !path.exists() => replacement,
        _ => path,
    })
}

/// For the registry: reads an agent's configuration.
pub(super) fn configure(settings: &Properties) -> Configured {
    Ok(Box::new(ProcessConfig::read(settings)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(json: serde_json::Value) -> Vec<String> {
        let settings = Properties::from_value(json).expect("an object");
        let problems = match ProcessConfig::read(&settings) {
            Ok(config) => config.validate(),
            Err(problems) => problems,
        };
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn what_is_wrong_is_found_before_anything_is_touched() {
        assert_eq!(fields(json!({ "root": "/r" })), Vec::<String>::new());
        assert_eq!(fields(json!({})), ["root"]);
        assert_eq!(
            fields(json!({ "root": 5, "port": 0, "color": 1 })),
            ["root", "port", "color"]
        );
        assert_eq!(
            fields(json!({
                "root": "r", "executable": "muster", "network": "10.0.0.0/8", "stop_grace_ms": 1_000_000
            })),
            ["root", "executable", "network", "stop_grace_ms"]
        );
    }

    #[test]
    fn a_root_with_too_long_a_path_is_refused_and_the_longest_is_not() {
        let max = SOCKET_PATH_MAX - Root::socket_path_extra();
        let longest = format!("/{}", "x".repeat(max - 1));
        assert_eq!(fields(json!({ "root": longest })), Vec::<String>::new());
        assert_eq!(fields(json!({ "root": format!("{longest}x") })), ["root"]);
    }
}
