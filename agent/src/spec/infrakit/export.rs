//! muster's groups as specs for InfraKit.

use serde_json::{Map, Value, json};

use crate::fleet::names::MachineName;
use crate::fleet::spec::{Allocation, GroupSpec, HealPolicy};

/// The envelopes that InfraKit knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// `{ID, Properties}`.
    Plain,
    /// A list of `{Plugin, Properties}`, for InfraKit's manager.
    List,
    /// `kind`, `metadata` and `properties`.
    Kind,
}

/// The group as InfraKit's tools take it. [`parse`](super::super::parse) reads it back, except for [`what is lost`](lost).
pub(crate) fn export(spec: &GroupSpec, envelope: Envelope) -> Value {
    let (id, properties) = (id(spec), properties(spec));
    match envelope {
        Envelope::Plain => json!({"ID": id, "Properties": properties}),
        Envelope::List => {
            json!([{"Plugin": "group", "Properties": {"ID": id, "Properties": properties}}])
        }
        Envelope::Kind => {
            json!({"kind": "group", "metadata": {"name": id}, "properties": properties})
        }
    }
}

/// What InfraKit calls the group.
pub(crate) fn id(spec: &GroupSpec) -> String {
    let given = spec.instance.properties.get("group");
    let given = given.filter(|_| spec.instance.provisioner == super::NAME);
    let given = given.and_then(Value::as_str);
    given.unwrap_or(spec.id.as_str()).to_owned()
}

/// What InfraKit calls a pet of the group.
pub(crate) fn logical_id(spec: &GroupSpec, name: &MachineName) -> String {
    let ids = spec.instance.properties.get("logical_ids");
    let given = ids.and_then(|ids| ids.get(name.as_str())?.as_str());
    given.unwrap_or(name.as_str()).to_owned()
}

/// What of a spec InfraKit has no words for.
pub(crate) fn lost(spec: &GroupSpec) -> Vec<&'static str> {
    let heal = spec.heal != HealPolicy::defaults(&spec.instance.provisioner);
    let disks = match &spec.allocation {
        Allocation::Cattle { .. } => false,
        Allocation::Pets { members } => members.values().any(|pet| !pet.attachments.is_empty()),
    };
    [
        (!spec.labels.is_empty(), "labels"),
        (!spec.placement.zones.is_empty(), "placement"),
        (heal, "heal"),
        (disks, "members.attachments"),
    ]
    .into_iter()
    .filter_map(|(is_lost, name)| is_lost.then_some(name))
    .collect()
}

/// The group's properties in InfraKit's schema.
pub(crate) fn properties(spec: &GroupSpec) -> Value {
    let allocation = match &spec.allocation {
        Allocation::Cattle { size } => json!({"Size": size}),
        Allocation::Pets { members } => {
            let ids = members.keys().map(|name| logical_id(spec, name));
            json!({"LogicalIDs": ids.collect::<Vec<_>>()})
        }
    };
    json!({
        "Allocation": allocation,
        "Instance": instance(spec),
        "Flavor": flavor(spec),
    })
}

/// `{Plugin, Properties}` of the instances; the hash of a configuration is made from this.
pub(crate) fn instance(spec: &GroupSpec) -> Value {
    plugin(
        &spec.instance.provisioner,
        &spec.instance.properties.to_value(),
    )
}

/// `{Plugin, Properties}` of the flavor.
pub(crate) fn flavor(spec: &GroupSpec) -> Value {
    plugin(&spec.flavor.name, &spec.flavor.properties.to_value())
}

fn plugin(name: &str, properties: &Value) -> Value {
    if name != super::NAME {
        return json!({"Plugin": name, "Properties": properties});
    }
    let empty = Map::new();
    let properties = properties.as_object().unwrap_or(&empty);
    // Names of these were translated when the spec was read, or are written in any case by people.
    let get = |name: &str| {
        let found = properties
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    json!({"Plugin": get("plugin"), "Properties": get("properties")})
}
