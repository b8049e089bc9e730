//! What a group may say about the provisioner `infrakit`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::PluginName;
use crate::{Fields, Problem, Properties};

/// The properties of a group, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GroupProperties {
    /// The instance plugin.
    pub(super) plugin: PluginName,
    /// What it gets to read; only it knows what may be in there.
    pub(super) properties: Value,
    /// Logical IDs as InfraKit's spec has them, by the member's name, where they differ.
    pub(super) logical_ids: BTreeMap<String, String>,
    /// The group's ID as InfraKit's spec has it, where it differs.
    pub(super) group: Option<String>,
}

impl GroupProperties {
    /// Reads and checks them. Pure.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) fn read(properties: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::ignoring_case(properties);
        let plugin = PluginName::take(&mut fields, "file");
        let own = fields.value("properties").cloned();
        let logical_ids = fields.string_map("logical_ids").unwrap_or_default();
        let group = fields.string("group");
        match (plugin, fields.finish()) {
            (Some(plugin), problems) if problems.is_empty() => Ok(Self {
                plugin,
                properties: own.unwrap_or_else(|| json!({})),
                logical_ids,
                group,
            }),
            (_, problems) => Err(problems),
        }
    }

    /// What InfraKit calls a member.
    pub(super) fn logical_id<'a>(&'a self, member: &'a str) -> &'a str {
        self.logical_ids.get(member).map_or(member, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<GroupProperties, Vec<Problem>> {
        GroupProperties::read(&json.parse().expect("valid JSON"))
    }

    #[test]
    fn names_may_be_written_as_infrakit_writes_them() {
        let properties =
            read(r#"{"Plugin": "aws/ec2-instance", "Properties": {"Tags": {"a": 1}}}"#);
        let properties = properties.expect("valid");
        assert_eq!(properties.plugin.to_string(), "aws/ec2-instance");
        assert_eq!(properties.properties, json!({"Tags": {"a": 1}}));
        let pets = read(r#"{"plugin": "file", "logical_ids": {"a-b": "A_b"}}"#).expect("valid");
        assert_eq!((pets.logical_id("a-b"), pets.logical_id("c")), ("A_b", "c"));
    }

    #[test]
    fn everything_that_is_wrong_is_said() {
        let problems = read(r#"{"plugin": "../up", "colour": 1}"#).expect_err("two mistakes");
        let fields: Vec<_> = problems
            .iter()
            .map(|problem| problem.field.as_str())
            .collect();
        assert_eq!(fields, ["plugin", "colour"]);
        for bad in ["{}", r#"{"plugin": 5}"#, r#"{"plugin": null}"#] {
            assert_eq!(read(bad).expect_err("no name").len(), 1, "{bad}");
        }
    }
}
