//! The client of InfraKit's plugins, of whatever kind.
//!
//! One client fits every generation of the protocol: fields only ever grew, and who doesn't know one passes over it. So only
//! the handshake differs, and what is sent is always of the newest shape.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::rpc::{self, Answer, field};
use super::transport::{Effect, Transport};
use super::{Directory, PluginName};
use crate::{Deadline, ProvisionError};

/// The methods that ask a plugin what it is, the newest first.
const HANDSHAKES: [&str; 3] = [
    "Handshake.Hello",
    "Handshake.Implements",
    "Plugin.Implements",
];

/// Plugins whose handshake is remembered. There are a handful; this bounds what a strange configuration may cost.
const SHAKEN_MAX: usize = 256;

/// The interfaces of InfraKit that muster calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Makes and destroys instances.
    Instance,
    /// Prepares instances, judges and drains them.
    Flavor,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Instance => "Instance",
            Self::Flavor => "Flavor",
        }
    }

    /// The versions that are known to fit, each with the generation of InfraKit that spoke it.
    fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Instance => &["0.6.1", "0.6.0", "0.5.0", "0.3.0", "0.1.0"],
            Self::Flavor => &["0.1.1", "0.1.0"],
        }
    }
}

/// Why a plugin didn't do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// The plugin says so. Whether it did something before that is not known.
    #[error("the plugin says: {0}")]
    Said(String),
    /// It could not be asked, or didn't answer in a way that can be understood.
    #[error(transparent)]
    Call(#[from] ProvisionError),
}

/// All plugins of a directory.
#[derive(Debug)]
pub struct Plugins {
    directory: Directory,
    transport: Transport,
    /// Whom there is no need to ask again what it is.
    shaken: Mutex<BTreeSet<(PluginName, Service)>>,
    next: AtomicU64,
}

impl Plugins {
    /// A client of the plugins in a directory.
    pub fn new(directory: Directory) -> Self {
        Self {
            directory,
            transport: Transport::default(),
            shaken: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// Calls a method of a plugin, `Describe…` and the like: what asks and changes nothing.
    ///
    /// # Errors
    /// See [`PluginError`]. No outcome is unknown: nothing changes.
    pub async fn ask(
        &self,
        name: &PluginName,
        (service, method): (Service, &str),
        params: &Value,
        deadline: Deadline,
    ) -> Result<Value, PluginError> {
        self.call(name, (service, method, Effect::Reads), params, deadline)
            .await
    }

    /// Calls a method of a plugin that changes something.
    ///
    /// # Errors
    /// See [`PluginError`]; [`Timeout`](ProvisionError::Timeout) where it may have been done.
    pub async fn order(
        &self,
        name: &PluginName,
        (service, method): (Service, &str),
        params: &Value,
        deadline: Deadline,
    ) -> Result<Value, PluginError> {
        self.call(name, (service, method, Effect::Changes), params, deadline)
            .await
    }

    async fn call(
        &self,
        name: &PluginName,
        (service, method, effect): (Service, &str, Effect),
        params: &Value,
        deadline: Deadline,
    ) -> Result<Value, PluginError> {
        self.shake(name, service, deadline).await?;
        let method = format!("{}.{method}", service.name());
        let called = self.send(name, &method, params, effect, deadline).await;
        if matches!(called, Err(PluginError::Call(_))) {
            // What answers there next may be another plugin.
            self.shaken().remove(&(name.clone(), service));
        }
        called
    }

    /// Makes sure that a plugin speaks an interface, in a version that fits.
    ///
    /// # Errors
    /// [`Failed`](ProvisionError::Failed) where it doesn't, with what it speaks; and what keeps it from being asked.
    pub async fn shake(
        &self,
        name: &PluginName,
        service: Service,
        deadline: Deadline,
    ) -> Result<(), PluginError> {
        let key = (name.clone(), service);
        if self.shaken().contains(&key) {
            return Ok(());
        }
        let offered = self.hello(name, deadline).await?;
        fits(name, service, &offered).map_err(ProvisionError::failed)?;
        let mut shaken = self.shaken();
        if shaken.len() < SHAKEN_MAX {
            shaken.insert(key);
        }
        Ok(())
    }

    fn shaken(&self) -> std::sync::MutexGuard<'_, BTreeSet<(PluginName, Service)>> {
        // Only whole entries are put in, so whoever panicked left it in order.
        self.shaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a plugin says that it is. Each generation is asked in its own words, until one is understood.
    async fn hello(
        &self,
        name: &PluginName,
        deadline: Deadline,
    ) -> Result<Vec<Offer>, PluginError> {
        let mut said = None;
        for method in HANDSHAKES {
            match self
                .send(name, method, &json!({}), Effect::Reads, deadline)
                .await
            {
                Ok(answer) => return Ok(offers(&answer)),
                Err(PluginError::Said(why)) => said = said.or(Some(why)),
                Err(error) => return Err(error),
            }
        }
        let why = said.unwrap_or_default();
        Err(ProvisionError::failed(format_args!(
            "`{name}` answers to no handshake of InfraKit's: {why}"
        ))
        .into())
    }

    async fn send(
        &self,
        name: &PluginName,
        method: &str,
        params: &Value,
        effect: Effect,
        deadline: Deadline,
    ) -> Result<Value, PluginError> {
        let url = self.directory.find(name).await?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let body = rpc::question(method, params, id);
        let what = format!("calling {method} of `{name}`");
        let bytes = self
            .transport
            .post(&url, body, (&what, effect), deadline)
            .await?;
        match rpc::answer(&bytes) {
            Ok(Answer::Result(result)) => Ok(result),
            Ok(Answer::Error(why)) => Err(PluginError::Said(why)),
            // It may well have done it, and only said so badly.
            Err(why) if effect == Effect::Changes => {
                Err(ProvisionError::timeout(format_args!("{what}: {why}")).into())
            }
            Err(why) => Err(ProvisionError::failed(format_args!("{what}: {why}")).into()),
        }
    }
}

/// An interface that a plugin offers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offer {
    service: String,
    version: String,
    /// The names of its objects; `.` for the only one, none where the generation doesn't say.
    objects: Vec<String>,
}

/// Reads what any handshake answers: `{"Objects": {"Instance/0.6.1": [{"Name": "."}]}}`, or
/// `{"APIs": [{"Name": "Instance", "Version": "0.5.0"}]}`. What can't be read is passed over.
fn offers(answer: &Value) -> Vec<Offer> {
    let Value::Object(answer) = answer else {
        return Vec::new();
    };
    let objects = field(answer, "Objects").and_then(Value::as_object);
    let objects = objects.into_iter().flatten().map(|(interface, objects)| {
        // `Name/Version`, or `Name/Version/Sub`.
        let mut parts = interface.splitn(3, '/');
        let names = objects.as_array().into_iter().flatten();
        let name = |object: &Value| Some(field(object.as_object()?, "Name")?.as_str()?.to_owned());
        Offer {
            service: parts.next().unwrap_or_default().to_owned(),
            version: parts.next().unwrap_or_default().to_owned(),
            objects: names.filter_map(name).collect(),
        }
    });
    let interfaces = field(answer, "APIs").and_then(Value::as_array);
    let interfaces = interfaces.into_iter().flatten().filter_map(|interface| {
        let interface = interface.as_object()?;
        let text = |name| Some(field(interface, name)?.as_str()?.to_owned());
        Some(Offer {
            service: text("Name")?,
            version: text("Version")?,
            objects: Vec::new(),
        })
    });
    objects.chain(interfaces).collect()
}

/// Whether an interface is among those that are offered, in a version that fits, with the object that is meant.
fn fits(name: &PluginName, service: Service, offers: &[Offer]) -> Result<(), String> {
    let wanted = service.name();
    let versions = service.versions();
    let Some(offer) = offers
        .iter()
        .filter(|offer| offer.service == wanted)
        .find(|offer| versions.contains(&offer.version.as_str()))
    else {
        let offered: Vec<_> = offers
            .iter()
            .map(|offer| format!("{}/{}", offer.service, offer.version))
            .collect();
        return Err(format!(
            "`{}` is no {wanted} plugin of a version that is known ({}): it offers {}",
            name.lookup(),
            versions.join(", "),
            listed(&offered)
        ));
    };
    let object = if name.kind().is_empty() {
        "."
    } else {
        name.kind()
    };
    if offer.objects.is_empty() || offer.objects.iter().any(|one| one == object) {
        return Ok(());
    }
    let names = offer.objects.iter().map(|object| match object.as_str() {
        "." => name.lookup().to_owned(),
        object => format!("{}/{object}", name.lookup()),
    });
    Err(format!(
        "`{name}` is none of the {wanted} objects of `{}`; write one of: {}",
        name.lookup(),
        listed(&names.collect::<Vec<_>>())
    ))
}

fn listed(words: &[String]) -> String {
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, service: Service, answer: &Value) -> Result<(), String> {
        fits(&name.parse().expect("valid"), service, &offers(answer))
    }

