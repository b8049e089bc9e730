//! Provisioners by name: which kinds there are, and which this agent has built.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::ledger::Ledger;
use crate::{Deadline, Problem, Properties, ProvisionError, Provisioner};

/// The kinds that are Cargo features of their own name.
const FEATURES: [&str; 1] = ["docker"];

/// The configuration of a provisioner, which is also what builds it.
///
/// Splitting `validate` (pure, on any machine, before anything is stored) from `build` (I/O, only where the
/// provisioner is needed) means that a bad configuration never gets as far as the provider.
#[async_trait]
pub trait ProvisionerConfig: fmt::Debug + Send + Sync {
    /// Everything that is wrong with this configuration. Pure: no I/O.
    fn validate(&self) -> Vec<Problem>;

    /// Makes the provisioner: opens directories, reads credentials, connects. Its health check comes with it,
    /// as [`Provisioner::check`].
    ///
    /// # Errors
    /// [`ProvisionError::Invalid`] for what `validate` reports, and whatever the I/O meets.
    async fn build(&self, deadline: Deadline) -> Result<Arc<dyn Provisioner>, ProvisionError>;

    /// [`build`](Self::build), with a table that all coordinators share: for a provisioner whose back end can't remember what
    /// it made. The others need none.
    ///
    /// # Errors
    /// See [`build`](Self::build).
    async fn build_with(
        &self,
        _ledger: Arc<dyn Ledger>,
        deadline: Deadline,
    ) -> Result<Arc<dyn Provisioner>, ProvisionError> {
        self.build(deadline).await
    }
}

/// A configuration as it was read, or everything that is wrong with it.
pub type Configured = Result<Box<dyn ProvisionerConfig>, Vec<Problem>>;

/// One kind of provisioner: its name and how to read what users write about it. All pure functions, so that
/// specs are validated also on machines that can't build it.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The name in group specs and in the agent's configuration.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// Reads the agent's configuration of it.
    pub configure: fn(&Properties) -> Configured,
    /// Everything that is wrong with a group's properties for it.
    pub validate: fn(&Properties) -> Vec<Problem>,
}

/// The kinds of provisioner that this program knows, by name.
#[derive(Debug, Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Kind>);

impl Registry {
    /// A registry that knows none.
    pub fn empty() -> Self {
        Self::default()
    }

    /// All kinds that were compiled in.
    pub fn builtin() -> Self {
        let mut registry = Self::empty();
        #[cfg(target_os = "linux")]
        registry.add(crate::process::KIND);
        #[cfg(unix)]
        registry.add(crate::infrakit::KIND);
        registry.add(crate::redfish::KIND);
        #[cfg(feature = "docker")]
        registry.add(crate::docker::KIND);
        registry.add(crate::aws::KIND);
        registry.add(crate::lxd::KIND);
        registry
    }

    /// Adds a kind, in place of one of the same name.
    pub fn add(&mut self, kind: Kind) -> &mut Self {
        self.0.insert(kind.name, kind);
        self
    }

    /// The kind of this name.
    pub fn get(&self, name: &str) -> Option<&Kind> {
        self.0.get(name)
    }

    /// All kinds in the order of their names.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.0.values()
    }

    /// Everything that is wrong with a group's provisioner and its properties: an unknown name (as the field
    /// `provisioner`), or what that kind finds (under `properties`). Pure.
    pub fn validate(&self, name: &str, properties: &Properties) -> Vec<Problem> {
        match self.get(name) {
            Some(kind) => (kind.validate)(properties)
                .into_iter()
                .map(|problem| problem.under("properties"))
                .collect(),
            None => vec![self.unknown(name)],
        }
    }

    /// Reads and validates an agent's configuration of the provisioner `name`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn configure(&self, name: &str, settings: &Properties) -> Configured {
        let Some(kind) = self.get(name) else {
            return Err(vec![self.unknown(name)]);
        };
        let config = (kind.configure)(settings)?;
        let problems = config.validate();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    fn unknown(&self, name: &str) -> Problem {
        let names: Vec<_> = self.0.keys().copied().collect();
        let name: String = name.chars().take(64).collect();
        if FEATURES.contains(&name.as_str()) {
            let reason = format!("this program was built without the provisioner `{name}`");
            let remedy = format!(
                "build it with `--features {name}`, or write one of: {}",
                names.join(", ")
            );
            return Problem::new("provisioner", reason, remedy);
        }
        Problem::new(
            "provisioner",
            format!("there is no provisioner `{name}`"),
            format!("write one of: {}", names.join(", ")),
        )
    }
}

/// The provisioners that this agent has built, by name.
#[derive(Debug, Clone, Default)]
pub struct Provisioners {
    built: BTreeMap<String, Arc<dyn Provisioner>>,
    settings: Properties,
}

impl Provisioners {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, in place of one of the same name.
    pub fn insert(&mut self, name: impl Into<String>, provisioner: Arc<dyn Provisioner>) {
        self.built.insert(name.into(), provisioner);
    }

    /// The keys of the agent's configuration from which these were built. Machines that are made get them, so that they can lead
    /// one day: there are no secrets in them.
    pub fn settings(&self) -> Properties {
        self.settings.clone()
    }

    /// Sets the [`settings`](Self::settings).
    #[must_use]
    pub fn with_settings(mut self, settings: Properties) -> Self {
        self.settings = settings;
        self
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Provisioner>> {
        self.built.get(name)
    }

    /// All of them in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn Provisioner>)> {
        self.built
            .iter()
            .map(|(name, provisioner)| (name.as_str(), provisioner))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.built.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_those_there_are() {
        let registry = Registry::builtin();
        let problems = registry.validate("docker2", &Properties::new());
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].field, "provisioner");
        assert!(problems[0].remedy.contains("process"), "{}", problems[0]);
        assert!(registry.configure("docker2", &Properties::new()).is_err());
        let problems = Registry::empty().validate("docker", &Properties::new());
        assert!(
            problems[0].remedy.contains("--features docker"),
            "{}",
            problems[0]
        );
    }

    #[test]
    fn problems_of_properties_are_under_properties() {
        let properties = r#"{"colour": "red"}"#.parse().expect("valid");
        let problems = Registry::builtin().validate("process", &properties);
        assert_eq!(problems[0].field, "properties.colour");
    }
}
