//! Machines that EC2 made, as moto plays it: they boot with their user data in networks of their own, get their role's
//! credentials from the metadata service, and are killed, frozen and cut off.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use muster_provisioners::conformance::Counterpart;
use muster_tests::binary::muster;
use muster_tests::command::{Answer, run};
use muster_tests::system::{may_make_namespaces, may_mount, require};
use muster_tests::wait::until;
use muster_tests::{MachineRow, Status, slots};

/// The spec that `docs/provisioners/aws.md` shows.
const EXAMPLE: &str = include_str!("../../../docs/examples/aws.toml");
/// The one thing that is not as the example says: a test has no ten minutes to wait for a machine that has just joined.
const GRACE: &str = "\n[group.heal]\nboot_grace = \"6s\"\nchange_grace = \"1s\"\n";
/// The machine that is made by hand, and one for each of the example.
const MACHINES: usize = 4;
/// Four agents of a debug build and a cloud in Python share what one machine has.
const PATIENCE: Duration = Duration::from_secs(240);
const COMMAND: Duration = Duration::from_secs(60);

/// A mesh in the cloud, and the machine that founded it.
struct Cloud {
    counterpart: Counterpart,
    first: Child,
    _slot: slots::Slot,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.first.kill();
        let _ = self.first.wait();
        if std::thread::panicking() {
            eprintln!("{}", tail(&self.dir().join("first.log")));
        }
    }
}

impl Cloud {
    /// Founds a mesh and applies the example. `None` where moto can't be had, or networks can't be made.
    fn start() -> Option<Self> {
        if !require(
            "the right to make networks and to mount",
            may_make_namespaces() && may_mount(),
        ) {
            return None;
        }
        let slot = slots::one();
        let program = muster().to_str().expect("a path that is text");
        let counterpart = Counterpart::start("aws", &["--machines", program])?;
        let dir = counterpart.directory();
        // Credentials and region come from the metadata service.
        let config = format!(
            "name = \"first\"\nbind = \"10.77.0.1:6878\"\ndata_dir = \"{}\"\n[provisioners.aws]\nendpoint = \"{}\"\n",
            dir.join("first").display(),
            counterpart.text("endpoint")
        );
        std::fs::write(dir.join("first.toml"), config).expect("written");
        let log = std::fs::File::create(dir.join("first.log")).expect("a log");
        let first = inside(&counterpart)
            .arg(muster())
            .args(["init", "--run", "--config"])
            .arg(dir.join("first.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nsenter runs");
        let this = Self {
            counterpart,
            first,
            _slot: slot,
        };
        until("the first machine answers", PATIENCE, || this.status());
        let mut apply = this.command(&["apply", "-f", "-", "--yes"]);
        let spec = format!("{EXAMPLE}{GRACE}");
        run(&mut apply, spec.as_bytes(), COMMAND).ok();
        this.wait_whole();
        Some(this)
    }

    fn dir(&self) -> &Path {
        self.counterpart.directory()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(muster());
        command
            .args(words)
            .arg("--node")
            .arg(self.dir().join("first/api.sock"));
        command
    }

    /// Asks the first machine's agent.
    fn ask(&self, words: &[&str]) -> Answer {
        run(&mut self.command(words), &[], COMMAND)
    }

    fn status(&self) -> Result<Status, String> {
        let answer = self.ask(&["status", "--json"]);
        if answer.code != Some(0) {
            return Err(answer.to_string());
        }
        serde_json::from_value(answer.json()).map_err(|error| error.to_string())
    }

    /// Waits until all are there and well.
    #[track_caller]
    fn wait_whole(&self) -> Status {
        until("the fleet is whole", PATIENCE, || {
            let status = self.status()?;
            match status.machines.len() {
                MACHINES => status.whole().map(|()| status),
                count => Err(format!("{count} machines: {:#?}", status.groups)),
            }
        })
    }

    /// Waits until another machine has come in place of one, which is on no list any more.
    #[track_caller]
    fn wait_replaced(&self, lost: &MachineRow) -> Status {
        until("the lost machine is replaced", PATIENCE, || {
            let status = self.status()?;
            let is_lost = |one: &MachineRow| one.machine_id == lost.machine_id;
            if status.machines.iter().any(is_lost) {
                return Err(format!(
                    "{} is on the roster: {:#?}",
                    lost.name, status.groups
                ));
            }
            status.whole().map(|()| status)
        })
    }

    /// Where an instance's files are.
    fn place(&self, machine: &MachineRow) -> PathBuf {
        self.dir().join("instances").join(instance(machine))
    }

    /// The process that all of a machine runs below.
    fn pid(&self, machine: &MachineRow) -> i32 {
        let text = std::fs::read_to_string(self.place(machine).join("pid")).expect("it runs");
        text.trim().parse().expect("a process ID")
    }

    /// Takes a machine's cable out.
    fn cut_off(&self, machine: &MachineRow) {
        let card = instance(machine);
        let card = format!("v{}", &card[card.len() - 12..]);
        let mut command = inside(&self.counterpart);
        command.args(["ip", "link", "set", &card, "down"]);
        run(&mut command, &[], COMMAND).ok();
    }

    /// Has every process of a machine stand still.
    fn freeze(&self, machine: &MachineRow) {
        let namespace =
            std::fs::read_link(format!("/proc/{}/ns/pid_for_children", self.pid(machine)));
        let namespace = namespace.expect("it runs");
        let processes = std::fs::read_dir("/proc").expect("readable");
        let pids =
            processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let mut frozen = 0;
        for pid in pids {
            let own = std::fs::read_link(format!("/proc/{pid}/ns/pid"));
            if own.is_ok_and(|own| own == namespace) {
                let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
                frozen += i32::from(
                    rustix::process::kill_process(pid, rustix::process::Signal::STOP).is_ok(),
                );
            }
        }
        assert!(frozen > 0, "{} has processes", machine.name);
    }

    /// Has the cloud do something that nobody asks it for by its API.
    fn control(&self, what: &str, with: &serde_json::Value) {
        use std::io::{Read, Write};
        let socket = self.counterpart.text("control");
        let mut stream =
            std::os::unix::net::UnixStream::connect(socket).expect("the cloud is there");
        let body = with.to_string();
        let length = body.len();
        let head = format!(
            "POST /test/{what} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.contains(" 200 "), "{what}: {answer}");
    }
}

/// A command in the cloud's network.
fn inside(counterpart: &Counterpart) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &counterpart.ready()["pid"].to_string(), "-n"]);
    command
}

