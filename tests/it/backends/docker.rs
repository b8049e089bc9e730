//! A fleet of ten containers on a network of their own: killed, frozen, cut off, and left without their Engine.

use std::process::Command;
use std::time::Duration;

use muster_provisioners::conformance::Counterpart;
use muster_tests::binary::muster;
use muster_tests::command::{Answer, run};
use muster_tests::wait::until;
use muster_tests::{MachineRow, Status, slots};

/// The spec that `docs/provisioners/docker.md` shows.
const EXAMPLE: &str = include_str!("../../../docs/examples/docker.toml");
const IMAGE: &str = "muster-test:1";
/// The machine that is made by hand.
const FIRST: &str = "first";
const CONFIG: &str = "/etc/agent.toml";
/// Ten agents of a debug build share what one machine has.
const PATIENCE: Duration = Duration::from_secs(240);
const COMMAND: Duration = Duration::from_secs(60);

/// A mesh of containers.
struct Containers {
    engine: Counterpart,
    _slot: slots::Slot,
}

impl Containers {
    /// Makes the first machine as the documentation says, and with it those of the example. `None` where there is no Engine.
    fn start() -> Option<Self> {
        let slot = slots::one();
        let program = muster().to_str().expect("a path that is text");
        let engine = Counterpart::start("docker", &["docker", program])?;
        let this = Self {
            engine,
            _slot: slot,
        };
        let socket = "/var/run/docker.sock:/var/run/docker.sock";
        let words = [
            "create",
            "--name",
            FIRST,
            "--hostname",
            FIRST,
            "--network",
            "fleet",
            "--restart",
            "unless-stopped",
            "-v",
            socket,
            IMAGE,
            "sh",
            "-c",
            "muster init --config /etc/agent.toml; exec muster agent --config /etc/agent.toml",
        ];
        this.docker(&words).ok();
        let config = this.engine.directory().join("agent.toml");
        std::fs::write(&config, "[provisioners.docker]\n").expect("written");
        let config = config.to_str().expect("a path that is text");
        // A program without the feature says so here, and not after minutes.
        let check = ["agent", "--print-config", "--config", config];
        run(Command::new(program).args(check), &[], COMMAND).ok();
        this.docker(&["cp", config, &format!("{FIRST}:{CONFIG}")])
            .ok();
        this.docker(&["start", FIRST]).ok();
        until("the first machine answers", PATIENCE, || this.status());
        let words = ["exec", "-i", FIRST, "muster", "apply", "-f", "-", "--yes"];
        run(&mut this.command(&words), EXAMPLE.as_bytes(), COMMAND).ok();
        this.wait_whole();
        Some(this)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        let host = format!("unix://{}", self.engine.text("socket"));
        command.args(["-H", &host]).args(words);
        command
    }

    fn docker(&self, words: &[&str]) -> Answer {
        run(&mut self.command(words), &[], COMMAND)
    }

    /// Asks one machine's agent, by the name of its container.
    fn ask(&self, container: &str, words: &[&str]) -> Answer {
        self.docker(&[&["exec", container, "muster"], words].concat())
    }

    fn status(&self) -> Result<Status, String> {
        self.status_of(FIRST)
    }

    fn status_of(&self, container: &str) -> Result<Status, String> {
        let answer = self.ask(container, &["status", "--json"]);
        if answer.code != Some(0) {
            return Err(answer.to_string());
        }
        serde_json::from_value(answer.json()).map_err(|error| error.to_string())
    }

