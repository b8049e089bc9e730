//! TOML into a [`Node`] tree.

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::tree::{DEPTH_MAX, Entry, Node, NodeKind, SyntaxError};

/// Reads a document.
///
/// # Errors
/// All places where it is no TOML.
pub(super) fn parse(text: &str) -> Result<Node, Vec<SyntaxError>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<_> = errors
        .iter()
        .map(|error| SyntaxError {
            span: error.span().unwrap_or(0..0),
            what: error.message().lines().collect::<Vec<_>>().join(", "),
            remedy: "see https://toml.io for how TOML is written".into(),
        })
        .collect();
    let node = Node {
        span: 0..0,
        kind: table(document.get_ref(), 1, &mut problems),
    };
    if problems.is_empty() {
        Ok(node)
    } else {
        Err(problems)
    }
}

fn table(table: &DeTable<'_>, depth: usize, problems: &mut Vec<SyntaxError>) -> NodeKind {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, spanned)| Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            node: value(spanned, depth, problems),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    NodeKind::Object(entries)
}

fn value(spanned: &Spanned<DeValue<'_>>, depth: usize, problems: &mut Vec<SyntaxError>) -> Node {
    let span = spanned.span();
    let mut problem = |what: &str, remedy: &str| {
        problems.push(SyntaxError {
            span: span.clone(),
            what: what.into(),
            remedy: remedy.into(),
        });
        NodeKind::Null
    };
    let kind = match spanned.get_ref() {
        DeValue::Array(_) | DeValue::Table(_) if depth >= DEPTH_MAX => {
            problem("nested too deeply", "use fewer levels")
        }
        DeValue::Array(items) => NodeKind::List(
            items
                .iter()
                .map(|item| value(item, depth + 1, problems))
                .collect(),
        ),
        DeValue::Table(inner) => table(inner, depth + 1, problems),
        DeValue::String(text) => NodeKind::Text(text.to_string()),
        DeValue::Boolean(truth) => NodeKind::Bool(*truth),
        DeValue::Datetime(date) => NodeKind::Text(date.to_string()),
        DeValue::Integer(integer) => match integer_of(integer.as_str(), integer.radix()) {
            Some(number) => NodeKind::Number(number),
            None => problem(
                "the number is out of range",
                "write a number of at most 64 bits",
            ),
        },
        DeValue::Float(float) => match float.as_str().parse().ok().and_then(Number::from_f64) {
            Some(number) => NodeKind::Number(number),
            None => problem("not a finite number", "write a number"),
        },
    };
    Node { span, kind }
}

fn integer_of(digits: &str, radix: u32) -> Option<Number> {
    i64::from_str_radix(digits, radix)
        .map(Number::from)
        .or_else(|_| u64::from_str_radix(digits, radix).map(Number::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_of_all_sorts_are_read() {
        let text =
            "a = 0xff\nb = 1_000\nc = -1\nd = 1.5\ne = 18446744073709551615\nf = 2024-05-06\n";
        let expected = json!({
            "a": 255, "b": 1000, "c": -1, "d": 1.5, "e": u64::MAX, "f": "2024-05-06",
        });
        assert_eq!(parse(text).expect("valid").to_value(), expected);
    }

    #[test]
    fn every_syntax_error_is_reported_with_its_place() {
        let text = "a = \nb = 1\nb = 2\nc = inf\n";
        let problems = parse(text).expect_err("three mistakes");
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().all(|problem| !problem.what.is_empty()));
    }
}
