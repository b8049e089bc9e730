//! `lxd` against LXD itself: the conformance suite, and what only it has to promise.
//!
//! `tests/backends/lxd` runs a daemon of its own; what these tests kill, freeze and rename, they do through its API as a
//! person would.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::conformance::{Counterpart, Harness, Trouble};
use muster_provisioners::http::{HttpConfig, Request};
use muster_provisioners::lxd::{LxdConfig, LxdProvisioner};
use muster_provisioners::{
    Deadline, Instance, InstanceId, InstanceState, MachineSpec, OperationId, Properties,
    Provisioner, Tags, tag,
};
use proxy::Proxy;
use reqwest::Method;
use serde_json::{Value, json};

mod boot;
mod pets;
mod power;
mod proxy;
mod servers;

/// A daemon of its own, with a proxy in front of it.
struct Rig {
    proxy: Proxy,
    provisioner: LxdProvisioner,
    counterpart: Counterpart,
}

fn config(socket: &Path) -> LxdConfig {
    LxdConfig {
        endpoint: Some(format!("unix://{}", socket.display())),
        stop_grace: Duration::from_secs(5),
        ..LxdConfig::default()
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(40))
}

fn op(member: &str, step: &str) -> OperationId {
    OperationId::derive("c", "g", member, 1, step)
}