    /// Waits until all ten are there and well.
    #[track_caller]
    fn wait_whole(&self) -> Status {
        until("the fleet is whole", PATIENCE, || {
            let status = self.status()?;
            match status.machines.len() {
                10 => status.whole().map(|()| status),
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

    /// Runs a program within a machine's own namespaces of the network, with the tools of this computer.
    fn in_network_of(&self, machine: &MachineRow, words: &[&str]) {
        let pid = self
            .docker(&["inspect", "-f", "{{.State.Pid}}", container(machine)])
            .ok()
            .stdout;
        let engine = self.engine.ready()["engine"].to_string();
        let mut command = Command::new("nsenter");
        command
            .args([
                "-t",
                &engine,
                "-m",
                "-n",
                "-p",
                "nsenter",
                "-t",
                pid.trim(),
                "-n",
            ])
            .args(words);
        run(&mut command, &[], COMMAND).ok();
    }

    /// Drops all that a machine sends and gets.
    fn cut_off(&self, machine: &MachineRow) {
        for rule in [["-A", "INPUT", "-i"], ["-A", "OUTPUT", "-o"]] {
            self.in_network_of(
                machine,
                &[&["iptables"], &rule[..], &["eth0", "-j", "DROP"]].concat(),
            );
        }
    }

    /// Has the Engine itself stopped, with all its containers, and started again.
    fn restart_engine(&self) {
        let control = self.engine.text("control");
        let done = format!("{control}.done");
        for order in ["stop", "start"] {
            std::fs::write(control, format!("{order}\n")).expect("ordered");
            until("the Engine has obeyed", PATIENCE, || {
                let text = std::fs::read_to_string(&done).unwrap_or_default();
                let last = text.lines().next_back() == Some(order);
                last.then_some(()).ok_or(text)
            });
        }
    }
}

/// The container that a machine is.
fn container(machine: &MachineRow) -> &str {
    let made = machine.instance.as_ref();
    let container = made.and_then(|made| made.properties.get("container")?.as_str());
    container.unwrap_or_else(|| panic!("no container: {machine:?}"))
}

/// A machine of a group that neither leads nor coordinates.
fn plain<'a>(status: &'a Status, group: &str) -> &'a MachineRow {
    let machines = status.machines_of(group);
    let found = machines.into_iter().find(|machine| !machine.coordinator);
    found.unwrap_or_else(|| panic!("all of {group} coordinate: {status:#?}"))
}

#[test]
fn ten_containers_heal() {
    let Some(fleet) = Containers::start() else {
        return;
    };
    let before = fleet.wait_whole();
    expect_first_process(&fleet, plain(&before, "web"));

    // Killed: its provider says that it has exited, and may be started again.
    let killed = plain(&before, "web").clone();
    fleet.docker(&["kill", container(&killed)]).ok();
    let after = fleet.wait_replaced(&killed);
    fleet
        .ask(FIRST, &["explain", &killed.name])
        .ok()
        .says("unreachable");
    expect_gone(&fleet, &killed);

    // Frozen: it runs, as its provider says, and answers nobody.
    let frozen = plain(&after, "web").clone();
    fleet.docker(&["pause", container(&frozen)]).ok();
    let after = fleet.wait_replaced(&frozen);
    fleet
        .ask(FIRST, &["explain", &frozen.name])
        .ok()
        .says("unreachable");
    expect_gone(&fleet, &frozen);

    // Cut off, and a pet: its successor gets the same volume and address, after it is proved off.
    let pet = plain(&after, "db").clone();
    let marked = [
        "exec",
        container(&pet),
        "sh",
        "-c",
        "echo kept > /srv/data/mark",
    ];
    fleet.docker(&marked).ok();
    fleet.cut_off(&pet);
    let after = fleet.wait_replaced(&pet);
    expect_gone(&fleet, &pet);
    let successor = after.machine(&pet.name);
    assert_eq!(successor.address, pet.address);
    let kept = fleet.docker(&["exec", container(successor), "cat", "/srv/data/mark"]);
    assert_eq!(kept.ok().stdout.trim(), "kept");
    fleet
        .ask(FIRST, &["events", "--since", "1h"])
        .ok()
        .says("fenced");

    // No machine too many was ever made, and none is left over.
    let all = fleet.docker(&["ps", "--all", "--quiet"]).ok().stdout;
    assert_eq!(all.lines().count(), 10, "{all}");
}

#[test]
fn ten_containers_outlive_their_engine() {
    let Some(fleet) = Containers::start() else {
        return;
    };
    let before = fleet.wait_whole();
    fleet.restart_engine();
    // All of them ended and began again at once: they find each other, and nobody takes them for lost.
    let after = fleet.wait_whole();
    assert_eq!(after.identities(), before.identities());
    let all = fleet.docker(&["ps", "--all", "--quiet"]).ok().stdout;
    assert_eq!(all.lines().count(), 10, "{all}");
}

/// As the first process the agent reaps what others leave, and ends when it is asked to.
fn expect_first_process(fleet: &Containers, machine: &MachineRow) {
    let container = container(machine);
    let orphan = [
        "exec",
        container,
        "sh",
        "-c",
        "(sleep 0.1 & exec true) & exec true",
    ];
    fleet.docker(&orphan).ok();
    until("nobody is left as a zombie", PATIENCE, || {
        let states = fleet
            .docker(&["exec", container, "sh", "-c", "cat /proc/[0-9]*/stat"])
            .stdout;
        let zombies: Vec<_> = states
            .lines()
            .filter(|line| line.contains(") Z "))
            .collect();
        let sleeps = states.contains("(sleep)");
        (zombies.is_empty() && !sleeps).then_some(()).ok_or(states)
    });
    // Asked to reboot, it ends by itself, long before it would be killed: the command is waited for a minute.
    fleet.docker(&["restart", "-t", "600", container]).ok();
    let log = fleet
        .docker(&["inspect", "-f", "{{.State.Running}}", container])
        .ok()
        .stdout;
    assert_eq!(log.trim(), "true");
    fleet.wait_whole();
}

/// What was replaced is not only off the roster, but off the Engine.
fn expect_gone(fleet: &Containers, machine: &MachineRow) {
    fleet.docker(&["inspect", container(machine)]).exits(1);
}
