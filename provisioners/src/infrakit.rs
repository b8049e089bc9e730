//! `infrakit`: machines that InfraKit's *instance* plugins make, through their JSON-RPC interface, unchanged.
//!
//! A plugin knows neither operations nor states: it makes what it is told to make, as often as it is told, and lists what there
//! is. So muster supplies the rest. The operation is a tag, looked for before anything is made; what else has to be remembered
//! of an instance is in its tags as well ([`marks`]); an instance is off once it has been missing from its plugin's list
//! for a while. `docs/provisioners/infrakit.md` says what that proves, and what it doesn't.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    Capabilities, Deadline, Destroyed, Idempotency, Instance, InstanceId, InstanceState, Kind,
    MachineSpec, OperationId, Problem, Proof, Properties, ProvisionError, Provisioner, Tags, tag,
};
use instance::{Described, instance_id, own_id};
use missing::Missing;
use properties::GroupProperties;

mod boot;
mod config;
mod directory;
mod hash;
mod instance;
pub mod marks;
mod missing;
mod name;
mod plugins;
mod properties;
mod rpc;
mod transport;

pub use config::InfrakitConfig;
pub use directory::Directory;
pub use hash::config_hash;
pub use instance::{attachments, tags};
pub use name::{ParsePluginNameError, PluginName};
pub use plugins::{PluginError, Plugins, Service};
pub use rpc::field;

/// The name in group specs and in the agent's configuration.
pub const NAME: &str = "infrakit";

/// This provisioner for the [`Registry`](crate::Registry).
pub const KIND: Kind = Kind {
    name: NAME,
    about: "machines of InfraKit's instance plugins, over their sockets",
    configure: |settings| Ok(Box::new(InfrakitConfig::read(settings)?)),
    validate,
};

/// Orders whose outcome was not known a moment ago; more of them say nothing more.
const DOUBTS_MAX: usize = 1024;

fn validate(properties: &Properties) -> Vec<Problem> {
    GroupProperties::read(properties).err().unwrap_or_default()
}

/// The provisioner.
#[derive(Debug)]
pub struct InfrakitProvisioner {
    config: InfrakitConfig,
    plugins: Plugins,
    /// Orders that were sent and not answered, with when: what they made may not be listed yet.
    doubts: Mutex<BTreeMap<OperationId, Instant>>,
    /// Since when instances that were asked about have been missing from their plugin's list.
    missing: Mutex<Missing>,
}

impl InfrakitProvisioner {
    /// A provisioner of this configuration.
    ///
    /// # Errors
    /// None at present: plugins are looked for when they are asked.
    pub fn new(config: InfrakitConfig) -> Result<Self, ProvisionError> {
        Ok(Self {
            plugins: Plugins::new(config.directory.clone()),
            config,
            doubts: Mutex::default(),
            missing: Mutex::default(),
        })
    }

    // === asking ===

    /// What one plugin lists, with all these tags.
    async fn list(
        &self,
        plugin: &PluginName,
        filter: &Tags,
        deadline: Deadline,
    ) -> Result<Vec<Described>, ProvisionError> {
        // Without their properties: those may hold what the instance booted with, and with it the token that admits it.
        let params =
            json!({"Type": plugin.kind(), "Tags": instance::filter(filter), "Properties": false});
        let method = (Service::Instance, "DescribeInstances");
        let answer = self
            .plugins
            .ask(plugin, method, &params, deadline)
            .await
            .map_err(plain)?;
        let mut listed = instance::descriptions(&answer)
            .map_err(|why| ProvisionError::unavailable(format_args!("`{plugin}`: {why}")))?;
        locked(&self.missing).seen(plugin, &listed);
        // Plugins are to do this themselves. Those that don't would give us the machines of others.
        listed.retain(|one| match &one.tags {
            Ok(tags) => tags.matches(filter),
            Err(_) => filter.get(tag::OPERATION).is_none(),
        });
        Ok(listed)
    }

