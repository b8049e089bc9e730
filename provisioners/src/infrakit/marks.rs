//! What is kept in an instance's tags besides those that its machine has: InfraKit gives no other place for it.

use serde_json::{Value, json};

use super::instance::own_id;
use super::rpc::field;
use crate::{Attachment, Tags, tag};

/// When it was made, in milliseconds since 1970.
const MADE: &str = "muster.made";
/// One attachment each, with a number behind it.
const ATTACHMENT: &str = "muster.attachment.";
/// The group, as InfraKit's tools look for it.
pub const GROUP: &str = "infrakit.group";
/// The logical ID, as InfraKit's tools look for it.
pub const LOGICAL_ID: &str = "infrakit.logical_id";
/// Set to [`SHARED`] on instances whose attachments others have as well.
pub const ATTACHMENTS: &str = "infrakit.attachments";
/// InfraKit gave all of a group's cattle the same attachments, and left it to the plugin what that means.
pub const SHARED: &str = "shared";
/// What the configuration hashes to that it was made from.
pub const CONFIG_HASH: &str = "infrakit.config.hash";

/// What a plugin calls the instance that muster knows by this ID; the whole ID where it is of another provisioner.
pub fn plugins_own(id: &str) -> String {
    let own = id.parse().ok().and_then(|id| own_id(&id));
    own.map_or_else(|| id.to_owned(), |(_, own)| own)
}

/// The tags that an instance of ours gets: the machine's own, and what is kept besides.
pub(super) fn with_marks(
    tags: &Tags,
    made_ms: u64,
    attachments: &[Attachment],
    group: &str,
    logical_id: Option<&str>,
) -> Tags {
    let mut tags = tags.clone().with(MADE, made_ms.to_string());
    for (number, attachment) in attachments.iter().enumerate() {
        let value = json!({"ID": attachment.id, "Type": attachment.kind}).to_string();
        tags.insert(format!("{ATTACHMENT}{number}"), value);
    }
    if !group.is_empty() {
        tags.insert(GROUP, group);
    }
    if let Some(id) = logical_id {
        tags.insert(LOGICAL_ID, id);
    }
    tags
}

/// What an instance's tags say, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The tags that the machine was given.
    pub(super) tags: Tags,
    /// When it was made, in milliseconds since 1970; 0 where that is not known.
    pub(super) made_ms: u64,
    /// What is attached to it.
    pub(super) attachments: Vec<Attachment>,
}

/// Takes the tags of an instance apart. One that muster did not make keeps all it has.
pub(super) fn read_marks(tags: &Tags) -> Marks {
    if tags.get(tag::OPERATION).is_none() {
        return Marks {
            tags: tags.clone(),
            ..Marks::default()
        };
    }
    let is_mark = |name: &str| {
        name == MADE || name.starts_with(ATTACHMENT) || name == GROUP || name == LOGICAL_ID
    };
    let mut attachments: Vec<(usize, Attachment)> = tags
        .iter()
        .filter_map(|(name, value)| {
            Some((
                name.strip_prefix(ATTACHMENT)?.parse().ok()?,
                attachment(value)?,
            ))
        })
        .collect();
    attachments.sort();
    Marks {
        made_ms: tags
            .get(MADE)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        attachments: attachments
            .into_iter()
            .map(|(_, attachment)| attachment)
            .collect(),
        tags: tags.iter().filter(|(name, _)| !is_mark(name)).collect(),
    }
}

fn attachment(text: &str) -> Option<Attachment> {
    let value: Value = serde_json::from_str(text).ok()?;
    let value = value.as_object()?;
    let id = field(value, "ID")?.as_str()?;
    let kind = field(value, "Type").and_then(Value::as_str);
    Some(Attachment::new(id, kind.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_back_and_not_shown() {
        let tags = Tags::new().with(tag::OPERATION, "op-x").with("tier", "web");
        let disks = vec![
            Attachment::new("vol \"1\"", "ebs"),
            Attachment::new("b", ""),
        ];
        let marked = with_marks(&tags, 77, &disks, "pets", Some("N_1"));
        assert_eq!(marked.get(GROUP), Some("pets"));
        assert_eq!(marked.get(LOGICAL_ID), Some("N_1"));
        let marks = read_marks(&marked);
        assert_eq!(
            marks,
            Marks {
                tags,
                made_ms: 77,
                attachments: disks
            }
        );
    }

    #[test]
    fn another_s_instance_keeps_its_tags() {
        let tags = Tags::new().with(GROUP, "cattle").with(CONFIG_HASH, "x");
        assert_eq!(read_marks(&tags).tags, tags);
    }

    #[test]
    fn marks_that_can_t_be_read_are_left_out() {
        let tags = Tags::new()
            .with(tag::OPERATION, "op-x")
            .with("muster.made", "soon")
            .with("muster.attachment.0", "{")
            .with("muster.attachment.x", r#"{"ID":"a"}"#);
        let marks = read_marks(&tags);
        assert_eq!((marks.made_ms, marks.attachments.len()), (0, 0));
    }
}
