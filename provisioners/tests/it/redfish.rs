//! `redfish` against the conformance suite, with the emulator of sushy-tools and with OpenIPMI's simulator, and what only it
//! has to promise.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::conformance::{Counterpart, Harness, Trouble};
use muster_provisioners::http::{Http, HttpConfig, Request};
use muster_provisioners::ledger::MemoryLedger;
use muster_provisioners::redfish::{RedfishConfig, RedfishProvisioner};
use muster_provisioners::{
    Deadline, Instance, InstanceId, InstanceState, MachineSpec, OperationId, Proof, Properties,
    ProvisionError, Provisioner, Secret, Tags, tag,
};
use serde_json::{Value, json};

mod ipmi;
mod nodes;
mod quirks;

/// A rack with its controllers, and a fleet's ledger.
struct Rig {
    counterpart: Counterpart,
    ledger: MemoryLedger,
    provisioner: RedfishProvisioner,
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(40))
}

fn op(member: &str, step: &str) -> OperationId {
    OperationId::derive("c", "g", member, 1, step)
}

fn spec(member: &str) -> MachineSpec {
    let mut spec = MachineSpec::new(member, Properties::new());
    spec.tags = Tags::new()
        .with(tag::CLUSTER, "c")
        .with(tag::MEMBER, member)
        .with(tag::GROUP, "g");
    spec.boot.join_token = Secret::new(format!("token-{member}"));
    spec
}

impl Rig {
    /// Starts a counterpart; `None` where it can't be had.
    fn start(name: &str, arguments: &[&str]) -> Option<Self> {
        let counterpart = Counterpart::start(name, arguments)?;
        let ledger = MemoryLedger::default();
        // Longer than the slowest button of the hardware: to press it again begins its work anew.
        let power_within_ms = if arguments.contains(&"--delay-max") {
            6000
        } else {
            2000
        };
        let provisioner = open(&counterpart, &ledger, power_within_ms);
        Some(Self {
            counterpart,
            ledger,
            provisioner,
        })
    }

    /// A few nodes whose controllers speak Redfish.
    fn redfish() -> Option<Self> {
        Self::start("redfish", &["--nodes", "3"])
    }

