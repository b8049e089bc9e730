//! The hash by which InfraKit's group controller knows what an instance was made from.
//!
//! It is the SHA-1, in lower-case base32, of two JSON texts one behind the other: the group's `Instance` and its `Flavor`, each
//! `{"Plugin", "Properties"}` as Go writes it with indentation. Neither the number of instances nor how updates go is in it.
//! So the text has to be Go's to the byte: order of keys, escapes, numbers.

use data_encoding::BASE32_NOPAD;
use serde_json::{Map, Number, Value};
use sha1::{Digest, Sha1};

/// What the group controller tags instances with ([`marks::CONFIG_HASH`](super::marks::CONFIG_HASH)) that it makes of this
/// `Instance` and `Flavor`, each an object of `Plugin` and `Properties`.
pub fn config_hash(instance: &Value, flavor: &Value) -> String {
    let mut hash = Sha1::new();
    for part in [instance, flavor] {
        let mut text = String::new();
        write(&mut text, part, 1);
        hash.update(text.as_bytes());
    }
    BASE32_NOPAD.encode(&hash.finalize()).to_ascii_lowercase()
}

/// Writes a value as Go does with a prefix and an indentation of two spaces; `depth` counts both.
fn write(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number_text(number)),
        Value::String(string) => write_text(text, string),
        Value::Array(items) => {
            let items = items.iter();
            write_all(text, ('[', ']'), depth, items, |text, item| {
                write(text, item, depth + 1)
            });
        }
        Value::Object(map) => {
            let entries = sorted(map).into_iter();
            write_all(text, ('{', '}'), depth, entries, |text, (key, value)| {
                write_text(text, key);
                text.push_str(": ");
                write(text, value, depth + 1);
            });
        }
    }
}

fn write_all<T>(
    text: &mut String,
    (open, close): (char, char),
    depth: usize,
    items: impl ExactSizeIterator<Item = T>,
    mut each: impl FnMut(&mut String, T),
) {
    text.push(open);
    let count = items.len();
    for (index, item) in items.enumerate() {
        line(text, depth + 1);
        each(text, item);
        if index + 1 < count {
            text.push(',');
        }
    }
    if count > 0 {
        line(text, depth);
    }
    text.push(close);
}

fn line(text: &mut String, depth: usize) {
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
}

fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
    entries
}

/// Escapes as Go's encoder does for HTML.
fn write_text(text: &mut String, string: &str) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

/// Go reads every number as a 64-bit floating-point number, and writes the shortest text that gives it again: without an exponent
/// from 1e-6 to below 1e21.
fn number_text(number: &Number) -> String {
    let Some(float) = number.as_f64() else {
        return number.to_string();
    };
    let size = float.abs();
    if float == 0.0 {
        return if float.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    if (1e-6..1e21).contains(&size) {
        return format!("{float}");
    }
    let text = format!("{float:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hashes_are_those_of_infrakit() {
        // Each was made by InfraKit's own group controller.
        let hash = config_hash(
            &json!({"Plugin": "file", "Properties": {"Note": "v1"}}),
            &json!({"Plugin": "vanilla", "Properties": {"Init": ["echo v1"], "Tags": {"tier": "web"}}}),
        );
        assert_eq!(hash, "bmbiu24k37oo4ln52t3bzn5ehda5j3go");
        let hash = config_hash(
            &json!({"Plugin": "fake/vm", "Properties": {"x": 1}}),
            &json!({"Properties": {}, "Plugin": "vanilla"}),
        );
        assert_eq!(hash, "mppsfmnrvi6ox7fyhofvrz4qmn56jq7k");
    }

    #[test]
    fn text_and_numbers_are_written_as_go_writes_them() {
        let written = |value: Value| {
            let mut text = String::new();
            write(&mut text, &value, 0);
            text
        };
        assert_eq!(
            written(json!("<a> & \u{1}\u{2028}\"ä")),
            r#""\u003ca\u003e \u0026 \u0001\u2028\"ä""#
        );
        assert_eq!(written(json!({})), "{}");
        assert_eq!(written(json!([])), "[]");
        assert_eq!(
            written(json!({"b": [1], "a": {"c": null}})),
            "{\n  \"a\": {\n    \"c\": null\n  },\n  \"b\": [\n    1\n  ]\n}"
        );
        for (number, text) in [
            ("1.0", "1"),
            ("1.50", "1.5"),
            ("-0.0", "-0"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("0.000001", "0.000001"),
            ("1.5e-7", "1.5e-7"),
            ("9007199254740993", "9007199254740992"),
        ] {
            let number: Value = serde_json::from_str(number).expect("a number");
            assert_eq!(written(number), text);
        }
    }
}
