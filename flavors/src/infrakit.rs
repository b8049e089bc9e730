//! `infrakit`: InfraKit's *flavor* plugins, through their JSON-RPC interface, unchanged.
//!
//! | property | meaning | default |
//! |---|---|---|
//! | `plugin` | the flavor plugin, `NAME` or `NAME/TYPE` | needed |
//! | `properties` | what it gets to read; anything, also a list | none |
//! | `logical_ids` | what InfraKit's spec calls members, by muster's names, where they differ | none |
//! | `group` | what InfraKit's spec calls the group, where it differs | none |
//!
//! The plugin is looked up where InfraKit's own tools look: `$INFRAKIT_PLUGINS_DIR`, `$INFRAKIT_HOME/plugins`,
//! `~/.infrakit/plugins`. The leader asks it to prepare each machine; on the machine itself it is asked how the workload is and to
//! drain it, where it is found there. Names may be written in any case.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::infrakit::{Directory, PluginError, PluginName, Plugins, Service, marks};
use muster_provisioners::{Deadline, Fields, MachineSpec, Problem, Properties};
use serde_json::{Value, json};

use crate::{Allocation, Built, Flavor, FlavorError, Health, HealthPlan, Kind, Place, Workload};

mod wire;

/// This flavor for the [`Registry`](crate::Registry).
pub const KIND: Kind = Kind {
    name: "infrakit",
    about: "InfraKit's flavor plugins, over their sockets",
    build,
};

/// The variable in which a workload finds what its provisioner calls its machine.
pub const INSTANCE_VARIABLE: &str = "MUSTER_INSTANCE";

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);
const FAILURES: u32 = 3;

/// One client for all groups: it remembers whom it has greeted, and keeps connections.
static PLUGINS: LazyLock<Arc<Plugins>> =
    LazyLock::new(|| Arc::new(Plugins::new(Directory::standard())));

fn build(properties: &Properties, allocation: &Allocation) -> Built {
    Ok(Arc::new(Infrakit::read(properties, allocation)?))
}

/// A flavor plugin, bound to a group's properties.
#[derive(Debug)]
struct Infrakit {
    plugin: PluginName,
    properties: Value,
    logical_ids: BTreeMap<String, String>,
    group: Option<String>,
    allocation: Allocation,
    plugins: Arc<Plugins>,
}

impl Infrakit {
    fn read(properties: &Properties, allocation: &Allocation) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::ignoring_case(properties);
        let plugin = PluginName::take(&mut fields, "vanilla");
        let own = fields.value("properties").cloned();
        let logical_ids = fields.string_map("logical_ids").unwrap_or_default();
        let group = fields.string("group");
        match (plugin, fields.finish()) {
            (Some(plugin), problems) if problems.is_empty() => Ok(Self {
                plugin,
                properties: own.unwrap_or(Value::Null),
                logical_ids,
                group,
                allocation: allocation.clone(),
                plugins: Arc::clone(&PLUGINS),
            }),
            (_, problems) => Err(problems),
        }
    }

    /// What InfraKit calls a member; none for cattle, which have no names there.
    fn logical_id(&self, member: &str) -> Option<String> {
        match &self.allocation {
            Allocation::Cattle { .. } => None,
            Allocation::Pets { .. } => {
                let given = self.logical_ids.get(member).map(String::as_str);
                Some(given.unwrap_or(member).to_owned())
            }
        }
    }

    /// Who is in the group, in InfraKit's words.
    fn everybody(&self) -> Value {
        match &self.allocation {
            Allocation::Cattle { size } => json!({"Size": size, "LogicalIDs": null}),
            Allocation::Pets { members } => {
                let ids = members.iter().filter_map(|member| self.logical_id(member));
                json!({"Size": 0, "LogicalIDs": ids.collect::<Vec<_>>()})
            }
        }
    }

    /// Whether its attachments are those of several machines: InfraKit has one list for all of a group's cattle.
    fn is_shared(&self) -> bool {
        matches!(self.allocation, Allocation::Cattle { size } if size > 1)
    }

    fn group<'a>(&'a self, group: &'a str) -> &'a str {
        self.group.as_deref().unwrap_or(group)
    }

    /// The instance that a workload runs on, as plugins are told of it.
    fn instance(&self, workload: &Workload) -> Value {
        let known = workload.environment.get(INSTANCE_VARIABLE);
        let id = known.map_or_else(|| workload.machine.clone(), |id| marks::plugins_own(id));
        let logical_id = self.logical_id(&workload.member);
        let mut tags = BTreeMap::from([(marks::GROUP, self.group(&workload.group).to_owned())]);
        if let Some(id) = &logical_id {
            tags.insert(marks::LOGICAL_ID, id.clone());
        }
        json!({"ID": id, "LogicalID": logical_id, "Tags": tags})
    }

    /// The parameters of a call, with what all have in common.
    fn params(&self, further: Value) -> Value {
        let mut params = json!({"Type": self.plugin.kind(), "Properties": self.properties});
        if let (Some(params), Value::Object(further)) = (params.as_object_mut(), further) {
            params.extend(further);
        }
        params
    }

    fn failed(&self, what: &str, error: &PluginError) -> FlavorError {
        let why = Health::critical(format!("flavor plugin `{}`: {error}", self.plugin)).reason;
        FlavorError::Failed {
            what: what.to_owned(),
            why,
        }
    }
}