fn spec(member: &str) -> MachineSpec {
    let mut spec = MachineSpec::new(member, r#"{"image": "muster"}"#.parse().expect("valid"));
    spec.tags = Tags::new()
        .with(tag::CLUSTER, "c")
        .with(tag::MEMBER, member);
    spec
}

fn spec_with(member: &str, properties: &Value) -> MachineSpec {
    let mut spec = spec(member);
    for (key, value) in properties.as_object().expect("an object") {
        spec.properties.set(key, value.clone());
    }
    spec
}

/// The instance's name in LXD.
fn name(id: &InstanceId) -> &str {
    id.as_str().split('@').next().unwrap_or_default()
}

impl Rig {
    /// `None` where LXD can't be had.
    async fn start(arguments: &[&str]) -> Option<Self> {
        let counterpart = Counterpart::start("lxd", arguments)?;
        let proxy = Proxy::start(Path::new(counterpart.text("socket")));
        let provisioner = config(&proxy.socket()).open().expect("opened");
        Some(Self {
            proxy,
            provisioner,
            counterpart,
        })
    }

    fn socket(&self) -> PathBuf {
        self.counterpart.text("socket").into()
    }

    async fn make(&self, spec: &MachineSpec) -> InstanceId {
        let made = self
            .provisioner
            .provision(spec, &op(&spec.name, "provision"), soon())
            .await;
        made.unwrap_or_else(|error| panic!("making {}: {error}", spec.name))
    }

    async fn list(&self) -> Vec<Instance> {
        self.provisioner
            .describe(&Tags::new(), soon())
            .await
            .expect("listed")
    }

    async fn find(&self, id: &InstanceId) -> Instance {
        let list = self.list().await;
        list.into_iter()
            .find(|instance| instance.id == *id)
            .expect("listed")
    }

    async fn state(&self, id: &InstanceId) -> InstanceState {
        self.find(id).await.state
    }

    /// Asks LXD itself, past the provisioner, and waits until it has done it.
    async fn lxd(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let http = HttpConfig::new(format!("unix://{}", self.socket().display()))
            .build()
            .expect("built");
        let mut request = Request::new("asking LXD", method, format!("/1.0/{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let said = http.call(&request, soon()).await.expect("answered");
        let said: Value = said.json().expect("JSON");
        let Some(operation) = said["operation"].as_str().filter(|path| !path.is_empty()) else {
            return said["metadata"].clone();
        };
        let wait = Request::get("waiting for LXD", format!("{operation}/wait"));
        let ended: Value = http
            .call(&wait, soon())
            .await
            .expect("ended")
            .json()
            .expect("JSON");
        assert_eq!(ended["metadata"]["status_code"], 200, "{path}: {ended}");
        ended["metadata"].clone()
    }

    async fn set_state(&self, id: &InstanceId, body: Value) {
        self.lxd(
            Method::PUT,
            &format!("instances/{}/state", name(id)),
            Some(body),
        )
        .await;
    }

    /// Runs a command in a machine, which has to succeed.
    async fn exec(&self, id: &InstanceId, command: &[&str]) {
        let body = json!({"command": command, "interactive": false, "wait-for-websocket": false});
        let path = format!("instances/{}/exec", name(id));
        let ended = self.lxd(Method::POST, &path, Some(body)).await;
        assert_eq!(ended["metadata"]["return"], 0, "{command:?}: {ended}");
    }

    /// The text of a file in a machine; `None` if there is none.
    async fn file(&self, id: &InstanceId, path: &str) -> Option<String> {
        let http = HttpConfig::new(format!("unix://{}", self.socket().display()))
            .build()
            .expect("built");
        let request = Request::get(
            "reading a file",
            format!("/1.0/instances/{}/files", name(id)),
        )
        .query("path", path);
        let said = http.send(&request, soon()).await.expect("answered");
        (said.status.as_u16() == 200).then(|| String::from_utf8_lossy(&said.body).into_owned())
    }
}

async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = soon();
    while !condition().await {
        assert!(
            deadline.sleep(Duration::from_millis(50)).await,
            "not in time: {what}"
        );
    }
}

#[async_trait]
impl Harness for Rig {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.provisioner.clone())
    }

    async fn another(&self) -> Arc<dyn Provisioner> {
        Arc::new(config(&self.proxy.socket()).open().expect("opened"))
    }

    fn properties(&self) -> Properties {
        r#"{"image": "muster", "zone": "a", "disk_size": "1MiB", "config": {"limits.memory": "64MiB"}}"#
            .parse()
            .expect("valid")
    }

    fn bad_properties(&self) -> Vec<(Properties, &'static str)> {
        [
            (r#"{"image": 5}"#, "image"),
            (
                r#"{"image": "muster", "config": {"user.muster.group": "x"}}"#,
                "config.user.muster.group",
            ),
            (r#"{"image": "muster", "type": "virtual-machine"}"#, "boot"),
            (
                r#"{"image": "muster", "zone": "a b", "size": "large"}"#,
                "size",
            ),
        ]
        .map(|(json, field)| (json.parse().expect("valid"), field))
        .to_vec()
    }

    fn missing(&self) -> InstanceId {
        let server = &self.counterpart.text("fingerprint")[..12];
        format!("muster-aaaaaaaaaaaaaaaa@{server}/default")
            .parse()
            .expect("valid")
    }

    async fn kill(&self, instance: &Instance) -> bool {
        let about = self
            .lxd(
                Method::GET,
                &format!("instances/{}/state", name(&instance.id)),
                None,
            )
            .await;
        let pid = about["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok());
        let pid = pid
            .and_then(rustix::process::Pid::from_raw)
            .expect("it runs");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        true
    }

    async fn inject(&self, trouble: Trouble) -> bool {
        self.proxy.set(Some(trouble));
        true
    }

    async fn mend(&self) {
        self.proxy.set(None);
    }
}

mod conformance {
    use super::*;
    muster_provisioners::conformance_suite!(shared: Rig::start(&[]).await);
}

#[tokio::test]
async fn simultaneous_calls_make_one_machine() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let order = op("a", "provision");
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let provisioner = config(&rig.socket()).open().expect("opened");
            let order = order.clone();
            tokio::spawn(async move { provisioner.provision(&spec("a"), &order, soon()).await })
        })
        .collect();
    let mut made = Vec::new();
    for call in calls {
        match call.await.expect("no panic") {
            Ok(id) => made.push(id),
            // They are in each other's way; whoever asks again gets what the others made.
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    made.push(rig.make(&spec("a")).await);
    made.dedup();
    assert_eq!(made.len(), 1, "{made:?}");
    let list = rig.list().await;
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!(list[0].state, InstanceState::Running);
    until("it was started once", || async {
        let boots = rig.file(&made[0], "/var/log/boots").await;
        boots.as_deref() == Some("boot\n")
    })
    .await;
}

#[tokio::test]
async fn a_project_that_is_not_there_is_no_empty_list() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let elsewhere = LxdConfig {
        project: "nowhere".to_owned(),
        ..config(&rig.socket())
    };
    let elsewhere = elsewhere.open().expect("opened");
    for error in [
        elsewhere
            .describe(&Tags::new(), soon())
            .await
            .expect_err("no such project"),
        elsewhere.check(soon()).await.expect_err("no such project"),
    ] {
        assert!(
            error.to_string().contains("lxc project create nowhere"),
            "{error}"
        );
    }
    let proof = elsewhere.prove_off(&Harness::missing(&rig), soon()).await;
    assert!(!proof.is_ok_and(|proof| proof.is_off()));
}

fn status(instance: &Instance) -> Option<&str> {
    instance.properties.get("status").and_then(Value::as_str)
}

fn unfreeze() -> Value {
    json!({"action": "unfreeze"})
}