    #[test]
    fn every_generation_is_understood() {
        for answer in [
            json!({"Objects": {"Instance/0.6.1": [{"Name": ".", "ProxyFor": ""}]}}),
            json!({"APIs": [{"Name": "Instance", "Version": "0.5.0"}]}),
            json!({"APIs": [{"Name": "Flavor", "Version": "0.1.0"}, {"name": "Instance", "version": "0.1.0"}]}),
        ] {
            assert_eq!(check("file", Service::Instance, &answer), Ok(()));
        }
    }

    #[test]
    fn what_is_none_is_said_with_what_it_is() {
        let group = json!({"Objects": {"Group/0.1.1": [{"Name": "."}]}});
        let error = check("group", Service::Instance, &group).expect_err("a group plugin");
        assert!(error.contains("Group/0.1.1"), "{error}");
        let later = json!({"Objects": {"Instance/9.0.0": [{"Name": "."}]}});
        assert!(check("file", Service::Instance, &later).is_err());
        for rubbish in [
            json!(null),
            json!([]),
            json!({"Objects": 5, "APIs": {"a": 1}}),
        ] {
            assert!(check("file", Service::Flavor, &rubbish).is_err());
        }
    }

    #[test]
    fn an_object_that_is_not_there_is_answered_with_those_that_are() {
        let typed = json!({"Objects": {"Instance/0.6.1": [{"Name": "compute"}, {"Name": "disk"}]}});
        assert_eq!(check("simulator/disk", Service::Instance, &typed), Ok(()));
        let error = check("simulator", Service::Instance, &typed).expect_err("which of the two?");
        assert!(
            error.contains("simulator/compute, simulator/disk"),
            "{error}"
        );
        let plain = json!({"Objects": {"Instance/0.6.1": [{"Name": "."}]}});
        let error = check("file/vm", Service::Instance, &plain).expect_err("it has no types");
        assert!(error.ends_with("write one of: file"), "{error}");
    }
}
