//! The configuration of the provisioner, which is also what builds it.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::LxdProvisioner;
use super::names::{SERVER_DIGITS, place};
use crate::http::{HttpConfig, Trust};
use crate::{
    Configured, Deadline, Fields, Problem, Properties, ProvisionError, Provisioner,
    ProvisionerConfig,
};

const STOP_GRACE_DEFAULT: Duration = Duration::from_secs(20);
const STOP_GRACE_MAX: Duration = Duration::from_secs(600);
/// Where LXD and Incus listen, by how they were installed.
const SOCKETS: [&str; 4] = [
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/lib/lxd/unix.socket",
    "/run/incus/unix.socket",
    "/var/lib/incus/unix.socket",
];
/// Where their command lines keep the certificate that they show, below the home directory.
const CERTIFICATES: [&str; 3] = [".config/lxc", "snap/lxd/common/config", ".config/incus"];
const CERTIFICATE_REMEDY: &str =
    "make one with `lxc remote generate-certificate`, or name the files as `certificate` and `key`";

/// The configuration of the provisioner `lxd`.
///
/// | key | meaning | default |
/// |---|---|---|
/// | `endpoint` | `unix:///path/of/socket` or `https://host:8443` | the socket of the server on this machine |
/// | `project` | the project that the machines are in | `default` |
/// | `certificate`, `key` | files (PEM) of what is shown to the server | those of `lxc` in the home directory |
/// | `fingerprint` | the SHA-256 of the server's certificate, in hexadecimal | the system's authorities vouch for it |
/// | `authority` | a file (PEM) of the authority that vouches for the server | the system's |
/// | `former_fingerprints` | certificates that the server had before, at least the first 12 digits of each | none |
/// | `stop_grace_ms` | how long a machine may take to shut down before it is stopped at once | 20000 |
/// | `snapshots` | whether a snapshot of every new machine is kept, which `reimage` needs | true |
#[derive(Debug, Clone)]
pub struct LxdConfig {
    /// Where the server is asked; the one on this machine if `None`.
    pub endpoint: Option<String>,
    /// The project that the machines are in.
    pub project: String,
    /// Files of the certificate that is shown to the server, and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// How the server is known to be the one that is meant.
    pub trust: Trust,
    /// Beginnings of fingerprints of certificates that the server had before.
    pub former_fingerprints: Vec<String>,
    /// How long a machine may take to shut down before it is stopped at once.
    pub stop_grace: Duration,
    /// Whether a snapshot of every new machine is kept, which a reimage needs.
    pub snapshots: bool,
}

impl Default for LxdConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            project: "default".to_owned(),
            certificate: None,
            trust: Trust::System,
            former_fingerprints: Vec::new(),
            stop_grace: STOP_GRACE_DEFAULT,
            snapshots: true,
        }
    }
}

impl LxdConfig {
    /// Reads the configuration that an agent has of this provisioner. Pure.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(settings: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(settings);
        let mut config = Self {
            endpoint: fields.string("endpoint"),
            ..Self::default()
        };
        if let Some(project) = fields.string("project") {
            config.project = project;
        }
        config.certificate = read_certificate(&mut fields);
        config.trust = read_trust(&mut fields);
        config.former_fingerprints = fields.strings("former_fingerprints").unwrap_or_default();
        if let Some(grace) = fields.integer("stop_grace_ms") {
            config.stop_grace = Duration::from_millis(grace);
        }
        if let Some(snapshots) = fields.boolean("snapshots") {
            config.snapshots = snapshots;
        }
        let problems = fields.finish();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// Makes the provisioner. Neither the server nor a certificate is needed yet: that they are missing stops no agent from
    /// starting.
    ///
    /// # Errors
    /// [`ProvisionError::Invalid`] for what [`validate`](ProvisionerConfig::validate) reports.
    pub fn open(&self) -> Result<LxdProvisioner, ProvisionError> {
        let problems = self.validate();
        if problems.is_empty() {
            Ok(LxdProvisioner::new(self.clone()))
        } else {
            Err(ProvisionError::Invalid(problems))
        }
    }

    /// How the server is asked, as things are now.
    pub(super) fn http(&self) -> Result<HttpConfig, ProvisionError> {
        let endpoint = self.endpoint();
        let is_remote = endpoint.starts_with("https:");
        let default = || default_certificate().filter(|_| is_remote);
        let certificate = self.certificate.clone().or_else(default);
        if is_remote && certificate.is_none() {
            return Err(ProvisionError::denied(format!(
                "there is no certificate to show to {endpoint}; {CERTIFICATE_REMEDY}"
            )));
        }
        Ok(HttpConfig {
            trust: self.trust.clone(),
            certificate,
            ..HttpConfig::new(endpoint)
        })
    }

    /// Where the server is asked.
    pub(super) fn endpoint(&self) -> String {
        self.endpoint.clone().unwrap_or_else(default_endpoint)
    }

    pub(super) fn stop_grace(&self) -> Duration {
        self.stop_grace
    }

    /// Whether a place is this project on the server of this ID, also by a certificate that the server had before.
    pub(super) fn is_here(&self, made_in: &str, server: &str) -> bool {
        let former = self.former_fingerprints.iter().map(|text| digits(text));
        let mut all = former.chain([server.to_owned()]);
        all.any(|digits| {
            let server = digits.get(..SERVER_DIGITS);
            server.is_some_and(|server| place(server, &self.project) == made_in)
        })
    }
}

