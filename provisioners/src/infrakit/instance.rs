//! What InfraKit's *instance* interface says, in its own words.

use serde_json::{Map, Value, json};

use super::rpc::{field, given};
use crate::{Attachment, InstanceId, MachineSpec, Tags};

/// The most instances that one plugin may list: more than a fleet can have.
const LISTED_MAX: usize = 65_536;

/// An instance as a plugin describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    /// The plugin's own ID of it.
    pub(super) id: String,
    /// Its tags, or why they can't be read.
    pub(super) tags: Result<Tags, String>,
    /// Its logical ID, where it has one.
    pub(super) logical_id: Option<String>,
}

/// The `Spec` of an instance that is to be made.
pub(super) fn spec(
    machine: &MachineSpec,
    properties: &Value,
    logical_id: Option<&str>,
    tags: &Tags,
    init: &str,
) -> Value {
    let tags: Map<_, _> = tags
        .iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    json!({
        "Properties": properties,
        "Tags": tags,
        "Init": init,
        "LogicalID": logical_id,
        "Attachments": attachments(&machine.attachments),
    })
}

/// Attachments in InfraKit's words; null for none, as Go has it.
pub fn attachments(attachments: &[Attachment]) -> Value {
    let one = |attachment: &Attachment| json!({"ID": attachment.id, "Type": attachment.kind});
    match attachments {
        [] => Value::Null,
        some => some.iter().map(one).collect(),
    }
}

/// The parameter `Tags` of a description.
pub(super) fn filter(tags: &Tags) -> Value {
    let entries = tags.iter();
    Value::Object(
        entries
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect(),
    )
}

/// The ID of what was made.
pub(super) fn made(result: &Value) -> Option<String> {
    let id = field(result.as_object()?, "ID")?.as_str()?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// What a plugin lists, each instance once.
///
/// # Errors
/// Why it is no list. One entry that can't be read spoils it: a list that is too short would say that machines are gone.
pub(super) fn descriptions(result: &Value) -> Result<Vec<Described>, String> {
    let listed = match result {
        Value::Object(result) => given(result, "Descriptions"),
        _ => return Err("its list of instances is no object".to_owned()),
    };
    let listed = match listed {
        Some(Value::Array(listed)) => listed.as_slice(),
        // Go writes an empty list as null where nobody made one.
        Some(Value::Null) => &[],
        Some(_) => return Err("its list of instances is no list".to_owned()),
        None => return Err("its answer has no list of instances".to_owned()),
    };
    if listed.len() > LISTED_MAX {
        return Err(format!("it lists {} instances", listed.len()));
    }
    let mut all: Vec<Described> = Vec::with_capacity(listed.len());
    for (index, entry) in listed.iter().enumerate() {
        let described = described(entry).ok_or_else(|| format!("instance {index} has no ID"))?;
        all.push(described);
    }
    all.sort_by(|one, other| one.id.cmp(&other.id));
    all.dedup_by(|later, earlier| later.id == earlier.id);
    Ok(all)
}

fn described(entry: &Value) -> Option<Described> {
    let entry = entry.as_object()?;
    let id = field(entry, "ID")?.as_str().filter(|id| !id.is_empty())?;
    Some(Described {
        id: id.to_owned(),
        tags: tags(field(entry, "Tags")),
        logical_id: field(entry, "LogicalID")
            .and_then(Value::as_str)
            .map(str::to_owned),
    })
}

/// Tags as a plugin gives them: none, or an object of texts.
///
/// # Errors
/// Which of them is none.
pub fn tags(value: Option<&Value>) -> Result<Tags, String> {
    let tags = match value {
        None => return Ok(Tags::new()),
        Some(Value::Object(tags)) => tags,
        Some(_) => return Err("its tags are no object".to_owned()),
    };
    let text = |(name, value): (&String, &Value)| match value {
        Value::String(value) => Ok((name.clone(), value.clone())),
        _ => Err(format!("its tag `{name}` is no text")),
    };
    tags.iter().map(text).collect()
}

// === muster's ID of an instance ===

/// muster's ID of an instance: the plugin's name, a colon, and the plugin's own ID, in which everything that can't stand in an
/// [`InstanceId`] is written as `%XX`. `None` where that becomes too long.
pub(super) fn instance_id(plugin: &super::PluginName, id: &str) -> Option<InstanceId> {
    let mut text = format!("{plugin}:");
    for byte in id.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    InstanceId::try_from(text).ok()
}

/// The plugin and the plugin's own ID of an instance; `None` where it is of another provisioner.
pub(super) fn own_id(id: &InstanceId) -> Option<(super::PluginName, String)> {
    let (plugin, own) = id.as_str().split_once(':')?;
    let mut bytes = Vec::with_capacity(own.len());
    let mut rest = own.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some((plugin.parse().ok()?, String::from_utf8(bytes).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_is_read_as_go_writes_it() {
        let result = json!({"Type": "", "Descriptions": [
            {"ID": "b", "LogicalID": null, "Tags": {"a": "b"}, "Properties": {"x": 1}},
            {"ID": "a", "LogicalID": "n1", "Tags": null},
            {"id": "b", "tags": {"a": "other"}},
        ]});
        let list = descriptions(&result).expect("a list");
        let ids: Vec<_> = list.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"], "each once");
        assert_eq!(list[0].logical_id.as_deref(), Some("n1"));
        assert_eq!(list[1].tags, Ok(Tags::new().with("a", "b")));
        for none in [json!({"Descriptions": null}), json!({"descriptions": []})] {
            assert_eq!(descriptions(&none), Ok(Vec::new()));
        }
    }

    #[test]
    fn a_list_that_can_t_be_read_is_no_shorter_list() {
        for bad in [
            json!([]),
            json!({}),
            json!({"Type": "", "Instances": []}),
            json!({"Descriptions": {}}),
            json!({"Descriptions": [{"ID": "a"}, {"ID": ""}]}),
            json!({"Descriptions": [{"ID": "a"}, 5]}),
        ] {
            assert!(descriptions(&bad).is_err(), "{bad}");
        }
        let odd =
            json!({"Descriptions": [{"ID": "a", "Tags": [1]}, {"ID": "b", "Tags": {"a": 1}}]});
        let list = descriptions(&odd).expect("a list");
        assert!(list.iter().all(|one| one.tags.is_err()));
    }

    proptest! {
        #[test]
        fn any_id_of_a_plugin_survives(id in "\\PC{1,40}") {
            let plugin: super::super::PluginName = "aws/vm".parse().expect("valid");
            let ours = instance_id(&plugin, &id).expect("short enough");
            prop_assert_eq!(own_id(&ours), Some((plugin, id)));
        }

        #[test]
        fn no_id_panics(text in "[!-~]{1,60}") {
            let _ = own_id(&text.parse().expect("printable"));
        }
    }
}
