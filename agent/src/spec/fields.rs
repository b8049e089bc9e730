//! Takes objects apart field by field and collects everything that is wrong on the way.

use std::collections::BTreeMap;

use super::problem::Found;
use super::tree::{Entry, Node, NodeKind, Span};

/// An object that is being taken apart. What nobody takes is reported by [`finish`](Self::finish).
pub(super) struct Fields<'t, 'p> {
    entries: Vec<&'t Entry>,
    span: Span,
    path: String,
    known: Vec<&'static str>,
    problems: &'p mut Vec<Found>,
}

/// A value that was read, with its place for problems that show later.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Read<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<'t, 'p> Fields<'t, 'p> {
    /// Begins with `node`, called `path` in messages. Reports it where it is no object.
    pub(super) fn open(node: &'t Node, path: &str, problems: &'p mut Vec<Found>) -> Option<Self> {
        let NodeKind::Object(entries) = &node.kind else {
            problems.push(Found {
                span: node.span.clone(),
                field: path.to_owned(),
                what: format!("expected an object, found {}", node.describe()),
                remedy: "write a table of keys and values".into(),
            });
            return None;
        };
        Some(Self {
            entries: entries.iter().collect(),
            span: node.span.clone(),
            path: path.to_owned(),
            known: Vec::new(),
            problems,
        })
    }

    /// What messages call a field.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// From here on messages call the object so.
    pub(super) fn rename(&mut self, path: String) {
        self.path = path;
    }

    /// Reports something about a field at a known place.
    pub(super) fn problem(
        &mut self,
        span: Span,
        name: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let field = if name.is_empty() {
            self.path.clone()
        } else {
            self.path_of(name)
        };
        self.problems.push(Found {
            span,
            field,
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    /// Reports that a field is missing.
    pub(super) fn missing(&mut self, name: &str, remedy: impl Into<String>) {
        self.problem(self.span.clone(), name, "is missing", remedy);
    }

    /// Whether a field has been reported already, so that "is missing" needn't be added.
    pub(super) fn has_problem_with(&self, name: &str) -> bool {
        let field = self.path_of(name);
        self.problems.iter().any(|problem| problem.field == field)
    }

    /// Takes a field as it is; `null` counts as absent.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'t Entry> {
        self.known.push(name);
        let index = self.entries.iter().position(|entry| entry.key == name)?;
        let entry = self.entries.remove(index);
        (entry.node.kind != NodeKind::Null).then_some(entry)
    }

    /// Takes a field that `read` understands; reports what it isn't otherwise.
    fn expect<T>(
        &mut self,
        name: &'static str,
        what: &str,
        example: &str,
        read: impl FnOnce(&'t Node) -> Option<T>,
    ) -> Option<Read<T>> {
        let node = &self.take(name)?.node;
        let span = node.span.clone();
        match read(node) {
            Some(value) => Some(Read { value, span }),
            None => {
                let found = format!("expected {what}, found {}", shown(node));
                self.problem(
                    span,
                    name,
                    found,
                    format!("write for example {name} = {example}"),
                );
                None
            }
        }
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &'static str, example: &str) -> Option<Read<&'t str>> {
        self.expect(name, "a text", example, as_text)
    }

    /// Takes a whole number from 0 to 2³²-1.
    pub(super) fn integer(&mut self, name: &'static str, example: &str) -> Option<Read<u32>> {
        self.expect(
            name,
            "a whole number, not negative",
            example,
            |node| match &node.kind {
                NodeKind::Number(number) => number.as_u64()?.try_into().ok(),
                _ => None,
            },
        )
    }

    /// Takes a duration with a unit, in milliseconds.
    pub(super) fn duration_ms(&mut self, name: &'static str, example: &str) -> Option<Read<u64>> {
        self.expect(name, "a duration with a unit", example, |node| {
            let duration = humantime::parse_duration(as_text(node)?).ok()?;
            u64::try_from(duration.as_millis()).ok()
        })
    }

    /// Takes one of several words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Option<Read<T>> {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let read = self.text(name, &format!("\"{}\"", words.first()?))?;
        let found = choices.iter().find(|(word, _)| *word == read.value);
        if found.is_none() {
            let what = format!("there is no {name} `{}`", shorten(read.value));
            self.problem(
                read.span.clone(),
                name,
                what,
                suggestion(read.value, &words),
            );
        }
        found.map(|(_, value)| Read {
            value: *value,
            span: read.span,
        })
    }

    /// Takes a list.
    pub(super) fn list(&mut self, name: &'static str, example: &str) -> Option<Read<&'t [Node]>> {
        self.expect(name, "a list", example, |node| match &node.kind {
            NodeKind::List(items) => Some(items.as_slice()),
            _ => None,
        })
    }

    /// Takes a list of texts; items that are none are reported and left out.
    pub(super) fn texts(
        &mut self,
        name: &'static str,
        example: &str,
    ) -> Option<Read<Vec<Read<&'t str>>>> {
        let list = self.list(name, example)?;
        let mut texts = Vec::new();
        for (index, item) in list.value.iter().enumerate() {
            match as_text(item) {
                Some(value) => texts.push(Read {
                    value,
                    span: item.span.clone(),
                }),
                None => {
                    let what = format!("expected a text, found {}", shown(item));
                    let name = format!("{name}[{index}]");
                    self.problem(item.span.clone(), &name, what, "put it in quotes");
                }
            }
        }
        Some(Read {
            value: texts,
            span: list.span,
        })
    }

    /// Takes an object of texts whose keys are free. Numbers and truth values become their text.
    pub(super) fn text_map(
        &mut self,
        name: &'static str,
        example: &str,
    ) -> Option<Read<BTreeMap<String, String>>> {
        let entries = self.expect(name, "an object of texts", example, |node| {
            match &node.kind {
                NodeKind::Object(entries) => Some(entries),
                _ => None,
            }
        })?;
        let mut map = BTreeMap::new();
        for Entry { key, node, .. } in entries.value {
            let text = match &node.kind {
                NodeKind::Text(text) => text.clone(),
                NodeKind::Number(number) => number.to_string(),
                NodeKind::Bool(truth) => truth.to_string(),
                _ => {
                    let what = format!("expected a text, found {}", shown(node));
                    let name = format!("{name}.{}", shorten(key));
                    self.problem(node.span.clone(), &name, what, "put it in quotes");
                    continue;
                }
            };
            map.insert(key.clone(), text);
        }
        Some(Read {
            value: map,
            span: entries.span,
        })
    }

    /// Takes an object with known fields, which `read` takes apart in turn.
    pub(super) fn object<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Fields<'t, '_>) -> T,
    ) -> Option<T> {
        let entry = self.take(name)?;
        let path = self.path_of(name);
        let mut inner = Fields::open(&entry.node, &path, self.problems)?;
        // A table's header says more than the span of all its lines.
        inner.span = entry.key_span.clone();
        let result = read(&mut inner);
        inner.finish();
        Some(result)
    }

    /// Takes one item of a list, an object with known fields, which `read` takes apart in turn.
    pub(super) fn element<'n, T>(
        &mut self,
        item: &'n Node,
        name: &str,
        read: impl FnOnce(&mut Fields<'n, '_>) -> T,
    ) -> Option<T> {
        let path = self.path_of(name);
        let mut inner = Fields::open(item, &path, self.problems)?;
        let result = read(&mut inner);
        inner.finish();
        Some(result)
    }

    /// Reports every field that nobody took.
    pub(super) fn finish(self) {
        let Self {
            entries,
            path,
            known,
            problems,
            ..
        } = self;
        for entry in entries {
            let key = shorten(&entry.key);
            problems.push(Found {
                span: entry.key_span.clone(),
                field: if path.is_empty() {
                    key
                } else {
                    format!("{path}.{key}")
                },
                what: "there is no such key".into(),
                remedy: suggestion(&entry.key, &known),
            });
        }
    }
}

