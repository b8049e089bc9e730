//! `process` against the conformance suite, and what only it has to promise.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::conformance::Harness;
use muster_provisioners::process::{ProcessConfig, ProcessProvisioner, clean};
use muster_provisioners::{
    Attachment, Deadline, Instance, InstanceId, InstanceState, MachineSpec, OperationId,
    Properties, ProvisionError, Provisioner, Tags, tag,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

mod creators;
mod disks;
mod fleet;
mod records;
mod reimaging;
mod running;

const HELPER: &str = env!("CARGO_BIN_EXE_muster-process-helper");

/// A root of its own, cleared away with all its processes at the end.
struct Rig {
    directory: tempfile::TempDir,
    provisioner: ProcessProvisioner,
}

fn config(root: &Path) -> ProcessConfig {
    let mut config = ProcessConfig::new(root);
    config.executable = Some(HELPER.into());
    config.stop_grace = Duration::from_millis(300);
    config
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

fn op(member: &str, step: &str) -> OperationId {
    OperationId::derive("c", "g", member, 1, step)
}

fn spec(member: &str) -> MachineSpec {
    let mut spec = MachineSpec::new(member, Properties::new());
    spec.tags = Tags::new()
        .with(tag::CLUSTER, "c")
        .with(tag::MEMBER, member);
    spec
}

fn spec_with(member: &str, properties: &str) -> MachineSpec {
    MachineSpec {
        properties: properties.parse().expect("valid"),
        ..spec(member)
    }
}

fn spec_with_disk(member: &str, disk: &str) -> MachineSpec {
    MachineSpec {
        attachments: vec![Attachment::new(disk, "")],
        ..spec(member)
    }
}

impl Rig {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("fleet");
        let provisioner = config(&root).open(soon()).await.expect("opened");
        Self {
            directory,
            provisioner,
        }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("fleet")
    }

    async fn make(&self, spec: &MachineSpec) -> InstanceId {
        let made = self
            .provisioner
            .provision(spec, &op(&spec.name, "provision"), soon())
            .await;
        let id = made.expect("made");
        self.until_ready(&id).await;
        id
    }

    /// Waits until the agent has begun to work, and gives its arguments and environment.
    async fn until_ready(&self, id: &InstanceId) -> String {
        let ready = self.file(id, "ready");
        until("the agent is ready", || ready.exists()).await;
        fs::read_to_string(ready).expect("readable")
    }

    fn file(&self, id: &InstanceId, name: &str) -> PathBuf {
        self.root().join("instances").join(id.as_str()).join(name)
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

    async fn kill_agent(&self, id: &InstanceId) {
        kill(pid_of(&self.find(id).await));
        until("the agent is dead", || {
            !is_alive_with_mark(&self.file(id, ""))
        })
        .await;
    }

    /// Waits until so many processes carry the mark of any of the root's instances, and gives them. A process that has
    /// just begun may not show its environment yet.
    async fn until_processes(&self, count: usize) -> BTreeSet<u32> {
        until("the processes are there", || {
            self.processes().len() == count
        })
        .await;
        self.processes()
    }

    /// The processes that carry the mark of any of the root's instances, found independently of the provisioner.
    fn processes(&self) -> BTreeSet<u32> {
        marked_below(&self.provisioner.root().join("instances"))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let root = self.root();
        // A runtime can't be entered from within another one, so the clearing has a thread of its own.
        let cleared = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(clean(&root, soon()))
        });
        let cleared = cleared.join().expect("no panic");
        if !std::thread::panicking() {
            cleared.expect("cleared away");
        }
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn pid_of(instance: &Instance) -> u32 {
    let pid = instance
        .properties
        .get("pid")
        .and_then(serde_json::Value::as_u64);
    u32::try_from(pid.expect("it runs")).expect("a process ID")
}

/// Kills a process that is known to be ours and not reaped.
fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process ID")).expect("not zero");
    kill_process(pid, Signal::KILL).expect("killed");
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .starts_with('Z')
    })
}

fn marked_below(directory: &Path) -> BTreeSet<u32> {
    let pids = fs::read_dir("/proc")
        .expect("readable")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mark = format!("MUSTER_INSTANCE={}/", directory.display());
    let is_marked = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| {
            let variable = [variable, b"/"].concat();
            variable.starts_with(mark.as_bytes())
        })
    };
    pids.filter(|pid| is_marked(pid) && is_alive(*pid))
        .collect()
}

fn is_alive_with_mark(directory: &Path) -> bool {
    let directory = directory.components().as_path();
    fs::read_to_string(directory.join("process.json"))
        .ok()
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
        .and_then(|record| record["process"]["pid"].as_u64())
        .is_some_and(|pid| is_alive(u32::try_from(pid).expect("a process ID")))
}

#[async_trait]
impl Harness for Rig {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.provisioner.clone())
    }

    async fn another(&self) -> Arc<dyn Provisioner> {
        Arc::new(config(&self.root()).open(soon()).await.expect("opened"))
    }

    fn properties(&self) -> Properties {
        r#"{"env": {"COLOUR": "red"}, "zone": "a"}"#.parse().expect("valid")
    }

    fn bad_properties(&self) -> Vec<(Properties, &'static str)> {
        [
            (r#"{"image": "debian", "zone": "a"}"#, "image"),
            (r#"{"env": {"MUSTER_NAME": "x"}}"#, "env.MUSTER_NAME"),
            (r#"{"args": "--verbose", "zone": 5}"#, "zone"),
        ]
        .map(|(json, field)| (json.parse().expect("valid"), field))
        .to_vec()
    }

    fn missing(&self) -> InstanceId {
        "p-aaaaaaaaaaaa".parse().expect("valid")
    }

    async fn kill(&self, instance: &Instance) -> bool {
        kill(pid_of(instance));
        true
    }
}

mod conformance {
    use super::*;
    muster_provisioners::conformance_suite!(Rig::new().await);
}
