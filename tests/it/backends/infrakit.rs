//! Fleets on InfraKit's plugins: stand-ins that run an agent for each instance, by the script of its first boot.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use muster_provisioners::conformance::Counterpart;
use muster_tests::binary::muster;
use muster_tests::command::{Answer, run};
use muster_tests::slots::{self, Slot};
use muster_tests::wait::until;
use muster_tests::{MachineRow, Status};
use serde_json::{Value, json};

/// Agents that are processes join within seconds, and are missed within as many.
const PATIENCE: Duration = Duration::from_secs(120);

/// A mesh of one coordinator, beside which plugins make machines.
struct Mesh {
    founder: Child,
    plugins: Counterpart,
    _slot: Slot,
}

impl Mesh {
    fn start() -> Self {
        let slot = slots::one();
        let program = muster().display().to_string();
        let arguments = ["--machines", "--muster", &program];
        let plugins =
            Counterpart::start("infrakit", &arguments).expect("Python is all that it takes");
        let home = plugins.directory().join("founder");
        std::fs::create_dir(&home).expect("the directory is ours");
        let config = format!(
            "name = \"founder\"\ndata_dir = \"{home}/state\"\napi_socket = \"{home}/api.sock\"\nbind = \"{network}.250.1:6878\"\n\
             [provisioners.infrakit]\nplugins = [\"file\", \"instance-file\", \"instance-vagrant\", \"simulator/compute\"]\n\
             directory = \"{found}\"\nlist_lag = \"1s\"\nsettle = \"2s\"\n\
             agent_config = \"muster.toml\"\nagent_start = 'exec \"$MUSTER\" agent --config muster.toml'\n",
            home = home.display(),
            network = plugins.text("network"),
            found = plugins.text("plugins"),
        );
        std::fs::write(home.join("muster.toml"), config).expect("written");
        let log = std::fs::File::create(home.join("log")).expect("made");
        let founder = Command::new(muster())
            .args([
                "init",
                "--config",
                "muster.toml",
                "--cluster-name",
                "plugins",
                "--run",
            ])
            .current_dir(&home)
            .env("INFRAKIT_PLUGINS_DIR", plugins.text("plugins"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        let mesh = Self {
            founder,
            plugins,
            _slot: slot,
        };
        until("the founder leads", PATIENCE, || match mesh.status() {
            Ok(status) if status.quorum => Ok(()),
            other => Err(format!("{other:?}\n{}", mesh.log())),
        });
        mesh
    }

    fn home(&self) -> PathBuf {
        self.plugins.directory().join("founder")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home().join("log")).unwrap_or_default()
    }

    fn run(&self, words: &[&str], input: &str) -> Answer {
        let mut command = Command::new(muster());
        command.args(words).arg("--node").arg(self.home());
        run(&mut command, input.as_bytes(), PATIENCE)
    }

    fn ask(&self, words: &[&str]) -> Answer {
        self.run(words, "")
    }

    fn status(&self) -> Result<Status, String> {
        let answer = self.ask(&["status", "--json"]);
        match answer.code {
            Some(0) => serde_json::from_value(answer.json()).map_err(|error| error.to_string()),
            _ => Err(answer.to_string()),
        }
    }

    /// Waits until a group has all its machines, alive.
    fn wait_whole(&self, group: &str) -> Vec<MachineRow> {
        until("the group is whole", PATIENCE, || {
            let status = self.status()?;
            let row = status.groups.iter().find(|row| row.id == group);
            let row = row.ok_or("there is no such group")?;
            let machines: Vec<_> = status.machines_of(group).into_iter().cloned().collect();
            let alive = machines.iter().filter(|one| one.status == "alive").count();
            if row.state == "converged" && alive == row.desired as usize && alive == machines.len()
            {
                return Ok(machines);
            }
            let explained = self.ask(&["explain", group]);
            Err(format!("{row:?} {machines:?}\n{explained}\n{}", self.log()))
        })
    }

    /// Takes a machine away behind muster's back, as a provider does.
    fn lose(&self, machine: &MachineRow) {
        let plugin = Path::new(self.plugins.text("plugins")).join("file");
        let params =
            json!({"Type": "", "Instance": own(machine), "Context": {"Reason": "terminate"}});
        call(&plugin, "Instance.Destroy", &params);
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = self.founder.kill();
        let _ = self.founder.wait();
    }
}

/// What the plugin calls a machine's instance.
fn own(machine: &MachineRow) -> &str {
    let id = &machine.instance.as_ref().expect("it was made").id;
    id.split_once(':').map_or(id, |(_, own)| own)
}

fn ids(machines: &[MachineRow]) -> Vec<&str> {
    let made = machines.iter().filter(|one| one.instance.is_some());
    made.map(own).collect()
}

fn example() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/infrakit.toml");
    root.display().to_string()
}

