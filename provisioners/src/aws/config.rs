//! The configuration of the provisioner, which is also what builds it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::AwsProvisioner;
use super::environment::Environment;
use super::metadata::{self, Metadata};
use crate::http::{HttpConfig, Trust};
use crate::{
    Configured, Deadline, Fields, Problem, Properties, ProvisionError, Provisioner,
    ProvisionerConfig,
};

/// EC2's lists are eventually consistent: mostly within seconds.
const LIST_LAG_DEFAULT: Duration = Duration::from_secs(60);
/// From the order until the agent of a common image is in the mesh.
const BOOT_TIME_DEFAULT: Duration = Duration::from_secs(90);
/// Longer ones are mistakes of a unit.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// The configuration of the provisioner `aws`: the table `[provisioners.aws]` of the agent.
///
/// | key | meaning | default |
/// |---|---|---|
/// | `region` | where the machines are | `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, this machine's |
/// | `profile` | a profile in `~/.aws` to take the credentials from, and no others | environment, then `AWS_PROFILE` or `default`, then this machine's role |
/// | `endpoint` | the API, where it isn't the provider's own | `AWS_ENDPOINT_URL_EC2`, `AWS_ENDPOINT_URL`, `https://ec2.REGION.amazonaws.com` |
/// | `ca_file` | certificates (PEM) to trust for `endpoint` in place of the system's | the system's |
/// | `metadata_endpoint` | the instance metadata service | `AWS_EC2_METADATA_SERVICE_ENDPOINT`, `http://169.254.169.254` |
/// | `list_lag_ms` | how long a new machine may be missing from the list | 60000 |
/// | `boot_time_ms` | how long a machine usually takes from its order until it joins | 90000 |
#[derive(Debug, Clone, Default)]
pub struct AwsConfig {
    /// Where the machines are, such as `eu-west-1`.
    pub region: Option<String>,
    /// A profile to take the credentials from, and no others.
    pub profile: Option<String>,
    /// The API, where it isn't the provider's own.
    pub endpoint: Option<String>,
    /// Certificates to trust for the endpoint, in place of the system's.
    pub ca_file: Option<String>,
    /// The instance metadata service.
    pub metadata_endpoint: Option<String>,
    /// How long a new machine may be missing from the list; 60 s if `None`.
    pub list_lag: Option<Duration>,
    /// How long a machine usually takes until it joins; 90 s if `None`.
    pub boot_time: Option<Duration>,
    /// The variables of the environment, where they aren't this process's.
    pub environment: Environment,
}

impl AwsConfig {
    /// Reads the configuration that an agent has of this provisioner. Pure.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(settings: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(settings);
        let config = Self {
            region: fields.string("region"),
            profile: fields.string("profile"),
            endpoint: fields.string("endpoint"),
            ca_file: fields.string("ca_file"),
            metadata_endpoint: fields.string("metadata_endpoint"),
            list_lag: fields.integer("list_lag_ms").map(Duration::from_millis),
            boot_time: fields.integer("boot_time_ms").map(Duration::from_millis),
            environment: Environment::default(),
        };
        let problems = fields.finish();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// Makes the provisioner. Asks nobody, and reads no credentials: each call does.
    ///
    /// # Errors
    /// [`ProvisionError::Invalid`] for what [`validate`](ProvisionerConfig::validate) reports.
    pub fn open(&self) -> Result<AwsProvisioner, ProvisionError> {
        let problems = self.validate();
        if !problems.is_empty() {
            return Err(ProvisionError::Invalid(problems));
        }
        AwsProvisioner::new(self)
    }

    /// How EC2 is asked in a region.
    pub(super) fn http(&self, region: &str) -> HttpConfig {
        let env = &self.environment;
        let endpoint = self.endpoint.clone();
        let endpoint = endpoint
            .or_else(|| env.get("AWS_ENDPOINT_URL_EC2"))
            .or_else(|| env.get("AWS_ENDPOINT_URL"))
            .unwrap_or_else(|| own_endpoint(region));
        let mut http = HttpConfig::new(endpoint);
        http.use_proxy = true;
        if let Some(file) = &self.ca_file {
            http.trust = Trust::Authority(file.into());
        }
        http
    }

    /// The region that the configuration or the environment names.
    pub(super) fn named_region(&self) -> Option<String> {
        let env = &self.environment;
        let named = self.region.clone();
        named
            .or_else(|| env.get("AWS_REGION"))
            .or_else(|| env.get("AWS_DEFAULT_REGION"))
    }

    /// The metadata service of this machine; `None` where the environment turns it off.
    pub(super) fn metadata(&self) -> Result<Option<Metadata>, ProvisionError> {
        let env = &self.environment;
        let disabled = env.get("AWS_EC2_METADATA_DISABLED");
        if disabled.is_some_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let named = self.metadata_endpoint.clone();
        let named = named.or_else(|| env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"));
        Metadata::new(named.as_deref().unwrap_or(metadata::ENDPOINT)).map(Some)
    }

    pub(super) fn list_lag(&self) -> Duration {
        self.list_lag.unwrap_or(LIST_LAG_DEFAULT)
    }

    pub(super) fn boot_time(&self) -> Duration {
        self.boot_time.unwrap_or(BOOT_TIME_DEFAULT)
    }
}

fn own_endpoint(region: &str) -> String {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://ec2.{region}.{domain}")
}

/// It becomes part of a host's name.
fn is_region(region: &str) -> bool {
    (1..=40).contains(&region.len())
        && region
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn no_region(region: &str) -> Problem {
    let shown: String = region.chars().take(60).collect();
    Problem::new(
        "region",
        format!("`{shown}` is no name of a region"),
        "write one such as \"eu-west-1\"",
    )
}

/// The error where nothing names the region.
pub(super) fn no_region_named() -> ProvisionError {
    ProvisionError::Invalid(vec![Problem::new(
        "region",
        "nothing says in which region the machines are",
        "write region = \"eu-west-1\", or set AWS_REGION",
    )])
}

pub(super) fn checked(region: String) -> Result<String, ProvisionError> {
    if is_region(&region) {
        Ok(region)
    } else {
        Err(ProvisionError::Invalid(vec![no_region(&region)]))
    }
}

#[async_trait]
impl ProvisionerConfig for AwsConfig {
    fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(region) = self.region.as_deref().filter(|region| !is_region(region)) {
            problems.push(no_region(region));
        }
        for (field, endpoint) in [
            ("endpoint", &self.endpoint),
            ("metadata_endpoint", &self.metadata_endpoint),
        ] {
            let config = endpoint.as_ref().map(HttpConfig::new);
            problems.extend(config.and_then(|config| config.validate(field)));
        }
        for (field, wait) in [
            ("list_lag_ms", self.list_lag),
            ("boot_time_ms", self.boot_time),
        ] {
            if wait.is_some_and(|wait| wait > WAIT_MAX) {
                let remedy = format!("keep to {} ms", WAIT_MAX.as_millis());
                problems.push(Problem::new(field, "longer than an hour", remedy));
            }
        }
        problems
    }

    async fn build(&self, _deadline: Deadline) -> Result<Arc<dyn Provisioner>, ProvisionError> {
        Ok(Arc::new(self.open()?))
    }
}

/// For the registry: reads an agent's configuration.
pub(super) fn configure(settings: &Properties) -> Configured {
    Ok(Box::new(AwsConfig::read(settings)?))
}