    /// What an operation made, the oldest.
    async fn made(
        &self,
        plugin: &PluginName,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<Option<InstanceId>, ProvisionError> {
        let filter = Tags::new().with(tag::OPERATION, op.as_str());
        let listed = self.list(plugin, &filter, deadline).await?;
        let mut made: Vec<_> = listed.iter().filter_map(|one| shown(plugin, one)).collect();
        made.sort_by_key(|instance| instance.created_at_ms);
        Ok(made.into_iter().next().map(|instance| instance.id))
    }

    /// Whether a plugin lists an instance.
    async fn is_listed(
        &self,
        id: &InstanceId,
        plugin: &PluginName,
        own: &str,
        deadline: Deadline,
    ) -> Result<bool, ProvisionError> {
        let listed = self.list(plugin, &Tags::new(), deadline).await?;
        let is_listed = listed.iter().any(|one| one.id == own);
        if !is_listed {
            locked(&self.missing).miss(id, self.config.settle, Instant::now());
        }
        Ok(is_listed)
    }

    /// The plugin of an instance, if it is one that this machine may ask.
    fn own(&self, id: &InstanceId) -> Result<(PluginName, String), ProvisionError> {
        let own = own_id(id).ok_or_else(|| ProvisionError::NotFound(id.clone()))?;
        self.allowed(&own.0)?;
        Ok(own)
    }

    fn allowed(&self, plugin: &PluginName) -> Result<(), ProvisionError> {
        if self.config.plugins.contains(plugin) {
            return Ok(());
        }
        Err(ProvisionError::unavailable(format_args!(
            "`{plugin}` is none of the plugins of [provisioners.{NAME}]: put it into `plugins` on every machine that may coordinate"
        )))
    }

    // === making ===

    /// What was ordered and not answered may be listed late: waits until that is over.
    async fn wait_out_doubt(
        &self,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let since = locked(&self.doubts).get(op).copied();
        let Some(since) = since else { return Ok(()) };
        let left = self.config.list_lag.saturating_sub(since.elapsed());
        if left.is_zero() || deadline.sleep(left).await {
            return Ok(());
        }
        Err(ProvisionError::unavailable(
            "what was ordered a moment ago, and not answered, may not be on the plugin's list yet",
        ))
    }

    /// An attachment is anybody's who is listed with it: nothing that a plugin lists is certain not to run.
    async fn check_attachments(
        &self,
        plugin: &PluginName,
        spec: &MachineSpec,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        if spec.attachments.is_empty() || is_shared(spec) {
            return Ok(());
        }
        for one in self.list(plugin, &Tags::new(), deadline).await? {
            let Some(holder) = shown(plugin, &one) else {
                continue;
            };
            let held = spec
                .attachments
                .iter()
                .find(|wanted| holder.attachments.contains(wanted));
            if let Some(held) = held {
                return Err(ProvisionError::Held {
                    attachment: held.id.clone(),
                    holder: holder.id,
                });
            }
        }
        Ok(())
    }

    async fn make(
        &self,
        group: &GroupProperties,
        spec: &MachineSpec,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<InstanceId, ProvisionError> {
        let plugin = &group.plugin;
        let init = boot::script(spec, op, &self.config.boot).map_err(ProvisionError::Invalid)?;
        self.check_attachments(plugin, spec, deadline).await?;
        let params = json!({"Type": plugin.kind(), "Properties": group.properties});
        let checked = self
            .plugins
            .ask(plugin, (Service::Instance, "Validate"), &params, deadline)
            .await;
        checked.map_err(|error| match error {
            PluginError::Said(why) => {
                let remedy = "write what the plugin wants; its documentation says what that is";
                ProvisionError::Invalid(vec![Problem::new("properties", why, remedy)])
            }
            PluginError::Call(error) => error,
        })?;
        let logical_id = spec.logical_id.as_deref().map(|id| group.logical_id(id));
        let name = group.group.as_deref().unwrap_or(&spec.boot.group);
        let exclusive = if is_shared(spec) {
            &[][..]
        } else {
            &spec.attachments
        };
        let tags = marks::with_marks(&spec.tags_for(op), now_ms(), exclusive, name, logical_id);
        let wanted = instance::spec(spec, &group.properties, logical_id, &tags, &init);
        let params = json!({"Type": plugin.kind(), "Spec": wanted});
        self.doubt(op);
        let made = self
            .plugins
            .order(plugin, (Service::Instance, "Provision"), &params, deadline)
            .await;
        let own = match made {
            Ok(result) => instance::made(&result),
            Err(PluginError::Said(why)) => {
                // Some plugins make an instance and then fail at the next thing, and it may be listed late.
                return match self.made(plugin, op, deadline).await {
                    Ok(Some(found)) => Ok(found),
                    _ => Err(ProvisionError::timeout(format_args!(
                        "making an instance, of which `{plugin}` says: {why}"
                    ))),
                };
            }
            Err(PluginError::Call(error)) => return Err(error),
        };
        let id = own.and_then(|own| instance_id(plugin, &own));
        let Some(id) = id else {
            let what = format!("`{plugin}` made an instance and gave no ID that can be used");
            return Err(ProvisionError::timeout(what));
        };
        locked(&self.doubts).remove(op);
        locked(&self.missing).forget(&id);
        Ok(id)
    }

    fn doubt(&self, op: &OperationId) {
        let mut doubts = locked(&self.doubts);
        let lag = self.config.list_lag;
        doubts.retain(|_, since| since.elapsed() < lag);
        if doubts.len() < DOUBTS_MAX {
            doubts.insert(op.clone(), Instant::now());
        }
    }
}

/// Whether others may have the same attachments: cattle's, as InfraKit gave them.
fn is_shared(spec: &MachineSpec) -> bool {
    spec.tags.get(marks::ATTACHMENTS) == Some(marks::SHARED)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only whole entries are put in, so whoever panicked left it in order.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A plugin's refusal of a call that changes nothing.
fn plain(error: PluginError) -> ProvisionError {
    match error {
        PluginError::Said(why) => {
            ProvisionError::unavailable(format_args!("the plugin says: {why}"))
        }
        PluginError::Call(error) => error,
    }
}

/// An instance as others see it; `None` where its ID is longer than any that can be kept.
fn shown(plugin: &PluginName, one: &Described) -> Option<Instance> {
    let mut properties = Properties::new();
    properties.set("plugin", plugin.to_string());
    if let Some(id) = &one.logical_id {
        properties.set("logical_id", id.clone());
    }
    let (state, marks) = match &one.tags {
        Ok(tags) => (InstanceState::Running, marks::read_marks(tags)),
        Err(why) => {
            properties.set("why", why.clone());
            (InstanceState::Unknown, marks::Marks::default())
        }
    };
    Some(Instance {
        id: instance_id(plugin, &one.id)?,
        state,
        tags: marks.tags,
        address: None,
        properties,
        created_at_ms: marks.made_ms,
        attachments: marks.attachments,
    })
}

/// Milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "provisioners don't know the mesh; this tells which of two instances is older"
)]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Provisioner for InfrakitProvisioner {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reboot: false,
            power_cycle: false,
            reimage: false,
            hardware: false,
            stop_start: false,
            attach: true,
            prove_off: false,
            idempotency: Idempotency::ByTag,
            list_lag: self.config.list_lag,
            boot_time: self.config.boot_time,
        }
    }

    fn validate(&self, properties: &Properties) -> Vec<Problem> {
        validate(properties)
    }

    async fn provision(
        &self,
        spec: &MachineSpec,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<InstanceId, ProvisionError> {
        let group = GroupProperties::read(&spec.properties).map_err(ProvisionError::Invalid)?;
        self.allowed(&group.plugin)?;
        self.wait_out_doubt(op, deadline).await?;
        match self.made(&group.plugin, op, deadline).await? {
            Some(made) => Ok(made),
            None => self.make(&group, spec, op, deadline).await,
        }
    }

    async fn describe(
        &self,
        filter: &Tags,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, ProvisionError> {
        let asked = self.config.plugins.iter();
        let lists = asked.map(|plugin| async move {
            let listed = self.list(plugin, filter, deadline).await?;
            if filter.iter().all(|(name, _)| name == tag::CLUSTER) {
                let settle = self.config.settle;
                locked(&self.missing).confirm(plugin, settle, Instant::now());
            }
            let shown = |one: &Described| {
                shown(plugin, one).ok_or_else(|| {
                    let what = "lists an instance whose ID is too long";
                    ProvisionError::failed(format_args!("`{plugin}` {what}"))
                })
            };
            listed.iter().map(shown).collect::<Result<Vec<_>, _>>()
        });
        let mut all = try_join_all(lists).await?.concat();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(all)
    }

    async fn reboot(&self, _id: &InstanceId, _deadline: Deadline) -> Result<(), ProvisionError> {
        Err(ProvisionError::Unsupported("reboot".to_owned()))
    }

    async fn power_cycle(
        &self,
        _id: &InstanceId,
        _deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        Err(ProvisionError::Unsupported("power-cycle".to_owned()))
    }

    async fn stop(&self, _id: &InstanceId, _deadline: Deadline) -> Result<(), ProvisionError> {
        Err(ProvisionError::Unsupported("stop".to_owned()))
    }

    async fn start(&self, _id: &InstanceId, _deadline: Deadline) -> Result<(), ProvisionError> {
        Err(ProvisionError::Unsupported("start".to_owned()))
    }

    async fn destroy(
        &self,
        id: &InstanceId,
        _op: &OperationId,
        deadline: Deadline,
    ) -> Result<Destroyed, ProvisionError> {
        if own_id(id).is_none() {
            return Ok(Destroyed::AlreadyGone);
        }
        let (plugin, own) = self.own(id)?;
        let params =
            json!({"Type": plugin.kind(), "Instance": own, "Context": {"Reason": "terminate"}});
        match self
            .plugins
            .order(&plugin, (Service::Instance, "Destroy"), &params, deadline)
            .await
        {
            Ok(_) => Ok(Destroyed::Destroyed),
            // Most plugins say so of what has gone, each in its own words: the list tells.
            Err(PluginError::Said(why)) => match self.is_listed(id, &plugin, &own, deadline).await?
            {
                false => Ok(Destroyed::AlreadyGone),
                true => Err(ProvisionError::unavailable(format_args!(
                    "`{plugin}` says: {why}"
                ))),
            },
            Err(PluginError::Call(error)) => Err(error),
        }
    }

    async fn prove_off(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Proof, ProvisionError> {
        let (plugin, own) = match self.own(id) {
            Ok(own) => own,
            Err(error) => {
                return Ok(Proof::Unknown {
                    why: error.to_string(),
                });
            }
        };
        if self.is_listed(id, &plugin, &own, deadline).await? {
            return Ok(Proof::Running);
        }
        let missing = locked(&self.missing).lasted(id);
        let settle = self.config.settle;
        if missing < settle {
            let left =
                humantime::format_duration(Duration::from_secs((settle - missing).as_secs() + 1));
            let why =
                format!("`{plugin}` does not list it any more, which counts as off in {left}");
            return Ok(Proof::Unknown { why });
        }
        Ok(Proof::Off {
            how: format!(
                "`{plugin}` has not listed it for {}",
                humantime::format_duration(settle)
            ),
            at_ms: now_ms(),
        })
    }

    async fn adopt(
        &self,
        id: &InstanceId,
        tags: &Tags,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let (plugin, own) = self.own(id)?;
        let params =
            json!({"Type": plugin.kind(), "Instance": own, "Labels": instance::filter(tags)});
        let labelled = self
            .plugins
            .order(&plugin, (Service::Instance, "Label"), &params, deadline)
            .await;
        match labelled {
            Ok(_) => Ok(()),
            Err(PluginError::Said(why)) => {
                if !self.is_listed(id, &plugin, &own, deadline).await? {
                    return Err(ProvisionError::NotFound(id.clone()));
                }
                Err(ProvisionError::failed(format_args!(
                    "`{plugin}` says: {why}"
                )))
            }
            Err(PluginError::Call(error)) => Err(error),
        }
    }

    async fn check(&self, deadline: Deadline) -> Result<(), ProvisionError> {
        for plugin in &self.config.plugins {
            self.plugins
                .shake(plugin, Service::Instance, deadline)
                .await
                .map_err(plain)?;
            let _: Vec<Described> = self.list(plugin, &none(), deadline).await?;
        }
        Ok(())
    }
}

/// Tags that no instance has: the cheapest list to ask for.
fn none() -> Tags {
    Tags::new().with(tag::CLUSTER, "none")
}