#[async_trait]
impl ProvisionerConfig for LxdConfig {
    fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |field: &str, reason: String, remedy: &str| {
            problems.push(Problem::new(field, reason, remedy));
        };
        if !is_project(&self.project) {
            let remedy = "write one of those that `lxc project list` shows";
            problem("project", "no name of a project".to_owned(), remedy);
        }
        for (index, text) in self.former_fingerprints.iter().enumerate() {
            let digits = digits(text);
            if digits.len() < SERVER_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            {
                let field = format!("former_fingerprints[{index}]");
                problem(
                    &field,
                    "no fingerprint".to_owned(),
                    "write at least 12 hexadecimal digits",
                );
            }
        }
        if self.stop_grace > STOP_GRACE_MAX {
            let reason = format!("{} ms are too long", self.stop_grace.as_millis());
            problem("stop_grace_ms", reason, "write at most 600000");
        }
        let endpoint = self.endpoint.as_deref();
        problems.extend(endpoint.and_then(|base| HttpConfig::new(base).validate("endpoint")));
        problems
    }

    async fn build(&self, _deadline: Deadline) -> Result<Arc<dyn Provisioner>, ProvisionError> {
        Ok(Arc::new(self.open()?))
    }
}

pub(super) fn configure(settings: &Properties) -> Configured {
    LxdConfig::read(settings).map(|config| Box::new(config) as Box<dyn ProvisionerConfig>)
}

/// The digits of a fingerprint, without the colons that some programs put between them.
fn digits(text: &str) -> String {
    text.chars()
        .filter(|c| *c != ':')
        .collect::<String>()
        .to_ascii_lowercase()
}

/// It becomes part of addresses.
fn is_project(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=63).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.')
}

fn read_certificate(fields: &mut Fields<'_>) -> Option<(PathBuf, PathBuf)> {
    match (fields.string("certificate"), fields.string("key")) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (Some(_), None) => {
            fields.problem(
                "key",
                "a certificate is of no use without its key",
                "name the key's file",
            );
            None
        }
        (None, Some(_)) => {
            fields.problem(
                "certificate",
                "a key is of no use without its certificate",
                "name the certificate's file",
            );
            None
        }
        (None, None) => None,
    }
}

fn read_trust(fields: &mut Fields<'_>) -> Trust {
    let authority = fields.string("authority");
    let Some(text) = fields.string("fingerprint") else {
        return authority.map_or(Trust::System, |path| Trust::Authority(path.into()));
    };
    if authority.is_some() {
        fields.problem(
            "authority",
            "the server is known by its fingerprint already",
            "write one of them",
        );
    }
    Trust::fingerprint(&text).unwrap_or_else(|| {
        fields.problem(
            "fingerprint",
            "no SHA-256 of a certificate",
            "write 64 hexadecimal digits, as `lxc info` shows them",
        );
        Trust::System
    })
}

/// The server on this machine, found as its own command line finds it.
fn default_endpoint() -> String {
    let named = |socket: &str, directory: &str| {
        let whole = env::var_os(socket).map(PathBuf::from);
        whole.or_else(|| Some(PathBuf::from(env::var_os(directory)?).join("unix.socket")))
    };
    let path = named("LXD_SOCKET", "LXD_DIR").or_else(|| named("INCUS_SOCKET", "INCUS_DIR"));
    let path = path.or_else(|| SOCKETS.iter().map(PathBuf::from).find(|path| path.exists()));
    let path = path.unwrap_or_else(|| PathBuf::from(SOCKETS[0]));
    format!("unix://{}", path.display())
}

/// The certificate that the command line of this user shows.
fn default_certificate() -> Option<(PathBuf, PathBuf)> {
    let home = PathBuf::from(env::var_os("HOME")?);
    let named = env::var_os("LXD_CONF").map(PathBuf::from);
    let places = named
        .into_iter()
        .chain(CERTIFICATES.map(|place| home.join(place)));
    let pair = |place: PathBuf| (place.join("client.crt"), place.join("client.key"));
    let exists = |path: &Path| path.exists();
    places
        .map(pair)
        .find(|(certificate, key)| exists(certificate) && exists(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(json: &str) -> Vec<String> {
        let settings: Properties = json.parse().expect("valid JSON");
        let problems = match LxdConfig::read(&settings) {
            Ok(config) => config.validate(),
            Err(problems) => problems,
        };
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn nothing_needs_to_be_written() {
        assert_eq!(problems("{}"), [""; 0]);
        let config = LxdConfig::read(&Properties::new()).expect("valid");
        assert!(config.snapshots && config.open().is_ok());
    }

    #[test]
    fn every_problem_is_found_with_its_field() {
        for (json, field) in [
            (r#"{"endpoint": "ftp://x"}"#, "endpoint"),
            (r#"{"project": "a/b"}"#, "project"),
            (r#"{"certificate": "/c"}"#, "key"),
            (r#"{"key": "/k"}"#, "certificate"),
            (r#"{"fingerprint": "abc"}"#, "fingerprint"),
            (r#"{"authority": "/a", "fingerprint": "abc"}"#, "authority"),
            (
                r#"{"former_fingerprints": ["abc"]}"#,
                "former_fingerprints[0]",
            ),
            (r#"{"stop_grace_ms": 10000000}"#, "stop_grace_ms"),
            (r#"{"token": "x"}"#, "token"),
        ] {
            assert!(
                problems(json).contains(&field.to_owned()),
                "{json}: {:?}",
                problems(json)
            );
        }
    }

    #[test]
    fn a_renewed_certificate_is_still_the_same_server() {
        let settings = r#"{"former_fingerprints": ["AB:CD:EF:01:23:45:67"]}"#
            .parse()
            .expect("valid");
        let config = LxdConfig::read(&settings).expect("valid");
        let is_here = |made_in: &str| config.is_here(made_in, "0123456789ab");
        assert!(is_here("abcdef012345/default") && is_here("0123456789ab/default"));
        for other in ["abcdef012346/default", "abcdef012345/fleet", "0123456789ab"] {
            assert!(!is_here(other), "{other}");
        }
    }
}
