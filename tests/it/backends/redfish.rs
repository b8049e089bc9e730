//! A fleet on nodes of bare metal, which the emulator of their controllers plays: switched off, hung, and broken.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use muster_provisioners::conformance::Counterpart;
use muster_tests::binary::muster;
use muster_tests::command::{Answer, DEADLINE, run};
use muster_tests::process::{self, Process};
use muster_tests::wait::until;
use muster_tests::{MachineRow, Status, slots};

/// The spec that `docs/provisioners/redfish.md` shows.
const EXAMPLE: &str = include_str!("../../../docs/examples/redfish.toml");

/// Agents of a debug build, and an emulator, share what one machine has.
const PATIENCE: Duration = Duration::from_secs(180);

/// The machine that is made by hand, and the nodes.
struct Hall {
    first: Child,
    rack: Counterpart,
    _slot: slots::Slot,
}

impl Hall {
    /// Makes the first machine, and with it those of the example. `None` where there is no emulator.
    fn start() -> Option<Self> {
        let slot = slots::one();
        let program = muster().to_str().expect("a path that is text");
        let rack = Counterpart::start("redfish", &["--nodes", "5", "--agent", program])?;
        let dir = rack.directory().join("first");
        std::fs::create_dir(&dir).expect("the directory is ours");
        let config = format!(
            "name = \"first\"\ndata_dir = \"{0}\"\napi_socket = \"{0}/api.sock\"\nbind = \"{1}:6881\"\n\
             [provisioners.redfish]\ninventory = \"{2}\"\nboot_store = \"{3}\"\nboot_url = \"{4}\"\npower_within_ms = 4000\n",
            dir.display(),
            rack.text("address"),
            rack.text("inventory"),
            rack.text("boot_store"),
            rack.text("boot_url"),
        );
        let file = dir.join("muster.toml");
        std::fs::write(&file, config).expect("written");
        let log = std::fs::File::create(dir.join("agent.log")).expect("made");
        let first = Command::new(muster())
            .args(["init", "--cluster-name", "hall", "--run", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a second handle"))
            .stdout(log)
            .spawn()
            .expect("it runs");
        let hall = Self {
            first,
            rack,
            _slot: slot,
        };
        until("the first machine answers", PATIENCE, || hall.status());
        // As it stands, but for the time in which silence is put down to a boot: these boot within a second.
        let spec = EXAMPLE.replace("boot_grace = \"15m\"", "boot_grace = \"20s\"");
        assert_ne!(spec, EXAMPLE);
        let mut apply = hall.command(&["apply", "-f", "-", "--yes"]);
        run(&mut apply, spec.as_bytes(), DEADLINE).ok();
        hall.wait_whole();
        Some(hall)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(muster());
        let socket = self.rack.directory().join("first/api.sock");
        command.args(words).arg("--node").arg(socket);
        command
    }

    fn ask(&self, words: &[&str]) -> Answer {
        run(&mut self.command(words), b"", DEADLINE)
    }

    fn status(&self) -> Result<Status, String> {
        let answer = self.ask(&["status", "--json"]);
        if answer.code != Some(0) {
            return Err(answer.to_string());
        }
        serde_json::from_value(answer.json()).map_err(|error| error.to_string())
    }

    /// Waits until all three machines of the group are there and well, and none is one of `lost`.
    #[track_caller]
    fn wait_without(&self, lost: &[&MachineRow]) -> Status {
        until("the fleet is whole", PATIENCE, || {
            let status = self.status()?;
            let is_lost =
                |one: &MachineRow| lost.iter().any(|gone| gone.machine_id == one.machine_id);
            let web = status.groups.iter().find(|group| group.id == "web");
            let is_whole = web.is_some_and(|web| web.state == "converged" && web.running == 3);
            let is_alive = status
                .machines
                .iter()
                .all(|machine| machine.status == "alive");
            if is_whole
                && is_alive
                && status.machines.len() == 4
                && !status.machines.iter().any(is_lost)
            {
                Ok(status)
            } else {
                Err(format!("{:#?} {:#?}", status.groups, status.machines))
            }
        })
    }

    #[track_caller]
    fn wait_whole(&self) -> Status {
        self.wait_without(&[])
    }

    /// A machine of the group that does not lead.
    fn victim(&self, status: &Status) -> MachineRow {
        let leads = |machine: &&MachineRow| status.leader.as_deref() == Some(&machine.name);
        let found = status
            .machines_of("web")
            .into_iter()
            .find(|machine| !leads(machine));
        found.expect("one of three does not lead").clone()
    }

    /// The directory of what runs on a node.
    fn place(&self, node: &str) -> PathBuf {
        self.rack.directory().join("nodes").join(node)
    }

    /// The process that is the node's whole system.
    fn system(&self, node: &str) -> Process {
        let pid = std::fs::read_to_string(self.place(node).join("pid")).expect("it runs");
        let pid = pid.trim().parse().expect("a number");
        Process::of(pid, self.rack.directory()).expect("it runs")
    }

    /// Tells the emulator something, by its control address.
    fn control(&self, path: &str, body: &str) {
        let address = format!("{}{path}", self.rack.text("control"));
        let mut curl = Command::new("python3");
        let post =
            "import sys, urllib.request as r; r.urlopen(sys.argv[1], sys.argv[2].encode(), 10)";
        curl.args(["-c", post, &address, body]);
        run(&mut curl, b"", DEADLINE).ok();
    }

    fn power_off(&self, node: &str) {
        self.control(
            "/power",
            &format!(r#"{{"node": "{node}", "state": "Off"}}"#),
        );
    }

    fn quirk(&self, node: &str, quirk: &str) {
        self.control(
            "/quirk",
            &format!(r#"{{"node": "{node}", "quirk": "{quirk}"}}"#),
        );
    }
}

impl Drop for Hall {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.ask(&["status"]));
            eprintln!("{}", self.ask(&["events"]));
            let log = self.rack.directory().join("first/agent.log");
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        let _ = self.first.kill();
        let _ = self.first.wait();
        process::kill_all_of(&self.rack.directory().join("nodes"));
    }
}

fn node_of(machine: &MachineRow) -> String {
    let instance = machine.instance.as_ref().expect("it was made");
    let node = instance
        .properties
        .get("node")
        .and_then(serde_json::Value::as_str);
    node.expect("it is on a node").to_owned()
}

#[test]
fn machines_on_bare_metal_are_mended_in_place_or_on_another_node() {
    let Some(hall) = Hall::start() else { return };
    let before = hall.wait_whole();
    let racks: std::collections::BTreeSet<_> = before
        .machines_of("web")
        .into_iter()
        .map(|machine| node_of(machine)[..2].to_owned())
        .collect();
    assert_eq!(racks.len(), 3, "one in each rack");

    // It hangs: its controller says that it runs. Its power is cycled, and the same machine is back.
    let hung = hall.victim(&before);
    hall.system(&node_of(&hung))
        .signal(rustix::process::Signal::STOP);
    until("its power was cycled", PATIENCE, || {
        let explained = hall.ask(&["explain", &hung.name]);
        let cycled = explained.stdout.contains("power-cycle");
        cycled.then_some(()).ok_or_else(|| explained.to_string())
    });
    let after = hall.wait_whole();
    assert_eq!(
        after.machine(&hung.name).machine_id,
        hung.machine_id,
        "the same machine"
    );

    // Its power fails: it is replaced on another node, and the old one left out until it is released.
    let dead = hall.victim(&after);
    let node = node_of(&dead);
    hall.power_off(&node);
    let after = hall.wait_without(&[&dead]);
    assert!(
        after
            .machines_of("web")
            .iter()
            .all(|machine| node_of(machine) != node)
    );
    hall.ask(&["status"]).ok().says(&node).says("quarantine");
    hall.ask(&["explain", &dead.name]).ok().says("gone");

    // Its node's controller goes with it: nobody can prove anything, and cattle wait for nobody.
    let lost = hall.victim(&after);
    let place = node_of(&lost);
    hall.quirk(&place, "down");
    hall.system(&place).signal(rustix::process::Signal::STOP);
    let released = hall.ask(&["release", &node]);
    released.ok();
    let after = hall.wait_without(&[&dead, &lost]);
    assert!(
        after
            .machines_of("web")
            .iter()
            .all(|machine| node_of(machine) != place)
    );
}
