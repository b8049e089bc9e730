//! `docker` against a Docker Engine and Podman: the conformance suite, and what only it has to promise.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::conformance::{Counterpart, Harness, Trouble};
use muster_provisioners::docker::{DockerConfig, DockerProvisioner};
use muster_provisioners::{
    Attachment, Deadline, Instance, InstanceId, InstanceState, MachineSpec, OperationId, Proof,
    Properties, ProvisionError, Provisioner, Secret, Tags, tag,
};
use serde_json::{Value, json};

use proxy::{Proxy, Way};

mod holding;
mod outages;
mod proxy;
mod running;

const IMAGE: &str = "muster-test:1";
/// A machine that ends when it is asked to.
const SLEEPER: [&str; 3] = [
    "sh",
    "-c",
    "trap 'exit 0' TERM; while :; do sleep 0.1; done",
];
/// An instance of no Engine that there is.
const FOREIGN: &str = "aaaaaa-0123456789ab";

/// An Engine, and a way to it that can be made troublesome.
struct Rig {
    engine: Counterpart,
    proxy: Proxy,
    /// What the IDs of its instances begin with.
    name: String,
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn op(member: &str, step: &str) -> OperationId {
    OperationId::derive("c", "g", member, 1, step)
}

fn spec(member: &str, more: Value) -> MachineSpec {
    let mut properties = json!({ "image": IMAGE, "command": SLEEPER, "networks": ["fleet"] });
    let (Value::Object(all), Value::Object(more)) = (&mut properties, more) else {
        panic!("properties are an object");
    };
    all.extend(more);
    let properties = Properties::from_value(properties).expect("valid");
    let mut spec = MachineSpec::new(member, properties);
    spec.tags = Tags::new()
        .with(tag::CLUSTER, "c")
        .with(tag::MEMBER, member);
    spec
}

fn with_attachments<const N: usize>(mut spec: MachineSpec, all: [(&str, &str); N]) -> MachineSpec {
    spec.attachments = all.map(|(id, kind)| Attachment::new(id, kind)).to_vec();
    spec
}

impl Rig {
    /// `None` where there is no such Engine.
    async fn start(kind: &str) -> Option<Self> {
        let engine = Counterpart::start("docker", &[kind])?;
        let socket = PathBuf::from(engine.text("socket"));
        let proxy = Proxy::start(engine.directory().join("proxy.sock"), socket);
        let mut rig = Self {
            engine,
            proxy,
            name: String::new(),
        };
        let id = rig.make(&spec("first", json!({}))).await;
        rig.name = id.as_str().split('-').next().unwrap_or_default().to_owned();
        rig.destroy(&id).await;
        Some(rig)
    }

    fn client(&self) -> DockerProvisioner {
        let config = DockerConfig {
            socket: Some(self.proxy.socket().to_owned()),
            stop_grace: Duration::from_secs(3),
            ..DockerConfig::default()
        };
        config.open().expect("opened")
    }

    async fn make(&self, spec: &MachineSpec) -> InstanceId {
        let made = self
            .client()
            .provision(spec, &op(&spec.name, "provision"), soon())
            .await;
        made.unwrap_or_else(|error| panic!("making {}: {error}", spec.name))
    }

    async fn destroy(&self, id: &InstanceId) {
        let destroyed = self.client().destroy(id, &op("x", "destroy"), soon()).await;
        destroyed.unwrap_or_else(|error| panic!("destroying {id}: {error}"));
    }

    async fn proof(&self, id: &InstanceId) -> Proof {
        self.client().prove_off(id, soon()).await.expect("answered")
    }

    async fn find(&self, id: &InstanceId) -> Instance {
        let list = self
            .client()
            .describe(&Tags::new(), soon())
            .await
            .expect("listed");
        let found = list.into_iter().find(|instance| instance.id == *id);
        found.unwrap_or_else(|| panic!("{id} is not listed"))
    }

    async fn until(&self, id: &InstanceId, state: InstanceState) -> Instance {
        let deadline = soon();
        loop {
            let now = self.find(id).await;
            if now.state == state {
                return now;
            }
            let on = deadline.sleep(Duration::from_millis(50)).await;
            assert!(on, "{id} is not {state} in time: {now:?}");
        }
    }

    /// What the Engine's own command line says; the container is named in place of `{}`.
    fn docker(&self, id: &InstanceId, arguments: &[&str]) -> String {
        let container = id.as_str().split('-').nth(1).expect("an ID of ours");
        let arguments = arguments
            .iter()
            .map(|word| if *word == "{}" { container } else { word });
        self.engine_says(&arguments.collect::<Vec<_>>())
    }

    fn engine_says(&self, arguments: &[&str]) -> String {
        let output = Command::new("docker")
            .args(["-H", &format!("unix://{}", self.engine.text("socket"))])
            .args(arguments)
            .output()
            .expect("docker runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {error}");
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned()
    }

    /// Has the Engine itself stopped, started, or killed and started, and waits until that is done.
    async fn order(&self, word: &str) {
        let control = self.engine.text("control");
        let done = format!("{control}.done");
        let count = || {
            std::fs::read_to_string(&done)
                .unwrap_or_default()
                .lines()
                .count()
        };
        let before = count();
        std::fs::write(control, format!("{word}\n")).expect("ordered");
        let deadline = soon();
        while count() == before {
            assert!(
                deadline.sleep(Duration::from_millis(50)).await,
                "the Engine does not {word}"
            );
        }
    }
}

#[async_trait]
impl Harness for Rig {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.client())
    }

    async fn another(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.client())
    }

    fn properties(&self) -> Properties {
        // What the Engine may start again by itself is not proven off, so the machines of the suite are not.
        spec("x", json!({ "restart": "no" })).properties
    }

    fn bad_properties(&self) -> Vec<(Properties, &'static str)> {
        [
            (r#"{"command": ["x"]}"#, "image"),
            (r#"{"image": "x", "restart": "always"}"#, "restart"),
            (
                r#"{"image": "x", "colour": "red", "mounts": {"/x": "relative"}}"#,
                "colour",
            ),
        ]
        .map(|(json, field)| (json.parse().expect("valid"), field))
        .to_vec()
    }

    fn missing(&self) -> InstanceId {
        format!("{}-0123456789ab", self.name)
            .parse()
            .expect("valid")
    }

    async fn kill(&self, instance: &Instance) -> bool {
        self.docker(&instance.id, &["kill", "{}"]);
        true
    }

    async fn inject(&self, trouble: Trouble) -> bool {
        self.proxy.set(Way::Trouble(trouble));
        true
    }

    async fn mend(&self) {
        self.proxy.set(Way::Clear);
    }
}

mod of_docker {
    use super::*;
    muster_provisioners::conformance_suite!(shared: Rig::start("docker").await);
}

mod of_podman {
    use super::*;
    muster_provisioners::conformance_suite!(shared: Rig::start("podman").await);
}
