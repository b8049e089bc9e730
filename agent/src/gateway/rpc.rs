//! JSON-RPC 2.0 as InfraKit's tools speak it, from bytes to bytes.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::calls::Calls;

/// What the method itself says is wrong, and everything that InfraKit's server has no other number for.
const SERVER_ERROR: i32 = -32000;
/// What is no request of this protocol.
const INVALID_REQUEST: i32 = -32600;

/// What a method is called with.
pub(super) type Params = Map<String, Value>;

/// A request, taken apart.
#[derive(Debug)]
struct Call {
    method: String,
    params: Params,
}

/// Answers a request. What can't be read at all, or has no ID to be answered under, is answered with nothing.
pub(super) async fn answer(body: &[u8], calls: &Calls) -> Vec<u8> {
    let Some((id, call)) = read(body) else {
        return Vec::new();
    };
    let outcome = match call {
        Ok(call) => calls
            .call(&call.method, &call.params)
            .await
            .map_err(|why| (SERVER_ERROR, why)),
        Err(why) => Err((INVALID_REQUEST, why)),
    };
    written(&id, outcome)
}

/// The ID as it was written, and the call; or what is wrong with it.
fn read(body: &[u8]) -> Option<(Box<RawValue>, Result<Call, String>)> {
    let raw: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).ok()?;
    let part = |name: &str| {
        let any_case = || {
            let found = raw.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value)
        };
        let value = raw.get(name).or_else(any_case)?;
        (value.get() != "null").then_some(value)
    };
    let id = part("id")?.clone();
    let value =
        |name: &str| part(name).and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    if value("jsonrpc") != Some(json!("2.0")) {
        return Some((id, Err("jsonrpc must be 2.0".to_owned())));
    }
    let Some(Value::String(method)) = value("method") else {
        return Some((id, Err("there is no method".to_owned())));
    };
    let call = params(value("params")).map(|params| Call { method, params });
    Some((id, call))
}

/// One object, or a list with one; nothing stands for the defaults.
fn params(value: Option<Value>) -> Result<Params, String> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(params)) => Ok(params),
        Some(Value::Array(mut items)) if items.len() == 1 => match items.remove(0) {
            Value::Object(params) => Ok(params),
            Value::Null => Ok(Map::new()),
            _ => Err("the parameters are no object".to_owned()),
        },
        Some(_) => Err("the parameters are no object".to_owned()),
    }
}

/// The bytes of an answer, which end with a newline.
fn written(id: &RawValue, outcome: Result<Value, (i32, String)>) -> Vec<u8> {
    let (key, value) = match outcome {
        Ok(result) => ("result", result),
        Err((code, message)) => (
            "error",
            json!({"code": code, "message": message, "data": null}),
        ),
    };
    // The ID goes back as it came, digit for digit.
    format!(
        "{{\"jsonrpc\":\"2.0\",\"{key}\":{value},\"id\":{}}}\n",
        id.get()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reads(body: &str) -> Result<(String, Params), String> {
        let (_, call) = read(body.as_bytes()).expect("it has an ID");
        call.map(|call| (call.method, call.params))
    }

    #[test]
    fn requests_are_read_as_go_reads_them() {
        let plain =
            reads(r#"{"jsonrpc":"2.0","method":"A.B","params":{"x":1},"id":1}"#).expect("read");
        assert_eq!(plain.1["x"], 1);
        for same in [
            r#"{"jsonrpc":"2.0","method":"A.B","params":[{"x":1}],"id":"a"}"#,
            r#"{"JSONRPC":"2.0","Method":"A.B","Params":{"x":1},"ID":[1]}"#,
        ] {
            assert_eq!(reads(same), Ok(plain.clone()));
        }
        for empty in [
            r#"{"jsonrpc":"2.0","method":"A.B","id":1}"#,
            r#"{"jsonrpc":"2.0","method":"A.B","params":null,"id":1}"#,
        ] {
            assert_eq!(reads(empty).expect("read").1, Map::new());
        }
        for bad in [
            r#"{"method":"A.B","id":1}"#,
            r#"{"jsonrpc":"1.0","method":"A.B","id":1}"#,
            r#"{"jsonrpc":"2.0","method":5,"id":1}"#,
            r#"{"jsonrpc":"2.0","method":"A.B","params":5,"id":1}"#,
            r#"{"jsonrpc":"2.0","method":"A.B","params":[{},{}],"id":1}"#,
        ] {
            assert!(reads(bad).is_err(), "{bad}");
        }
        for unanswerable in [
            "",
            "{",
            "[]",
            r#"{"jsonrpc":"2.0","method":"A.B"}"#,
            r#"{"jsonrpc":"2.0","method":"A.B","id":null}"#,
        ] {
            assert!(read(unanswerable.as_bytes()).is_none(), "{unanswerable}");
        }
    }

    #[test]
    fn the_id_goes_back_as_it_came() {
        for id in ["9223372036854775807", "1.50", "\"a\\u0062\"", "{\"x\": 1}"] {
            let body = format!(r#"{{"jsonrpc":"2.0","method":"A.B","id":{id}}}"#);
            let (raw, _) = read(body.as_bytes()).expect("read");
            let answer = String::from_utf8(written(&raw, Ok(json!({})))).expect("text");
            assert_eq!(
                answer,
                format!("{{\"jsonrpc\":\"2.0\",\"result\":{{}},\"id\":{id}}}\n")
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
