//! A fleet of twelve system containers on a bridge of their own: killed, frozen, cut off, and left without LXD.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use muster_provisioners::conformance::Counterpart;
use muster_tests::binary::muster;
use muster_tests::command::{Answer, run};
use muster_tests::wait::until;
use muster_tests::{MachineRow, Status, slots};

/// The spec that `docs/provisioners/lxd.md` shows.
const EXAMPLE: &str = include_str!("../../../docs/examples/lxd.toml");
/// The machine that is made by hand.
const FIRST: &str = "first";
const MACHINES: usize = 12;
/// Twelve agents of a debug build share what one computer has.
const PATIENCE: Duration = Duration::from_secs(240);
const COMMAND: Duration = Duration::from_secs(60);

/// A mesh of containers.
struct Containers {
    lxd: Counterpart,
    _slot: slots::Slot,
}

impl Containers {
    /// Makes the first machine as the documentation says, and with it those of the example. `None` where there is no LXD.
    fn start() -> Option<Self> {
        let slot = slots::one();
        let program = muster().to_str().expect("a path that is text");
        let lxd = Counterpart::start("lxd", &["--network", "--program", program])?;
        let this = Self { lxd, _slot: slot };
        let config = this.lxd.directory().join("agent.toml");
        std::fs::write(&config, this.config()).expect("written");
        let config = config.to_str().expect("a path that is text");
        this.lxc(&["init", "--quiet", "muster", FIRST]).ok();
        this.lxc(&["start", FIRST]).ok();
        until("the first machine has an address", PATIENCE, || {
            let list = this.lxc(&["list", "--format", "csv", "--columns", "4", FIRST]);
            let has_one = list.stdout.contains("eth0");
            has_one.then_some(()).ok_or(list.stdout)
        });
        // Its init starts the agent once the file is there, so the mesh is founded from another one.
        this.lxc(&["file", "push", config, &format!("{FIRST}/etc/first.toml")])
            .ok();
        this.in_machine(FIRST, &["muster", "init", "--config", "/etc/first.toml"])
            .ok();
        this.in_machine(FIRST, &["mv", "/etc/first.toml", "/etc/muster.toml"])
            .ok();
        until("the first machine answers", PATIENCE, || this.status());
        let words = ["exec", FIRST, "--", "muster", "apply", "-f", "-", "--yes"];
        run(&mut this.command(&words), EXAMPLE.as_bytes(), COMMAND).ok();
        this.wait_whole();
        Some(this)
    }

    /// What the first machine, and all others by it, are told of LXD.
    fn config(&self) -> String {
        format!(
            "name = \"{FIRST}\"\n[provisioners.lxd]\nendpoint = \"{}\"\nfingerprint = \"{}\"\nproject = \"fleet\"\n\
             certificate = \"/etc/muster-lxd/client.crt\"\nkey = \"/etc/muster-lxd/client.key\"\n",
            self.lxd.text("https"),
            self.lxd.text("fingerprint"),
        )
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("lxc");
        let socket = Path::new(self.lxd.text("socket"));
        command
            .env("LXD_DIR", socket.parent().expect("it lies in a directory"))
            .env("LXD_CONF", self.lxd.directory().join("conf"))
            // What is asked of the API itself names its project.
            .args((words.first() != Some(&"query")).then_some("--project=fleet"))
            .args(words);
        command
    }

    fn lxc(&self, words: &[&str]) -> Answer {
        run(&mut self.command(words), &[], COMMAND)
    }

    fn in_machine(&self, name: &str, words: &[&str]) -> Answer {
        self.lxc(&[&["exec", name, "--"], words].concat())
    }

