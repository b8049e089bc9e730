//! Group specs as they were written for InfraKit, in muster's own words.
//!
//! InfraKit had three envelopes around the same group: `{ID, Properties}`; a list of `{Plugin, Properties}` with that in each;
//! and `kind`, `metadata` and `properties`. Names of fields may be written in any case, and unknown ones are passed over, as Go
//! does. What comes out is a tree in the words of [`group`](super::group), with every part still at the place where it was
//! written, so that what is wrong is found in the user's own file.

use std::collections::BTreeMap;

use super::problem::Found;
use super::tree::{Entry, Node, NodeKind, Span};
use crate::fleet::names::NAME_BYTES_MAX;

pub(crate) mod export;

/// The provisioner and the flavor that speak to InfraKit's plugins.
const NAME: &str = "infrakit";

/// The tree of a document, with every group of InfraKit's in it translated; everything else stays as it is.
pub(super) fn translated(tree: Node, found: &mut Vec<Found>) -> Node {
    if let Some(group) = translate(&tree, found) {
        return group;
    }
    let NodeKind::List(items) = tree.kind else {
        return tree;
    };
    let items = items
        .into_iter()
        .map(|item| translate(&item, found).unwrap_or(item));
    Node {
        span: tree.span,
        kind: NodeKind::List(items.collect()),
    }
}

/// A group of InfraKit's, translated; `None` where it is none.
fn translate(node: &Node, found: &mut Vec<Found>) -> Option<Node> {
    let (id, properties) = envelope(node, found)?;
    Some(group(id, properties, found))
}

/// The ID and the properties, out of whichever envelope it is.
fn envelope<'t>(node: &'t Node, found: &mut Vec<Found>) -> Option<(&'t Node, &'t Node)> {
    let of_group = |properties: &&Node| {
        ["Instance", "Flavor", "Allocation"]
            .iter()
            .any(|name| get(properties, name).is_some())
    };
    let properties = get(node, "Properties");
    if let (Some(id), Some(properties)) = (get(node, "ID"), properties.filter(of_group)) {
        return Some((id, properties));
    }
    if get(node, "Plugin").is_some() {
        let inner = properties?;
        return Some((
            get(inner, "ID")?,
            get(inner, "Properties").filter(of_group)?,
        ));
    }
    let (kind, metadata) = (get(node, "kind")?, get(node, "metadata")?);
    let word = match &kind.kind {
        NodeKind::Text(word) => word.as_str(),
        _ => "",
    };
    if word.split('/').next() != Some("group") {
        problem(
            found,
            &kind.span,
            "kind",
            "of what InfraKit knows, muster takes groups",
            "leave the others to InfraKit: write kind: group",
        );
    }
    match (get(metadata, "name"), properties) {
        (Some(name), Some(properties)) => Some((name, properties)),
        (name, _) => {
            let missing = if name.is_none() {
                "metadata.name"
            } else {
                "properties"
            };
            problem(
                found,
                &kind.span,
                missing,
                "is missing",
                "write it, as InfraKit wants it",
            );
            Some((kind, node))
        }
    }
}

/// The group in muster's words.
fn group(id: &Node, properties: &Node, found: &mut Vec<Found>) -> Node {
    let (name, given) = named(id);
    let mut entries = vec![entry("id", name)];
    let mut renamed = Vec::new();
    entries.extend(allocation(properties, &id.span, &mut renamed, found));
    let instance = plugin(
        properties,
        "Instance",
        "provisioner",
        (&given, &renamed),
        &id.span,
        found,
    );
    let flavor = plugin(
        properties,
        "Flavor",
        "name",
        (&given, &renamed),
        &id.span,
        found,
    );
    entries.extend([instance, flavor].into_iter().flatten());
    Node {
        span: properties.span.clone(),
        kind: NodeKind::Object(entries),
    }
}

/// `Allocation`: a size, or logical IDs.
fn allocation(
    properties: &Node,
    id: &Span,
    renamed: &mut Vec<Entry>,
    found: &mut Vec<Found>,
) -> Option<Entry> {
    let remedy = "write Allocation with Size: 3, or with LogicalIDs and a list of names";
    let Some(allocation) = get(properties, "Allocation") else {
        problem(found, id, "Allocation", "is missing", remedy);
        return None;
    };
    let is_zero =
        |node: &Node| matches!(&node.kind, NodeKind::Number(number) if number.as_u64() == Some(0));
    let size = get(allocation, "Size");
    let ids = get(allocation, "LogicalIDs")
        .filter(|ids| !matches!(&ids.kind, NodeKind::List(ids) if ids.is_empty()));
    match (size, ids) {
        (Some(size), Some(ids)) if !is_zero(size) => {
            problem(
                found,
                &ids.span,
                "Allocation.LogicalIDs",
                "a group has either a size or logical IDs",
                "remove one of the two",
            );
            None
        }
        (_, Some(ids)) => {
            let kind = match &ids.kind {
                NodeKind::List(ids) => NodeKind::List(members(ids, renamed, found)),
                other => other.clone(),
            };
            Some(entry(
                "members",
                Node {
                    span: ids.span.clone(),
                    kind,
                },
            ))
        }
        (Some(size), None) => Some(entry("size", size.clone())),
        (None, None) => {
            problem(
                found,
                &allocation.span,
                "Allocation",
                "says neither how many nor which",
                remedy,
            );
            None
        }
    }
}

