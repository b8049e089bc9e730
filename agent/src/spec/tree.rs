//! TOML or JSON as one tree that remembers where everything was written.

use std::ops::Range;

use serde_json::{Map, Number, Value};

/// Deeper nesting is refused, so that no reader of the tree can run out of stack.
pub(super) const DEPTH_MAX: usize = 40;

/// A place in a text, in bytes.
pub(super) type Span = Range<usize>;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) kind: NodeKind,
}

/// The shapes of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NodeKind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Entry>),
}

/// One key of an object, with its value. In the order written; no key occurs twice.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) node: Node,
}

/// A text that is no TOML, or no JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) span: Span,
    pub(super) what: String,
    pub(super) remedy: String,
}

// === impl Node ===

impl Node {
    /// What it is, in words.
    pub(super) fn describe(&self) -> &'static str {
        match self.kind {
            NodeKind::Null => "null",
            NodeKind::Bool(_) => "a truth value",
            NodeKind::Number(_) => "a number",
            NodeKind::Text(_) => "a text",
            NodeKind::List(_) => "a list",
            NodeKind::Object(_) => "an object",
        }
    }

    /// The value without its places.
    pub(super) fn to_value(&self) -> Value {
        match &self.kind {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(truth) => Value::Bool(*truth),
            NodeKind::Number(number) => Value::Number(number.clone()),
            NodeKind::Text(text) => Value::String(text.clone()),
            NodeKind::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            NodeKind::Object(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.node.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// Where the field of this path was written: `health.timeout`, `env.PATH`, `items[2].name`. As near as can be
    /// where there is no such field: the innermost object around it. Keys are found in any case, as some flavors
    /// read them so.
    pub(super) fn locate(&self, path: &str) -> Span {
        let path = path.strip_prefix('.').unwrap_or(path);
        match &self.kind {
            NodeKind::Object(entries) => {
                let found = entries
                    .iter()
                    .filter_map(|entry| Some((entry, strip_key(path, &entry.key)?)))
                    // Keys may hold dots themselves; the longest that fits is meant.
                    .max_by_key(|(entry, _)| entry.key.len());
                match found {
                    Some((entry, "")) => entry.key_span.clone(),
                    Some((entry, rest)) if entry.node.is_container() => {
                        let inner = entry.node.locate(rest);
                        // A place in the key says more than the whole of a long value.
                        if inner == entry.node.span {
                            entry.key_span.clone()
                        } else {
                            inner
                        }
                    }
                    Some((entry, _)) => entry.node.span.clone(),
                    None => self.span.clone(),
                }
            }
            NodeKind::List(items) => {
                let item = path.strip_prefix('[').and_then(|rest| {
                    let (index, rest) = rest.split_once(']')?;
                    Some(items.get(index.parse::<usize>().ok()?)?.locate(rest))
                });
                item.unwrap_or_else(|| self.span.clone())
            }
            _ => self.span.clone(),
        }
    }

    fn is_container(&self) -> bool {
        matches!(self.kind, NodeKind::List(_) | NodeKind::Object(_))
    }
}

/// What is left of `path` after `key`, if `key` is what it begins with.
fn strip_key<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let (head, rest) = path.split_at_checked(key.len())?;
    let whole = rest.is_empty() || rest.starts_with(['.', '[']);
    (whole && head.eq_ignore_ascii_case(key)).then_some(rest)
}

/// Line and column, both from 1, of a place in a text; columns count characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    (
        line,
        String::from_utf8_lossy(&before[line_start..])
            .chars()
            .count()
            + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::super::{json, toml};
    use super::*;

    const TOML: &str = "a = 1\n[b]\n'x.y' = [1, { z = 2 }]\n[[c]]\nd = 'e'\n";
    const JSON: &str = "{\"a\": 1,\n \"b\": {\"x.y\": [1, {\"z\": 2}]},\n \"c\": [{\"d\": \"e\"}]}";

    #[test]
    fn both_formats_make_the_same_tree() {
        let toml = toml::parse(TOML).expect("valid");
        let json = json::parse(JSON).expect("valid");
        assert_eq!(toml.to_value(), json.to_value());
    }

    #[test]
    fn fields_are_found_in_both_formats() {
        for (text, tree) in [
            (TOML, toml::parse(TOML).expect("valid")),
            (JSON, json::parse(JSON).expect("valid")),
        ] {
            let lines = |path: &str| line_and_column(text, tree.locate(path).start).0;
            let toml = text == TOML;
            assert_eq!(lines("a"), 1);
            assert_eq!(lines("A"), 1);
            assert_eq!(lines("b.x.y[1].z"), if toml { 3 } else { 2 });
            assert_eq!(lines("b.x.y[7]"), if toml { 3 } else { 2 });
            assert_eq!(lines("c[0].d"), if toml { 5 } else { 3 });
            assert_eq!(lines("c[0].nothing"), if toml { 4 } else { 3 });
            assert_eq!(
                &text[tree.locate("c[0].d")],
                if toml { "d" } else { "\"d\"" }
            );
        }
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("ä = 1\nöö = 2", 0), (1, 1));
        assert_eq!(line_and_column("ä = 1\nöö = 2", "ä = 1\nöö".len()), (2, 3));
        assert_eq!(line_and_column("x", 99), (1, 2));
    }
}
