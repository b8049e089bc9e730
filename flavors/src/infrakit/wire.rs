//! What InfraKit's *flavor* interface says, in its own words. Pure.

use muster_provisioners::infrakit::{attachments, field, marks, tags};
use muster_provisioners::{Attachment, MachineSpec, Properties, tag};
use serde_json::{Map, Value, json};

use crate::Health;

/// The most tags that a plugin may add: providers allow 50 at most, and muster's own take some.
const TAGS_MAX: usize = 40;
/// EC2 allows 28 attachments on an instance.
const ATTACHMENTS_MAX: usize = 28;

/// The key under which a spec for the provisioner `infrakit` has what its instance plugin reads.
const NESTED: &str = "properties";

/// The `Spec` of an instance, as a flavor plugin gets to complete it.
pub(super) fn spec(spec: &MachineSpec, group: &str, logical_id: Option<&str>) -> Value {
    let mut tags: Map<String, Value> = spec
        .tags
        .iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    tags.insert(marks::GROUP.to_owned(), json!(group));
    if let Some(id) = logical_id {
        tags.insert(marks::LOGICAL_ID.to_owned(), json!(id));
    }
    json!({
        "Properties": inner(&spec.properties),
        "Tags": tags,
        "Init": spec.init,
        "LogicalID": logical_id,
        "Attachments": attachments(&spec.attachments),
    })
}

/// What the instance's own plugin reads: a flavor plugin may know it.
fn inner(properties: &Properties) -> Value {
    match nested(properties) {
        Some(key) => properties.get(&key).cloned().unwrap_or(Value::Null),
        None => properties.to_value(),
    }
}

/// Under which key the instance plugin's own properties are, where there is such a plugin.
fn nested(properties: &Properties) -> Option<String> {
    let has_plugin = properties
        .iter()
        .any(|(key, _)| key.eq_ignore_ascii_case("plugin"));
    let mut keys = properties.iter().map(|(key, _)| key);
    let key = keys.find(|key| key.eq_ignore_ascii_case(NESTED));
    has_plugin.then(|| key.unwrap_or(NESTED).to_owned())
}

/// The spec as a plugin completed it; `shared` where every machine of the group gets the same. What muster needs to find the machine again, a plugin doesn't change.
///
/// # Errors
/// Why its answer can't be used.
pub(super) fn prepared(
    mut spec: MachineSpec,
    answer: &Value,
    shared: bool,
) -> Result<MachineSpec, String> {
    let given = answer.as_object().and_then(|answer| field(answer, "Spec"));
    let given = given
        .and_then(Value::as_object)
        .ok_or("its answer has no Spec")?;
    let init = match field(given, "Init") {
        None => String::new(),
        Some(init) => init.as_str().ok_or("Init is no text")?.to_owned(),
    };
    if init.len() > MachineSpec::INIT_MAX_BYTES {
        return Err(format!(
            "the script of the first boot has {} bytes, and {} are possible",
            init.len(),
            MachineSpec::INIT_MAX_BYTES
        ));
    }
    spec.init = init;
    let given_tags = tags(field(given, "Tags"))?;
    if given_tags.len() > TAGS_MAX + spec.tags.len() {
        return Err(format!("it sets {} tags", given_tags.len()));
    }
    let ours = |name: &str| {
        name.starts_with(tag::PREFIX) || name == marks::GROUP || name == marks::LOGICAL_ID
    };
    spec.tags
        .extend(given_tags.iter().filter(|(name, _)| !ours(name)));
    spec.attachments = read_attachments(field(given, "Attachments"))?;
    if shared && !spec.attachments.is_empty() {
        spec.tags.insert(marks::ATTACHMENTS, marks::SHARED);
    }
    if let Some(properties) = field(given, "Properties") {
        spec.properties = completed(spec.properties, properties)?;
    }
    Ok(spec)
}

fn read_attachments(value: Option<&Value>) -> Result<Vec<Attachment>, String> {
    let items = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return Err("Attachments is no list".to_owned()),
    };
    if items.len() > ATTACHMENTS_MAX {
        return Err(format!("it attaches {} things", items.len()));
    }
    let one = |item: &Value| {
        let item = item.as_object()?;
        let id = field(item, "ID")?.as_str().filter(|id| !id.is_empty())?;
        let kind = field(item, "Type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Some(Attachment::new(id, kind))
    };
    items
        .iter()
        .map(|item| one(item).ok_or_else(|| "an attachment has no ID".to_owned()))
        .collect()
}

fn completed(properties: Properties, given: &Value) -> Result<Properties, String> {
    let whole = match nested(&properties) {
        None => given.clone(),
        Some(key) => {
            let mut whole = properties.to_value();
            if let Some(whole) = whole.as_object_mut() {
                whole.insert(key, given.clone());
            }
            whole
        }
    };
    Properties::from_value(whole).map_err(|error| error.to_string())
}

/// A plugin's verdict: 1 is healthy, 2 is not, everything else says nothing.
pub(super) fn health(answer: &Value) -> Health {
    let verdict = answer
        .as_object()
        .and_then(|answer| field(answer, "Health"));
    match verdict.and_then(Value::as_u64) {
        Some(1) => Health::ok(""),
        Some(2) => Health::critical("the flavor plugin says that it is unhealthy"),
        _ => Health::unknown("the flavor plugin can't say"),
    }
}