fn as_text(node: &Node) -> Option<&str> {
    match &node.kind {
        NodeKind::Text(text) => Some(text),
        _ => None,
    }
}

/// What was written, as far as it is short.
fn shown(node: &Node) -> String {
    match &node.kind {
        NodeKind::Text(text) => format!("\"{}\"", shorten(text)),
        NodeKind::Number(number) => number.to_string(),
        NodeKind::Bool(truth) => truth.to_string(),
        _ => node.describe().to_owned(),
    }
}

/// At most 40 characters of what a user wrote.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The most likely word that was meant, and all that there are.
pub(super) fn suggestion(word: &str, known: &[&str]) -> String {
    // Distances take quadratic time, and no key is longer.
    const WORD_BYTES_MAX: usize = 64;
    let nearest = known
        .iter()
        .filter(|_| word.len() <= WORD_BYTES_MAX)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&word.to_lowercase(), candidate),
                *candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min();
    match nearest {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None => format!("write one of: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_listed() {
        let known = ["size", "members", "labels"];
        assert_eq!(suggestion("szie", &known), "did you mean `size`?");
        assert_eq!(suggestion("Members", &known), "did you mean `members`?");
        assert_eq!(
            suggestion("colour", &known),
            "write one of: size, members, labels"
        );
        assert!(suggestion(&"x".repeat(1_000_000), &known).starts_with("write one of"));
    }
}
