//! YAML into a [`Node`] tree, as InfraKit reads it: YAML 1.1, in which a plain `yes` or `on` is a truth value.
//!
//! saphyr-parser does the reading; what a plain word means is decided here, since its own reading is that of YAML 1.2.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::Number;

use super::tree::{DEPTH_MAX, Entry, Node, NodeKind, Span, SyntaxError};

/// More values than this come only of aliases that multiply themselves.
const NODES_MAX: usize = 200_000;
/// So many bytes of a text that is copied count as one more value.
const TEXT_OF_A_VALUE_BYTES: usize = 64;

/// Reads a document; several become a list of them.
///
/// # Errors
/// The first place where it is no YAML, or all that JSON has no value for.
pub(super) fn parse(text: &str) -> Result<Node, Vec<SyntaxError>> {
    let offsets = Offsets::of(text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| vec![syntax_error(&offsets, &error)])?;
        let span = offsets.at(span.start.index())..offsets.at(span.end.index());
        builder.take(event, span).map_err(|error| vec![error])?;
    }
    if !builder.problems.is_empty() {
        return Err(builder.problems);
    }
    Ok(match builder.documents.len() {
        1 => builder.documents.remove(0),
        _ => Node {
            span: 0..text.len(),
            kind: NodeKind::List(builder.documents),
        },
    })
}

/// Where each character is, in bytes.
struct Offsets(Vec<usize>);

impl Offsets {
    fn of(text: &str) -> Self {
        let starts = text.char_indices().map(|(offset, _)| offset);
        Self(starts.chain([text.len()]).collect())
    }

    fn at(&self, character: usize) -> usize {
        let last = self.0.last().copied().unwrap_or_default();
        self.0.get(character).copied().unwrap_or(last)
    }
}

fn syntax_error(offsets: &Offsets, error: &ScanError) -> SyntaxError {
    let at = offsets.at(error.marker().index());
    SyntaxError {
        span: at..at,
        what: format!("this is no YAML: {}", error.info()),
        remedy: "check the indentation, and quote texts with `: `, `#`, `{` or `[` in them".into(),
    }
}

/// A list or an object that is not closed yet.
enum Open {
    List(Vec<Node>),
    Object {
        entries: Vec<Entry>,
        key: Option<(String, Span, bool)>,
        merged: Vec<Node>,
    },
}

/// Makes values of the parser's events.
#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<(Open, Span, usize)>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    problems: Vec<SyntaxError>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = scalar(&text, style, tag.as_deref()).unwrap_or_else(|what| {
                    self.problem(
                        span.clone(),
                        what,
                        "write a finite number, or quote the text",
                    );
                    NodeKind::Null
                });
                self.put(Node { span, kind }, anchor, style == ScalarStyle::Plain)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(error(
                        span,
                        "an alias of something around it",
                        "write it out",
                    ));
                };
                // Before it is copied: the copy's copies multiply.
                self.nodes += size(node);
                if self.nodes > NODES_MAX {
                    return Err(error(span, "too many values", "use fewer aliases"));
                }
                if self.open.len() + depth(node) > DEPTH_MAX {
                    return Err(error(span, "nested too deeply", "use fewer levels"));
                }
                let node = node.clone();
                self.put(Node { span, ..node }, 0, false)
            }
            Event::SequenceStart(anchor, _) => self.begin(Open::List(Vec::new()), span, anchor),
            Event::MappingStart(anchor, _) => {
                let object = Open::Object {
                    entries: Vec::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.begin(object, span, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open, span: Span, anchor: usize) -> Result<(), SyntaxError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(error(span, "nested too deeply", "use fewer levels"));
        }
        if let Some((Open::Object { key: None, .. }, ..)) = self.open.last() {
            return Err(error(
                span,
                "a key that is no plain word",
                "write a word as the key",
            ));
        }
        self.open.push((open, span, anchor));
        Ok(())
    }

    fn end(&mut self, end: Span) -> Result<(), SyntaxError> {
        let Some((open, start, anchor)) = self.open.pop() else {
            return Ok(());
        };
        let kind = match open {
            Open::List(items) => NodeKind::List(items),
            Open::Object {
                mut entries,
                merged,
                ..
            } => {
                merge(&mut entries, merged);
                NodeKind::Object(entries)
            }
        };
        let span = start.start..end.end.max(start.start);
        self.put(Node { span, kind }, anchor, false)
    }

    /// Puts a value where it belongs.
    fn put(&mut self, node: Node, anchor: usize, is_plain: bool) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(error(node.span, "too many values", "use fewer aliases"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let mut twice = None;
        match self.open.last_mut().map(|(open, ..)| open) {
            None => self.documents.push(node),
            Some(Open::List(items)) => items.push(node),
            Some(Open::Object {
                key,
                entries,
                merged,
            }) => match key.take() {
                None => *key = Some((key_text(&node)?, node.span, is_plain)),
                Some((name, _, true)) if name == "<<" => merged.push(node),
                Some((name, key_span, _)) => {
                    if entries.iter().any(|entry| entry.key == name) {
                        twice = Some((key_span, name));
                    } else {
                        entries.push(Entry {
                            key: name,
                            key_span,
                            node,
                        });
                    }
                }
            },
        }
        if let Some((span, name)) = twice {
            self.problem(span, format!("`{name}` is written twice"), "write it once");
        }
        Ok(())
    }

    fn problem(&mut self, span: Span, what: impl Into<String>, remedy: &str) {
        self.problems.push(error(span, what, remedy));
    }
}