#[async_trait]
impl Flavor for Infrakit {
    fn prepare(&self, spec: MachineSpec, _: &Place<'_>) -> Result<MachineSpec, Vec<Problem>> {
        Ok(spec)
    }

    fn must_be_asked(&self) -> bool {
        true
    }

    async fn complete(
        &self,
        spec: MachineSpec,
        place: &Place<'_>,
        deadline: Deadline,
    ) -> Result<MachineSpec, FlavorError> {
        let what = "preparing the machine";
        let params = self.params(json!({"Allocation": self.everybody()}));
        let method = (Service::Flavor, "Validate");
        let valid = self
            .plugins
            .ask(&self.plugin, method, &params, deadline)
            .await;
        valid.map_err(|error| self.failed(what, &error))?;
        let group = self.group(place.group);
        let logical_id = self.logical_id(place.member);
        let asked = json!({
            "Spec": wire::spec(&spec, group, logical_id.as_deref()),
            "Allocation": self.everybody(),
            // Not the member's own place: InfraKit's controller sends the size, and plugins have lived with that.
            "Index": {"Group": group, "Sequence": self.allocation.len()},
        });
        let method = (Service::Flavor, "Prepare");
        let params = self.params(asked);
        let answer = self
            .plugins
            .ask(&self.plugin, method, &params, deadline)
            .await;
        let answer = answer.map_err(|error| self.failed(what, &error))?;
        wire::prepared(spec, &answer, self.is_shared()).map_err(|why| FlavorError::Failed {
            what: what.to_owned(),
            why: Health::critical(format!("flavor plugin `{}`: {why}", self.plugin)).reason,
        })
    }

    fn health_plan(&self) -> Option<HealthPlan> {
        Some(HealthPlan {
            interval: INTERVAL,
            timeout: TIMEOUT,
            failures: FAILURES,
            successes: 1,
        })
    }

    async fn healthy(&self, workload: &Workload) -> Health {
        let params = self.params(json!({"Instance": self.instance(workload)}));
        let method = (Service::Flavor, "Healthy");
        let deadline = Deadline::after(TIMEOUT);
        match self
            .plugins
            .ask(&self.plugin, method, &params, deadline)
            .await
        {
            Ok(answer) => wire::health(&answer),
            // That it could not look says nothing about the workload.
            Err(error) => Health::unknown(format!("flavor plugin `{}`: {error}", self.plugin)),
        }
    }

    fn can_drain(&self) -> bool {
        true
    }

    async fn drain(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        let params = self.params(json!({"Instance": self.instance(workload)}));
        let method = (Service::Flavor, "Drain");
        let drained = self
            .plugins
            .order(&self.plugin, method, &params, deadline)
            .await;
        drained
            .map(|_| ())
            .map_err(|error| self.failed("draining", &error))
    }

    fn can_stop(&self) -> bool {
        false
    }

    async fn stop(&self, _: &Workload, _: Deadline) -> Result<(), FlavorError> {
        Err(nothing("stopping"))
    }

    fn can_restart(&self) -> bool {
        false
    }

    async fn restart(&self, _: &Workload, _: Deadline) -> Result<(), FlavorError> {
        Err(nothing("restarting"))
    }

    /// InfraKit's plugins have no word for it; its controller took pets for members of a quorum.
    fn may_be_missing(&self, members: usize) -> usize {
        match self.allocation {
            Allocation::Cattle { .. } => members,
            Allocation::Pets { .. } => members.saturating_sub(1) / 2,
        }
    }
}

fn nothing(what: &str) -> FlavorError {
    FlavorError::Failed {
        what: what.to_owned(),
        why: "InfraKit's flavor plugins have no such call".to_owned(),
    }
}

#[cfg(test)]
mod tests;
