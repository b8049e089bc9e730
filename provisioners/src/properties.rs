//! Properties: what only one provisioner or flavor understands, carried by everybody else unread.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::Problem;

/// How TOML's own date type shows up when it is read as a generic value; see `toml_datetime`.
const TOML_DATETIME_KEY: &str = "$__toml_private_datetime";

/// An object of settings that only its provisioner or flavor understands.
///
/// In formats for people it is the JSON (or TOML, YAML) object itself; in binary formats it is the canonical
/// JSON text, because formats that don't describe themselves can't carry a value of unknown shape.
/// The size of that text is limited to [`Properties::MAX_BYTES`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(Map<String, Value>);

/// Why a value can't be properties.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// Properties are an object, and this is something else.
    #[error("expected an object of properties, found {0}")]
    NotAnObject(&'static str),
    /// Longer than [`Properties::MAX_BYTES`] as canonical JSON.
    #[error("properties of {0} bytes are too large: at most {max} are allowed", max = Properties::MAX_BYTES)]
    TooLarge(usize),
    /// Nested deeper than [`Properties::MAX_DEPTH`].
    #[error("properties are nested too deeply: at most {max} levels are allowed", max = Properties::MAX_DEPTH)]
    TooDeep,
    /// The text is no JSON.
    #[error("properties are no valid JSON: {0}")]
    Json(String),
}

impl Properties {
    /// The most that canonical JSON text of properties may take: they travel in the log and in every copy of
    /// the fleet state, and user data, the largest honest content, is limited to 16 to 64 kB by the clouds.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// How deep properties may nest; far below what would endanger the stack of a recursive reader.
    pub const MAX_DEPTH: usize = 32;

    /// No properties: `{}`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a JSON value, which must be an object within the limits.
    ///
    /// # Errors
    /// If it is no object, too large or nested too deeply.
    pub fn from_value(value: Value) -> Result<Self, PropertiesError> {
        if depth_exceeds(&value, Self::MAX_DEPTH) {
            return Err(PropertiesError::TooDeep);
        }
        let map = match canonical(value) {
            Value::Object(map) => map,
            other => return Err(PropertiesError::NotAnObject(kind_of(&other))),
        };
        let properties = Self(map);
        match properties.canonical_json().len() {
            size if size > Self::MAX_BYTES => Err(PropertiesError::TooLarge(size)),
            _ => Ok(properties),
        }
    }

    /// Reads back what [`to_value`](Self::to_value) or any other type with named fields serialises to.
    ///
    /// # Errors
    /// If it doesn't serialise to an object within the limits.
    pub fn from_serialize(value: &impl Serialize) -> Result<Self, PropertiesError> {
        let value = serde_json::to_value(value)
            .map_err(|error| PropertiesError::Json(error.to_string()))?;
        Self::from_value(value)
    }

    /// Reads the properties into a type that knows their shape.
    ///
    /// # Errors
    /// One [`Problem`] naming what serde found first. Prefer [`Fields`](crate::Fields), which finds all, for
    /// what users write.
    pub fn parse<T: for<'de> Deserialize<'de>>(&self) -> Result<T, Problem> {
        T::deserialize(self.to_value()).map_err(|error| {
            Problem::new(
                "",
                error.to_string(),
                "see the reference of this configuration",
            )
        })
    }

    /// The property of this name.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Sets a property. Meant for what a program puts together itself, so it doesn't check the limits;
    /// what comes from outside goes through [`from_value`](Self::from_value).
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.0.insert(key.into(), canonical(value.into()));
        self
    }

    /// All properties in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The properties as a JSON object.
    pub fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// JSON text with sorted keys and no spaces: equal properties have equal text, so it can be hashed.
    pub fn canonical_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical_json())
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical_json())
    }
}