/// Calls a method of a plugin as InfraKit's own controller would.
fn call(socket: &Path, method: &str, params: &Value) -> Value {
    use std::io::{Read as _, Write as _};
    let body = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}).to_string();
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("the plugin is there");
    let head =
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).expect("JSON")
}

#[test]
fn the_example_is_made_and_healed() {
    let mesh = Mesh::start();
    mesh.ask(&["apply", "-f", &example(), "--yes"]).ok();
    let before = mesh.wait_whole("web");
    assert_eq!(before.len(), 3);
    mesh.lose(&before[0]);
    let lost = own(&before[0]).to_owned();
    until("it is replaced", PATIENCE, || {
        let status = mesh.status()?;
        let machines: Vec<_> = status.machines_of("web").into_iter().cloned().collect();
        match ids(&machines).contains(&lost.as_str()) {
            true => Err(format!(
                "{machines:?}\n{}",
                mesh.ask(&["explain", &before[0].name])
            )),
            false => Ok(()),
        }
    });
    let after = mesh.wait_whole("web");
    for kept in &ids(&before)[1..] {
        assert!(
            ids(&after).contains(kept),
            "{kept} was replaced for no reason"
        );
    }
}

/// Specs as they were written for InfraKit, in every envelope, with plugins of every generation.
#[test]
fn specs_of_infrakits_are_applied_as_they_are() {
    let mesh = Mesh::start();
    let pets = r#"{"ID": "Zk_1", "properties": {"Allocation": {"LogicalIDs": ["10.9.8.1", "10.9.8.2"]},
        "Instance": {"plugin": "instance-vagrant", "properties": {"Box": "debian"}},
        "Flavor": {"Plugin": "flavor-zookeeper", "Properties": {"Type": "member"}}}}"#;
    mesh.run(&["apply", "-f", "-", "--yes"], pets).ok();
    let combo = "kind: group\nmetadata: {name: combined}\nproperties:\n  Allocation: {Size: 1}\n  \
        Instance: {Plugin: simulator/compute, Properties: {Note: yes}}\n  Flavor:\n    Plugin: combo\n    Properties:\n    \
        - Plugin: vanilla\n      Properties: {Init: [echo one > one]}\n    - Plugin: vanilla\n      Properties: {Tags: {v: two}}\n";
    mesh.run(&["apply", "-f", "-", "--yes"], combo).ok();
    let cattle = r#"[{"Plugin": "group", "Properties": {"ID": "herd", "Properties": {"Allocation": {"Size": 2},
        "Instance": {"Plugin": "instance-file", "Properties": {"Note": "v1"}},
        "Flavor": {"Plugin": "flavor-vanilla", "Properties": {"Attachments": [{"ID": "nfs", "Type": "share"}]}}}}}]"#;
    mesh.run(&["apply", "-f", "-", "--yes"], cattle).ok();
    assert_eq!(mesh.wait_whole("herd").len(), 2);
    until("the pets are made", PATIENCE, || {
        let status = mesh.status()?;
        let pets = status.machines_of("zk-1");
        let made = pets.iter().filter(|one| one.instance.is_some());
        let mut names: Vec<_> = made.map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        match names == ["10-9-8-1", "10-9-8-2"] {
            true => Ok(()),
            false => Err(format!("{pets:?}")),
        }
    });
    let combined = mesh.wait_whole("combined");
    let plugins = Path::new(mesh.plugins.text("plugins")).to_owned();
    let params =
        json!({"Type": "compute", "Tags": {"infrakit.group": "combined"}, "Properties": true});
    let listed = call(
        &plugins.join("simulator"),
        "Instance.DescribeInstances",
        &params,
    );
    let listed = &listed["result"]["Descriptions"];
    assert_eq!(listed[0]["Properties"]["Properties"], json!({"Note": true}));
    assert_eq!(listed[0]["Tags"]["v"], "two");
    let home = mesh
        .plugins
        .directory()
        .join("instances")
        .join(own(&combined[0]));
    assert_eq!(
        std::fs::read_to_string(home.join("one")).expect("written"),
        "one\n"
    );
    let exported = mesh
        .ask(&["group", "export", "zk-1", "--infrakit"])
        .ok()
        .json();
    assert_eq!(exported["ID"], "Zk_1");
    assert_eq!(
        exported["Properties"]["Allocation"],
        json!({"LogicalIDs": ["10.9.8.1", "10.9.8.2"]})
    );
    let bad = mesh.run(
        &["apply", "-f", "-", "--yes"],
        &combo.replace("Size: 1", "Size: one"),
    );
    bad.exits(64).says("<stdin>:4:");
}

