//! Where a field of a group was written.

use super::tree::line_and_column;
use super::{Source, group_nodes, tree_of};
use crate::fleet::names::GroupId;

/// The file and the line of a group's field; of the group where the field is not written. `None` where no source has the
/// group.
pub(crate) fn locate(sources: &[Source], id: &GroupId, field: &str) -> Option<(String, usize)> {
    sources.iter().find_map(|source| {
        let (tree, _) = tree_of(source).ok()?;
        let groups = group_nodes(&tree, &mut Vec::new());
        let is_it = |node: &&super::Node| {
            node.to_value().get("id").and_then(|id| id.as_str()) == Some(id.as_str())
        };
        let node = groups.into_iter().find(is_it)?;
        // A group's own span begins somewhere inside of it: its ID is what people look for.
        let written = node.locate(field);
        let span = if field.is_empty() || written == node.span {
            node.locate("id")
        } else {
            written
        };
        Some((
            source.name.clone(),
            line_and_column(&source.text, span.start).0,
        ))
    })
}
