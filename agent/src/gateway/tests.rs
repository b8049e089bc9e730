//! The gateway as InfraKit's tools see it: bytes on its socket, and a mesh behind it that answers from a script.

use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::api::client::{Carrier, LineSource};
use crate::api::types::ApiError;

/// Hears what the mesh is asked, and says that there is nothing.
#[derive(Clone, Default)]
struct Mesh(Arc<Mutex<Vec<Value>>>);

struct Line(Option<Bytes>);

#[async_trait]
impl LineSource for Line {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        Ok(self.0.take())
    }
}

#[async_trait]
impl Carrier for Mesh {
    async fn send(&self, request: Bytes) -> Result<Box<dyn LineSource>, ApiError> {
        let request: Value = serde_json::from_slice(&request).expect("JSON");
        let answer = match request["op"].as_str() {
            Some("group_free") => json!({"ok": {"answer": "done", "detail": "freed"}}),
            _ => {
                json!({"error": {"kind": "not_found", "message": "there is none", "remedy": "make one"}})
            }
        };
        self.0.lock().expect("not poisoned").push(request);
        Ok(Box::new(Line(Some(Bytes::from(answer.to_string())))))
    }
}

struct Served {
    directory: tempfile::TempDir,
    mesh: Mesh,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let gateway = Gateway::open(&directory.path().join("plugins/muster")).await;
        let mesh = Mesh::default();
        let client = Client::new(Box::new(mesh.clone()));
        let task = tokio::spawn(gateway.expect("opened").serve(client));
        Self {
            directory,
            mesh,
            task,
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("plugins/muster")
    }

    /// Sends these bytes, and reads all that comes back.
    async fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        answer
    }

    /// Posts a body as the Go client does, and gives status and body of the answer.
    async fn post(&self, kind: &str, body: &str) -> (String, String) {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n{kind}\r\n{body}",
            body.len()
        );
        let answer = self.raw(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.to_lowercase()
                .contains("content-type: text/plain; charset=utf-8"),
            "{head}"
        );
        let status = head.split(' ').nth(1).expect("a status");
        (status.to_owned(), body.to_owned())
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let body =
            json!({"jsonrpc": "2.0", "method": method, "params": params, "id": 7}).to_string();
        let (status, body) = self.post("Content-Type: application/json\r\n", &body).await;
        assert_eq!(status, "200");
        assert!(body.ends_with('\n'));
        serde_json::from_str(&body).expect("JSON")
    }

    async fn fails(&self, method: &str, params: Value) -> String {
        let answer = self.call(method, params).await;
        assert_eq!(answer["error"]["code"], -32000, "{answer}");
        answer["error"]["message"]
            .as_str()
            .expect("a text")
            .to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn the_transport_keeps_infrakits_rules() {
    let served = Served::start().await;
    let hello =
        r#"{"jsonrpc":"2.0","method":"Handshake.Hello","params":{},"id":9223372036854775807}"#;
    for kind in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: application/json; charset=utf-8\r\n",
    ] {
        let (status, body) = served.post(kind, hello).await;
        assert_eq!(status, "200");
        assert!(
            body.contains("\"Group/0.1.1\"") && body.contains("\"id\":9223372036854775807"),
            "{body}"
        );
    }
    assert_eq!(
        served.post("Content-Type: text/xml\r\n", hello).await.0,
        "415"
    );
    for empty in ["", "{", r#"{"jsonrpc":"2.0","method":"Handshake.Hello"}"#] {
        assert_eq!(
            served.post("", empty).await,
            ("200".to_owned(), String::new()),
            "{empty}"
        );
    }
    let (_, body) = served
        .post("", r#"{"method":"Handshake.Hello","id":1}"#)
        .await;
    assert!(body.contains("-32600"), "{body}");
    assert!(
        served
            .raw("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 405")
    );
    assert!(
        served
            .raw("POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 404")
    );
}

#[tokio::test]
async fn our_own_client_of_plugins_finds_it() {
    use muster_provisioners::Deadline;
    use muster_provisioners::infrakit::{Directory, Plugins, Service};
    let served = Served::start().await;
    let plugins = Plugins::new(Directory::new(served.directory.path().join("plugins")));
    let soon = || Deadline::after(Duration::from_secs(20));
    for (name, service) in [
        ("muster", Service::Instance),
        ("muster/vanilla", Service::Flavor),
    ] {
        let shaken = plugins
            .shake(&name.parse().expect("valid"), service, soon())
            .await;
        assert_eq!(shaken, Ok(()), "{name}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_in_infrakits_words() {
    let served = Served::start().await;
    let missing = served
        .fails(
            "Group.DescribeGroup",
            json!({"Name": "muster", "ID": "nope"}),
        )
        .await;
    assert_eq!(missing, "Group 'nope' is not being watched");
    assert_eq!(
        served.fails("Flavor.Validate", json!({"Type": ""})).await,
        "no-plugin:"
    );
    assert_eq!(
        served
            .fails("Instance.Validate", json!({"Type": "foo"}))
            .await,
        "no-plugin:foo"
    );
    assert!(
        served
            .fails("Nobody.Knows", json!({}))
            .await
            .contains("Nobody.Knows")
    );
    let bad = json!({"Spec": {"ID": "a", "Properties": {"Allocation": {"Size": "x"}, "Instance": {"Plugin": "file"}, "Flavor": {"Plugin": "v"}}}});
    assert!(
        served
            .fails("Group.CommitGroup", bad)
            .await
            .contains("size")
    );
    assert!(
        served
            .fails("Instance.Provision", json!({"Spec": {}}))
            .await
            .contains("commit a group")
    );
}

#[tokio::test]
async fn calls_become_requests_of_the_mesh() {
    let served = Served::start().await;
    let freed = served
        .call(
            "Group.FreeGroup",
            json!({"Name": "muster/groups", "ID": "My_Pets"}),
        )
        .await;
    assert_eq!(
        freed["result"],
        json!({"Name": "muster/groups", "ID": "My_Pets"})
    );
    let asked = served.mesh.0.lock().expect("not poisoned").clone();
    assert_eq!(asked, [json!({"op": "group_free", "id": "my-pets"})]);
}

#[tokio::test]
async fn a_flavor_of_musters_prepares_an_instance_of_infrakits() {
    let served = Served::start().await;
    let params = json!({
        "Type": "vanilla", "Properties": {"Init": ["echo a", "echo b"], "Tags": {"tier": "web"}},
        "Spec": {"Properties": {"Note": "x"}, "Tags": {"infrakit.group": "cattle"}, "Init": "", "LogicalID": null, "Attachments": null},
        "Allocation": {"Size": 3, "LogicalIDs": null}, "Index": {"Group": "cattle", "Sequence": 3},
    });
    let prepared = served.call("Flavor.Prepare", params).await;
    let expected = json!({"Type": "vanilla", "Spec": {
        "Properties": {"Note": "x"}, "Tags": {"infrakit.group": "cattle", "tier": "web"}, "Init": "echo a\necho b",
        "LogicalID": null, "Attachments": null,
    }});
    assert_eq!(prepared["result"], expected);
}

#[tokio::test]
async fn the_file_of_a_process_that_is_no_more_is_cleared() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("muster");
    let pid = directory.path().join("muster.pid");
    std::fs::write(&pid, "2147483646").expect("written");
    let gateway = Gateway::open(&socket)
        .await
        .expect("a stale file is no obstacle");
    assert_eq!(
        std::fs::read_to_string(&pid).expect("there"),
        std::process::id().to_string()
    );
    drop(gateway);
    assert!(!pid.exists() && !socket.exists());
}
