//! JSON-RPC 2.0 as InfraKit's plugins speak it: questions and answers as bytes. Pure.
//!
//! Answers are read as Go reads them: names of fields in any case, unknown ones passed over. The HTTP status says nothing, and
//! neither does the content type: both are the same for an error.

use serde_json::{Map, Value, json};

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// The method's result, never null.
    Result(Value),
    /// What the plugin says is wrong.
    Error(String),
}

/// The bytes of a question.
pub(super) fn question(method: &str, params: &Value, id: u64) -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": id })
        .to_string()
        .into_bytes()
}

/// Reads the bytes of an answer.
///
/// # Errors
/// Why they are none, in a few words.
pub(super) fn answer(bytes: &[u8]) -> Result<Answer, String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("it answered with nothing".to_owned());
    }
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("its answer is no JSON: {error}"))?;
    let Value::Object(answer) = value else {
        return Err("its answer is no object".to_owned());
    };
    match (field(&answer, "error"), field(&answer, "result")) {
        (Some(error), _) => Ok(Answer::Error(message(error))),
        (None, Some(result)) => Ok(Answer::Result(result.clone())),
        (None, None) => Err("its answer has neither a result nor an error".to_owned()),
    }
}

fn message(error: &Value) -> String {
    let text = match error {
        Value::Object(error) => field(error, "message").and_then(Value::as_str),
        Value::String(text) => Some(text.as_str()),
        _ => None,
    };
    text.map_or_else(|| error.to_string(), str::to_owned)
}

/// A field by its name, in any case; the exact spelling wins. Null counts as absent.
pub fn field<'v>(map: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    given(map, name).filter(|value| !value.is_null())
}

/// A field by its name as [`field`] finds it, also where it is null.
pub(super) fn given<'v>(map: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let any_case = || {
        let found = map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    };
    map.get(name).or_else(any_case)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_is_what_the_go_client_sends() {
        let bytes = question("Handshake.Hello", &json!({}), 7);
        let value: Value = serde_json::from_slice(&bytes).expect("JSON");
        let expected =
            json!({"jsonrpc": "2.0", "method": "Handshake.Hello", "params": {}, "id": 7});
        assert_eq!(value, expected);
    }

    #[test]
    fn answers_are_read_in_any_case() {
        let read = |text: &str| answer(text.as_bytes());
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","result":{"OK":true},"id":1}"#),
            Ok(Answer::Result(json!({"OK": true})))
        );
        assert_eq!(
            read("{\"Result\":[],\"id\":1}\n"),
            Ok(Answer::Result(json!([])))
        );
        assert_eq!(
            read(r#"{"error":{"code":-32000,"message":"no-plugin:foo","data":null},"id":3}"#),
            Ok(Answer::Error("no-plugin:foo".to_owned()))
        );
        assert_eq!(
            read(r#"{"error":{"code":5},"id":3}"#),
            Ok(Answer::Error(r#"{"code":5}"#.to_owned()))
        );
        for bad in ["", "\n", "null", "[1]", "{", r#"{"result":null,"id":1}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_exact_spelling_of_a_field_wins() {
        let map = json!({"id": 1, "ID": 2});
        let map = map.as_object().expect("an object");
        assert_eq!(field(map, "ID"), Some(&json!(2)));
        assert_eq!(field(map, "id"), Some(&json!(1)));
        assert!(field(map, "Id").is_some());
        assert_eq!(field(map, "name"), None);
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&bytes);
        }
    }
}