/// A fleet that InfraKit runs becomes muster's, and no machine is replaced.
#[test]
fn a_fleet_of_infrakits_is_adopted() {
    let mesh = Mesh::start();
    let plugins = Path::new(mesh.plugins.text("plugins")).to_owned();
    let spec = r#"{"ID": "old", "Properties": {"Allocation": {"Size": 2}, "Instance": {"Plugin": "file", "Properties": {"Note": "v1"}},
        "Flavor": {"Plugin": "vanilla", "Properties": {"Init": ["echo v1"], "Tags": {"tier": "web"}}}}}"#;
    let tags = json!({"infrakit.group": "old", "infrakit.config.hash": "bmbiu24k37oo4ln52t3bzn5ehda5j3go", "tier": "web"});
    for _ in 0..2 {
        let made = json!({"Type": "", "Spec": {"Properties": {"Note": "v1"}, "Tags": tags, "Init": "sleep 1000", "LogicalID": null, "Attachments": null}});
        call(&plugins.join("file"), "Instance.Provision", &made);
    }
    let file = mesh.home().join("old.json");
    let other = spec.replace("v1", "v2");
    std::fs::write(&file, other).expect("written");
    let words = ["group", "adopt", "-f", &file.display().to_string(), "--yes"].map(str::to_owned);
    let adopt: Vec<_> = words.iter().map(String::as_str).collect();
    mesh.ask(&adopt).exits(1).says("another configuration");
    std::fs::write(&file, spec).expect("written");
    mesh.ask(&adopt).ok();
    let status = mesh.status().expect("answered");
    let adopted: Vec<_> = status.machines_of("old").into_iter().cloned().collect();
    assert_eq!(ids(&adopted), ["file-0001", "file-0002"]);
    assert!(
        adopted.iter().all(|machine| machine.status == "adopted"),
        "{adopted:?}"
    );
    assert_eq!(status.group("old").state, "converged");

    // One of them gets an agent, which joins as that machine; the other one vanishes, and is replaced.
    let token = mesh
        .ask(&["token", "create", "--group", "old", "--json"])
        .ok()
        .json();
    let home = mesh.plugins.directory().join("joiner");
    std::fs::create_dir(&home).expect("made");
    let network = mesh.plugins.text("network");
    let config = format!(
        "name = \"old-1\"\ndata_dir = \"{home}/state\"\napi_socket = \"{home}/api.sock\"\nbind = \"{network}.251.1:6878\"\n",
        home = home.display(),
    );
    std::fs::write(home.join("muster.toml"), config).expect("written");
    let seed = format!("{network}.250.1:6878");
    let mut joiner = Command::new(muster())
        .args([
            "join",
            &seed,
            "--config",
            "muster.toml",
            "--token",
            token["token"].as_str().expect("a text"),
            "--run",
        ])
        .current_dir(&home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    call(
        &plugins.join("file"),
        "Instance.Destroy",
        &json!({"Type": "", "Instance": "file-0002", "Context": {"Reason": "terminate"}}),
    );
    let after = mesh.wait_whole("old");
    let _ = joiner.kill();
    let _ = joiner.wait();
    let kept = after
        .iter()
        .find(|machine| machine.name == "old-1")
        .expect("it joined");
    assert_eq!(own(kept), "file-0001", "the same instance");
    assert_eq!(after.len(), 2);
    assert!(!ids(&after).contains(&"file-0002"), "{after:?}");
}

