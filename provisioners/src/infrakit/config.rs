//! What the agent's configuration says about the provisioner `infrakit`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::boot::AgentBoot;
use super::{Directory, InfrakitProvisioner, PluginName};
use crate::{
    Deadline, Fields, Problem, Properties, ProvisionError, Provisioner, ProvisionerConfig,
};

const LIST_LAG_DEFAULT: Duration = Duration::from_secs(15);
const SETTLE_DEFAULT: Duration = Duration::from_secs(60);
const BOOT_TIME_DEFAULT: Duration = Duration::from_secs(120);
/// Longer times are slips of the unit.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Each is asked for every list.
const PLUGINS_MAX: usize = 64;

/// The configuration.
///
/// | key | meaning | default |
/// |---|---|---|
/// | `plugins` | the instance plugins, `NAME` or `NAME/TYPE`; all of them are asked for what there is | needed |
/// | `directory` | where their sockets and `.listen` files are | as InfraKit's own tools: `$INFRAKIT_PLUGINS_DIR`, `$INFRAKIT_HOME/plugins`, `~/.infrakit/plugins` |
/// | `list_lag` | how long a new instance may be missing from a plugin's list | `15s` |
/// | `settle` | how long an instance has to be missing from it to count as off | `60s` |
/// | `boot_time` | from the order until the agent is in the mesh, usually | `2m` |
/// | `agent_config` | where the script of the first boot writes the agent's configuration | `/etc/muster.toml` |
/// | `agent_start` | what it runs to start the agent, a line for `sh` | `systemctl restart muster` |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfrakitConfig {
    /// The instance plugins.
    pub plugins: Vec<PluginName>,
    /// Where they are found.
    pub directory: Directory,
    /// How long a new instance may be missing from a list.
    pub list_lag: Duration,
    /// How long an instance has to be missing to count as off.
    pub settle: Duration,
    /// How long a machine usually takes until it is in the mesh.
    pub boot_time: Duration,
    pub(super) boot: AgentBoot,
}

impl InfrakitConfig {
    /// Reads and checks it. Pure.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(settings: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(settings);
        let boot = AgentBoot::default();
        let config = Self {
            plugins: read_plugins(&mut fields),
            directory: fields
                .string("directory")
                .filter(|path| !path.is_empty())
                .map_or_else(Directory::standard, Directory::new),
            list_lag: read_duration(&mut fields, "list_lag", LIST_LAG_DEFAULT),
            settle: read_duration(&mut fields, "settle", SETTLE_DEFAULT),
            boot_time: read_duration(&mut fields, "boot_time", BOOT_TIME_DEFAULT),
            boot: AgentBoot {
                config: fields.string("agent_config").unwrap_or(boot.config),
                start: fields.string("agent_start").unwrap_or(boot.start),
            },
        };
        if config.boot.config.is_empty() || config.boot.config.contains(['\0', '\n']) {
            fields.problem(
                "agent_config",
                "this names no file",
                "write for example \"/etc/muster.toml\"",
            );
        }
        if config.boot.start.contains('\0') {
            fields.problem(
                "agent_start",
                "the line contains a NUL character",
                "remove it",
            );
        }
        let problems = fields.finish();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }
}

fn read_plugins(fields: &mut Fields<'_>) -> Vec<PluginName> {
    let remedy = "write plugins = [\"aws/ec2-instance\"]";
    let given = fields.written("plugins").is_some();
    let names = fields.strings("plugins").unwrap_or_default();
    if names.is_empty() && !given {
        fields.problem("plugins", "no instance plugin is named", remedy);
    } else if names.len() > PLUGINS_MAX {
        fields.problem(
            "plugins",
            format!("{} plugins are too many", names.len()),
            format!("name at most {PLUGINS_MAX}"),
        );
    }
    let mut plugins = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let field = format!("plugins[{index}]");
        match name.parse::<PluginName>() {
            Ok(name) if plugins.contains(&name) => {
                fields.problem(&field, format!("`{name}` is listed twice"), "list it once");
            }
            Ok(name) => plugins.push(name),
            Err(error) => fields.problem(&field, error.to_string(), remedy),
        }
    }
    plugins
}

fn read_duration(fields: &mut Fields<'_>, name: &str, default: Duration) -> Duration {
    let Some(text) = fields.string(name) else {
        return default;
    };
    match humantime::parse_duration(&text) {
        Ok(duration) if duration <= DURATION_MAX => duration,
        Ok(_) => {
            fields.problem(
                name,
                format!("{text} is longer than a day"),
                "write for example \"30s\"",
            );
            default
        }
        Err(error) => {
            fields.problem(
                name,
                format!("this is no duration: {error}"),
                "write for example \"30s\"",
            );
            default
        }
    }
}

#[async_trait]
impl ProvisionerConfig for InfrakitConfig {
    fn validate(&self) -> Vec<Problem> {
        Vec::new()
    }

    async fn build(&self, _deadline: Deadline) -> Result<Arc<dyn Provisioner>, ProvisionError> {
        Ok(Arc::new(InfrakitProvisioner::new(self.clone())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<InfrakitConfig, Vec<Problem>> {
        InfrakitConfig::read(&json.parse().expect("valid JSON"))
    }

    #[test]
    fn defaults_are_those_of_the_table() {
        let config = read(r#"{"plugins": ["file"], "directory": "/run/infrakit"}"#).expect("valid");
        assert_eq!(config.directory, Directory::new("/run/infrakit"));
        assert_eq!(config.list_lag, Duration::from_secs(15));
        assert_eq!(config.settle, Duration::from_secs(60));
        assert_eq!(config.boot_time, Duration::from_secs(120));
        assert_eq!(config.boot.config, "/etc/muster.toml");
        assert_eq!(config.boot.start, "systemctl restart muster");
    }

    #[test]
    fn everything_that_is_wrong_is_said() {
        let problems = read(
            r#"{"plugins": ["file", "a b", "file"], "settle": "soon", "list_lag": "30d", "agent_config": "", "color": 1}"#,
        )
        .expect_err("mistakes");
        let fields: Vec<_> = problems
            .iter()
            .map(|problem| problem.field.as_str())
            .collect();
        let expected = [
            "plugins[1]",
            "plugins[2]",
            "list_lag",
            "settle",
            "agent_config",
            "color",
        ];
        assert_eq!(fields, expected);
        assert!(read("{}").is_err());
        assert!(read(r#"{"plugins": []}"#).is_ok(), "none for now");
    }
}