    /// Another coordinator's.
    fn another(&self) -> RedfishProvisioner {
        open(&self.counterpart, &self.ledger, 2000)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.counterpart.directory().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).expect("readable")
    }

    /// Asks the counterpart itself.
    async fn control(&self, request: Request) -> Vec<u8> {
        let control: Http = HttpConfig::new(self.counterpart.text("control"))
            .build()
            .expect("valid");
        control.call(&request, soon()).await.expect("answered").body
    }

    /// Has a node's controller misbehave (`*`: all), some quirks only for a number of requests.
    async fn quirk(&self, node: &str, quirk: &str, times: u32) {
        let wish = json!({ "node": node, "quirk": quirk, "times": times });
        self.control(Request::post("a quirk", "/quirk").json(&wish))
            .await;
    }

    /// Changes a node's power behind everybody's back.
    async fn power(&self, node: &str, state: &str) {
        let wish = json!({ "node": node, "state": state });
        self.control(Request::post("the power", "/power").json(&wish))
            .await;
    }

    /// What a node's controller was told to change, as method, end of the path, and body.
    async fn told(&self, node: &str) -> Vec<(String, String, Value)> {
        let log = self.control(Request::get("the log", "/log")).await;
        let log: Vec<[String; 4]> = serde_json::from_slice(&log).expect("a log");
        let of_node = log.into_iter().filter(|[about, ..]| about == node);
        let read = |[_, method, path, body]: [String; 4]| {
            let end = path.rsplit('/').next().unwrap_or_default().to_owned();
            (method, end, serde_json::from_str(&body).unwrap_or_default())
        };
        of_node.map(read).collect()
    }

    /// The buttons that were pressed at a node.
    async fn pressed(&self, node: &str) -> Vec<String> {
        let told = self.told(node).await;
        let resets = told
            .into_iter()
            .filter(|(_, end, _)| end == "ComputerSystem.Reset");
        resets
            .map(|(_, _, body)| body["ResetType"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    async fn make(&self, member: &str) -> (InstanceId, String) {
        let made = self
            .provisioner
            .provision(&spec(member), &op(member, "provision"), soon())
            .await;
        let id = made.unwrap_or_else(|error| panic!("making {member}: {error}"));
        (id.clone(), node_of(&self.find(&id).await))
    }

    async fn list(&self) -> Vec<Instance> {
        let list = self.provisioner.describe(&Tags::new(), soon()).await;
        list.unwrap_or_else(|error| panic!("describing: {error}"))
    }

    async fn find(&self, id: &InstanceId) -> Instance {
        let found = self
            .list()
            .await
            .into_iter()
            .find(|instance| instance.id == *id);
        found.unwrap_or_else(|| panic!("{id} is not listed"))
    }

    async fn destroy(&self, id: &InstanceId) {
        let destroyed = self
            .provisioner
            .destroy(id, &op(id.as_str(), "destroy"), soon())
            .await;
        destroyed.unwrap_or_else(|error| panic!("destroying {id}: {error}"));
    }

    async fn proof(&self, id: &InstanceId) -> Proof {
        self.provisioner
            .prove_off(id, soon())
            .await
            .expect("answered")
    }
}

/// What an agent's configuration says, for one coordinator.
fn open(
    counterpart: &Counterpart,
    ledger: &MemoryLedger,
    power_within_ms: u64,
) -> RedfishProvisioner {
    let mut settings = Properties::new();
    settings
        .set("power_within_ms", power_within_ms)
        .set("boot_time_ms", 30_000);
    for key in ["inventory", "boot_store", "boot_url"] {
        if let Some(text) = counterpart.ready()[key].as_str() {
            settings.set(key, text);
        }
    }
    let config = RedfishConfig::read(&settings).expect("valid");
    config.open(Arc::new(ledger.clone())).expect("opened")
}

fn node_of(instance: &Instance) -> String {
    let node = instance.properties.get("node").and_then(Value::as_str);
    node.expect("a node").to_owned()
}

#[async_trait]
impl Harness for Rig {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.provisioner.clone())
    }

    async fn another(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.another())
    }

    fn properties(&self) -> Properties {
        Properties::new()
    }

    fn bad_properties(&self) -> Vec<(Properties, &'static str)> {
        [
            (r#"{"boot": "floppy"}"#, "boot"),
            (r#"{"labels": {"rack": [1]}}"#, "labels.rack"),
            (r#"{"boot_url": "http://b/{what}", "image": "x"}"#, "image"),
        ]
        .map(|(json, field)| (json.parse().expect("valid"), field))
        .to_vec()
    }

    fn missing(&self) -> InstanceId {
        "r1n1.aaaaaaaaaaaa".parse().expect("valid")
    }

    async fn kill(&self, instance: &Instance) -> bool {
        if self.counterpart.ready()["control"].is_null() {
            let power = format!("{}.power", node_of(instance));
            std::fs::write(self.file(&power), "0\n").expect("written");
        } else {
            self.power(&node_of(instance), "Off").await;
        }
        true
    }

    async fn inject(&self, trouble: Trouble) -> bool {
        if trouble == Trouble::BadCredentials {
            let other = "username = \"operator\"\npassword = \"wrong\"\n";
            std::fs::write(self.file("credentials.toml"), other).expect("written");
            return true;
        }
        if self.counterpart.ready()["control"].is_null() {
            return false;
        }
        let quirk = match trouble {
            Trouble::LostAnswers => "lost",
            Trouble::Down => "down",
            Trouble::Throttling => "throttle",
            _ => "hang",
        };
        self.quirk("*", quirk, 0).await;
        true
    }

    async fn mend(&self) {
        let right = "username = \"operator\"\npassword = \"sesame\"\n";
        std::fs::write(self.file("credentials.toml"), right).expect("written");
        if !self.counterpart.ready()["control"].is_null() {
            self.quirk("*", "none", 0).await;
        }
    }
}

mod conformance {
    use super::*;
    muster_provisioners::conformance_suite!(shared: Rig::start("redfish", &["--nodes", "28"]));
}