/// InfraKit's tools see the mesh, and what they do is done.
#[test]
fn infrakits_tools_work_against_a_mesh() {
    let mesh = Mesh::start();
    let socket = Path::new(mesh.plugins.text("plugins")).join("muster");
    let mut gateway = Command::new(muster())
        .args(["infrakit", "serve", "--socket"])
        .arg(&socket)
        .arg("--node")
        .arg(mesh.home())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary runs");
    until("the gateway serves", PATIENCE, || match socket.exists() {
        true => Ok(()),
        false => Err("no socket yet".to_owned()),
    });
    let spec = json!({"ID": "web", "Properties": {"Allocation": {"Size": 2}, "Instance": {"Plugin": "file", "Properties": {"Note": "v1"}},
        "Flavor": {"Plugin": "vanilla", "Properties": {"Init": ["echo v1"]}}}});
    let group = |method: &str, params: Value| {
        let mut all = json!({"Name": "muster", "ID": "web"});
        all.as_object_mut()
            .expect("an object")
            .extend(params.as_object().expect("an object").clone());
        let answer = call(&socket, &format!("Group.{method}"), &all);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    };
    let details = |pretend: bool| {
        group("CommitGroup", json!({"Spec": spec, "Pretend": pretend}))["Details"].clone()
    };
    assert_eq!(details(true), "Managing 2 instances");
    assert_eq!(details(false), "Managing 2 instances");
    let machines = mesh.wait_whole("web");
    let described = group("DescribeGroup", json!({}));
    assert_eq!(described["Description"]["Converged"], true);
    assert_eq!(
        described["Description"]["Instances"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    assert_eq!(group("InspectGroups", json!({}))["Groups"][0]["ID"], "web");
    assert_eq!(group("Size", json!({}))["Size"], 2);
    group(
        "DestroyInstances",
        json!({"Instances": [own(&machines[0]), "does-not-exist"]}),
    );
    assert_eq!(group("Size", json!({}))["Size"], 1);
    let left = mesh.wait_whole("web");
    assert_eq!(ids(&left), ids(&machines[1..]));
    let healthy = json!({"Type": "vanilla", "Properties": {}, "Instance": {"ID": own(&left[0])}});
    assert_eq!(
        call(&socket, "Flavor.Healthy", &healthy)["result"]["Health"],
        1
    );
    group("DestroyGroup", json!({}));
    until("the group is gone", PATIENCE, || {
        match mesh.status()?.groups.is_empty() {
            true => Ok(()),
            false => Err("it is still there".to_owned()),
        }
    });
    let _ = gateway.kill();
    let _ = gateway.wait();
}