/// What EC2 calls a machine.
fn instance(machine: &MachineRow) -> &str {
    let made = machine.instance.as_ref();
    &made
        .unwrap_or_else(|| panic!("nobody made it: {machine:?}"))
        .id
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// A machine of the group that does not lead.
fn follower(status: &Status) -> MachineRow {
    let machines = status.machines_of("web");
    let found = machines
        .into_iter()
        .find(|machine| status.leader.as_deref() != Some(&machine.name));
    found.expect("one leads at most").clone()
}

#[test]
fn instances_heal() {
    let Some(cloud) = Cloud::start() else { return };
    let before = cloud.wait_whole();
    let zones: std::collections::BTreeSet<_> = before
        .machines_of("web")
        .into_iter()
        .filter_map(|machine| machine.instance.as_ref()?.properties.get("zone").cloned())
        .map(|zone| zone.to_string())
        .collect();
    assert!(!zones.is_empty(), "{before:#?}");

    // Its system shuts down: EC2 says that it has stopped.
    let stopped = follower(&before);
    cloud.control("kill", &serde_json::json!({"id": instance(&stopped)}));
    let after = cloud.wait_replaced(&stopped);
    cloud.ask(&["explain", &stopped.name]).ok().says("gone");

    // Frozen: it runs, as EC2 says, and answers nobody. What was announced to it shows.
    let frozen = follower(&after);
    let event = serde_json::json!({
        "code": "instance-retirement", "description": "its host fails", "notBefore": "2030-01-01T10:00:00.000Z"
    });
    let spot = serde_json::json!({"action": "terminate", "time": "2030-01-01T10:00:00Z"});
    let notice =
        serde_json::json!({"id": instance(&frozen), "notice": {"event": event, "spot": spot}});
    cloud.control("notice", &notice);
    until("the machine says what was announced", PATIENCE, || {
        let answer = cloud.ask(&["machine", &frozen.name]);
        let said = answer.stdout.contains("its provider announced");
        said.then_some(()).ok_or_else(|| answer.to_string())
    });
    cloud.freeze(&frozen);
    let after = cloud.wait_replaced(&frozen);
    cloud
        .ask(&["explain", &frozen.name])
        .ok()
        .says("unreachable")
        .says("its provider announced");

    // Cut off.
    let cut = follower(&after);
    cloud.cut_off(&cut);
    cloud.wait_replaced(&cut);
    cloud.ask(&["explain", &cut.name]).ok().says("unreachable");

    // The agents that lead got their credentials from their machine's role, and nobody tells them.
    let all = cloud
        .ask(&["events", "--since", "1h", "--json"])
        .ok()
        .stdout;
    for secret in ["SecretAccessKey", "X-Amz-Signature", "muster1-"] {
        assert!(!all.contains(secret), "{all}");
    }
}