fn error(span: Span, what: impl Into<String>, remedy: &str) -> SyntaxError {
    SyntaxError {
        span,
        what: what.into(),
        remedy: remedy.into(),
    }
}

/// How many values there are in one, a long text counted as several.
fn size(node: &Node) -> usize {
    1 + match &node.kind {
        NodeKind::Text(text) => text.len() / TEXT_OF_A_VALUE_BYTES,
        NodeKind::List(items) => items.iter().map(size).sum(),
        NodeKind::Object(entries) => entries.iter().map(|entry| size(&entry.node)).sum(),
        _ => 0,
    }
}

/// How many levels there are in a value.
fn depth(node: &Node) -> usize {
    match &node.kind {
        NodeKind::List(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        NodeKind::Object(entries) => {
            let inner = entries.iter().map(|entry| depth(&entry.node));
            1 + inner.max().unwrap_or_default()
        }
        _ => 0,
    }
}

/// Adds what `<<` brings, as far as it isn't there already; of several the first wins.
fn merge(entries: &mut Vec<Entry>, merged: Vec<Node>) {
    let mut known: BTreeSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    let mut pending: Vec<Node> = merged.into_iter().rev().collect();
    while let Some(node) = pending.pop() {
        match node.kind {
            NodeKind::List(items) => pending.extend(items.into_iter().rev()),
            NodeKind::Object(others) => {
                let new = others
                    .into_iter()
                    .filter(|entry| known.insert(entry.key.clone()));
                entries.extend(new);
            }
            _ => {}
        }
    }
}

/// The text of a key. Those that are no texts become what Go writes for them.
fn key_text(node: &Node) -> Result<String, SyntaxError> {
    match &node.kind {
        NodeKind::Text(text) => Ok(text.clone()),
        NodeKind::Bool(truth) => Ok(truth.to_string()),
        NodeKind::Number(number) => Ok(number.to_string()),
        _ => Err(error(
            node.span.clone(),
            "a key that is no word",
            "write a word as the key",
        )),
    }
}

// === words ===

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<NodeKind, String> {
    let is_text = tag.is_some_and(|tag| {
        (tag.is_yaml_core_schema() && tag.suffix == "str")
            || (tag.handle.is_empty() && tag.suffix == "!")
    });
    if style != ScalarStyle::Plain || is_text {
        return Ok(NodeKind::Text(text.to_owned()));
    }
    plain(text)
}

/// What a plain word means in YAML 1.1.
fn plain(text: &str) -> Result<NodeKind, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(NodeKind::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(NodeKind::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(NodeKind::Bool(false));
        }
        _ => {}
    }
    let unsigned = text.trim_start_matches(['-', '+']).to_ascii_lowercase();
    if unsigned == ".inf" || unsigned == ".nan" {
        return Err(format!("{text} is no number that JSON has"));
    }
    Ok(number(text).map_or_else(|| NodeKind::Text(text.to_owned()), NodeKind::Number))
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return None;
    }
    let clean = text.replace('_', "");
    integer(&clean).or_else(|| float(&clean))
}