/// Logical IDs as names of machines. What InfraKit calls those whose names had to change goes to `renamed`.
fn members(ids: &[Node], renamed: &mut Vec<Entry>, found: &mut Vec<Found>) -> Vec<Node> {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut members = Vec::new();
    for id in ids {
        let (node, given) = named(id);
        if let NodeKind::Text(name) = &node.kind {
            let own = given.clone().unwrap_or_else(|| name.clone());
            if let Some(other) = seen
                .insert(name.clone(), own.clone())
                .filter(|other| *other != own)
            {
                let what = format!("`{own}` and `{other}` would both be called {name}");
                problem(
                    found,
                    &id.span,
                    "Allocation.LogicalIDs",
                    what,
                    "use names that differ in letters or digits",
                );
            }
            if let Some(given) = given {
                renamed.push(entry(name, text(&given, &id.span)));
            }
        }
        members.push(node);
    }
    members
}

/// `Instance` or `Flavor`: a plugin and what it reads.
fn plugin(
    properties: &Node,
    part: &'static str,
    key: &'static str,
    (group, renamed): (&Option<String>, &[Entry]),
    id: &Span,
    found: &mut Vec<Found>,
) -> Option<Entry> {
    let remedy = "name a plugin and its Properties";
    let Some(Entry { key_span, node, .. }) = get_entry(properties, part) else {
        problem(found, id, part, "is missing", remedy);
        return None;
    };
    let Some(name) = get(node, "Plugin") else {
        problem(
            found,
            key_span,
            &format!("{part}.Plugin"),
            "is missing",
            remedy,
        );
        return None;
    };
    let mut own = vec![entry("plugin", name.clone())];
    if let Some(given) =
        get_entry(node, "Properties").filter(|given| given.node.kind != NodeKind::Null)
    {
        own.push(Entry {
            key: "properties".to_owned(),
            ..given.clone()
        });
    }
    if !renamed.is_empty() {
        let kind = NodeKind::Object(renamed.to_vec());
        own.push(entry(
            "logical_ids",
            Node {
                span: name.span.clone(),
                kind,
            },
        ));
    }
    if let Some(group) = group {
        own.push(entry("group", text(group, &name.span)));
    }
    let own = Node {
        span: node.span.clone(),
        kind: NodeKind::Object(own),
    };
    let kind = NodeKind::Object(vec![
        entry(key, text(NAME, &name.span)),
        entry("properties", own),
    ]);
    Some(Entry {
        key: part.to_lowercase(),
        key_span: key_span.clone(),
        node: Node {
            span: node.span.clone(),
            kind,
        },
    })
}

/// A name as muster can have it, and the one that was given where that differs. What is no text stays, for its reader to say so.
fn named(node: &Node) -> (Node, Option<String>) {
    let given = match &node.kind {
        NodeKind::Text(given) => given.clone(),
        // YAML makes a number of `1`, and InfraKit a text of that again.
        NodeKind::Number(number) => number.to_string(),
        _ => return (node.clone(), None),
    };
    let name = as_name(&given);
    let differs = name != given;
    (text(&name, &node.span), differs.then_some(given))
}

/// Lower-case letters and digits, with single hyphens between them for all else.
pub(crate) fn as_name(given: &str) -> String {
    let lower = given.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let joined = words.join("-");
    let name = joined.trim_matches('-');
    // Longer ones are refused by their reader, which has seen enough by then.
    name.chars().take(NAME_BYTES_MAX + 1).collect()
}

fn text(text: &str, span: &Span) -> Node {
    Node {
        span: span.clone(),
        kind: NodeKind::Text(text.to_owned()),
    }
}

fn entry(key: &str, node: Node) -> Entry {
    Entry {
        key: key.to_owned(),
        key_span: node.span.clone(),
        node,
    }
}

fn problem(
    found: &mut Vec<Found>,
    span: &Span,
    field: &str,
    what: impl Into<String>,
    remedy: &str,
) {
    found.push(Found {
        span: span.clone(),
        field: field.to_owned(),
        what: what.into(),
        remedy: remedy.to_owned(),
    });
}

/// A field by its name in any case; the exact spelling wins. Null counts as absent.
fn get<'t>(node: &'t Node, name: &str) -> Option<&'t Node> {
    let found = get_entry(node, name).map(|entry| &entry.node);
    found.filter(|node| node.kind != NodeKind::Null)
}

fn get_entry<'t>(node: &'t Node, name: &str) -> Option<&'t Entry> {
    let NodeKind::Object(entries) = &node.kind else {
        return None;
    };
    let exact = entries.iter().find(|entry| entry.key == name);
    exact.or_else(|| {
        entries
            .iter()
            .find(|entry| entry.key.eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests;
