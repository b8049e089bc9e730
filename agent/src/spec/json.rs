//! JSON into a [`Node`] tree.
//!
//! serde_json does the reading. Its raw values are slices of the text, and a slice's address tells where it was
//! written, so no second parser is needed to know lines and columns.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::tree::{DEPTH_MAX, Entry, Node, NodeKind, Span, SyntaxError};

/// Reads a document.
///
/// # Errors
/// The first place where it is no JSON, and all keys that are written twice.
pub(super) fn parse(text: &str) -> Result<Node, Vec<SyntaxError>> {
    // Checks the whole first: beyond this, only depth and double keys can be wrong.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| vec![syntax_error(text, &error)])?;
    let mut reader = Reader {
        text,
        problems: Vec::new(),
    };
    let node = reader.node(text, 0);
    if reader.problems.is_empty() {
        Ok(node)
    } else {
        Err(reader.problems)
    }
}

struct Reader<'t> {
    text: &'t str,
    problems: Vec<SyntaxError>,
}

impl<'t> Reader<'t> {
    /// Reads `raw`, which is a slice of the whole text.
    fn node(&mut self, raw: &'t str, depth: usize) -> Node {
        let raw = raw.trim();
        let span = self.span_of(raw);
        let kind = match raw.as_bytes().first() {
            Some(b'{' | b'[') if depth >= DEPTH_MAX => {
                self.problem(span.clone(), "nested too deeply".into(), "use fewer levels");
                NodeKind::Null
            }
            Some(b'{') => self.object(raw, depth),
            Some(b'[') => {
                let items = serde_json::from_str::<Vec<&'t RawValue>>(raw).unwrap_or_default();
                NodeKind::List(
                    items
                        .into_iter()
                        .map(|item| self.node(item.get(), depth + 1))
                        .collect(),
                )
            }
            _ => match serde_json::from_str(raw) {
                Ok(Value::Bool(truth)) => NodeKind::Bool(truth),
                Ok(Value::Number(number)) => NodeKind::Number(number),
                Ok(Value::String(text)) => NodeKind::Text(text),
                Ok(_) => NodeKind::Null,
                Err(error) => {
                    // Valid in form and still not a value: a number beyond all bounds, half a surrogate pair.
                    self.problem(span.clone(), message(&error), "write a value that fits");
                    NodeKind::Null
                }
            },
        };
        Node { span, kind }
    }

    fn object(&mut self, raw: &'t str, depth: usize) -> NodeKind {
        let mut deserializer = serde_json::Deserializer::from_str(raw);
        let pairs = match deserializer.deserialize_map(Pairs) {
            Ok(pairs) => pairs,
            Err(error) => {
                let span = self.span_of(raw);
                self.problem(span, message(&error), "write names that are plain text");
                Vec::new()
            }
        };
        let mut entries: Vec<Entry> = Vec::with_capacity(pairs.len());
        let mut seen = std::collections::BTreeSet::new();
        for (key, value) in pairs {
            let key_span = self.key_span(&key, value.get());
            if !seen.insert(key.clone()) {
                self.problem(
                    key_span,
                    format!("`{key}` is written twice"),
                    "write it once",
                );
                continue;
            }
            let node = self.node(value.get(), depth + 1);
            entries.push(Entry {
                key,
                key_span,
                node,
            });
        }
        NodeKind::Object(entries)
    }

    fn problem(&mut self, span: Span, what: String, remedy: &str) {
        self.problems.push(SyntaxError {
            span,
            what,
            remedy: remedy.into(),
        });
    }

    fn span_of(&self, slice: &str) -> Span {
        let start = (slice.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        start..start + slice.len()
    }

    /// The place of the key before a value; that of the value where the key is written with escapes.
    fn key_span(&self, key: &str, value: &str) -> Span {
        let value = self.span_of(value);
        let quoted = self.text.get(..value.start).and_then(|before| {
            let before = before.trim_end().strip_suffix(':')?.trim_end();
            let start = before
                .strip_suffix('"')?
                .strip_suffix(key)?
                .strip_suffix('"')?
                .len();
            Some(start..before.len())
        });
        quoted.unwrap_or(value)
    }
}

/// The keys and raw values of an object, doubles included.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

fn syntax_error(text: &str, error: &serde_json::Error) -> SyntaxError {
    let line_start: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    // serde_json counts bytes from 1, and 0 at the start of a line.
    let at = (line_start + error.column().saturating_sub(1)).min(text.len());
    SyntaxError {
        span: at..at,
        what: message(error),
        remedy: "JSON has neither comments nor commas after the last item; TOML has both".into(),
    }
}

/// The message without the place that serde_json puts behind it.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tree::line_and_column;
    use super::*;

    #[test]
    fn a_syntax_error_has_its_place() {
        let text = "{\"a\": 1,\n  \"b\": tru}";
        let problems = parse(text).expect_err("no such word");
        assert_eq!(line_and_column(text, problems[0].span.start).0, 2);
        assert!(!problems[0].what.contains("line"), "{problems:?}");
    }

    #[test]
    fn double_keys_are_refused_all_of_them() {
        let problems = parse(r#"{"a": 1, "a": 2, "b": {"c": 1, "c": 2}}"#).expect_err("doubles");
        assert_eq!(problems.len(), 2);
        assert_eq!(problems[0].span, 9..12);
    }

    #[test]
    fn bottomless_nesting_is_refused() {
        let text = "[".repeat(100) + &"]".repeat(100);
        assert_eq!(
            parse(&text).expect_err("too deep")[0].what,
            "nested too deeply"
        );
        assert!(parse(&"[".repeat(1_000_000)).is_err());
    }

    #[test]
    fn keys_with_escapes_are_read() {
        let tree = parse(r#"{"\u0061": 1}"#).expect("valid");
        assert_eq!(tree.to_value(), serde_json::json!({"a": 1}));
    }
}