    /// Asks the first machine's agent.
    fn ask(&self, words: &[&str]) -> Answer {
        self.in_machine(FIRST, &[&["muster"], words].concat())
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
                let groups = &status.groups;
                return Err(format!("{} is on the roster: {groups:#?}", lost.name));
            }
            status.whole().map(|()| status)
        })
    }

    /// The first process of a machine, as this computer numbers it.
    fn pid(&self, machine: &MachineRow) -> String {
        let state = format!("/1.0/instances/{}/state?project=fleet", container(machine));
        let about = self.lxc(&["query", &state]).ok().json();
        about["pid"].to_string()
    }

    /// Drops all that a machine sends and gets.
    fn cut_off(&self, machine: &MachineRow) {
        let pid = self.pid(machine);
        for rule in [["-A", "INPUT", "-i"], ["-A", "OUTPUT", "-o"]] {
            let mut command = Command::new("nsenter");
            command
                .args(["-t", &pid, "-n", "iptables"])
                .args(rule)
                .args(["eth0", "-j", "DROP"]);
            run(&mut command, &[], COMMAND).ok();
        }
    }

    /// Kills the daemon, and waits until the one after it answers.
    fn kill_lxd(&self) {
        let daemon = || std::fs::read_to_string(self.lxd.text("pid_file")).unwrap_or_default();
        let before = daemon();
        run(
            Command::new("kill").args(["-KILL", before.trim()]),
            &[],
            COMMAND,
        )
        .ok();
        until("another daemon answers", PATIENCE, || {
            let answer = self.lxc(&["list"]);
            let is_back = daemon() != before && answer.code == Some(0);
            is_back.then_some(()).ok_or(answer.to_string())
        });
    }

    /// What was replaced is not only off the roster, but deleted.
    #[track_caller]
    fn expect_gone(&self, machine: &MachineRow) {
        self.lxc(&["config", "show", container(machine)]).exits(1);
    }
}

/// The container that a machine is.
fn container(machine: &MachineRow) -> &str {
    let made = machine.instance.as_ref();
    let id = made.and_then(|made| made.id.split('@').next());
    id.unwrap_or_else(|| panic!("no instance: {machine:?}"))
}

/// A machine of a group that neither leads nor coordinates.
fn plain<'a>(status: &'a Status, group: &str) -> &'a MachineRow {
    let machines = status.machines_of(group);
    let found = machines.into_iter().find(|machine| !machine.coordinator);
    found.unwrap_or_else(|| panic!("all of {group} coordinate: {status:#?}"))
}

#[test]
fn twelve_containers_heal() {
    let Some(fleet) = Containers::start() else {
        return;
    };
    let before = fleet.wait_whole();

    // Killed: its provider says that it has stopped.
    let killed = plain(&before, "web").clone();
    let pid = fleet.pid(&killed);
    run(Command::new("kill").args(["-KILL", &pid]), &[], COMMAND).ok();
    let after = fleet.wait_replaced(&killed);
    fleet.ask(&["explain", &killed.name]).ok().says("gone");
    fleet.expect_gone(&killed);

    // Frozen: it runs, as its provider says, and answers nobody.
    let frozen = plain(&after, "web").clone();
    fleet.lxc(&["pause", container(&frozen)]).ok();
    let after = fleet.wait_replaced(&frozen);
    fleet
        .ask(&["explain", &frozen.name])
        .ok()
        .says("unreachable");
    fleet.expect_gone(&frozen);

    // Cut off, and a pet: its successor gets the same volume, after it is proved off.
    let pet = plain(&after, "db").clone();
    let volume = format!("/disks/{}-data/mark", pet.name);
    let mark = format!("echo kept > {volume}");
    fleet.in_machine(container(&pet), &["sh", "-c", &mark]).ok();
    fleet.cut_off(&pet);
    let after = fleet.wait_replaced(&pet);
    fleet.expect_gone(&pet);
    let kept = fleet.in_machine(container(after.machine(&pet.name)), &["cat", &volume]);
    assert_eq!(kept.ok().stdout.trim(), "kept");
    fleet.ask(&["events", "--since", "1h"]).ok().says("fenced");

    // Machines outlive LXD, and nobody takes them for lost while it can't be asked.
    fleet.kill_lxd();
    let still = fleet.wait_whole();
    assert_eq!(still.identities(), after.identities());

    // No machine too many was ever made, and none is left over.
    let all = fleet
        .lxc(&["list", "--format", "csv", "--columns", "n"])
        .ok();
    assert_eq!(all.stdout.lines().count(), MACHINES, "{all}");
}