impl FromStr for Properties {
    type Err = PropertiesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > 2 * Self::MAX_BYTES {
            // Spaces may make the text longer than its canonical form, but not without bound.
            return Err(PropertiesError::TooLarge(text.len()));
        }
        let value =
            serde_json::from_str(text).map_err(|error| PropertiesError::Json(error.to_string()))?;
        Self::from_value(value)
    }
}

impl TryFrom<Value> for Properties {
    type Error = PropertiesError;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        Self::from_value(value)
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.0.serialize(serializer)
        } else {
            serializer.serialize_str(&self.canonical_json())
        }
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if deserializer.is_human_readable() {
            Self::from_value(Value::deserialize(deserializer)?).map_err(D::Error::custom)
        } else {
            String::deserialize(deserializer)?
                .parse()
                .map_err(D::Error::custom)
        }
    }
}

/// Sorts all keys (serde_json may or may not keep them sorted, depending on features that any crate of the
/// build can turn on) and turns TOML dates into text.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            if map.len() == 1
                && let Some(Value::String(date)) = map.get(TOML_DATETIME_KEY)
            {
                return Value::String(date.clone());
            }
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, canonical(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        scalar => scalar,
    }
}

fn depth_exceeds(value: &Value, limit: usize) -> bool {
    match (value, limit.checked_sub(1)) {
        (Value::Object(map), Some(rest)) => map.values().any(|value| depth_exceeds(value, rest)),
        (Value::Array(items), Some(rest)) => items.iter().any(|value| depth_exceeds(value, rest)),
        (Value::Object(_) | Value::Array(_), None) => true,
        _ => false,
    }
}

pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Any JSON value of moderate size. No floating-point numbers: their text is exact only for those that
    /// came from text.
    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_object_survives_json_and_binary(value in any_json()) {
            match Properties::from_value(value.clone()) {
                Ok(properties) => {
                    let json = serde_json::to_string(&properties).expect("serialises");
                    prop_assert_eq!(&serde_json::from_str::<Properties>(&json).expect("parses"), &properties);
                    let binary = postcard::to_allocvec(&properties).expect("serialises");
                    prop_assert_eq!(&postcard::from_bytes::<Properties>(&binary).expect("parses"), &properties);
                    prop_assert_eq!(properties.canonical_json().parse::<Properties>(), Ok(properties));
                }
                Err(error) => prop_assert_eq!(error, PropertiesError::NotAnObject(kind_of(&value))),
            }
        }

        #[test]
        fn bytes_of_strangers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = postcard::from_bytes::<Properties>(&bytes);
            let _ = serde_json::from_slice::<Properties>(&bytes);
        }
    }

    #[test]
    fn canonical_text_does_not_depend_on_the_order_written() {
        let one: Properties = r#"{"b": {"y": 1, "x": [2]}, "a": null}"#.parse().expect("valid");
        let other: Properties = r#"{"a":null,"b":{"x":[2],"y":1}}"#.parse().expect("valid");
        assert_eq!(one.canonical_json(), r#"{"a":null,"b":{"x":[2],"y":1}}"#);
        assert_eq!(one.canonical_json(), other.canonical_json());
        assert_eq!(one, other);
    }

    #[test]
    fn limits_hold() {
        let wide = json!({ "a": "x".repeat(Properties::MAX_BYTES) });
        assert!(matches!(
            Properties::from_value(wide),
            Err(PropertiesError::TooLarge(_))
        ));
        let mut deep = json!(1);
        for _ in 0..=Properties::MAX_DEPTH {
            deep = json!({ "a": deep });
        }
        assert_eq!(Properties::from_value(deep), Err(PropertiesError::TooDeep));
        assert_eq!(
            Properties::from_value(json!([1])),
            Err(PropertiesError::NotAnObject("a list"))
        );
    }

    #[test]
    fn toml_dates_become_text() {
        let properties: Properties =
            toml::from_str("since = 2024-05-06\nwhat = 'x'").expect("valid");
        assert_eq!(
            properties.to_value(),
            json!({ "since": "2024-05-06", "what": "x" })
        );
    }
}
