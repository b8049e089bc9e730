//! `aws` against moto's EC2 (`tests/backends/aws`): the conformance suite, and what only it has to promise.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::aws::{AwsConfig, AwsProvisioner, Environment};
use muster_provisioners::conformance::{Counterpart, Harness, Trouble};
use muster_provisioners::{
    Attachment, Deadline, Instance, InstanceId, MachineSpec, OperationId, Properties,
    ProvisionError, Provisioner, Tags, tag,
};
use serde_json::{Value, json};

/// Makes one test of several checks, against one cloud: it is slow to start. Each has a cluster of its own.
macro_rules! checks {
    ($($check:ident)*) => {
        #[tokio::test]
        async fn all() {
            let Some(mut rig) = super::Rig::start(&[]).await else { return };
            $(
                eprintln!(stringify!($check));
                rig.begin(stringify!($check));
                $check(&rig).await;
            )*
        }
    };
}

mod attaching;
mod credentials;
mod making;
mod noticing;
mod requests;

const ZONE: &str = "eu-west-1a";
const OTHER_ZONE: &str = "eu-west-1b";

/// A cloud of its own, and a coordinator's client of it.
struct Rig {
    counterpart: Counterpart,
    config: AwsConfig,
    cluster: String,
    provisioner: AwsProvisioner,
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

impl Rig {
    /// `None` where moto can't be had.
    async fn start(arguments: &[&str]) -> Option<Self> {
        let counterpart = Counterpart::start("aws", arguments)?;
        let config = config(&counterpart, "coordinator");
        Some(Self::of(counterpart, config).await)
    }

    async fn of(counterpart: Counterpart, config: AwsConfig) -> Self {
        Self {
            provisioner: config.open().expect("opened"),
            config,
            cluster: "c".to_owned(),
            counterpart,
        }
    }

    /// Everything is well, and nothing there.
    fn begin(&mut self, cluster: &str) {
        cluster.clone_into(&mut self.cluster);
        self.mend();
        self.knobs(&json!({"slow_ms": 0, "lag_ms": 0, "page": 0}));
    }

    fn knobs(&self, knobs: &Value) {
        self.control("knobs", knobs);
    }

    fn op(&self, member: &str, step: &str) -> OperationId {
        OperationId::derive(&self.cluster, "g", member, 1, step)
    }

    fn ours(&self) -> Tags {
        Tags::new().with(tag::CLUSTER, &self.cluster)
    }

    /// What comes of an order.
    async fn order(&self, spec: &MachineSpec) -> Result<InstanceId, ProvisionError> {
        let op = self.op(&spec.name, "provision");
        self.provisioner.provision(spec, &op, soon()).await
    }

    /// Has the cloud do something that no client asks for.
    fn control(&self, what: &str, with: &Value) -> Value {
        control(self.counterpart.text("control"), what, with)
    }

    fn subnet(&self, zone: &str) -> &str {
        self.counterpart.ready()["subnets"][zone]
            .as_str()
            .expect("a subnet")
    }

    fn properties_in(&self, zones: &[&str]) -> Properties {
        let subnets: Vec<_> = zones.iter().map(|zone| self.subnet(zone)).collect();
        let properties = json!({
            "image": self.counterpart.text("image"), "instance_type": "t3.micro", "subnets": subnets,
            "security_groups": [self.counterpart.text("group")], "tags": {},
        });
        Properties::from_value(properties).expect("an object")
    }

    fn spec(&self, member: &str) -> MachineSpec {
        let mut spec = MachineSpec::new(member, self.properties_in(&[ZONE]));
        spec.tags = self.ours().with(tag::MEMBER, member);
        spec
    }

    async fn make(&self, spec: &MachineSpec) -> InstanceId {
        let made = self.order(spec).await;
        made.unwrap_or_else(|error| panic!("making {}: {error}", spec.name))
    }

    async fn list(&self) -> Vec<Instance> {
        let listed = self.provisioner.describe(&self.ours(), soon()).await;
        listed.unwrap_or_else(|error| panic!("listing: {error}"))
    }

