//! Canonical specs back into what a person would write.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::group::{FLAVOR_DEFAULT, PROVISIONER_DEFAULT, implied_attachments};
use crate::fleet::LeaseTerms;
use crate::fleet::names::MachineName;
use crate::fleet::spec::{Allocation, GroupSpec, HealPolicy, PetSpec};

/// The spec as a document in the words of spec files, without what is at its default. [`parse`](super::parse) reads
/// it back to the same spec.
pub fn document(spec: &GroupSpec) -> Value {
    let mut group = Map::new();
    group.insert("id".into(), json!(spec.id));
    match &spec.allocation {
        Allocation::Cattle { size } => group.insert("size".into(), json!(size)),
        Allocation::Pets { members } => {
            let members = members
                .iter()
                .map(|(name, pet)| member(name, pet, &spec.instance.provisioner));
            group.insert("members".into(), members.collect())
        }
    };
    let mut put = |key: &str, table: Map<String, Value>| {
        if !table.is_empty() {
            group.insert(key.into(), Value::Object(table));
        }
    };
    put(
        "labels",
        spec.labels
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect(),
    );
    let zones = &spec.placement.zones;
    put(
        "placement",
        some("zones", (!zones.is_empty()).then(|| json!(zones))),
    );
    let instance = &spec.instance;
    put(
        "instance",
        plugin(
            "provisioner",
            &instance.provisioner,
            PROVISIONER_DEFAULT,
            instance.properties.to_value(),
        ),
    );
    let flavor = &spec.flavor;
    put(
        "flavor",
        plugin(
            "name",
            &flavor.name,
            FLAVOR_DEFAULT,
            flavor.properties.to_value(),
        ),
    );
    put(
        "heal",
        heal(&spec.heal, &HealPolicy::defaults(&instance.provisioner)),
    );
    Value::Object(group)
}

/// The spec as the text of a spec file.
pub fn to_toml(spec: &GroupSpec) -> String {
    let document = json!({ "group": [without_nulls(document(spec))] });
    // Every JSON value without nulls is a TOML value, except numbers beyond 64 bits signed.
    ::toml::to_string_pretty(&document)
        .unwrap_or_else(|error| format!("# can't be written as TOML: {error}\n"))
}

fn member(name: &MachineName, pet: &PetSpec, provisioner: &str) -> Value {
    if pet.attachments == implied_attachments(provisioner, name) {
        return json!(name);
    }
    let attachments = pet.attachments.iter().map(|attachment| {
        let mut entry = some("id", Some(json!(attachment.id)));
        entry.extend(some(
            "kind",
            (!attachment.kind.is_empty()).then(|| json!(attachment.kind)),
        ));
        Value::Object(entry)
    });
    json!({ "id": name, "attachments": attachments.collect::<Vec<_>>() })
}

fn plugin(key: &str, name: &str, default: &str, properties: Value) -> Map<String, Value> {
    let mut table = some(key, (name != default).then(|| json!(name)));
    let empty = properties.as_object().is_none_or(Map::is_empty);
    table.extend(some("properties", (!empty).then_some(properties)));
    table
}

fn heal(heal: &HealPolicy, defaults: &HealPolicy) -> Map<String, Value> {
    let duration =
        |ms: u64| json!(humantime::format_duration(Duration::from_millis(ms)).to_string());
    let mut table = some(
        "mode",
        (heal.mode != defaults.mode).then(|| json!(heal.mode)),
    );
    for (key, value, default) in [
        ("boot_grace", heal.boot_grace_ms, defaults.boot_grace_ms),
        (
            "change_grace",
            heal.change_grace_ms,
            defaults.change_grace_ms,
        ),
        (
            "unreachable_after",
            heal.unreachable_after_ms,
            defaults.unreachable_after_ms,
        ),
        (
            "reimage_within",
            heal.reimage_within_ms,
            defaults.reimage_within_ms,
        ),
    ] {
        table.extend(some(key, (value != default).then(|| duration(value))));
    }
    table.extend(some(
        "unreachable",
        heal.unreachable.map(|first| json!(first)),
    ));
    if let Some(LeaseTerms { lease_ms, stop_ms }) = heal.lease {
        let written = stop_ms != LeaseTerms::stop_ms_default(lease_ms);
        table.extend(some("lease", Some(duration(lease_ms))));
        table.extend(some("stop_within", written.then(|| duration(stop_ms))));
    }
    let mut budget = some("at_once", heal.budget.at_once.map(|count| json!(count)));
    budget.extend(some(
        "per_hour",
        heal.budget.per_hour.map(|count| json!(count)),
    ));
    table.extend(some(
        "budget",
        (!budget.is_empty()).then_some(Value::Object(budget)),
    ));
    table
}

fn some(key: &str, value: Option<Value>) -> Map<String, Value> {
    value
        .into_iter()
        .map(|value| (key.to_owned(), value))
        .collect()
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => items
            .into_iter()
            .filter(|item| !item.is_null())
            .map(without_nulls)
            .collect(),
        scalar => scalar,
    }
}
