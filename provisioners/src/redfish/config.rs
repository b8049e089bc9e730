//! The configuration of the provisioner, which is also what builds it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::RedfishProvisioner;
use super::store::{Store, Template};
use crate::http::HttpConfig;
use crate::ledger::Ledger;
use crate::{
    Configured, Deadline, Fields, Problem, Properties, ProvisionError, Provisioner,
    ProvisionerConfig,
};

const POWER_WITHIN_DEFAULT: Duration = Duration::from_secs(15);
const POWER_WITHIN_MAX: Duration = Duration::from_secs(300);
const BOOT_TIME_DEFAULT: Duration = Duration::from_secs(600);
const BOOT_TIME_MAX: Duration = Duration::from_secs(6 * 3600);

/// The configuration of the provisioner `redfish`.
///
/// | key | meaning | default |
/// |---|---|---|
/// | `inventory` | the file of the nodes | needed |
/// | `boot_store` | where agents' configurations are put for the nodes: a directory, or an address that takes `PUT` | none: images bring their own |
/// | `boot_url` | what nodes start from whose `boot` is `http` or `media` | none |
/// | `wipe_url` | what nodes start from to be wiped; PXE where it is missing | none |
/// | `power_within_ms` | how long a button gets to do its work before the next one is pressed | 15000 |
/// | `boot_time_ms` | how long a node usually takes until its agent is in the mesh | 600000 |
/// | `ipmitool` | the program that speaks IPMI | `ipmitool` |
#[derive(Debug, Clone)]
pub struct RedfishConfig {
    /// The file of the nodes. Absolute.
    pub inventory: PathBuf,
    pub(super) boot_store: Option<BootStore>,
    pub(super) boot_url: Option<Template>,
    pub(super) wipe_url: Option<Template>,
    /// How long a button gets to do its work.
    pub power_within: Duration,
    /// How long a node usually takes until its agent is in the mesh.
    pub boot_time: Duration,
    /// The program that speaks IPMI.
    pub ipmitool: String,
}

/// Where agents' configurations are put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BootStore {
    Directory(PathBuf),
    Http(HttpConfig),
}

impl RedfishConfig {
    /// Reads the configuration that an agent has of this provisioner. Pure.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(settings: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(settings);
        let inventory = fields.string("inventory").unwrap_or_default();
        if !inventory.starts_with('/') {
            fields.problem(
                "inventory",
                "there is no absolute path of a file of nodes",
                "write inventory = \"/…\"",
            );
        }
        let config = Self {
            inventory: inventory.into(),
            boot_store: read_store(&mut fields),
            boot_url: Template::take(&mut fields, "boot_url"),
            wipe_url: Template::take(&mut fields, "wipe_url"),
            power_within: read_duration(
                &mut fields,
                "power_within_ms",
                POWER_WITHIN_DEFAULT,
                POWER_WITHIN_MAX,
            ),
            boot_time: read_duration(
                &mut fields,
                "boot_time_ms",
                BOOT_TIME_DEFAULT,
                BOOT_TIME_MAX,
            ),
            ipmitool: fields
                .string("ipmitool")
                .unwrap_or_else(|| "ipmitool".to_owned()),
        };
        match fields.finish() {
            problems if problems.is_empty() => Ok(config),
            problems => Err(problems),
        }
    }

    /// Makes the provisioner, which keeps in `ledger` which node is whose.
    ///
    /// # Errors
    /// [`ProvisionError::Invalid`] for an address of `boot_store` that can't be used.
    pub fn open(&self, ledger: Arc<dyn Ledger>) -> Result<RedfishProvisioner, ProvisionError> {
        let store = match &self.boot_store {
            None => None,
            Some(BootStore::Directory(path)) => Some(Store::Directory(path.clone())),
            Some(BootStore::Http(http)) => Some(Store::Http(http.build()?)),
        };
        Ok(RedfishProvisioner::new(self.clone(), store, ledger))
    }
}

fn read_store(fields: &mut Fields<'_>) -> Option<BootStore> {
    let text = fields.string("boot_store")?;
    if text.starts_with('/') {
        return Some(BootStore::Directory(text.into()));
    }
    let http = HttpConfig::new(text);
    if let Some(problem) = http.validate("boot_store") {
        fields.problem(
            "boot_store",
            problem.reason,
            "write the absolute path of a directory, or `https://…`",
        );
        return None;
    }
    Some(BootStore::Http(http))
}

fn read_duration(
    fields: &mut Fields<'_>,
    name: &str,
    default: Duration,
    most: Duration,
) -> Duration {
    let Some(number) = fields.integer(name) else {
        return default;
    };
    let duration = Duration::from_millis(number);
    if duration.is_zero() || duration > most {
        let remedy = format!("write a number from 1 to {}", most.as_millis());
        fields.problem(name, format!("{number} ms are out of range"), remedy);
    }
    duration
}

#[async_trait]
impl ProvisionerConfig for RedfishConfig {
    fn validate(&self) -> Vec<Problem> {
        Vec::new()
    }

    async fn build(&self, _deadline: Deadline) -> Result<Arc<dyn Provisioner>, ProvisionError> {
        Err(ProvisionError::Unsupported(
            "be used without the fleet's ledger".to_owned(),
        ))
    }

    async fn build_with(
        &self,
        ledger: Arc<dyn Ledger>,
        _deadline: Deadline,
    ) -> Result<Arc<dyn Provisioner>, ProvisionError> {
        Ok(Arc::new(self.open(ledger)?))
    }
}

pub(super) fn configure(settings: &Properties) -> Configured {
    Ok(Box::new(RedfishConfig::read(settings)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_told() {
        let read = |json: &str| RedfishConfig::read(&json.parse().expect("valid"));
        let good = read(
            r#"{"inventory": "/i", "boot_store": "https://b/x", "boot_url": "http://b/{key}.iso"}"#,
        );
        let good = good.expect("valid");
        assert_eq!(
            (good.power_within, good.boot_time),
            (POWER_WITHIN_DEFAULT, BOOT_TIME_DEFAULT)
        );
        assert!(matches!(good.boot_store, Some(BootStore::Http(_))));
        let bad = r#"{"inventory": "i", "boot_store": "b", "boot_url": "b", "wipe_url": "http://{x}", "power_within_ms": 0, "boot_time_ms": 1e3, "root": "/"}"#;
        let fields: Vec<_> = read(bad)
            .expect_err("bad")
            .into_iter()
            .map(|problem| problem.field)
            .collect();
        assert_eq!(
            fields,
            [
                "inventory",
                "boot_store",
                "boot_url",
                "wipe_url",
                "power_within_ms",
                "boot_time_ms",
                "root"
            ]
        );
        assert_eq!(read("{}").expect_err("no inventory")[0].field, "inventory");
    }
}