    /// What the cloud itself knows of an instance.
    fn instance(&self, id: &InstanceId) -> Value {
        self.control("instance", &json!({ "id": id }))
    }

    /// The volume of this name, which is made when it is asked for first.
    fn volume_named(&self, name: &str, zone: &str) -> Attachment {
        let made = self.control("volume", &json!({ "name": name, "zone": zone }));
        Attachment::new(made["id"].as_str().expect("an ID"), "ebs")
    }

    fn trouble(&self, trouble: &Value) {
        self.control("trouble", trouble);
    }

    fn mend(&self) {
        self.control("mend", &json!({}));
    }
}

/// A client with the credentials of a person that the cloud knows.
fn config(counterpart: &Counterpart, who: &str) -> AwsConfig {
    let key = |name: &str| {
        let key = &counterpart.ready()["keys"][who][name];
        key.as_str().expect("a key").to_owned()
    };
    AwsConfig {
        region: Some(counterpart.text("region").to_owned()),
        endpoint: Some(counterpart.text("endpoint").to_owned()),
        list_lag: Some(Duration::ZERO),
        environment: Environment::of([
            ("AWS_ACCESS_KEY_ID", key("access_key_id")),
            ("AWS_SECRET_ACCESS_KEY", key("secret_access_key")),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]),
        ..AwsConfig::default()
    }
}

/// One request to the door of the tests, a socket.
fn control(socket: &str, what: &str, with: &Value) -> Value {
    let mut stream = UnixStream::connect(socket).expect("the cloud is there");
    let body = with.to_string();
    write!(
        stream,
        "POST /test/{what} HTTP/1.1\r\nHost: tests\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    assert!(head.contains(" 200 "), "{what} {with}: {answer}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{what}: {error}: {body}"))
}

#[async_trait]
impl Harness for Rig {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.provisioner.clone())
    }

    async fn another(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.config.open().expect("opened"))
    }

    fn properties(&self) -> Properties {
        self.properties_in(&[ZONE, OTHER_ZONE])
    }

    fn bad_properties(&self) -> Vec<(Properties, &'static str)> {
        let image = self.counterpart.text("image");
        [
            (
                json!({"image": "debian", "instance_type": "t3.micro"}),
                "image",
            ),
            (
                json!({"image": image, "instance_type": "t3.micro", "colour": "red"}),
                "colour",
            ),
            (
                json!({"image": image, "instance_type": "t3.micro", "subnets": ["net"]}),
                "subnets[0]",
            ),
        ]
        .map(|(json, field)| (Properties::from_value(json).expect("an object"), field))
        .to_vec()
    }

    fn missing(&self) -> InstanceId {
        "i-0aaaaaaaaaaaaaaaa".parse().expect("valid")
    }

    fn attachment(&self, name: &str) -> Attachment {
        self.volume_named(name, ZONE)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(15)
    }

    async fn kill(&self, instance: &Instance) -> bool {
        self.control("kill", &json!({ "id": instance.id }));
        true
    }

    async fn inject(&self, trouble: Trouble) -> bool {
        let trouble = match trouble {
            Trouble::LostAnswers => json!({"kind": "lost", "actions": ["RunInstances"]}),
            Trouble::Down => json!({"kind": "down"}),
            Trouble::Throttling => json!({"kind": "throttling"}),
            Trouble::Hanging => json!({"kind": "hanging"}),
            Trouble::BadCredentials => json!({"kind": "credentials"}),
        };
        self.trouble(&trouble);
        true
    }

    async fn mend(&self) {
        Rig::mend(self);
    }
}

mod at_once {
    use super::*;
    muster_provisioners::conformance_suite!(shared: Rig::start(&[]).await);
}

mod slow_with_a_lagging_list {
    use super::*;

    async fn slow() -> Option<Rig> {
        let counterpart = Counterpart::start("aws", &["--slow-ms", "150", "--lag-ms", "120"])?;
        let mut config = config(&counterpart, "coordinator");
        config.list_lag = Some(Duration::from_millis(150));
        Some(Rig::of(counterpart, config).await)
    }

    muster_provisioners::conformance_suite!(shared: slow().await);
}