/// Decimal, `0x…`, `0b…`, and octal with a leading zero.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        0i64.checked_sub_unsigned(size).map(Number::from)
    } else {
        Some(Number::from(size))
    }
}

fn float(text: &str) -> Option<Number> {
    let is_float =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    if !has_digit || !text.bytes().all(is_float) {
        return None;
    }
    text.parse().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::tree::line_and_column;
    use super::*;

    fn value(text: &str) -> Value {
        parse(text).expect("valid").to_value()
    }

    #[test]
    fn plain_words_mean_what_yaml_1_1_says() {
        let text = "a: yes\nb: 'yes'\nc: on\nd: ~\ne: 010\nf: 0x1F\ng: 1_000\nh: 1.50\ni: 1e3\nj: -7\nk: 1:30\n\
            l: 2024-05-06\nm: 10.0.0.1\nnn: v1\no: !!str 5\np: +3\nq: 08\nr: 1.\n";
        let expected = json!({
            "a": true, "b": "yes", "c": true, "d": null, "e": 8, "f": 31, "g": 1000, "h": 1.5, "i": 1000.0, "j": -7,
            "k": "1:30", "l": "2024-05-06", "m": "10.0.0.1", "nn": "v1", "o": "5", "p": 3, "q": 8.0, "r": 1.0,
        });
        assert_eq!(value(text), expected);
    }

    #[test]
    fn blocks_aliases_and_several_documents_are_read() {
        let text = "# a remark\nbase: &base\n  x: 1\n  text: |\n    two\n    lines\nmore:\n  <<: *base\n  x: 2\nlist:\n- *base\non: 1\n";
        let expected = json!({
            "base": {"x": 1, "text": "two\nlines\n"}, "more": {"x": 2, "text": "two\nlines\n"},
            "list": [{"x": 1, "text": "two\nlines\n"}], "true": 1,
        });
        assert_eq!(value(text), expected);
        assert_eq!(value("---\na: 1\n---\na: 2\n"), json!([{"a": 1}, {"a": 2}]));
        assert_eq!(value(""), json!([]));
    }

    #[test]
    fn everything_has_its_place() {
        let text = "ä: ö\nb:\n  - c: {d: 5}\n";
        let tree = parse(text).expect("valid");
        assert_eq!(&text[tree.locate("b[0].c.d")], "d");
        assert_eq!(line_and_column(text, tree.locate("b[0].c").start), (3, 5));
        for (bad, line) in [
            ("a: 1\nb: [1\n", 3),
            ("a:\n\t- 1\n", 2),
            ("a: 1\nb: .inf\n", 2),
            ("a: 1\na: 2\n", 2),
        ] {
            let problems = parse(bad).expect_err("no YAML");
            assert_eq!(
                line_and_column(bad, problems[0].span.start).0,
                line,
                "{bad}: {problems:?}"
            );
        }
    }

    #[test]
    fn aliases_don_t_multiply_without_end() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert!(parse(&text).is_err());
        let long = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(100_000),
            "*a, ".repeat(1000)
        );
        assert!(parse(&long).is_err());
        let mut chain = "a0: &a0 [x]\n".to_owned();
        for level in 1..100 {
            chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        assert!(parse(&chain).is_err());
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        assert!(parse(&deep).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\n]{0,120}|\\PC{0,60}") {
            let _ = parse(&text);
        }
    }
}
