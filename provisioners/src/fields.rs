//! Reading properties field by field, and finding everything that is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::properties::kind_of;
use crate::{Problem, Properties};

/// Takes properties apart field by field and collects every [`Problem`] instead of stopping at the first.
///
/// Take all known fields, then call [`finish`](Self::finish), which reports those that nobody took:
///
/// ```
/// # use muster_provisioners::{Fields, Properties};
/// let properties: Properties = r#"{"zone": 5, "color": "red"}"#.parse().unwrap();
/// let mut fields = Fields::new(&properties);
/// assert_eq!(fields.string("zone"), None);
/// let problems = fields.finish();
/// assert_eq!(problems.len(), 2); // `zone` is no text, `color` is unknown
/// ```
#[derive(Debug)]
pub struct Fields<'a> {
    /// Path of the object being read, with a dot at its end unless it is the top.
    prefix: String,
    /// What is left, by the name it is looked up with.
    left: BTreeMap<String, (&'a str, &'a Value)>,
    /// How the names were written by the user, by the name they are looked up with.
    written: BTreeMap<String, &'a str>,
    ignore_case: bool,
    known: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// Reads properties whose names are written exactly so.
    pub fn new(properties: &'a Properties) -> Self {
        Self::open(String::new(), properties.iter(), false)
    }

    /// Reads properties whose names may be written in any case, as InfraKit's may.
    pub fn ignoring_case(properties: &'a Properties) -> Self {
        Self::open(String::new(), properties.iter(), true)
    }

    fn open(
        prefix: String,
        entries: impl Iterator<Item = (&'a str, &'a Value)>,
        ignore_case: bool,
    ) -> Self {
        let mut fields = Self {
            prefix,
            left: BTreeMap::new(),
            written: BTreeMap::new(),
            ignore_case,
            known: BTreeSet::new(),
            problems: Vec::new(),
        };
        for (name, value) in entries {
            let lookup = fields.lookup(name);
            if let Some((first, _)) = fields.left.get(&lookup) {
                let reason = format!("`{first}` and `{name}` are the same property");
                fields.problem(name, reason, "write it once");
            } else {
                fields.written.insert(lookup.clone(), name);
                fields.left.insert(lookup, (name, value));
            }
        }
        fields
    }

    fn lookup(&self, name: &str) -> String {
        if self.ignore_case {
            name.to_lowercase()
        } else {
            name.to_owned()
        }
    }

    /// Reports a problem with a field of this object, or with something in it (`tags.NAME`, `init[0]`). It is
    /// named as the user wrote it.
    pub fn problem(&mut self, field: &str, reason: impl Into<String>, remedy: impl Into<String>) {
        let (name, rest) = field.split_at(field.find(['.', '[']).unwrap_or(field.len()));
        let name = self
            .written
            .get(&self.lookup(name))
            .copied()
            .unwrap_or(name);
        self.problems.push(Problem::new(
            format!("{}{name}{rest}", self.prefix),
            reason,
            remedy,
        ));
    }

    /// Takes the value of a field; `null` counts as absent.
    pub fn value(&mut self, name: &str) -> Option<&'a Value> {
        self.known.insert(name.to_owned());
        let lookup = self.lookup(name);
        let (_, value) = self.left.remove(&lookup)?;
        (!value.is_null()).then_some(value)
    }

    fn expect<T>(
        &mut self,
        name: &str,
        what: &str,
        example: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let read = read(value);
        if read.is_none() {
            let reason = format!("expected {what}, found {}", kind_of(value));
            self.problem(name, reason, format!("write {example}"));
        }
        read
    }

    /// Takes a text.
    pub fn string(&mut self, name: &str) -> Option<String> {
        let example = format!("{name} = \"…\"");
        self.expect(name, "a text", &example, |value| {
            value.as_str().map(str::to_owned)
        })
    }

    /// Takes a whole number that isn't negative.
    pub fn integer(&mut self, name: &str) -> Option<u64> {
        let example = format!("{name} = 1");
        self.expect(
            name,
            "a whole number, not negative",
            &example,
            Value::as_u64,
        )
    }

    /// Takes a truth value.
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        let example = format!("{name} = true");
        self.expect(name, "a truth value", &example, Value::as_bool)
    }

    /// Takes a list of texts.
    pub fn strings(&mut self, name: &str) -> Option<Vec<String>> {
        let mut texts = Vec::new();
        for (index, item) in self.items(name)?.iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => {
                    let reason = format!("expected a text, found {}", kind_of(item));
                    self.problem(&format!("{name}[{index}]"), reason, "put it in quotes");
                }
            }
        }
        Some(texts)
    }

    /// Takes a list of anything.
    pub fn items(&mut self, name: &str) -> Option<&'a [Value]> {
        let example = format!("{name} = [\"…\"]");
        self.expect(name, "a list", &example, |value| {
            value.as_array().map(Vec::as_slice)
        })
    }

    /// Takes an object whose names are free and whose values are texts. Numbers and truth values are
    /// accepted and become their text.
    pub fn string_map(&mut self, name: &str) -> Option<BTreeMap<String, String>> {
        let example = format!("{name} = {{ NAME = \"value\" }}");
        let map = self.expect(name, "an object of texts", &example, Value::as_object)?;
        let mut texts = BTreeMap::new();
        for (key, value) in map {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                other => {
                    let reason = format!("expected a text, found {}", kind_of(other));
                    self.problem(&format!("{name}.{key}"), reason, "put it in quotes");
                    continue;
                }
            };
            texts.insert(key.clone(), text);
        }
        Some(texts)
    }

    /// Takes an object with known fields, which `read` takes apart in turn.
    pub fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields<'a>) -> T) -> Option<T> {
        let example = format!("{name} = {{ … }}");
        let map = self.expect(name, "an object", &example, Value::as_object)?;
        Some(self.inner(name, map, read))
    }

    /// Takes a list of objects with known fields, each of which `read` takes apart in turn.
    pub fn objects<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Fields<'a>) -> T,
    ) -> Option<Vec<T>> {
        let mut all = Vec::new();
        for (index, item) in self.items(name)?.iter().enumerate() {
            let field = format!("{name}[{index}]");
            match item.as_object() {
                Some(map) => all.push(self.inner(&field, map, &mut read)),
                None => {
                    let reason = format!("expected an object, found {}", kind_of(item));
                    self.problem(&field, reason, "write { … }");
                }
            }
        }
        Some(all)
    }

    fn inner<T>(
        &mut self,
        field: &str,
        map: &'a serde_json::Map<String, Value>,
        read: impl FnOnce(&mut Fields<'a>) -> T,
    ) -> T {
        let (name, rest) = field.split_at(field.find('[').unwrap_or(field.len()));
        let name = self
            .written
            .get(&self.lookup(name))
            .copied()
            .unwrap_or(name);
        let prefix = format!("{}{name}{rest}.", self.prefix);
        let entries = map.iter().map(|(name, value)| (name.as_str(), value));
        let mut inner = Fields::open(prefix, entries, self.ignore_case);
        let result = read(&mut inner);
        self.problems.extend(inner.finish());
        result
    }

    /// How the user wrote the name of a field; `None` if it isn't there. Also after it has been taken.
    pub fn written(&self, name: &str) -> Option<&'a str> {
        self.written.get(&self.lookup(name)).copied()
    }

    /// All problems: those found on the way, and one for each field that nobody took.
    pub fn finish(mut self) -> Vec<Problem> {
        let known: Vec<_> = self.known.iter().map(String::as_str).collect();
        let remedy = if known.is_empty() {
            "remove it".to_owned()
        } else {
            format!("remove it, or write one of: {}", known.join(", "))
        };
        for (name, _) in std::mem::take(&mut self.left).into_values() {
            let field = format!("{}{name}", self.prefix);
            self.problems
                .push(Problem::new(field, "unknown property", remedy.clone()));
        }
        self.problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(json: &str) -> Properties {
        json.parse().expect("valid JSON")
    }

    #[test]
    fn every_problem_is_found_with_its_path() {
        let properties = properties(
            r#"{"a": 1, "b": ["x", 2], "c": {"d": true, "e": 1}, "f": [{"g": []}, 3], "h": {"i": [1]}, "z": 0}"#,
        );
        let mut fields = Fields::new(&properties);
        assert_eq!(fields.string("a"), None);
        assert_eq!(fields.strings("b"), Some(vec!["x".to_owned()]));
        assert_eq!(fields.object("c", |c| c.boolean("d")), Some(Some(true)));
        assert_eq!(fields.objects("f", |f| f.integer("g")), Some(vec![None]));
        assert_eq!(fields.string_map("h"), Some(BTreeMap::new()));
        let problems = fields.finish();
        let paths: Vec<_> = problems
            .iter()
            .map(|problem| problem.field.as_str())
            .collect();
        assert_eq!(paths, ["a", "b[1]", "c.e", "f[0].g", "f[1]", "h.i", "z"]);
        assert!(problems.iter().all(|problem| !problem.remedy.is_empty()));
    }

    #[test]
    fn names_in_any_case_are_one_property() {
        let properties =
            properties(r#"{"Init": ["a"], "INIT": ["b"], "hEALTH": {"Command": "x"}}"#);
        let mut fields = Fields::ignoring_case(&properties);
        assert_eq!(fields.written("init"), Some("INIT"));
        assert!(fields.strings("init").is_some());
        assert_eq!(
            fields.object("Health", |inner| inner.string("command")),
            Some(Some("x".into()))
        );
        let problems = fields.finish();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].reason.contains("same property"));
    }

    #[test]
    fn null_counts_as_absent() {
        let properties = properties(r#"{"a": null}"#);
        let mut fields = Fields::new(&properties);
        assert_eq!(fields.string("a"), None);
        assert_eq!(fields.finish(), []);
    }
}
